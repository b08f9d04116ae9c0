//! Chains of edits in one step, and what children of one parent cost together.

use candle_core::{DType, Device, Tensor};
use morphisms::check::{images, shares_storage};
use morphisms::strategies::{Limits, any_edits, any_network};
use morphisms::{Conv, Draft, Inheritance, LayerId, Morphism, Network, Shape, Site, catalog};
use proptest::prelude::*;

use crate::common::cases;

proptest! {
    #![proptest_config(cases(200))]

    /// Through JSON, as a job for another machine would go: the parent and one inheritance there give the child here.
    #[test]
    fn a_chain_applied_at_once_is_the_chain_step_by_step(
        parent in any_network(Limits::default(), DType::F32), edits in any_edits(6), seed in 0..1000u64,
    ) {
        let images = images(parent.architecture().input(), 4, seed, DType::F32).unwrap();
        let (mut network, mut whole) = (parent.clone(), None::<Inheritance>);
        for edit in &edits {
            let morphism = *edit.pick_morphism(catalog::all());
            let sites = morphism.sites(network.architecture());
            let Some(site) = edit.pick_site(&sites) else { continue };
            if network.architecture().macs() > 100_000 {
                break;
            }
            let rewrite = morphism.rewrite(network.architecture(), site, edit.seed()).unwrap();
            let step = rewrite.inheritance.resolve(&network, Some(&images)).unwrap();
            network = network.child(&rewrite, Some(&images)).unwrap();
            whole = Some(match whole {
                Some(before) => before.then(&step).unwrap(),
                None => step,
            });
        }
        if let Some(whole) = whole {
            let sent: Inheritance = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
            let at_once = sent.apply(parent.weights(), DType::F32, &Device::Cpu).unwrap();
            prop_assert_eq!(at_once.to_safetensors().unwrap(), network.weights().to_safetensors().unwrap());
        }
    }
}

#[test]
fn a_thousand_children_hold_what_they_changed_and_nothing_else() {
    let mut draft = Draft::new(Shape::map(3, 8, 8));
    let mut x = draft.conv_bn_relu(draft.input(), Conv::same(16, 3));
    for _ in 0..10 {
        x = draft.conv_bn_relu(x, Conv::same(16, 3));
    }
    draft.head(x, 10);
    let parent = Network::init(draft.build().unwrap(), 0, DType::F32, &Device::Cpu).unwrap();
    let site = Site::new(&[LayerId(1)], 8).variant("fresh");
    let numbers = |network: &Network| -> usize {
        let own = |tensor: &Tensor| !parent.weights().iter().any(|(_, kept)| shares_storage(kept, tensor));
        network
            .weights()
            .iter()
            .filter(|(_, tensor)| own(tensor))
            .map(|(_, tensor)| tensor.elem_count())
            .sum()
    };
    let children: Vec<Network> = (0..1000)
        .map(|seed| parent.child(&catalog::Widen.rewrite(parent.architecture(), &site, seed).unwrap(), None))
        .collect::<Result<_, _>>()
        .unwrap();
    // The widened kernel, its batch norm, and the kernel that reads it.
    let changed = 24 * 3 * 9 + 4 * 24 + 16 * 24 * 9;
    assert!(children.iter().all(|child| numbers(child) == changed), "{}", numbers(&children[0]));
}
