//! The program `paretomorph`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match paretomorph::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
