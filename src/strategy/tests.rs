//! Contract tests: every strategy on the list, on a made-up problem without training.

use std::collections::BTreeMap;

use morphisms::Shape;

use super::*;
use crate::{rng, space};

fn setting(strategy: &str) -> Arc<Setting> {
    let config = Config { strategy: strategy.into(), ..Config::default() };
    Arc::new(Setting::new(&config, space::initial(Shape::map(1, 8, 8), 10).unwrap()).unwrap())
}

fn individual(id: u64, architecture: &Architecture, parent: Option<u64>, edits: &[Edit]) -> Individual {
    let params = architecture.parameter_count() as f64;
    // Larger networks are better here, so that the front has a member at every size.
    let objectives = BTreeMap::from([("error".to_string(), 1.0 / params), ("params".to_string(), params)]);
    Individual {
        id,
        generation: 0,
        child: id as usize,
        parent,
        edits: edits.to_vec(),
        architecture: architecture.clone(),
        fingerprint: architecture.fingerprint(),
        objectives,
        weights: None,
        first_error: None,
        epochs: 1,
        seconds: 0.0,
        committed_at: 0.0,
    }
}

/// Two generations; the second one as text.
fn run(strategy: &str) -> String {
    let setting = setting(strategy);
    let mut strategy = new(setting.clone()).unwrap();
    let start: Vec<Individual> =
        setting.initial.iter().enumerate().map(|(id, a)| individual(id as u64, a, None, &[])).collect();
    strategy.tell(&start).unwrap();
    let mut rng = rng::stream(5, "test", &[]);
    let proposals = (0..strategy.wanted()).filter_map(|_| strategy.propose(&mut rng).unwrap());
    let candidates: Vec<Candidate> = proposals
        .map(|proposal| {
            let params = proposal.architecture.parameter_count() as f64;
            Candidate { proposal, costs: BTreeMap::from([("params".to_string(), params)]) }
        })
        .collect();
    let chosen = strategy.screen(&candidates, &mut rng).unwrap();
    assert_eq!(chosen.len(), setting.config.lemonade.accepted);
    let text = |&place: &usize| {
        let proposal = &candidates[place].proposal;
        format!("{:?} {:?} {}", proposal.parent, proposal.edits, proposal.architecture.fingerprint())
    };
    chosen.iter().map(text).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_strategy_is_repeatable_and_chooses_what_it_may() {
    for name in NAMES {
        assert_eq!(run(name), run(name), "{name}");
    }
}

#[test]
fn edits_lead_from_the_parent_to_the_proposal() {
    for name in NAMES {
        let setting = setting(name);
        let mut strategy = new(setting.clone()).unwrap();
        let start: Vec<Individual> =
            setting.initial.iter().enumerate().map(|(id, a)| individual(id as u64, a, None, &[])).collect();
        strategy.tell(&start).unwrap();
        let mut rng = rng::stream(6, "test", &[]);
        for _ in 0..20 {
            let Some(proposal) = strategy.propose(&mut rng).unwrap() else { continue };
            let Some(parent) = proposal.parent else { continue };
            let mut architecture = setting.initial[parent as usize].clone();
            for edit in &proposal.edits {
                if let Some(rewrite) = edit.rewrite(&architecture).unwrap() {
                    architecture = rewrite.architecture;
                }
            }
            assert_eq!(architecture, proposal.architecture, "{name}");
        }
    }
}

#[test]
fn a_strategy_told_generation_by_generation_is_in_the_state_of_one_told_at_once() {
    let setting = setting("lemonade");
    let all: Vec<Individual> =
        setting.initial.iter().enumerate().map(|(id, a)| individual(id as u64, a, None, &[])).collect();
    let propose = |parts: &[&[Individual]]| {
        let mut strategy = new(setting.clone()).unwrap();
        parts.iter().for_each(|part| strategy.tell(part).unwrap());
        let mut rng = rng::stream(7, "test", &[]);
        (0..10)
            .map(|_| strategy.propose(&mut rng).unwrap().unwrap().architecture.fingerprint())
            .collect::<Vec<_>>()
    };
    assert_eq!(propose(&[&all]), propose(&[&all[..2], &all[2..]]));
}

#[test]
fn lonely_members_become_parents_more_often() {
    let setting = setting("lemonade");
    let mut strategy = new(setting.clone()).unwrap();
    let mut members: Vec<Individual> = Vec::new();
    // Three members of nearly the same size and one that is far away.
    for (id, params) in [1000.0, 1001.0, 1002.0, 50_000.0].into_iter().enumerate() {
        let mut member = individual(id as u64, &setting.initial[0], None, &[]);
        member.objectives = BTreeMap::from([("error".into(), 1.0 / params), ("params".into(), params)]);
        members.push(member);
    }
    strategy.tell(&members).unwrap();
    let mut rng = rng::stream(8, "test", &[]);
    let parents: Vec<u64> = (0..200).filter_map(|_| strategy.propose(&mut rng).unwrap()?.parent).collect();
    let lonely = parents.iter().filter(|&&parent| parent == 3).count();
    assert!(lonely > parents.len() / 3, "{lonely} of {}", parents.len());
}
