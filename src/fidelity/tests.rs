use super::*;
use crate::config::{FidelityConfig, SCHEDULES};

fn settings(schedule: &str) -> FidelityConfig {
    FidelityConfig { schedule: schedule.into(), ..FidelityConfig::default() }
}

fn course(schedule: &str, generation: usize, planned: usize) -> Course {
    Schedule::new(&settings(schedule), Vec::new(), Vec::new()).course(generation, planned, Vec::new(), false)
}

/// A training of 27 epochs whose error halves at each power of three, given up after `epochs`.
fn past(error: f64, epochs: usize) -> Past {
    let readings: Vec<Reading> = [1, 3, 9]
        .into_iter()
        .enumerate()
        .filter(|(_, epoch)| *epoch <= epochs)
        .map(|(k, epoch)| Reading { epoch, error: error / f64::from(1 << k) })
        .collect();
    let last = if epochs == 27 { error / 8.0 } else { readings[readings.len() - 1].error };
    Past { planned: 27, epochs, readings, values: vec![last] }
}

#[test]
fn every_schedule_of_the_settings_is_one() {
    for name in SCHEDULES {
        assert_eq!(course(name, 1, 9) == Course::default(), *name == "full", "{name}");
    }
}

/// Successive halving as in Hyperband's table 1 (JMLR 2018): R = 81 and eta = 3, 81 trainings to begin with.
#[test]
fn of_eighty_one_children_one_is_trained_to_the_end() {
    let errors: Vec<f64> = (0..81).map(|k| f64::from(k * 37 % 81)).collect();
    let courses = vec![course("halving", 1, 81); 81];
    let epochs = ends(&courses, 81, |child, _| Some(errors[child])).unwrap();
    let reached = |rung| epochs.iter().filter(|&&epochs| epochs >= rung).count();
    assert_eq!([1, 3, 9, 27, 81].map(reached), [81, 27, 9, 3, 1]);
    let best = errors.iter().position(|error| *error == 0.0).unwrap();
    assert_eq!(epochs[best], 81);
}

#[test]
fn one_goes_on_though_they_are_few_and_the_lost_do_not() {
    let course = course("halving", 1, 9);
    let read = |error| vec![Reading { epoch: 1, error }];
    let (worse, better) = (read(0.3), read(0.2));
    let of = |children: &[Progress<'_>]| {
        let children: Vec<_> = children.iter().map(|&progress| (&course, progress)).collect();
        targets(&children).unwrap()
    };
    let waiting = of(&[Progress::Read(&worse), Progress::Open, Progress::Read(&better)]);
    assert_eq!(waiting, [Some(1); 3], "nobody goes on before all are there");
    let decided = of(&[Progress::Read(&worse), Progress::Lost, Progress::Read(&better)]);
    assert_eq!(decided, [Some(1), Some(1), Some(3)]);
    assert_eq!(of(&[Progress::Lost, Progress::Lost]), [Some(1), Some(1)]);
}

/// The column heads of Hyperband's table 1: brackets 4 to 0 begin with 81, 34, 15, 8 and 5 trainings of 1, 3, 9, 27, 81 epochs.
#[test]
fn brackets_take_turns_in_hyperbands_proportions() {
    let mut begun = std::collections::BTreeMap::new();
    for generation in 1..=143 {
        *begun.entry(course("hyperband", generation, 81).rungs[0]).or_insert(0) += 1;
    }
    assert_eq!(begun.into_iter().collect::<Vec<_>>(), [(1, 81), (3, 34), (9, 15), (27, 8), (81, 5)]);
    assert_eq!(course("hyperband", 1, 81).rungs, [1, 3, 9, 27, 81]);
}

/// Rungs of ASHA (Li et al., MLSys 2020, algorithm 2): at each the best third of those that came so far.
#[test]
fn a_child_is_held_to_all_that_reached_its_rung() {
    let settings = settings("asha");
    let mut all: Vec<Past> = (0..4).map(|k| past(0.4 + 0.1 * f64::from(k), 1)).collect();
    all.extend([past(0.2, 3), past(0.1, 3)]);
    let course = Schedule::new(&settings, all, Vec::new()).course(3, 27, Vec::new(), false);
    assert_eq!(course.rungs, [1, 3, 9, 27]);
    let goes_on = |errors: &[f64]| {
        let read: Vec<Reading> =
            [1, 3, 9].into_iter().zip(errors).map(|(epoch, &error)| Reading { epoch, error }).collect();
        course.goes_on(read[read.len() - 1].epoch, &read).unwrap()
    };
    // The first rung: six before it, so it must be among the best two of seven.
    assert!(goes_on(&[0.15]) && !goes_on(&[0.25]));
    // The second: two before it, so it must be the best of three; of equals the earlier one is better.
    assert!(goes_on(&[0.15, 0.04]) && !goes_on(&[0.15, 0.05]));
    // The third: nobody yet.
    assert!(goes_on(&[0.15, 0.04, 0.9]));
    assert!(!course.goes_on(27, &[Reading { epoch: 1, error: 0.9 }]).unwrap());
}

/// With two objectives the rank is that of non-dominated sorting, and among equals those with room around them.
#[test]
fn a_cheap_child_goes_on_though_its_error_is_large() {
    let rival = |error, cost| Past {
        planned: 9,
        epochs: 1,
        readings: vec![Reading { epoch: 1, error }],
        values: vec![error, cost],
    };
    let all =
        vec![rival(0.1, 100.0), rival(0.2, 90.0), rival(0.3, 80.0), rival(0.4, 120.0), rival(0.5, 130.0)];
    let settings = settings("asha");
    let schedule = Schedule::new(&settings, all, Vec::new());
    let goes_on = |cost, error| {
        schedule.course(2, 9, vec![cost], false).goes_on(1, &[Reading { epoch: 1, error }]).unwrap()
    };
    assert!(goes_on(10.0, 0.9), "none is cheaper");
    assert!(!goes_on(125.0, 0.45), "it is beaten in both");
}

/// So, Liang, Le (ICML 2019), algorithm 1: hurdles are set one after another, each at the mean of those that reached it.
#[test]
fn hurdles_are_set_as_the_population_grows() {
    let settings = FidelityConfig { interval: 4, ..settings("hurdles") };
    let of = |past: Vec<Past>| Schedule::new(&settings, past, Vec::new()).course(2, 27, Vec::new(), false);
    let first: Vec<Past> = (1..=4).map(|k| past(0.1 * f64::from(k), 1)).collect();
    let young = of(first[..3].to_vec());
    assert_eq!((young.rungs.as_slice(), young.until, young.gates.len()), (&[1][..], Some(1), 0));
    let grown = of(first.clone());
    assert_eq!((grown.rungs.as_slice(), grown.until), (&[1, 3][..], Some(3)));
    let goes_on = |course: &Course, error| course.goes_on(1, &[Reading { epoch: 1, error }]).unwrap();
    assert!(goes_on(&grown, 0.25) && !goes_on(&grown, 0.26), "the mean is 0.25");
    // Later ones do not move a hurdle that is set, and the next one is set from those that reached the second rung.
    let second = [past(0.8, 1), past(0.9, 1), past(0.2, 3), past(0.1, 3)];
    let old = of([first, second.to_vec()].concat());
    assert!(goes_on(&old, 0.25) && !goes_on(&old, 0.26));
    assert_eq!(old.gates[1].rivals, [[0.1], [0.05]]);
    assert_eq!(old.until, Some(9));
}

#[test]
fn a_curve_that_cannot_reach_the_front_is_given_up() {
    let settings = settings("curve");
    // From the first epoch on an eighth of the error is left in all, and in one training a ninth.
    let mut all: Vec<Past> = (1..=9).map(|k| past(0.1 * f64::from(k), 27)).collect();
    let few = Schedule::new(&settings, all.clone(), vec![vec![0.05, 10.0]]);
    assert_eq!(few.course(2, 27, vec![20.0], false).rule, None, "nine are not enough");
    all.push(Past { values: vec![0.9 / 9.0], ..past(0.9, 27) });
    let schedule = Schedule::new(&settings, all, vec![vec![0.05, 10.0]]);
    let goes_on = |cost, error, audited| {
        let course = schedule.course(2, 27, vec![cost], audited);
        assert!(course.reads(1) && course.reads(27));
        course.goes_on(1, &[Reading { epoch: 1, error }]).unwrap()
    };
    assert!(!goes_on(20.0, 0.46, false), "0.46 / 9 is over 0.05");
    assert!(goes_on(20.0, 0.39, false), "0.39 / 8 is under 0.05");
    assert!(goes_on(5.0, 0.9, false), "none is as cheap");
    assert!(goes_on(20.0, 0.9, true), "it is audited");
}

#[test]
fn the_rule_is_assessed_by_what_came_out() {
    let two = |one: Past, cost: f64| Past { values: vec![one.values[0], cost], ..one };
    let first: Vec<Past> = (1..=10).map(|k| two(past(0.1 * f64::from(k), 27), 10.0)).collect();
    // Of 26 epochs nothing was read; the readings at half of the epochs are added.
    let with_half = |one: Past, error: f64| {
        let readings = [one.readings.as_slice(), &[Reading { epoch: 13, error }]].concat();
        Past { readings, ..one }
    };
    let first: Vec<Past> = first
        .into_iter()
        .map(|one| {
            let last = one.values[0];
            with_half(one, 2.0 * last)
        })
        .collect();
    let front = vec![vec![0.0125, 10.0]];
    let given_up = two(past(0.9, 1), 10.0);
    let surprise = Past { values: vec![0.001, 10.0], ..with_half(two(past(0.9, 27), 10.0), 0.012) };
    let audited = with_half(two(past(0.8, 27), 10.0), 0.2);
    let found = Assessment::of(
        &[
            Generation { trained: first, front: Vec::new() },
            Generation { trained: vec![given_up, surprise, audited], front },
        ],
        0.9,
    );
    assert_eq!((found.audited, found.wrongly, found.predictions), (2, 1, 2));
    // Half of 0.012 was expected and 0.001 came, half of 0.2 was expected and came.
    assert!((found.mean_distance - (0.005 + 0.0) / 2.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn a_course_survives_json() {
    let all: Vec<Past> = (1..=12).map(|k| past(0.1 * f64::from(k), 27)).collect();
    for name in SCHEDULES {
        let settings = settings(name);
        let course = Schedule::new(&settings, all.clone(), vec![vec![0.1]]).course(2, 27, Vec::new(), false);
        let text = serde_json::to_string(&course).unwrap();
        assert_eq!(serde_json::from_str::<Course>(&text).unwrap(), course, "{text}");
        assert_eq!(text == "{}", *name == "full");
    }
}
