//! What the tests of the whole program share.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use paretomorph::individual::Individual;
use paretomorph::store::Store;

/// A search of a second: too short to learn anything, long enough for several generations.
pub const TINY: &[&str] = &[
    "--set=data.limit=120",
    "--set=recipe.epochs=1",
    "--set=recipe.initial_epochs=1",
    "--set=lemonade.accepted=3",
    "--set=lemonade.proposals=6",
    "--quiet",
];

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_paretomorph");

/// What came of a call of the program.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; none if it was ended by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Calls the program and waits for its end.
pub fn run<A: AsRef<str>>(args: &[A]) -> Outcome {
    let mut command = assert_cmd::Command::new(PROGRAM);
    // Not a measurement: it only keeps a program that hangs from hanging the tests.
    command.timeout(Duration::from_secs(300));
    let output = command.args(args.iter().map(AsRef::as_ref)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Outcome { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Calls the program, which must succeed; returns its standard output.
#[track_caller]
pub fn ok<A: AsRef<str>>(args: &[A]) -> String {
    let outcome = run(args);
    assert_eq!(outcome.code, Some(0), "{:?}: {}", texts(args), outcome.err);
    outcome.out
}

/// Calls the program, which must fail in good order, with a message that has all of `parts`.
#[track_caller]
pub fn fails<A: AsRef<str>>(args: &[A], parts: &[&str]) {
    let Outcome { code, err, .. } = run(args);
    let args = texts(args);
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    assert_eq!(code, Some(1), "{args:?}: {err}");
    let message = err.find("error: ").map(|at| &err[at..]);
    let message = message.unwrap_or_else(|| panic!("{args:?}: no message in {err}"));
    for part in parts {
        assert!(message.contains(part), "{args:?}: `{part}` is not in: {message}");
    }
}

fn texts<A: AsRef<str>>(args: &[A]) -> Vec<&str> {
    args.iter().map(AsRef::as_ref).collect()
}

/// Searches with `args` in the folder `out`.
#[track_caller]
pub fn search(out: &Path, args: &[&str]) -> String {
    ok(&[&["search", "--out", text(out)], args].concat())
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A call of the program that goes on beside the test, and is killed with it.
pub struct Running(pub Child);

impl Running {
    /// Starts the program.
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits until `holds` does, which must be before the program ends.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        wait_until(what, || {
            let status = self.0.try_wait().unwrap();
            let reached = holds();
            if let (Some(status), false) = (status, reached) {
                let mut complaints = String::new();
                self.0.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
                panic!("it ended with {status} before {what}: {complaints}");
            }
            reached
        });
    }

    /// Sends SIGKILL and waits for the end; whether the program was still at work.
    pub fn kill(mut self) -> bool {
        let at_work = self.0.try_wait().unwrap().is_none();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        at_work
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `holds` does.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}");
}

/// Every individual of a run, without the times, which no two runs have in common.
pub fn individuals(run: &Path) -> Vec<Individual> {
    let store = Store::read(run).unwrap();
    let all = store.database.individuals().unwrap().into_iter();
    all.map(|individual| Individual { seconds: 0.0, committed_at: 0.0, ..individual }).collect()
}

/// `front --json`.
pub fn front(run: &Path) -> serde_json::Value {
    serde_json::from_str(&ok(&["front", text(run), "--json"])).unwrap()
}

/// A copy of a folder with everything in it. What SQLite makes beside a database may vanish meanwhile: another test that
/// reads the same run has closed it.
pub fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        match path.is_dir() {
            true => drop(copy(&path, &target)),
            false => match fs::copy(&path, &target) {
                Err(error) if error.kind() == ErrorKind::NotFound && is_beside_database(&path) => {}
                copied => drop(copied.unwrap()),
            },
        }
    }
    to.to_path_buf()
}

fn is_beside_database(path: &Path) -> bool {
    ["-wal", "-shm"].iter().any(|end| text(path).ends_with(end))
}

/// The files of a folder with their bytes. The lock and what SQLite makes beside a database are left out.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = text(&path).to_string();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if !name.ends_with("lock") && !is_beside_database(&path) {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The weight files of a run.
pub fn weight_files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("weights")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Takes the last bytes of a file away.
pub fn cut(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 5]).unwrap();
}
