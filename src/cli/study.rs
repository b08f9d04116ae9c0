//! `study`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::search::stop_on_ctrl_c;
use super::{StudyArgs, print};
use crate::Result;
use crate::report::{StudyView, format_value, write_study};
use crate::stop::Stop;
use crate::study::{Prepared, Study, StudyFolder, Trace, figures};

/// Without a terminal, progress is a line at most so often.
const QUIET: Duration = Duration::from_secs(10);

pub(super) fn study(args: &StudyArgs) -> Result<()> {
    let study = Study::load(&args.study)?;
    let prepared = Prepared::new(study)?;
    let out = args.out.clone().unwrap_or_else(|| default_folder(&args.study));
    let folder = StudyFolder::open(&out, &prepared.study.text)?;
    let stop = Arc::new(Stop::after(None));
    stop_on_ctrl_c(stop.clone())?;
    let progress = Progress::new(&prepared.study, folder.ended()?.len(), args.quiet);
    let finished = prepared.run(&folder, args.workers.unwrap_or(0), &stop, &|trace| progress.told(trace))?;
    progress.done();
    let view = figures::of(&prepared, &folder)?;
    let page = write_study(&view, &folder.path)?;
    print(&summary(&view))?;
    let state = match finished {
        true => String::new(),
        false => format!(
            "Interrupted; the same command goes on: {} of {} runs are there.\n",
            view.runs, view.runs_planned
        ),
    };
    print(&format!("{state}Report: {}\n", page.display()))
}

/// `runs/STUDY`, after the study's file.
fn default_folder(study: &Path) -> PathBuf {
    let name = study.file_stem().map_or_else(|| "study".into(), |name| name.to_string_lossy().into_owned());
    Path::new("runs").join(format!("study-{name}"))
}

/// Figures that fit beside one another on a terminal, and what they are called there.
const SHOWN: [(&str, &str); 5] = [
    ("hypervolume", "hypervolume"),
    ("regret of hypervolume", "missing"),
    ("IGD+", "IGD+"),
    ("additive epsilon", "epsilon"),
    ("size of the front", "front"),
];

/// The methods by their final figures.
fn summary(view: &StudyView) -> String {
    let figures = view.methods.first().map_or(&[][..], |method| method.figures.as_slice());
    let place = |(name, short): (&str, &str)| {
        let place = figures.iter().position(|figure| figure.name == name)?;
        Some((place, short.to_string()))
    };
    let shown: Vec<(usize, String)> = SHOWN.into_iter().filter_map(place).collect();
    let mut table = super::show::table();
    let names = shown.iter().map(|(_, short)| short.clone());
    table.set_header(["method".to_string(), "runs".into()].into_iter().chain(names));
    for method in &view.methods {
        let text = |(place, _): &(usize, String)| {
            let figure = &method.figures[*place];
            figure.spread.map_or_else(
                || "-".into(),
                |spread| match figure.unit.as_str() {
                    "" => format!("{:.4}", spread[1]),
                    unit => format_value(unit, spread[1]),
                },
            )
        };
        table.add_row(
            [method.name.clone(), method.runs.to_string()].into_iter().chain(shown.iter().map(text)),
        );
    }
    format!("\n{}\n{table}\nMedians over the runs.\n", view.title)
}

/// Tells how many runs have ended: a bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    plain: bool,
    all: usize,
    /// When the last line was written.
    last: Mutex<Option<Instant>>,
}

impl Progress {
    fn new(study: &Study, ended: usize, quiet: bool) -> Self {
        let all = study.methods.len() * study.seeds.len();
        let is_terminal = std::io::stderr().is_terminal();
        let target =
            if is_terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(all as u64), target);
        let template = "{bar:24} {pos} of {len} runs, {elapsed}, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(ended as u64);
        bar.reset_eta();
        if !quiet {
            let text = format!(
                "{}: {} methods, {} seeds, {} a run; {ended} of {all} runs are there",
                study.title,
                study.methods.len(),
                study.seeds.len(),
                study.budget
            );
            if is_terminal { bar.println(text) } else { eprintln!("{text}") }
        }
        Self { bar, plain: !is_terminal && !quiet, all, last: Mutex::new(None) }
    }

    fn told(&self, trace: &Trace) {
        let message = format!("{} seed {}", trace.method, trace.seed);
        self.bar.inc(1);
        self.bar.set_message(message.clone());
        let (ended, all) = (self.bar.position() as usize, self.all);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.plain && (ended == all || last.is_none_or(|last| last.elapsed() >= QUIET)) {
            *last = Some(Instant::now());
            let (count, seconds) = (trace.evaluations.len(), trace.seconds);
            eprintln!("{ended} of {all} runs, last {message}: {count} evaluations in {seconds:.1} s");
        }
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
