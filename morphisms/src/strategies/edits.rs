//! Edits to be: numbers that pick a morphism, one of its sites, and a seed.

use proptest::collection::SizeRange;
use proptest::prelude::*;

use crate::morphism::Site;

/// An edit of a network that is not known yet. Its numbers are taken modulo the choices there are, so that they fit
/// whatever the edits before it leave; smaller numbers pick earlier morphisms and sites, and smaller seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit([u16; 3]);

impl From<[u16; 3]> for Edit {
    /// The numbers that pick a morphism, a site and a seed.
    fn from(numbers: [u16; 3]) -> Self {
        Self(numbers)
    }
}

impl Edit {
    /// One of `morphisms`, of which there must be some.
    pub fn pick_morphism<'m, T>(&self, morphisms: &'m [T]) -> &'m T {
        &morphisms[usize::from(self.0[0]) % morphisms.len()]
    }

    /// One of `sites`; none if there are none.
    pub fn pick_site<'s>(&self, sites: &'s [Site]) -> Option<&'s Site> {
        sites.get(usize::from(self.0[1]) % sites.len().max(1))
    }

    /// The seed of the rewrite.
    pub fn seed(&self) -> u64 {
        u64::from(self.0[2])
    }
}

/// Chains of edits of this length, `10` or `1..=10`; a range also shrinks to shorter chains.
pub fn any_edits(length: impl Into<SizeRange>) -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec(any::<[u16; 3]>().prop_map(Edit::from), length)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::layer::LayerId;

    #[test]
    fn picks_are_among_the_choices() {
        let sites = [0, 1, 2].map(|id| Site::new(&[LayerId(id)], 0));
        let edit = Edit([u16::MAX, 4, 7]);
        assert_eq!((edit.pick_morphism(&["a", "b"]), edit.seed()), (&"b", 7));
        assert_eq!((edit.pick_site(&sites), edit.pick_site(&[])), (Some(&sites[1]), None));
    }

    #[test]
    fn a_chain_shrinks_to_its_least_length_and_to_zeros() {
        let mut tree = any_edits(2..=9).new_tree(&mut TestRunner::deterministic()).unwrap();
        while tree.simplify() {}
        assert_eq!(tree.current(), [Edit([0; 3]); 2]);
    }
}
