//! What is searched, as strategies see it.

use std::fmt::Debug;

use rand_chacha::ChaCha8Rng;

use crate::Result;

/// The steps to a design, and the design.
pub type Change<S> = (Vec<<S as Space>::Edit>, <S as Space>::Design);

/// Designs, and the steps that lead from one to another: networks and morphisms, or the rows of a table and their neighbours.
pub trait Space: Clone + Send + Sync + 'static {
    /// A network, a row of a table, a vector.
    type Design: Debug + Clone + Send + Sync;
    /// A step from one design to another.
    type Edit: Debug + Clone + Send + Sync;

    /// A random design, which inherits nothing; none if the draw came to nothing.
    ///
    /// # Errors
    /// If a step fails that was offered.
    fn random(&self, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>>;

    /// A design `count` random steps away, or fewer if nothing applies; none if that is no step at all.
    ///
    /// # Errors
    /// If a step fails that was offered.
    fn step(&self, from: &Self::Design, count: usize, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>>;

    /// The step that changes nothing, and after which training goes on; none where that is no use.
    fn stay(&self) -> Option<Self::Edit>;

    /// How large a design is, where no cheap objective tells.
    fn size(&self, design: &Self::Design) -> f64;

    /// What evaluating a design costs, in a unit of the space's own.
    fn price(&self, design: &Self::Design) -> f64 {
        let _ = design;
        1.0
    }

    /// A design with parts of two others; none if designs have no parts in common that could be exchanged.
    fn cross(&self, a: &Self::Design, b: &Self::Design, rng: &mut ChaCha8Rng) -> Option<Self::Design> {
        let _ = (a, b, rng);
        None
    }

    /// A design as numbers from 0 to 1, always as many; none if it cannot be described so.
    fn genes<'a>(&self, design: &'a Self::Design) -> Option<&'a [f64]> {
        let _ = design;
        None
    }

    /// The design with these numbers; none if there is none.
    fn at(&self, genes: Vec<f64>) -> Option<Self::Design> {
        let _ = genes;
        None
    }
}
