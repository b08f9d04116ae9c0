//! Our side of `benches/pytorch/run.py`: says what the cases are, then runs them when asked.
//!
//! Requests come on standard input, one JSON object a line; each is answered by one line on standard output.
//!
//! | request | answer |
//! |---|---|
//! | `{"cases": {"images": 10000}}` | `{"cases": [...]}`, see [`cases::Case`]; the population trains on that many images |
//! | `{"run": "dense 3x3, 3->32, 32x32, forward", "repeats": 5}` | `{"seconds": [...]}`, after one more run that does not count |
//!
//! What failed is answered by `{"error": "..."}`. Between requests the program sleeps.

mod cases;
mod kernels;
mod networks;
mod population;
mod work;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;
use serde_json::json;

use cases::Case;
use work::{Run, Settings};

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Cases {
        images: usize,
    },
    #[serde(untagged)]
    Run {
        run: String,
        repeats: usize,
    },
}

/// The program between two requests. One case is ready at a time, so that no case pays for another one's memory.
struct Server {
    pool: ThreadPool,
    settings: Settings,
    cases: Vec<Case>,
    ready: Option<(String, Run)>,
}

impl Server {
    fn new(threads: usize, data: Option<PathBuf>) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { pool, settings: Settings { threads, data }, cases: Vec::new(), ready: None })
    }

    fn answer(&mut self, line: &str) -> Result<serde_json::Value> {
        match serde_json::from_str(line)? {
            Request::Cases { images } => {
                self.cases = cases::all(images)?;
                Ok(json!({ "cases": self.cases }))
            }
            Request::Run { run, repeats } => Ok(json!({ "seconds": self.run(&run, repeats)? })),
        }
    }

    fn run(&mut self, name: &str, repeats: usize) -> Result<Vec<f64>> {
        let Self { pool, settings, cases, ready } = self;
        if ready.as_ref().is_none_or(|(ready, _)| ready != name) {
            *ready = None;
            let case = cases.iter().find(|case| case.name == name);
            let case = case.ok_or_else(|| format!("case: expected one of the list, found `{name}`"))?;
            *ready = Some((name.into(), pool.install(|| work::prepare(&case.work, settings))?));
        }
        let Some((_, run)) = ready else { return Ok(Vec::new()) };
        pool.install(|| {
            run()?; // The other side had the caches.
            (0..repeats).map(|_| Ok(run()?.as_secs_f64())).collect()
        })
    }
}

fn main() -> Result<()> {
    // As in the program that is measured.
    paretomorph::machine::keep_freed_memory();
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let usage = "arguments: expected THREADS [FOLDER OF FASHION-MNIST]; see benches/README.md";
    let threads = arguments.next().and_then(|threads| threads.parse().ok()).ok_or(usage)?;
    let mut server = Server::new(threads, arguments.next().map(PathBuf::from))?;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = server.answer(&line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}
