//! The program `paretomorph`.

use std::process::ExitCode;

use clap::Parser;
use paretomorph::cli::Cli;

fn main() -> ExitCode {
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
