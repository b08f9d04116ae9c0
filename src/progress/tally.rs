//! What a display knows about a search, and how it says it. No drawing and no clock here: the time is given.

use std::collections::BTreeMap;

use super::Event;
use crate::config::Budget;

/// The state of a search as told by its events.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    strategy: String,
    data: String,
    workers: usize,
    budget: Budget,
    /// Seconds and share of the budget that earlier, interrupted parts of the run took.
    before: (f64, f64),
    resumed: bool,
    /// Multiply-adds up to the last complete generation.
    compute: f64,
    generation: usize,
    children: usize,
    /// Children of this generation that are trained.
    trained_here: usize,
    /// Networks trained in the generations before this one.
    trained_before: usize,
    /// Epochs done and due of the children in training.
    running: BTreeMap<usize, (usize, usize)>,
    best: Option<Best>,
}

/// What the last complete generation reached.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Best {
    front_size: usize,
    error: f64,
    hypervolume: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            strategy: String::new(),
            data: String::new(),
            workers: 0,
            budget: Budget::Generations(1),
            before: (0.0, 0.0),
            resumed: false,
            compute: 0.0,
            generation: 0,
            children: 0,
            trained_here: 0,
            trained_before: 0,
            running: BTreeMap::new(),
            best: None,
        }
    }
}

impl Tally {
    pub(super) fn observe(&mut self, event: &Event) {
        match event {
            Event::SearchStarted {
                strategy,
                data,
                workers,
                budget,
                generation,
                trained,
                elapsed_s,
                compute,
                resumed,
            } => {
                *self = Self { strategy: strategy.clone(), data: data.clone(), ..Self::default() };
                (self.workers, self.budget) = (*workers, *budget);
                (self.generation, self.trained_before) = (*generation, *trained);
                (self.before.0, self.resumed) = (*elapsed_s, *resumed);
                self.compute = *compute;
                self.before.1 = self.used(*elapsed_s);
            }
            Event::GenerationStarted { generation, children } => {
                (self.generation, self.children) = (*generation, *children);
                self.trained_here = 0;
                self.running.clear();
            }
            Event::EpochDone { child, epoch, epochs, generation: _, loss: _ } => {
                self.running.insert(*child, (*epoch, *epochs));
            }
            Event::ChildTrained { child, id: _, generation: _, error: _, params: _ } => {
                self.running.remove(child);
                self.trained_here += 1;
            }
            Event::GenerationDone {
                trained,
                front_size,
                best_error,
                hypervolume,
                generation,
                elapsed_s: _,
                compute,
            } => {
                self.compute = *compute;
                (self.generation, self.trained_before) = (*generation, *trained);
                (self.children, self.trained_here) = (0, 0);
                let (front_size, error, hypervolume) = (*front_size, *best_error, *hypervolume);
                self.best = Some(Best { front_size, error, hypervolume });
            }
            Event::SearchDone { reason: _ } => self.running.clear(),
            Event::Note { text: _ } => {}
        }
    }

    /// Seconds that the run took before this process began.
    pub(super) fn seconds_before(&self) -> f64 {
        self.before.0
    }

    /// Share of the budget that is used, from 0 to 1, at `elapsed_s` seconds since the search began.
    pub(super) fn used(&self, elapsed_s: f64) -> f64 {
        let used = match self.budget {
            Budget::Seconds(seconds) => elapsed_s / seconds,
            Budget::Evaluations(count) => self.trained() as f64 / count as f64,
            Budget::Generations(count) => self.generations_done() / count as f64,
            Budget::Compute(macs) => self.compute / macs as f64,
        };
        used.clamp(0.0, 1.0)
    }

    /// Complete generations, the initial population not counted, and the part done of the one in training.
    fn generations_done(&self) -> f64 {
        match (self.generation, self.children) {
            (generation, 0) => generation as f64,
            (0, _) => 0.0,
            (generation, children) => (generation - 1) as f64 + self.trained_here as f64 / children as f64,
        }
    }

    fn trained(&self) -> usize {
        self.trained_before + self.trained_here
    }

    /// Seconds until the budget is used: exact for a budget of time, else estimated from the pace of this
    /// process, and `None` before there is one.
    pub(super) fn seconds_left(&self, elapsed_s: f64) -> Option<f64> {
        match self.budget {
            Budget::Seconds(seconds) => Some((seconds - elapsed_s).max(0.0)),
            Budget::Evaluations(_) | Budget::Generations(_) | Budget::Compute(_) => {
                let used = self.used(elapsed_s);
                let gained = used - self.before.1;
                let took = elapsed_s - self.before.0;
                (gained > 0.0).then(|| (1.0 - used) * took / gained)
            }
        }
    }

    /// "lemonade on digits, 2 workers, budget 160s".
    pub(super) fn title(&self) -> String {
        let workers = counted(self.workers, "worker");
        let going_on = match self.resumed {
            true => format!(", resumed at {}", clock(self.before.0)),
            false => String::new(),
        };
        format!("{} on {}, {workers}, budget {}{going_on}", self.strategy, self.data, self.budget)
    }

    /// "1:38 of 2:40" or "12 of 200 networks".
    pub(super) fn spent(&self, elapsed_s: f64) -> String {
        match self.budget {
            Budget::Seconds(seconds) => format!("{} of {}", clock(elapsed_s), clock(seconds)),
            Budget::Evaluations(count) => format!("{} of {count} networks", self.trained()),
            Budget::Generations(count) => {
                format!("{} of {count} generations", self.generations_done() as usize)
            }
            Budget::Compute(_) => format!("{:.0} % of {}", 100.0 * self.used(elapsed_s), self.budget),
        }
    }

    /// "1:02 left", "about 1:02 left", "" while unknown. Rounded up, so that it meets [`Tally::spent`].
    pub(super) fn left(&self, elapsed_s: f64) -> String {
        let estimated = match self.budget {
            Budget::Seconds(_) => "",
            Budget::Evaluations(_) | Budget::Generations(_) | Budget::Compute(_) => "about ",
        };
        match self.seconds_left(elapsed_s) {
            Some(0.0) => "finishing".into(),
            Some(seconds) => format!("{estimated}{} left", clock(seconds.ceil())),
            None => String::new(),
        }
    }

    /// "38 networks · best error 2.31 % · front 9 · hypervolume 0.8123".
    pub(super) fn achieved(&self) -> String {
        let trained = counted(self.trained(), "network");
        let best = self.best.map(|best| {
            let hypervolume = significant(best.hypervolume);
            format!(
                " · best error {} · front {} · hypervolume {hypervolume}",
                percent(best.error),
                best.front_size
            )
        });
        format!("{trained}{}", best.unwrap_or_default())
    }

    /// "generation 7 · 3 of 6 trained · at epoch 7/12, 1/12".
    pub(super) fn training(&self) -> String {
        if self.children == 0 {
            return "choosing children".into();
        }
        let generation = match self.generation {
            0 => "initial population".into(),
            generation => format!("generation {generation}"),
        };
        format!("{generation} · {} of {} trained{}", self.trained_here, self.children, self.epochs())
    }

    /// " · at epoch 7/12, 1/12" for the children in training, as many as fit on a line.
    fn epochs(&self) -> String {
        const SHOWN: usize = 5;
        let mut epochs: Vec<String> =
            self.running.values().take(SHOWN).map(|(epoch, epochs)| format!("{epoch}/{epochs}")).collect();
        if self.running.len() > SHOWN {
            epochs.push("...".into());
        }
        if epochs.is_empty() { String::new() } else { format!(" · at epoch {}", epochs.join(", ")) }
    }
}

/// `1:02` or `1:02:03`, to the second below.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// About four significant digits, whatever the objectives' units.
pub(super) fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..10.0).contains(&size) => format!("{value:.4}"),
        size if (10.0..1e4).contains(&size) => format!("{value:.1}"),
        _ => format!("{value:.3e}"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn started(budget: Budget) -> Event {
        let (strategy, data) = ("lemonade".into(), "digits".into());
        let (elapsed_s, compute, resumed) = (0.0, 0.0, false);
        let (workers, generation, trained) = (2, 0, 0);
        Event::SearchStarted {
            strategy,
            data,
            workers,
            budget,
            generation,
            trained,
            elapsed_s,
            compute,
            resumed,
        }
    }

    fn child(generation: usize, child: usize) -> Event {
        Event::ChildTrained { id: None, generation, child, error: Some(0.05), params: 1000 }
    }

    fn done(generation: usize, trained: usize, elapsed_s: f64) -> Event {
        let (front_size, best_error, hypervolume) = (3, 0.0231, 0.81234);
        Event::GenerationDone {
            generation,
            trained,
            front_size,
            best_error,
            hypervolume,
            elapsed_s,
            compute: 0.0,
        }
    }

    /// An event of every kind: the initial population of two and most of a generation of four.
    pub(in super::super) fn short_search() -> Vec<Event> {
        let epoch =
            |child, epoch| Event::EpochDone { generation: 1, child, epoch, epochs: 12, loss: Some(0.5) };
        vec![
            started(Budget::Seconds(160.0)),
            Event::GenerationStarted { generation: 0, children: 2 },
            child(0, 0),
            child(0, 1),
            done(0, 2, 10.0),
            Event::GenerationStarted { generation: 1, children: 4 },
            epoch(0, 12),
            child(1, 0),
            epoch(1, 3),
            epoch(2, 1),
            Event::Note { text: "child 4 diverged".into() },
            Event::SearchDone { reason: "it was interrupted".into() },
        ]
    }

    fn tally(events: &[Event]) -> Tally {
        let mut tally = Tally::default();
        events.iter().for_each(|event| tally.observe(event));
        tally
    }

    #[test]
    fn a_search_under_way_reads_well() {
        let events = short_search();
        let tally = tally(&events[..events.len() - 1]);
        assert_eq!(tally.title(), "lemonade on digits, 2 workers, budget 160s");
        assert_eq!(tally.achieved(), "3 networks · best error 2.31 % · front 3 · hypervolume 0.8123");
        assert_eq!(tally.training(), "generation 1 · 1 of 4 trained · at epoch 3/12, 1/12");
        assert_eq!((tally.spent(98.9), tally.left(98.9)), ("1:38 of 2:40".into(), "1:02 left".into()));
        assert_eq!((tally.used(40.0), tally.used(200.0)), (0.25, 1.0));
        assert_eq!(tally.left(200.0), "finishing");
    }

    #[test]
    fn a_search_that_first_measured_is_not_called_resumed() {
        let mut event = started(Budget::Seconds(160.0));
        if let Event::SearchStarted { elapsed_s, .. } = &mut event {
            *elapsed_s = 2.0;
        }
        assert_eq!(tally(&[event]).title(), "lemonade on digits, 2 workers, budget 160s");
    }

    #[test]
    fn before_anything_is_known_nothing_is_claimed() {
        let tally = tally(&[
            started(Budget::Evaluations(10)),
            Event::GenerationStarted { generation: 0, children: 4 },
        ]);
        assert_eq!(
            (tally.achieved(), tally.training()),
            ("0 networks".into(), "initial population · 0 of 4 trained".into())
        );
        assert_eq!((tally.used(5.0), tally.left(5.0).as_str()), (0.0, ""));
    }

    #[test]
    fn evaluations_and_generations_count_towards_their_budget() {
        let events = &short_search()[1..];
        let by_count = tally(&[&[started(Budget::Evaluations(12))], events].concat());
        assert_eq!((by_count.used(0.0), by_count.spent(0.0).as_str()), (0.25, "3 of 12 networks"));
        assert_eq!(by_count.left(30.0), "about 1:30 left");
        let by_generation = tally(&[&[started(Budget::Generations(5))], events].concat());
        assert_eq!(
            (by_generation.used(0.0), by_generation.spent(0.0).as_str()),
            (0.05, "0 of 5 generations")
        );
    }

    #[test]
    fn the_pace_of_a_resumed_run_is_that_of_its_last_part() {
        let (strategy, data, budget) = ("random".into(), "digits".into(), Budget::Evaluations(20));
        let resumed = Event::SearchStarted {
            strategy,
            data,
            workers: 1,
            budget,
            generation: 2,
            trained: 10,
            elapsed_s: 600.0,
            compute: 0.0,
            resumed: true,
        };
        let tally = tally(&[resumed, Event::GenerationStarted { generation: 3, children: 4 }, child(3, 0)]);
        assert_eq!(tally.title(), "random on digits, 1 worker, budget 20evals, resumed at 10:00");
        let left = tally.seconds_left(602.0).unwrap(); // one network in two seconds, nine to go
        assert!((left - 18.0).abs() < 1e-9 && tally.used(602.0) == 0.55, "{left}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([5.0, 62.0, 3723.9].map(clock), ["0:05", "1:02", "1:02:03"]);
        let texts = [0.0, 0.81234, 123.456, 123456.0, 1e-5].map(significant);
        assert_eq!(texts, ["0", "0.8123", "123.5", "1.235e5", "1.000e-5"]);
    }
}
