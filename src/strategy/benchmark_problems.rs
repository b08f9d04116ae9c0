//! Strategies on ZDT1 and DTLZ2, against pymoo's hypervolumes (`pymoo_reference.py`).

use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::pareto::{Points, hypervolume};
use crate::rng;
use crate::study::statistics::quartiles;

/// Vectors of numbers from 0 to 1, with the variation operators of NSGA-II's own experiments.
#[derive(Clone)]
struct Vectors(usize);

impl Space for Vectors {
    type Design = Vec<f64>;
    type Edit = ();

    fn random(&self, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        Ok(Some((Vec::new(), (0..self.0).map(|_| rng.random()).collect())))
    }

    /// Polynomial mutation, index 20, of one gene in the mean (Deb and Agrawal 1999).
    fn step(&self, from: &Vec<f64>, _count: usize, rng: &mut ChaCha8Rng) -> Result<Option<Change<Self>>> {
        const INDEX: f64 = 20.0;
        let mutated = |&x: &f64| {
            if rng.random::<f64>() >= 1.0 / self.0 as f64 {
                return x;
            }
            let (u, power) = (rng.random::<f64>(), 1.0 / (INDEX + 1.0));
            let toward = |room: f64, share: f64| share + (1.0 - share) * (1.0 - room).powf(INDEX + 1.0);
            let by = match u < 0.5 {
                true => toward(x, 2.0 * u).powf(power) - 1.0,
                false => 1.0 - toward(1.0 - x, 2.0 * (1.0 - u)).powf(power),
            };
            (x + by).clamp(0.0, 1.0)
        };
        Ok(Some((vec![()], from.iter().map(mutated).collect())))
    }

    fn stay(&self) -> Option<()> {
        None
    }

    fn size(&self, _design: &Vec<f64>) -> f64 {
        1.0
    }

    /// Simulated binary crossover, index 15, of half of the genes, between the bounds (Deb and Agrawal 1995).
    fn cross(&self, a: &Vec<f64>, b: &Vec<f64>, rng: &mut ChaCha8Rng) -> Option<Vec<f64>> {
        const INDEX: f64 = 15.0;
        let first = rng.random_bool(0.5);
        let crossed = |(&a, &b): (&f64, &f64)| {
            let (low, high) = (a.min(b), a.max(b));
            if high - low < 1e-14 || rng.random_bool(0.5) {
                return if first { a } else { b };
            }
            let u = rng.random::<f64>();
            let spread = |room: f64| {
                let alpha = 2.0 - (1.0 + 2.0 * room / (high - low)).powf(-(INDEX + 1.0));
                let inner = if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) };
                inner.powf(1.0 / (INDEX + 1.0))
            };
            let below = 0.5 * (low + high - spread(low) * (high - low));
            let above = 0.5 * (low + high + spread(1.0 - high) * (high - low));
            let swapped = rng.random_bool(0.5);
            (if swapped == first { below } else { above }).clamp(0.0, 1.0)
        };
        Some(a.iter().zip(b).map(crossed).collect())
    }

    fn genes<'a>(&self, design: &'a Vec<f64>) -> Option<&'a [f64]> {
        Some(design)
    }

    fn at(&self, genes: Vec<f64>) -> Option<Vec<f64>> {
        Some(genes)
    }
}

fn zdt1(x: &[f64]) -> Vec<f64> {
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
    vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
}

fn dtlz2(x: &[f64]) -> Vec<f64> {
    let g = 1.0 + x[2..].iter().map(|x| (x - 0.5).powi(2)).sum::<f64>();
    let (a, b) = (x[0] * FRAC_PI_2, x[1] * FRAC_PI_2);
    vec![g * a.cos() * b.cos(), g * a.cos() * b.sin(), g * a.sin()]
}

type Problem = (&'static str, usize, fn(&[f64]) -> Vec<f64>);

const PROBLEMS: [Problem; 2] = [("zdt1", 10, zdt1), ("dtlz2", 7, dtlz2)];
const POPULATION: usize = 40;
const EVALUATIONS: usize = 4000;
const SEEDS: u64 = 20;

/// The hypervolume of all that was evaluated, to 1.1 in each objective.
fn run(strategy: &str, (_, genes, problem): Problem, seed: u64) -> f64 {
    let objectives = problem(&vec![0.5; genes]).len();
    let mut config = Config { strategy: strategy.into(), ..Config::default() };
    config.objectives = (0..objectives).map(|objective| format!("f{objective}")).collect();
    config.evolution.population = POPULATION;
    config.lemonade.accepted = POPULATION;
    config.lemonade.max_morphisms = 1;
    let setting = Arc::new(Setting { config, space: Vectors(genes), cheap: Vec::new() });
    let mut strategy = new(setting.clone()).unwrap();
    let mut rng = rng::stream(seed, "benchmark", &[]);
    let mut archive: Vec<Vec<f64>> = Vec::new();
    while archive.len() < EVALUATIONS {
        let mut members = Vec::new();
        while members.len() < POPULATION {
            let Some(proposal) = strategy.propose(&mut rng).unwrap() else { continue };
            let values = problem(&proposal.design);
            let objectives: BTreeMap<String, f64> =
                setting.config.objectives.iter().cloned().zip(values.iter().copied()).collect();
            let id = archive.len() as u64;
            members.push(Member { id, parent: proposal.parent, design: proposal.design, objectives });
            archive.push(values);
        }
        strategy.tell(&members).unwrap();
    }
    hypervolume(&Points::new(&archive).unwrap(), &vec![1.1; objectives]).unwrap()
}

#[test]
fn nsga2_and_sms_emoa_reach_what_pymoo_reaches() {
    let reference: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(include_str!("pymoo_reference.json")).unwrap();
    for problem in PROBLEMS {
        for strategy in ["nsga2", "sms_emoa"] {
            let theirs: Vec<f64> =
                serde_json::from_value(reference[&format!("{strategy} {}", problem.0)].clone()).unwrap();
            let mut ours: Vec<f64> = (0..SEEDS).map(|seed| run(strategy, problem, seed)).collect();
            ours.sort_by(f64::total_cmp);
            let median = |values: &[f64]| quartiles(values).unwrap().median;
            let within = |value: f64, values: &[f64]| values[0] <= value && value <= values[values.len() - 1];
            let text = format!("{strategy} on {}: ours {ours:?}, pymoo's {theirs:?}", problem.0);
            assert!(within(median(&ours), &theirs) && within(median(&theirs), &ours), "{text}");
        }
    }
}

/// A member at a point of the plane that is worth what it is.
fn at(id: u64, parent: Option<u64>, values: [f64; 2]) -> Member<Vectors> {
    let objectives = BTreeMap::from([("f0".to_string(), values[0]), ("f1".to_string(), values[1])]);
    Member { id, parent, design: values.to_vec(), objectives }
}

fn differential_evolution() -> Box<dyn Strategy<Vectors>> {
    let mut config = Config { strategy: "de".into(), ..Config::default() };
    config.objectives = vec!["f0".into(), "f1".into()];
    config.evolution.population = 4;
    new(Arc::new(Setting { config, space: Vectors(2), cheap: Vec::new() })).unwrap()
}

/// Algorithm 1 of the paper: a gene is the target's, or that of base + 0.5 (plus - minus), or drawn anew if that is outside.
#[test]
fn children_of_differential_evolution_are_those_of_the_paper() {
    let mut strategy = differential_evolution();
    let points = [[0.1, 0.9], [0.3, 0.6], [0.5, 0.35], [0.8, 0.05]];
    let members: Vec<_> = (0..4).map(|id| at(id as u64, None, points[id])).collect();
    strategy.tell(&members).unwrap();
    let mut rng = rng::stream(11, "de", &[]);
    let mut crossed = 0;
    for _ in 0..200 {
        let Some(proposal) = strategy.propose(&mut rng).unwrap() else { panic!("a full population") };
        let target = proposal.parent.unwrap() as usize;
        let others: Vec<usize> = (0..4).filter(|&id| id != target).collect();
        // Of four members all take part: the three others in some order.
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let explained = orders.iter().any(|order| {
            let [base, plus, minus] = order.map(|place| points[others[place]]);
            (0..2).all(|gene| {
                let (found, mutated) = (proposal.design[gene], base[gene] + 0.5 * (plus[gene] - minus[gene]));
                let redrawn = !(0.0..=1.0).contains(&mutated) && (0.0..1.0).contains(&found);
                found == points[target][gene] || found == mutated || redrawn
            })
        });
        assert!(explained, "{:?} for {target}", proposal.design);
        assert_ne!(proposal.design, points[target], "one gene at least is new");
        crossed += usize::from((0..2).any(|gene| proposal.design[gene] == points[target][gene]));
    }
    // One of two genes is certain to change, the other with probability 1/2.
    assert!((70..130).contains(&crossed), "{crossed} of 200 keep a gene");
}

#[test]
fn a_child_of_differential_evolution_stands_against_its_target() {
    let targets = |child: [f64; 2]| {
        let mut strategy = differential_evolution();
        let points = [[0.1, 0.9], [0.3, 0.6], [0.5, 0.35], [0.8, 0.05]];
        let members: Vec<_> = (0..4).map(|id| at(id as u64, None, points[id])).collect();
        strategy.tell(&members).unwrap();
        strategy.tell(&[at(9, Some(1), child)]).unwrap();
        let mut rng = rng::stream(12, "de", &[]);
        let ids = (0..100).map(|_| strategy.propose(&mut rng).unwrap().unwrap().parent.unwrap());
        ids.collect::<std::collections::BTreeSet<u64>>().into_iter().collect::<Vec<u64>>()
    };
    assert_eq!(targets([0.2, 0.5]), [0, 2, 3, 9], "it dominates its target and takes its place");
    assert_eq!(targets([0.4, 0.7]), [0, 1, 2, 3], "it is dominated and forgotten");
    // Neither: of five the most crowded goes, which is the child's neighbour or the child.
    assert_eq!(targets([0.31, 0.59]).len(), 4);
}
