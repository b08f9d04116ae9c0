//! The catalogue: one morphism a file. A new one is added to [`all`], and the contract tests find it there.

pub mod branch;
pub mod deepen;
pub mod deepen_residual;
pub mod drop_layer;
pub mod drop_skip;
pub mod prune;
pub mod separate;
pub mod shrink_kernel;
pub mod skip_add;
pub mod skip_concat;
pub mod widen;
pub mod widen_kernel;

pub use branch::Branch;
pub use deepen::Deepen;
pub use deepen_residual::DeepenResidual;
pub use drop_layer::DropLayer;
pub use drop_skip::DropSkip;
pub use prune::Prune;
pub use separate::Separate;
pub use shrink_kernel::ShrinkKernel;
pub use skip_add::SkipAdd;
pub use skip_concat::SkipConcat;
pub use widen::Widen;
pub use widen_kernel::WidenKernel;

use crate::morphism::Morphism;

/// Every morphism of the catalogue, in a fixed order.
pub fn all() -> &'static [&'static dyn Morphism] {
    &[
        &Deepen,
        &Widen,
        &SkipConcat,
        &SkipAdd,
        &DropLayer,
        &DropSkip,
        &Prune,
        &Separate,
        &WidenKernel,
        &ShrinkKernel,
        &Branch,
        &DeepenResidual,
    ]
}

/// The morphism with this name.
pub fn named(name: &str) -> Option<&'static dyn Morphism> {
    all().iter().copied().find(|morphism| morphism.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for morphism in all() {
            assert_eq!(named(morphism.name()).map(|found| found.summary()), Some(morphism.summary()));
        }
        let mut names: Vec<_> = all().iter().map(|morphism| morphism.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
        assert!(named("no such morphism").is_none());
    }

    #[test]
    fn the_front_page_lists_them_all() {
        let page = include_str!("../lib.rs");
        for morphism in all() {
            let promise = format!("{:?}", morphism.promise()).to_lowercase();
            let (name, summary) = (morphism.name(), morphism.summary());
            let row = format!("//! | [`{name}`](catalog::{name}) | {promise} | {summary} |");
            assert!(page.lines().any(|line| line == row), "src/lib.rs lacks the line\n{row}");
        }
    }
}
