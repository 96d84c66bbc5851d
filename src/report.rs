//! Success rates with their uncertainty, latency quantiles, and result files.

use std::{fs, io::Write, path::Path, process::Command, sync::LazyLock};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Successes among trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub successes: u64,
    pub trials: u64,
}

impl Rate {
    pub fn mean(self) -> f64 {
        if self.trials == 0 { f64::NAN } else { self.successes as f64 / self.trials as f64 }
    }

    /// Wilson score interval at 95 % (Wilson 1927): where the true rate is, given the trials.
    pub fn wilson95(self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        if self.trials == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (self.trials as f64, self.mean());
        let centre = p + Z * Z / (2.0 * n);
        let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        [((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0)]
    }
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.successes += other.successes;
        self.trials += other.trials;
    }
}

/// Sorted samples of a duration or count.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn mean(&self) -> f64 {
        if self.0.is_empty() { f64::NAN } else { self.0.iter().sum::<f64>() / self.0.len() as f64 }
    }

    /// The smallest sample that at least the share `q` of samples does not exceed; NaN without samples.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Writes `docs/results/<name>.json`'s form to `path`, whole or not at all.
pub fn write_results(path: &Path, claims: &Value, data: &impl Serialize) -> Result<()> {
    let command = std::env::args().collect::<Vec<_>>();
    let program = Path::new(&command[0]).file_name().map_or_else(|| "reverie".into(), |name| name.to_string_lossy().into_owned());
    let results = json!({
        "command": std::iter::once(program).chain(command[1..].iter().cloned()).collect::<Vec<_>>().join(" "),
        "commit": commit(),
        "date": date(),
        "machine": machine(),
        "claims": claims,
        "data": data,
    });
    let mut text = serde_json::to_string_pretty(&results)?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// Writes a file beside its place and renames it, so that it is there whole or not at all.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        let _ = fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644));
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit that the program was begun at, `-dirty` if tracked files differed from it. Verbs that run long ask for it first
/// of all: what is committed while they go on has not made their results.
pub fn commit() -> String {
    static COMMIT: LazyLock<String> =
        LazyLock::new(|| output("git", &["describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_else(|| "unknown".into()));
    COMMIT.clone()
}

fn date() -> String {
    output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_else(|| "unknown".into())
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        cpu.lines().find(|line| line.starts_with(key)).and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, {}", field("model name"), output("uname", &["-sr"]).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from R's `prop.test(..., correct = FALSE)` / Newcombe 1998, table I.
    #[test]
    fn wilson_interval_equals_published_values() {
        for (successes, trials, lower, upper) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
            let [low, high] = Rate { successes, trials }.wilson95();
            assert!((low - lower).abs() < 1e-4 && (high - upper).abs() < 1e-4, "{low} {high}");
        }
    }

    #[test]
    fn quantiles_are_order_statistics() {
        let samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!([0.5, 0.99, 1.0].map(|q| samples.quantile(q)), [50.0, 99.0, 100.0]);
    }
}
