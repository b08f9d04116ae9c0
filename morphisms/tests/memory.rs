//! What children of one parent hold, counted by the allocator: what they changed, and little else however large the rest is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{DType, Device};
use morphisms::check::shares_storage;
use morphisms::{Conv, Draft, LayerId, Morphism, Network, Rewrite, Shape, Site, catalog};

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CHILDREN: usize = 1000;

/// The bytes that each of the values holds.
fn held<T>(make: impl Fn(u64) -> T) -> usize {
    let mut values = Vec::with_capacity(CHILDREN);
    let before = BYTES.load(Relaxed);
    values.extend((0..CHILDREN as u64).map(make));
    (BYTES.load(Relaxed) - before) / CHILDREN
}

fn parent(blocks: usize) -> Network {
    let mut draft = Draft::new(Shape::map(3, 8, 8));
    let mut x = draft.input();
    for _ in 0..blocks {
        x = draft.conv_bn_relu(x, Conv::same(8, 3));
    }
    draft.head(x, 10);
    Network::init(draft.build().unwrap(), 0, DType::F32, &Device::Cpu).unwrap()
}

fn widened(parent: &Network, seed: u64) -> Rewrite {
    let site = Site::new(&[LayerId(1)], 8).variant("replicate");
    catalog::Widen.rewrite(parent.architecture(), &site, seed).unwrap()
}

fn changed_bytes(parent: &Network, child: &Network) -> usize {
    let kept = |key, tensor| parent.weights().get(key).is_ok_and(|before| shares_storage(before, tensor));
    let changed = child.weights().iter().filter(|(key, tensor)| !kept(*key, *tensor));
    changed.map(|(_, tensor)| 4 * tensor.elem_count()).sum()
}

/// One test, because others at the same time would be counted too.
#[test]
fn children_hold_what_they_changed() {
    let sizes = [3, 333].map(|blocks| {
        let parent = parent(blocks);
        let rewrite = widened(&parent, 0);
        let changed = changed_bytes(&parent, &parent.child(&rewrite, None).unwrap());
        let child = held(|_| parent.child(&rewrite, None).unwrap()) - changed;
        let paper = held(|seed| widened(&parent, seed)) / parent.architecture().nodes().len();
        eprintln!("{blocks} blocks: {changed} bytes changed, {child} more a child; {paper} a layer on paper");
        (child, paper)
    });
    let [(small, _), (large, paper)] = sizes;
    // The nodes of a tree on the way to the three layers that changed; six tensors' own fields.
    assert!(small < 4096 && large < small + 1024, "{small} and {large} bytes beside the changed numbers");
    // A place in the order, a connection, an entry in the index.
    assert!(paper < 64, "{paper} bytes a layer");
}
