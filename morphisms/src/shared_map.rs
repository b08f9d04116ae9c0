//! A map from numbers whose copies share what they have in common: a radix tree that is never changed where others see it.

use std::fmt;
use std::sync::Arc;

/// Bits of a key that a level of the tree decides.
const BITS: u32 = 4;
const WIDTH: usize = 1 << BITS;

/// A map in the order of its keys. Copying it costs nothing, and setting a value in a copy costs the nodes on the way
/// there, however much else there is.
#[derive(Clone)]
pub(crate) struct SharedMap<T> {
    root: Option<Arc<Node<T>>>,
    /// Levels; every key is below `2^(BITS * levels)`.
    levels: u32,
    len: usize,
}

#[derive(Clone)]
enum Node<T> {
    Inner([Option<Arc<Node<T>>>; WIDTH]),
    Leaf([Option<T>; WIDTH]),
}

/// Whether `levels` levels do not reach as far as `key`.
fn is_beyond(key: u64, levels: u32) -> bool {
    key.checked_shr(BITS * levels).is_some_and(|rest| rest > 0)
}

/// The part of `key` that the level above `below` others decides.
fn slot(key: u64, below: u32) -> usize {
    (key >> (BITS * below)) as usize % WIDTH
}

impl<T> Node<T> {
    fn new(below: u32) -> Self {
        match below {
            0 => Self::Leaf(std::array::from_fn(|_| None)),
            _ => Self::Inner(std::array::from_fn(|_| None)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Inner(nodes) => nodes.iter().all(Option::is_none),
            Self::Leaf(values) => values.iter().all(Option::is_none),
        }
    }

    /// Keys and values in order; `prefix` is the part of the keys that the levels above have decided.
    fn walk(&self, prefix: u64) -> Box<dyn Iterator<Item = (u64, &T)> + '_> {
        let key = move |slot: usize| prefix << BITS | slot as u64;
        match self {
            Self::Inner(nodes) => {
                let nodes = nodes.iter().enumerate();
                Box::new(nodes.flat_map(move |(slot, node)| node.iter().flat_map(move |n| n.walk(key(slot)))))
            }
            Self::Leaf(values) => {
                let values = values.iter().enumerate();
                Box::new(values.filter_map(move |(slot, value)| Some((key(slot), value.as_ref()?))))
            }
        }
    }
}

impl<T: Clone> Node<T> {
    fn insert(this: &mut Option<Arc<Self>>, below: u32, key: u64, value: T) -> Option<T> {
        let node = this.get_or_insert_with(|| Arc::new(Self::new(below)));
        match Arc::make_mut(node) {
            Self::Inner(nodes) => Self::insert(&mut nodes[slot(key, below)], below - 1, key, value),
            Self::Leaf(values) => values[slot(key, below)].replace(value),
        }
    }

    /// Of a key that is there.
    fn remove(this: &mut Option<Arc<Self>>, below: u32, key: u64) {
        let Some(node) = this else { return };
        let node = Arc::make_mut(node);
        match node {
            Self::Inner(nodes) => Self::remove(&mut nodes[slot(key, below)], below - 1, key),
            Self::Leaf(values) => values[slot(key, below)] = None,
        }
        if node.is_empty() {
            *this = None;
        }
    }
}

impl<T> SharedMap<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let mut below = self.levels;
        if is_beyond(key, below) {
            return None;
        }
        let mut node = self.root.as_deref()?;
        loop {
            below -= 1;
            match node {
                Node::Inner(nodes) => node = nodes[slot(key, below)].as_deref()?,
                Node::Leaf(values) => return values[slot(key, below)].as_ref(),
            }
        }
    }

    /// Keys and values in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.root.iter().flat_map(|root| root.walk(0))
    }
}

impl<T: Clone> SharedMap<T> {
    pub(crate) fn insert(&mut self, key: u64, value: T) {
        while self.levels == 0 || is_beyond(key, self.levels) {
            self.grow();
        }
        if Node::insert(&mut self.root, self.levels - 1, key, value).is_none() {
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: u64) {
        if self.get(key).is_some() {
            Node::remove(&mut self.root, self.levels - 1, key);
            self.len -= 1;
        }
    }

    /// One level more, above the others.
    fn grow(&mut self) {
        if let Some(root) = self.root.take() {
            let mut nodes = std::array::from_fn(|_| None);
            nodes[0] = Some(root);
            self.root = Some(Arc::new(Node::Inner(nodes)));
        }
        self.levels += 1;
    }
}

impl<T> Default for SharedMap<T> {
    fn default() -> Self {
        Self { root: None, levels: 0, len: 0 }
    }
}

impl<T: Clone> FromIterator<(u64, T)> for SharedMap<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(iter: I) -> Self {
        let mut map = Self::default();
        iter.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<T: fmt::Debug> fmt::Debug for SharedMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys near each other, as those of a network are, and a few from anywhere: 35 bits.
    fn any_key() -> impl Strategy<Value = u64> {
        prop_oneof![3 => 0..40u64, 1 => 0..1u64 << 35]
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u64, u8),
        Remove(u64),
        /// What was copied is to stay as it is.
        Copy,
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (any_key(), any::<u8>()).prop_map(|(key, value)| Change::Insert(key, value)),
            3 => any_key().prop_map(Change::Remove),
            1 => Just(Change::Copy),
        ]
    }

    fn assert_same(map: &SharedMap<u8>, model: &BTreeMap<u64, u8>) {
        assert!(map.iter().eq(model.iter().map(|(&key, value)| (key, value))), "{map:?} is not {model:?}");
        assert_eq!(map.len(), model.len());
        assert!(model.iter().all(|(&key, value)| map.get(key) == Some(value)));
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_so_are_its_copies(
            changes in prop::collection::vec(any_change(), 0..60), absent in any_key(),
        ) {
            let (mut map, mut model, mut copies) = (SharedMap::default(), BTreeMap::new(), Vec::new());
            for change in changes {
                match change {
                    Change::Insert(key, value) => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    Change::Remove(key) => {
                        map.remove(key);
                        model.remove(&key);
                    }
                    Change::Copy => copies.push((map.clone(), model.clone())),
                }
                prop_assert_eq!(map.get(absent), model.get(&absent));
            }
            assert_same(&map, &model);
            copies.iter().for_each(|(map, model)| assert_same(map, model));
        }
    }

    #[test]
    fn a_copy_shares_all_but_the_way_to_what_changed() {
        let map: SharedMap<Arc<u64>> = (0..8000).map(|key| (key, Arc::new(key))).collect();
        let mut copy = map.clone();
        copy.insert(5000, Arc::new(0));
        // A value that is held twice is held by two leaves.
        let copied = map.iter().filter(|(_, value)| Arc::strong_count(value) > 1).count();
        assert_eq!(copied, WIDTH - 1);
    }
}
