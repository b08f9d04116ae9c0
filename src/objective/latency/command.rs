//! A command of the user's: whatever reaches the device.

use std::path::Path;

use super::bench::Bench;
use crate::config::LatencyConfig;

/// What stands for the network's file in a command.
pub(super) const PLACE: &str = "{onnx}";

/// The command for a network's file.
pub(super) fn bench(config: &LatencyConfig, file: &Path) -> Bench {
    let command = config
        .command
        .replace(PLACE, &quoted(&file.display().to_string()))
        .replace("{warmup}", &config.warmup.to_string())
        .replace("{repeats}", &config.repeats.to_string());
    Bench {
        name: format!("`{}`", config.command),
        arguments: vec!["sh".into(), "-c".into(), command],
        times: 1,
        runs: config.runs,
    }
}

/// A path as a word of a shell: as it is where that is one already, so that it may stand between quotes of the user's.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    match path.chars().all(plain) {
        true => path.into(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gets_the_file_and_the_counts() {
        let command = "ssh board './bench -n {repeats} -w {warmup}' < {onnx} # {other}".to_string();
        let config = LatencyConfig { command, runs: 3, repeats: 7, warmup: 2, ..LatencyConfig::default() };
        let bench = bench(&config, Path::new("/tmp/a b/it's.onnx"));
        let expected = r"ssh board './bench -n 7 -w 2' < '/tmp/a b/it'\''s.onnx' # {other}";
        assert_eq!(bench.arguments, ["sh", "-c", expected]);
        assert_eq!((bench.times, bench.runs), (1, 3));
    }

    #[test]
    fn plain_paths_stay_as_they_are() {
        assert_eq!(quoted("/tmp/.tmpAb1/network.onnx"), "/tmp/.tmpAb1/network.onnx");
        assert_eq!(quoted("a$b"), "'a$b'");
    }
}
