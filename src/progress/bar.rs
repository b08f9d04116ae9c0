//! Progress on a terminal: three live lines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, ProgressState, ProgressStyle};

use super::tally::{Tally, clock};
use super::{Event, Observer};

/// Redraws a second: enough for a clock and a spinner, little enough for a remote terminal.
const REDRAWS: u8 = 8;
/// Width of the bar in characters.
const WIDTH: usize = 28;

/// Live lines at the foot of standard error: the budget used and left; generation, best error, front and
/// hypervolume; the children in training. They vanish at the end.
pub struct ProgressBar {
    bar: indicatif::ProgressBar,
    state: Arc<Mutex<State>>,
}

/// Read while drawing, under the bar's own lock: so nobody may call the bar while holding this one.
struct State {
    tally: Tally,
    started: Instant,
}

impl State {
    fn elapsed_s(&self) -> f64 {
        self.tally.seconds_before() + self.started.elapsed().as_secs_f64()
    }
}

impl Default for ProgressBar {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressBar {
    /// A display that appears with [`Event::SearchStarted`].
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(REDRAWS))
    }

    fn on(target: ProgressDrawTarget) -> Self {
        let state = Arc::new(Mutex::new(State { tally: Tally::default(), started: Instant::now() }));
        let bar = indicatif::ProgressBar::with_draw_target(None, target);
        bar.set_style(style(&state));
        Self { bar, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn start(&self) {
        self.lock().started = Instant::now();
        self.bar.println(self.title());
        self.bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(REDRAWS)));
    }

    fn title(&self) -> String {
        self.lock().tally.title()
    }

    fn summary(&self) -> (String, String) {
        let state = self.lock();
        (state.tally.achieved(), clock(state.elapsed_s()))
    }

    fn end(&self, reason: &str) {
        let (achieved, took) = self.summary();
        self.bar.println(format!("{achieved} · {took}\nsearch ended: {reason}"));
        self.bar.finish_and_clear();
    }
}

impl Observer for ProgressBar {
    fn observe(&self, event: &Event) {
        self.lock().tally.observe(event);
        match event {
            Event::SearchStarted { .. } => self.start(),
            Event::SearchDone { reason } => self.end(reason),
            Event::Note { text } => self.bar.println(text),
            // The next redraw shows them.
            Event::GenerationStarted { .. }
            | Event::EpochDone { .. }
            | Event::ChildTrained { .. }
            | Event::GenerationDone { .. } => {}
        }
    }
}

/// A search that ends with an error leaves no stale lines above the message.
impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The three lines. Each part is computed when it is drawn, so that the clock runs between events.
fn style(state: &Arc<Mutex<State>>) -> ProgressStyle {
    let part = |text: fn(&State) -> String| {
        let state = Arc::clone(state);
        move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&text(&lock(&state)));
        }
    };
    ProgressStyle::with_template(
        "{spinner:.cyan} {used:.cyan}{unused:.dim} {percent}  {spent}  {left:.bold}\n  {achieved}\n  {training:.dim}",
    )
    .expect("the template is well formed")
    .with_key("used", part(|state| filled(state).0))
    .with_key("unused", part(|state| filled(state).1))
    .with_key("percent", part(|state| format!("{:>3.0} %", 100.0 * used(state))))
    .with_key("spent", part(|state| state.tally.spent(state.elapsed_s())))
    .with_key("left", part(|state| state.tally.left(state.elapsed_s())))
    .with_key("achieved", part(|state| state.tally.achieved()))
    .with_key("training", part(|state| state.tally.training()))
}

fn used(state: &State) -> f64 {
    state.tally.used(state.elapsed_s())
}

/// The two parts of the bar, which must differ without colour too.
fn filled(state: &State) -> (String, String) {
    let used = (used(state) * WIDTH as f64).round() as usize;
    ("━".repeat(used), "─".repeat(WIDTH - used))
}
