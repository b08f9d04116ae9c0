//! A table as strategies see it.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Table;
use crate::Result;
use crate::strategy::{Change, Space};

/// Draws after which it is taken for certain that none leads to a row.
const MOST_DRAWS: usize = 1000;

/// The rows of a table; neighbours differ in one gene.
#[derive(Debug, Clone)]
pub struct Rows(pub Arc<Table>);

/// A row, and where it was drawn.
#[derive(Debug, Clone)]
pub struct Point {
    /// The row.
    pub row: usize,
    /// A number from 0 to 1 for each gene: of n choices the i-th has those from i/n to (i + 1)/n.
    pub genes: Vec<f64>,
}

/// Another choice of a gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flip {
    /// The gene.
    pub gene: usize,
    /// What it is now.
    pub choice: usize,
}

impl Rows {
    fn choice(&self, gene: usize, value: f64) -> usize {
        let choices = self.0.choices()[gene];
        ((value * choices as f64) as usize).min(choices - 1)
    }

    /// The row at these numbers; none if the table has none.
    fn point(&self, genes: Vec<f64>) -> Option<Point> {
        let choices: Vec<u8> = (0..genes.len()).map(|gene| self.choice(gene, genes[gene]) as u8).collect();
        Some(Point { row: self.0.row(&choices)?, genes })
    }

    /// One gene changed.
    fn flip(&self, from: &Point, rng: &mut ChaCha8Rng) -> Option<(Flip, Point)> {
        let gene = rng.random_range(0..from.genes.len());
        let (now, choices) = (self.choice(gene, from.genes[gene]), self.0.choices()[gene]);
        let choice = (now + rng.random_range(1..choices)) % choices;
        let mut genes = from.genes.clone();
        genes[gene] = (choice as f64 + rng.random::<f64>()) / choices as f64;
        Some((Flip { gene, choice }, self.point(genes)?))
    }
}

impl Space for Rows {
    type Design = Point;
    type Edit = Flip;

    fn random(&self, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        let draw = |rng: &mut ChaCha8Rng| self.0.choices().iter().map(|_| rng.random::<f64>()).collect();
        let point = (0..MOST_DRAWS).find_map(|_| self.point(draw(rng)));
        Ok(point.map(|point| (Vec::new(), point)))
    }

    fn step(&self, from: &Point, count: usize, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        let (mut flips, mut point) = (Vec::new(), from.clone());
        for _ in 0..count {
            let Some((flip, next)) = (0..MOST_DRAWS).find_map(|_| self.flip(&point, rng)) else { break };
            flips.push(flip);
            point = next;
        }
        Ok((!flips.is_empty()).then_some((flips, point)))
    }

    /// A row is as good as it is.
    fn stay(&self) -> Option<Flip> {
        None
    }

    fn size(&self, _design: &Point) -> f64 {
        1.0
    }

    /// Uniform crossover.
    fn cross(&self, a: &Point, b: &Point, rng: &mut ChaCha8Rng) -> Option<Point> {
        let pairs = a.genes.iter().zip(&b.genes);
        self.point(pairs.map(|(&a, &b)| if rng.random() { a } else { b }).collect())
    }

    fn genes<'a>(&self, design: &'a Point) -> Option<&'a [f64]> {
        Some(&design.genes)
    }

    fn at(&self, genes: Vec<f64>) -> Option<Point> {
        self.point(genes)
    }
}
