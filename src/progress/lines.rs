//! Progress as plain text, one line a generation: for log files and pipes.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::tally::{Tally, clock, percent, significant};
use super::{Event, Observer};

/// Writes one line for the start, each generation, each note and the end. Nothing is ever overwritten.
pub struct PlainLines<W> {
    state: Mutex<(Tally, W)>,
}

impl<W: Write + Send> PlainLines<W> {
    /// Writes to `output`. A failed write is ignored: a closed pipe must not end a search.
    pub fn new(output: W) -> Self {
        Self { state: Mutex::new((Tally::default(), output)) }
    }
}

impl<W: Write + Send> Observer for PlainLines<W> {
    fn observe(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tally, output) = &mut *state;
        tally.observe(event);
        if let Some(line) = line(event, tally) {
            let _ = writeln!(output, "{line}");
        }
    }
}

fn line(event: &Event, tally: &Tally) -> Option<String> {
    match event {
        Event::SearchStarted { .. } => Some(tally.title()),
        Event::GenerationDone {
            generation,
            trained,
            front_size,
            best_error,
            hypervolume,
            elapsed_s,
            compute: _,
        } => {
            let over = tally.used(*elapsed_s) == 1.0;
            let left = if over { String::new() } else { tally.left(*elapsed_s) };
            let line = format!(
                "generation {generation:>3}  networks {trained:>4}  front {front_size:>3}  \
                 best error {:>7}  hypervolume {:>8}  {:>7}  {left}",
                percent(*best_error),
                significant(*hypervolume),
                clock(*elapsed_s),
            );
            Some(line.trim_end().into())
        }
        Event::SearchDone { reason } => Some(format!("search ended: {reason}")),
        Event::Note { text } => Some(text.clone()),
        Event::GenerationStarted { .. } | Event::EpochDone { .. } | Event::ChildTrained { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::tests::short_search;
    use super::*;

    #[test]
    fn a_search_is_a_line_a_generation_without_control_characters() {
        let display = PlainLines::new(Vec::new());
        short_search().iter().for_each(|event| display.observe(event));
        let text = String::from_utf8(display.state.into_inner().unwrap().1).unwrap();
        let expected = "\
lemonade on digits, 2 workers, budget 160s
generation   0  networks    2  front   3  best error  2.31 %  hypervolume   0.8123     0:10  2:30 left
child 4 diverged
search ended: it was interrupted
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let display = PlainLines::new(Closed);
        short_search().iter().for_each(|event| display.observe(event));
        assert!(display.state.lock().unwrap().0.achieved().contains("front 3"));
    }
}
