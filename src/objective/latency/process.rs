//! A program that may hang: it and all that it started are killed when its time is up, and when this process dies.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes kept of what a program prints: the end.
const KEPT: usize = 16 * 1024;
/// How often a waiting process looks up, at most.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long to wait for the rest of what a program printed that has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs its arguments. A shell beside them, in the same process group, waits for the end of standard input and then kills
/// the group: that end comes when the pipe is dropped, and when the process at its other end is no more.
const GUARD: &str = r#"exec 3<&0 </dev/null
{ read -r _ <&3; kill -9 0; } >/dev/null 2>&1 &
exec 3<&-
exec "$@""#;

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// By itself.
    Exited {
        /// Its exit status.
        status: ExitStatus,
        /// The end of its standard output.
        out: String,
        /// The end of its standard error.
        err: String,
    },
    /// It took too long and was killed.
    TimedOut {
        /// The end of its standard error.
        err: String,
    },
    /// Somebody asked to stop, and it was killed.
    Stopped,
}

/// Runs a program, with nothing to read, until it ends, `limit` is over, or `is_stopped`.
///
/// # Errors
/// If there is no shell that could be started.
pub(super) fn run(
    arguments: &[String],
    limit: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> io::Result<Ending> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let status = wait(&mut child, limit, is_stopped)?;
    // The end of its input: the guard kills whatever is left of the group.
    drop(child.stdin.take());
    if status.is_some() {
        let (out, err) = (text(&out), text(&err));
        return Ok(status.map_or(Ending::Stopped, |status| Ending::Exited { status, out, err }));
    }
    child.kill()?;
    child.wait()?;
    Ok(if is_stopped() { Ending::Stopped } else { Ending::TimedOut { err: text(&err) } })
}

/// Waits for the end; none if there is none in time.
fn wait(child: &mut Child, limit: Duration, is_stopped: &dyn Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit || is_stopped() {
            return Ok(None);
        }
        thread::sleep(pause.min(limit));
        pause = (pause * 2).min(PATIENCE);
    }
}

/// Reads a stream to its end on a thread of its own, so that its writer never waits.
fn listen(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut stream) = stream {
        thread::spawn(move || {
            let mut tail = Tail(Vec::new());
            // What was read before an error still counts.
            let _ = io::copy(&mut stream, &mut tail);
            let _ = sender.send(tail.0);
        });
    }
    receiver
}

fn text(stream: &Receiver<Vec<u8>>) -> String {
    // A process that left the group may hold the stream open for ever.
    String::from_utf8_lossy(&stream.recv_timeout(DRAIN).unwrap_or_default()).into_owned()
}

/// Keeps the end of what is written to it.
struct Tail(Vec<u8>);

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, limit: Duration) -> Ending {
        run(&["sh", "-c", script].map(String::from), limit, &|| false).unwrap()
    }

    #[test]
    fn status_and_words_are_those_of_the_program() {
        let Ending::Exited { status, out, err } = shell("cat; echo 1; echo 2; echo no >&2; exit 3", LONG)
        else {
            panic!("it ends by itself")
        };
        assert_eq!((status.code(), out.as_str(), err.as_str()), (Some(3), "1\n2\n", "no\n"));
        let missing = run(&["/no/such/program".to_string()], LONG, &|| false).unwrap();
        let Ending::Exited { status, err, .. } = missing else { panic!("{missing:?}") };
        assert!(status.code() == Some(127) && err.contains("/no/such/program"), "{err}");
    }

    #[test]
    fn of_much_output_the_end_is_kept() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last";
        let Ending::Exited { out, .. } = shell(script, LONG) else { panic!("it ends by itself") };
        assert!(out.len() == KEPT && out.ends_with("line 19999\nlast\n"));
    }

    /// A program that, with another one in the background, writes into `file` for ever.
    fn busy(file: &Path) -> String {
        let file = file.display();
        format!("echo held up >&2; touch {file}; (while :; do echo x >> {file}; sleep 0.01; done) & wait")
    }

    /// Whether nobody writes into `file` any more, soon.
    fn falls_silent(file: &Path) -> bool {
        let size = || std::fs::metadata(file).unwrap().len();
        (0..100).any(|_| {
            let before = size();
            thread::sleep(Duration::from_millis(100));
            size() == before
        })
    }

    #[test]
    fn all_that_a_hung_program_started_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hung");
        let ending = shell(&busy(&file), Duration::from_millis(300));
        assert!(matches!(&ending, Ending::TimedOut { err } if err == "held up\n"), "{ending:?}");
        assert!(falls_silent(&file));
    }

    #[test]
    fn one_that_leaves_others_behind_and_one_that_is_stopped_leave_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("left");
        let script = busy(&file).replace("wait", "echo done");
        let ending = shell(&script, LONG);
        assert!(matches!(&ending, Ending::Exited { out, .. } if out == "done\n"), "{ending:?}");
        assert!(falls_silent(&file));
        let file = folder.path().join("stopped");
        let arguments = ["sh", "-c", &busy(&file)].map(String::from);
        let ending = run(&arguments, LONG, &|| file.exists()).unwrap();
        assert!(matches!(ending, Ending::Stopped) && falls_silent(&file), "{ending:?}");
    }
}
