//! What a search tells while it runs, and who listens.
//!
//! The engine sends [`Event`]s to an [`Observer`]: a live display, a log, a recorder. Observers watch; nothing
//! they do changes the search.

mod bar;
mod lines;
mod tally;

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};

pub use bar::ProgressBar;
pub use lines::PlainLines;

use crate::config::Budget;

/// Something that happened in a search. Generation 0 is the initial population; children count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A search begins, or goes on: then the counts are those of the run so far.
    SearchStarted {
        /// The strategy's name.
        strategy: String,
        /// The data set's name.
        data: String,
        /// Children trained side by side.
        workers: usize,
        /// When the search ends.
        budget: Budget,
        /// Generations that are complete, the initial population not counted.
        generation: usize,
        /// Networks trained so far.
        trained: usize,
        /// Seconds used so far.
        elapsed_s: f64,
        /// Multiply-adds of training so far.
        compute: f64,
        /// Whether it goes on.
        resumed: bool,
    },
    /// The children of a generation are chosen; their training begins.
    GenerationStarted {
        /// The generation.
        generation: usize,
        /// Children to be trained in it.
        children: usize,
    },
    /// A child in training finished an epoch.
    EpochDone {
        /// The generation.
        generation: usize,
        /// The child's place in its generation.
        child: usize,
        /// Epochs done, from 1.
        epoch: usize,
        /// Epochs of the whole training.
        epochs: usize,
        /// Mean training loss of the epoch; `None` if it is not finite.
        loss: Option<f64>,
    },
    /// A child is trained and measured.
    ChildTrained {
        /// Its number in the run; `None` until the generation is committed.
        id: Option<u64>,
        /// The generation.
        generation: usize,
        /// The child's place in its generation.
        child: usize,
        /// Validation error, from 0 to 1; `None` if training diverged.
        error: Option<f64>,
        /// Parameters.
        params: u64,
    },
    /// A generation is committed.
    GenerationDone {
        /// The generation.
        generation: usize,
        /// Networks trained in the whole run, the initial population included.
        trained: usize,
        /// Members of the Pareto front.
        front_size: usize,
        /// Least validation error in the front, from 0 to 1.
        best_error: f64,
        /// Hypervolume of the front, to the run's reference point.
        hypervolume: f64,
        /// Seconds since the search began, resumed parts added up.
        elapsed_s: f64,
        /// Multiply-adds of training so far.
        #[serde(default)]
        compute: f64,
    },
    /// The search is over.
    SearchDone {
        /// Why, as the end of a sentence: "the budget of 160s is used up".
        reason: String,
    },
    /// Something worth a line of text.
    Note {
        /// The text.
        text: String,
    },
}

/// Listens to a search. Events come from several threads; an observer must not block them for long.
pub trait Observer: Send + Sync {
    /// Takes notice of `event`.
    fn observe(&self, event: &Event);
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuietObserver;

impl Observer for QuietObserver {
    fn observe(&self, _event: &Event) {}
}

/// Tells several observers, in order.
impl Observer for Vec<Box<dyn Observer>> {
    fn observe(&self, event: &Event) {
        self.iter().for_each(|observer| observer.observe(event));
    }
}

/// The display for a person at standard error: a [`ProgressBar`] on a terminal, else [`PlainLines`].
pub fn for_stderr() -> Box<dyn Observer> {
    let stderr = std::io::stderr();
    if stderr.is_terminal() { Box::new(ProgressBar::new()) } else { Box::new(PlainLines::new(stderr)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Recorder(Arc<Mutex<Vec<Event>>>);

    impl Observer for Recorder {
        fn observe(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn every_event_survives_json() {
        let events = tally::tests::short_search();
        for event in &events {
            let text = serde_json::to_string(event).unwrap();
            assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
        let started = serde_json::to_value(&events[0]).unwrap();
        assert_eq!((&started["event"], &started["budget"]), (&"search_started".into(), &"160s".into()));
    }

    #[test]
    fn several_observers_all_see_every_event_from_every_thread() {
        let logs: Vec<_> = (0..2).map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(QuietObserver)];
        observers.extend(logs.iter().map(|log| Box::new(Recorder(log.clone())) as Box<dyn Observer>));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let observers = &observers;
                scope.spawn(move || observers.observe(&Event::Note { text: thread.to_string() }));
            }
        });
        for log in logs {
            let mut texts: Vec<_> = log.lock().unwrap().iter().map(|event| format!("{event:?}")).collect();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), 4);
        }
    }
}
