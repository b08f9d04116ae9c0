//! The machine and the program of a run, for the report: results are only comparable with both.

use std::fs;
use std::thread::available_parallelism;

/// What the run ran on and what ran, as name and value, in a fixed order of names. What the system does not tell
/// is left out.
///
/// Linux is read from `/proc`, `/sys` and `/etc`; elsewhere the processor, memory and kernel are left out.
pub fn describe() -> Vec<(String, String)> {
    let entries = [
        ("processor", processor()),
        ("cores", available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", memory()),
        ("operating system", Some(operating_system())),
        ("kernel", kernel()),
        ("paretomorph", Some(version())),
        ("compiler", built_with(env!("PARETOMORPH_RUSTC"))),
    ];
    entries.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect()
}

/// The version of the crate and the commit it was built from: `0.1.0 (3f2a90c1d2e4)`.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match built_with(env!("PARETOMORPH_COMMIT")) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.into(),
    }
}

/// The time, UTC, to the second, as in RFC 3339.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// A value of `build.rs`, which leaves unknown ones empty.
fn built_with(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.into())
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    // x86 calls it "model name"; most ARM boards only have "Model" or "Hardware".
    ["model name", "Model", "Hardware"].iter().find_map(|name| field(&text, name, ':'))
}

fn memory() -> Option<String> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    gibibytes(&field(&text, "MemTotal", ':')?)
}

/// `16303428 kB`, which means KiB, as GiB.
fn gibibytes(kilobytes: &str) -> Option<String> {
    let kib: f64 = kilobytes.strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

fn operating_system() -> String {
    let release = fs::read_to_string("/etc/os-release").ok();
    let name = release.and_then(|text| field(&text, "PRETTY_NAME", '='));
    format!("{} ({})", name.unwrap_or_else(|| std::env::consts::OS.into()), std::env::consts::ARCH)
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(format!("Linux {}", release.trim()))
}

/// The value of the first line `name<separator>value`, without quotes.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let value = pairs.find(|(key, _)| key.trim() == name)?.1.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.into())
}

/// Lets mimalloc, in a program that allocates with it, keep free memory for a minute: a training step takes up again what
/// the last one gave back. mimalloc gives back all that is free whenever the time is over, so with its usual second a tenth
/// of a large network's step goes into page faults.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay`, in milliseconds; the bindings have no name for it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the option exists, and takes any number.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 60_000) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.5 GHz\nmodel\t\t: 85\n\nmodel name\t: other\n";
        assert_eq!(field(text, "model name", ':').as_deref(), Some("Some CPU @ 2.5 GHz"));
        assert_eq!(field(text, "model", ':').as_deref(), Some("85"));
        assert_eq!(field(text, "Model", ':'), None);
        assert_eq!(
            field("NAME=x\nPRETTY_NAME=\"An OS 1\"\n", "PRETTY_NAME", '=').as_deref(),
            Some("An OS 1")
        );
        assert_eq!(field("Hardware:\n", "Hardware", ':'), None);
    }

    #[test]
    fn memory_is_in_gibibytes() {
        assert_eq!(gibibytes("16777216 kB").as_deref(), Some("16.0 GiB"));
        assert_eq!(gibibytes("16777216"), None);
        assert_eq!(gibibytes("many kB"), None);
    }

    #[test]
    fn every_machine_has_cores_a_system_and_a_version() {
        let entries = describe();
        for name in ["cores", "operating system", "paretomorph", "compiler"] {
            let found = entries.iter().find(|(entry, _)| entry == name);
            assert!(found.is_some_and(|(_, value)| !value.is_empty()), "no {name} in {entries:?}");
        }
        assert!(version().starts_with(env!("CARGO_PKG_VERSION")));
    }
}
