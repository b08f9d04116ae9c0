//! Contract tests: every strategy on the list, on a made-up problem without training.

use std::collections::BTreeMap;

use morphisms::{Architecture, Fingerprint, Shape};

use super::*;
use crate::rng;
use crate::space::{self, Networks};

fn setting(strategy: &str) -> Arc<Setting<Networks>> {
    setting_of(Config { strategy: strategy.into(), ..Config::default() }, Shape::map(1, 8, 8))
}

fn setting_of(config: Config, input: Shape) -> Arc<Setting<Networks>> {
    let space = Networks::new(&config, space::initial(input, 10).unwrap()).unwrap();
    Arc::new(Setting { config, space, cheap: vec!["params".into()] })
}

fn member(id: usize, design: &Architecture) -> Member<Networks> {
    let params = design.parameter_count() as f64;
    // Larger networks are better here, so that the front has a member at every size.
    let objectives = BTreeMap::from([("error".to_string(), 1.0 / params), ("params".to_string(), params)]);
    Member { id: id as u64, parent: None, design: design.clone(), objectives }
}

/// The initial networks.
fn start(setting: &Setting<Networks>) -> Vec<Member<Networks>> {
    setting.space.initial.iter().enumerate().map(|(id, design)| member(id, design)).collect()
}

/// Two generations; the second one as text.
fn run(strategy: &str) -> String {
    let setting = setting(strategy);
    let mut strategy = new(setting.clone()).unwrap();
    strategy.tell(&start(&setting)).unwrap();
    let mut rng = rng::stream(5, "test", &[]);
    let proposals = (0..strategy.wanted()).filter_map(|_| strategy.propose(&mut rng).unwrap());
    let candidates: Vec<Candidate<Networks>> = proposals
        .map(|proposal| {
            let params = proposal.design.parameter_count() as f64;
            Candidate { proposal, costs: BTreeMap::from([("params".to_string(), params)]) }
        })
        .collect();
    let chosen = strategy.screen(&candidates, &mut rng).unwrap();
    assert_eq!(chosen.len(), setting.config.lemonade.accepted);
    let text = |&place: &usize| {
        let proposal = &candidates[place].proposal;
        format!("{:?} {:?} {}", proposal.parent, proposal.edits, proposal.design.fingerprint())
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
        strategy.tell(&start(&setting)).unwrap();
        let mut rng = rng::stream(6, "test", &[]);
        for _ in 0..20 {
            let Some(proposal) = strategy.propose(&mut rng).unwrap() else { continue };
            let Some(parent) = proposal.parent else { continue };
            let mut architecture = setting.space.initial[parent as usize].clone();
            for edit in &proposal.edits {
                if let Some(rewrite) = edit.rewrite(&architecture).unwrap() {
                    architecture = rewrite.architecture;
                }
            }
            assert_eq!(architecture, proposal.design, "{name}");
        }
    }
}

#[test]
fn a_strategy_told_generation_by_generation_is_in_the_state_of_one_told_at_once() {
    NAMES.iter().for_each(|name| told_in_parts(setting(name)));
}

fn told_in_parts(setting: Arc<Setting<Networks>>) {
    let all = start(&setting);
    let propose = |parts: &[&[Member<Networks>]]| {
        let mut strategy = new(setting.clone()).unwrap();
        parts.iter().for_each(|part| strategy.tell(part).unwrap());
        let mut rng = rng::stream(7, "test", &[]);
        (0..10).map(|_| strategy.propose(&mut rng).unwrap().unwrap().design.fingerprint()).collect::<Vec<_>>()
    };
    assert_eq!(propose(&[&all]), propose(&[&all[..2], &all[2..]]));
}

#[test]
fn with_density_lonely_members_become_parents_more_often() {
    assert!(lonely_parents(true) > 200 / 3, "{}", lonely_parents(true));
    assert!((30..70).contains(&lonely_parents(false)), "{}", lonely_parents(false));
}

/// Of 200 parents, how often the one of four that is of another size.
fn lonely_parents(density: bool) -> usize {
    let mut config = Config::default();
    config.lemonade.density = density;
    let setting = setting_of(config, Shape::map(1, 8, 8));
    let mut strategy = new(setting.clone()).unwrap();
    let mut members: Vec<Member<Networks>> = Vec::new();
    // Three members of nearly the same size and one that is far away.
    for (id, params) in [1000.0, 1001.0, 1002.0, 50_000.0].into_iter().enumerate() {
        let mut member = member(id, &setting.space.initial[0]);
        member.objectives = BTreeMap::from([("error".into(), 1.0 / params), ("params".into(), params)]);
        members.push(member);
    }
    strategy.tell(&members).unwrap();
    let mut rng = rng::stream(8, "test", &[]);
    let parents: Vec<u64> = (0..200).filter_map(|_| strategy.propose(&mut rng).unwrap()?.parent).collect();
    assert_eq!(parents.len(), 200);
    parents.iter().filter(|&&parent| parent == 3).count()
}

/// The initial networks in turn, with these values; ids count from 0.
fn members(setting: &Setting<Networks>, values: &[(f64, f64)]) -> Vec<Member<Networks>> {
    let initial = &setting.space.initial;
    let member = |(id, &(error, params)): (usize, &(f64, f64))| Member {
        objectives: BTreeMap::from([("error".into(), error), ("params".into(), params)]),
        ..member(id, &initial[id % initial.len()])
    };
    values.iter().enumerate().map(member).collect()
}

#[test]
fn crowded_comparison_orders_by_front_and_then_by_room() {
    let setting = setting("nsga2");
    let members =
        members(&setting, &[(5.0, 5.0), (0.5, 3.0), (1.0, 1.0), (0.1, 4.0), (0.45, 3.1), (4.0, 0.5)]);
    let order = evolution::ranked(&members.iter().collect::<Vec<_>>(), &setting).unwrap();
    assert_eq!(order[5], 0, "the only dominated one is last");
    assert_eq!(order[..2], [3, 5], "ends come first, of equals the earlier");
    assert_eq!(order[2..5], [2, 1, 4], "then those with room around them");
}

#[test]
fn the_oldest_die_in_aging_evolution_and_the_worst_in_nsga2() {
    let config = |strategy: &str| {
        let mut config = Config { strategy: strategy.into(), ..Config::default() };
        (config.evolution.population, config.evolution.tournament) = (3, 3);
        config.lemonade.max_morphisms = 1;
        setting_of(config, Shape::map(1, 28, 28))
    };
    // The first is the best of all, and as different from the others as architectures are here.
    let values = [(0.1, 1.0), (0.9, 9.0), (0.9, 9.0), (0.9, 9.0)];
    for (name, best_lives) in [("aging", false), ("nsga2", true)] {
        let setting = config(name);
        let mut strategy = new(setting.clone()).unwrap();
        strategy.tell(&members(&setting, &values)).unwrap();
        let mut rng = rng::stream(9, "test", &[]);
        let children: Vec<Architecture> =
            (0..60).filter_map(|_| Some(strategy.propose(&mut rng).unwrap()?.design)).collect();
        let mut edits =
            |_| space::random_edit(&setting.space.initial[0], &setting.space.morphisms, "", &mut rng);
        let of_best: Vec<Fingerprint> =
            (0..3000).filter_map(|n| edits(n).unwrap()).map(|(_, child)| child.fingerprint()).collect();
        let found = children.iter().any(|child| of_best.contains(&child.fingerprint()));
        assert_eq!(found, best_lives, "{name}");
    }
}

#[test]
fn nash_climbs_from_the_best_network_alone() {
    let setting = setting("nash");
    let mut strategy = new(setting.clone()).unwrap();
    strategy.tell(&members(&setting, &[(0.3, 1.0), (0.1, 9.0), (0.2, 2.0)])).unwrap();
    let mut rng = rng::stream(10, "test", &[]);
    let proposals: Vec<Proposal<Networks>> =
        (0..60).filter_map(|_| strategy.propose(&mut rng).unwrap()).collect();
    assert!(proposals.len() > 50 && proposals.iter().all(|proposal| proposal.parent == Some(1)));
    let unchanged = proposals.iter().filter(|one| one.design == setting.space.initial[1]).count();
    assert!((1..30).contains(&unchanged), "{unchanged} train on");
}

#[test]
fn thrift_accepts_cheap_children_first() {
    let first_is_cheap = |thrift: f64| {
        let mut config = Config::default();
        config.lemonade.thrift = thrift;
        let setting = setting_of(config, Shape::map(1, 28, 28));
        let mut strategy = new(setting.clone()).unwrap();
        strategy.tell(&start(&setting)).unwrap();
        // Two networks, told to be of one size, so that density does not tell them apart.
        let candidate = |design: &Architecture| Candidate {
            proposal: Proposal { parent: None, edits: Vec::new(), design: design.clone() },
            costs: BTreeMap::from([("params".to_string(), 5000.0)]),
        };
        let mut designs: Vec<&Architecture> = setting.space.initial.iter().collect();
        designs.sort_by_key(|design| design.macs());
        let (cheap, dear) = (designs[0], designs[designs.len() - 1]);
        assert!(dear.macs() > 8 * cheap.macs());
        let candidates = [candidate(dear), candidate(cheap)];
        let mut rng = rng::stream(13, "thrift", &[]);
        (0..400).filter(|_| strategy.screen(&candidates, &mut rng).unwrap()[0] == 1).count()
    };
    assert!((170..230).contains(&first_is_cheap(0.0)), "{}", first_is_cheap(0.0));
    assert!(first_is_cheap(1.0) > 350, "{}", first_is_cheap(1.0));
}
