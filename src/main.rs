//! The program `paretomorph`.

use std::process::ExitCode;

use clap::Parser;

/// Training allocates and frees large tensors all the time; the system's allocator gives each back to the kernel and
/// spends a fifth of the time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match paretomorph::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
