//! What an architecture was rewritten from, so that a child's weights need be checked only where it differs.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use super::{Architecture, Graph, Node, ParamKey};

/// What a draft was a copy of, and what its changes came to.
pub(super) struct Origin {
    /// Weak: a line of descent does not hold all its ancestors. What is weakly held has an address that nothing else gets.
    parent: Weak<Graph>,
    differences: Vec<ParamKey>,
}

impl Origin {
    pub(super) fn of(child: &Architecture, parent: &Architecture) -> Self {
        Self { parent: Arc::downgrade(&parent.graph), differences: differences(child, parent) }
    }
}

impl Architecture {
    /// The parameters that only one of the two has, or that have another shape in each, if that is known because `self` was
    /// made from `parent`, not from one like it.
    pub(crate) fn known_differences(&self, parent: &Self) -> Option<&[ParamKey]> {
        let origin = self.origin.as_deref()?;
        let is_parent = origin.parent.as_ptr() == Arc::as_ptr(&parent.graph);
        is_parent.then_some(&*origin.differences)
    }

    /// The parameters that only one of the two has, or that have another shape in each.
    pub(crate) fn differences(&self, parent: &Self) -> Cow<'_, [ParamKey]> {
        self.known_differences(parent).map_or_else(|| Cow::Owned(differences(self, parent)), Cow::Borrowed)
    }

    /// Whether there is such a parameter.
    pub(crate) fn has_parameter(&self, key: ParamKey) -> bool {
        let mut found = false;
        if let Some(node) = self.get(key.layer) {
            self.each_parameter(node, &mut |other, _| found |= other == key);
        }
        found
    }
}

fn differences(child: &Architecture, parent: &Architecture) -> Vec<ParamKey> {
    let mut different = Vec::new();
    let channels = |of: &Architecture, node: &Node| of.input_shape(node).channels();
    for node in child.nodes_by_id() {
        let before = parent.get(node.id);
        let same = before.is_some_and(|before| {
            before.layer == node.layer && channels(parent, before) == channels(child, node)
        });
        if !same {
            differences_of_layer(child, node, parent, before, &mut different);
        }
    }
    for node in parent.nodes_by_id().filter(|node| child.get(node.id).is_none()) {
        parent.each_parameter(node, &mut |key, _| different.push(key));
    }
    different
}

fn differences_of_layer(
    child: &Architecture,
    node: &Node,
    parent: &Architecture,
    before: Option<&Node>,
    different: &mut Vec<ParamKey>,
) {
    let mut old = Vec::new();
    if let Some(before) = before {
        parent.each_parameter(before, &mut |key, shape| old.push((key, shape.to_vec())));
    }
    child.each_parameter(node, &mut |key, shape| {
        let place = old.iter().position(|(other, _)| *other == key);
        let same = place.is_some_and(|place| old.swap_remove(place).1 == shape);
        if !same {
            different.push(key);
        }
    });
    different.extend(old.into_iter().map(|(key, _)| key));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog;
    use crate::strategies::{Limits, any_architecture, any_edits};

    /// By comparing all of them.
    fn expected(child: &Architecture, parent: &Architecture) -> Vec<ParamKey> {
        let (child, parent) = (child.parameters(), parent.parameters());
        let mut keys: Vec<_> = child.keys().chain(parent.keys()).copied().collect();
        keys.retain(|key| child.get(key) != parent.get(key));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn sorted(keys: &[ParamKey]) -> Vec<ParamKey> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys
    }

    proptest! {
        #[test]
        fn a_child_knows_what_sets_it_apart_from_its_parent_and_nobody_else(
            parent in any_architecture(Limits::default()), edits in any_edits(3),
        ) {
            let mut line = vec![parent];
            for edit in &edits {
                let parent = &line[line.len() - 1];
                let morphism = *edit.pick_morphism(catalog::all());
                let sites = morphism.sites(parent);
                let Some(site) = edit.pick_site(&sites) else { continue };
                let child = morphism.rewrite(parent, site, edit.seed()).unwrap().architecture;
                prop_assert_eq!(sorted(child.known_differences(parent).unwrap()), expected(&child, parent));
                line.push(child);
            }
            let last = &line[line.len() - 1];
            prop_assert!(last.known_differences(last).is_none());
            for ancestor in &line[..line.len().saturating_sub(2)] {
                prop_assert!(last.known_differences(ancestor).is_none());
                prop_assert_eq!(sorted(&last.differences(ancestor)), expected(last, ancestor));
            }
        }
    }

    /// Equal to the parent is not the parent: its weights may be others.
    #[test]
    fn a_copy_of_the_parent_from_a_file_is_a_stranger() {
        let mut draft = super::super::Draft::new(crate::Shape::map(1, 4, 4));
        draft.head(draft.input(), 2);
        let parent = draft.build().unwrap();
        let child = parent.draft().build().unwrap();
        let copy: Architecture = serde_json::from_str(&serde_json::to_string(&parent).unwrap()).unwrap();
        assert_eq!(copy, parent);
        assert_eq!(child.known_differences(&parent), Some(&[][..]));
        assert_eq!(child.known_differences(&copy), None);
    }
}
