//! The program `paretomorph`.

use std::process::ExitCode;

use clap::Parser;
use paretomorph::cli::Cli;

/// Training allocates and frees large tensors all the time; the system's allocator gives each back to the kernel and
/// spends a fifth of the time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    paretomorph::machine::keep_freed_memory();
    // candle spins a thread pool of its own for element-wise operations. Trainings run side by side on a thread each,
    // and half of their time went into waiting for that pool.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // A closed pipe is nobody's error.
            let _ = answer.print();
            // `--help` is an answer too, and not a failure.
            return if answer.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
