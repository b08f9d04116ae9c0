//! Our side of `benches/pareto/run.py`: says what the cases are, then runs them when asked.
//!
//! Requests come on standard input, one JSON object a line; each is answered by one line on standard output.
//!
//! | request | answer |
//! |---|---|
//! | `{"cases": true}` | `{"cases": [...]}`, see [`cases::Case`] |
//! | `{"run": "sort 2000x2, cloud", "repeats": 5}` | `{"seconds": [...], "value": ...}`, after one more run that does not count |
//!
//! What failed is answered by `{"error": "..."}`. Between requests the program sleeps.

mod cases;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use cases::{Case, Result};
use serde::Deserialize;
use serde_json::json;

/// As in the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
#[serde(untagged)]
enum Request {
    Cases { cases: bool },
    Run { run: String, repeats: usize },
}

fn answer(cases: &[Case], line: &str) -> Result<serde_json::Value> {
    match serde_json::from_str(line)? {
        Request::Cases { cases: wanted } => Ok(json!({ "cases": if wanted { cases } else { &[] } })),
        Request::Run { run, repeats } => {
            let case = cases.iter().find(|case| case.name == run);
            turn(case.ok_or_else(|| format!("case: expected one of the list, found `{run}`"))?, repeats)
        }
    }
}

fn turn(case: &Case, repeats: usize) -> Result<serde_json::Value> {
    let prepared = case.prepare()?;
    let value = prepared.run()?; // The other side had the caches.
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        black_box(black_box(&prepared).run()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds, "value": value }))
}

fn main() -> Result<()> {
    // As in the program that is measured.
    paretomorph::machine::keep_freed_memory();
    let cases = cases::all();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = answer(&cases, &line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}
