//! Records what the program is built from, for `src/machine.rs`: a front is worth little without it.

use std::path::Path;
use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    emit("PARETOMORPH_RUSTC", output(&rustc, &["--version"]));
    emit("PARETOMORPH_COMMIT", if is_own_checkout() { commit() } else { None });
    println!("cargo::rerun-if-changed=build.rs");
}

/// Whether the sources are a checkout of their own, rather than a package inside somebody else's.
fn is_own_checkout() -> bool {
    let top = output("git", &["rev-parse", "--show-toplevel"]);
    let here = std::env::var("CARGO_MANIFEST_DIR").ok();
    let real = |path: String| Path::new(&path).canonicalize().ok();
    top.and_then(real).is_some_and(|top| Some(top) == here.and_then(real))
}

/// The commit, with "-dirty" where tracked files differ from it.
fn commit() -> Option<String> {
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"])?;
    for path in [log.as_str(), "src", "morphisms/src", "kernels/src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    output("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().into())
}

fn emit(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.unwrap_or_default());
}
