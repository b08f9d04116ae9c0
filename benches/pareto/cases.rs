//! What is measured: operations on random points, as plain data, so that the other side computes the same.

use paretomorph::pareto::{self, Points};
use paretomorph::rng;
use rand::RngExt;
use rand::distr::StandardUniform;
use rand_distr::StandardNormal;
use serde::Serialize;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Points of the reference front of an indicator.
const FRONT: usize = 1000;
/// In every objective; the points have at most 1.
const REFERENCE: f64 = 1.1;
const RUNS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Sort,
    Hypervolume,
    Contributions,
    IgdPlus,
    EpsilonAdditive,
    /// Two objectives; the points are those of [`RUNS`] runs, one run after the other.
    Attainment,
}

/// How points lie in the unit cube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Uniformly; most are dominated.
    Cloud,
    /// Uniformly on the sphere around (1, ..., 1): a convex front, all points non-dominated.
    Convex,
    /// Uniformly on the sphere around the origin: a concave front, all points non-dominated.
    Concave,
}

/// One operation on one set of points.
#[derive(Serialize)]
pub struct Case {
    /// Unique.
    pub name: String,
    pub operation: Operation,
    pub shape: Shape,
    pub points: Vec<Vec<f64>>,
    /// The reference point.
    pub reference: Vec<f64>,
    /// The reference front; empty where none is needed.
    pub front: Vec<Vec<f64>>,
    pub runs: usize,
}

/// What an operation gave, to be compared.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Value {
    Ranks(Vec<usize>),
    Number(f64),
    Numbers(Vec<f64>),
    /// Corners of the surfaces, surface after surface.
    Corners(Vec<Vec<f64>>),
}

/// A case with its points checked: what is timed is [`Prepared::run`].
pub struct Prepared {
    operation: Operation,
    points: Points,
    reference: Vec<f64>,
    front: Points,
    runs: Vec<Points>,
}

pub fn all() -> Vec<Case> {
    use Operation::{Attainment, Contributions, EpsilonAdditive, Hypervolume, IgdPlus, Sort};
    let sizes = [
        (Sort, 2000, 2),
        (Sort, 2000, 3),
        (Sort, 10_000, 2),
        (Sort, 2000, 5),
        (Hypervolume, 1000, 2),
        (Hypervolume, 1000, 3),
        (Hypervolume, 1000, 4),
        (Hypervolume, 100, 5),
        (Hypervolume, 100, 6),
        (Contributions, 200, 2),
        (Contributions, 200, 3),
        (Contributions, 100, 4),
        (IgdPlus, 200, 3),
        (EpsilonAdditive, 200, 3),
        (Attainment, 1000, 2),
    ];
    let shapes = [Shape::Cloud, Shape::Convex, Shape::Concave];
    sizes.into_iter().flat_map(|size| shapes.map(|shape| case(size, shape))).collect()
}

fn case((operation, count, objectives): (Operation, usize, usize), shape: Shape) -> Case {
    use Operation::{Attainment, Contributions, EpsilonAdditive, Hypervolume, IgdPlus, Sort};
    let (title, front) = match operation {
        Sort => ("sort", false),
        Hypervolume => ("hypervolume", false),
        Contributions => ("contributions", false),
        IgdPlus => ("IGD+", true),
        EpsilonAdditive => ("epsilon", true),
        Attainment => ("attainment", false),
    };
    let kind = match shape {
        Shape::Cloud => "cloud",
        Shape::Convex => "convex front",
        Shape::Concave => "concave front",
    };
    let name = format!("{title} {count}x{objectives}, {kind}");
    // A concave reference front is dominated by a cloud; a convex one is not.
    let around = if shape == Shape::Concave { shape } else { Shape::Convex };
    Case {
        operation,
        shape,
        points: rows(&name, shape, count, objectives),
        reference: vec![REFERENCE; objectives],
        front: if front { rows("reference front", around, FRONT, objectives) } else { Vec::new() },
        runs: if operation == Attainment { RUNS } else { 0 },
        name,
    }
}

fn rows(purpose: &str, shape: Shape, count: usize, objectives: usize) -> Vec<Vec<f64>> {
    let mut rng = rng::stream(1, purpose, &[]);
    let direction = |rng: &mut _| -> Vec<f64> {
        let normals: Vec<f64> = RngExt::sample_iter(rng, StandardNormal).take(objectives).collect();
        let length = normals.iter().map(|x| x * x).sum::<f64>().sqrt();
        normals.into_iter().map(|x| x.abs() / length).collect()
    };
    let row = |_| match shape {
        Shape::Cloud => (&mut rng).sample_iter(StandardUniform).take(objectives).collect(),
        Shape::Convex => direction(&mut rng).into_iter().map(|x| 1.0 - x).collect(),
        Shape::Concave => direction(&mut rng),
    };
    (0..count).map(row).collect()
}

impl Case {
    pub fn prepare(&self) -> Result<Prepared> {
        let length = self.points.len().checked_div(self.runs).unwrap_or(self.points.len());
        let runs: paretomorph::Result<_> = self.points.chunks(length).map(Points::new).collect();
        Ok(Prepared {
            operation: self.operation,
            points: Points::new(&self.points)?,
            reference: self.reference.clone(),
            front: Points::new(&self.front)?,
            runs: runs?,
        })
    }
}

impl Prepared {
    pub fn run(&self) -> Result<Value> {
        let Self { operation, points, reference, front, runs } = self;
        Ok(match operation {
            Operation::Sort => Value::Ranks(pareto::rank(points)),
            Operation::Hypervolume => Value::Number(pareto::hypervolume(points, reference)?),
            Operation::Contributions => Value::Numbers(pareto::contributions(points, reference)?),
            Operation::IgdPlus => Value::Number(pareto::igd_plus(points, front)?),
            Operation::EpsilonAdditive => Value::Number(pareto::epsilon_additive(points, front)?),
            Operation::Attainment => {
                let surfaces = pareto::attainment_surfaces(runs)?;
                Value::Corners(surfaces.iter().flat_map(Points::rows).map(Vec::from).collect())
            }
        })
    }
}
