//! Python 3 with pip, which downloads and unpacks wheels. Nothing is installed into it.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::janitor::Janitor;

const PROGRAM: &str = "python3";

/// The user's `python3`; it is known to have pip.
pub struct Python;

impl Python {
    /// Checks that `python3` starts, is 3.8 or newer, and has pip.
    pub fn find() -> anyhow::Result<Self> {
        let version = Command::new(PROGRAM).args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]).output();
        match version {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("python3 is missing: install Python 3.8 or newer with pip (Debian, Ubuntu: apt install python3-pip)")
            }
            Err(error) => return Err(error).context("cannot start python3"),
            Ok(output) if !output.status.success() => bail!("python3 is older than 3.8: install a newer Python 3 with pip"),
            Ok(_) => {}
        }
        let pip = Command::new(PROGRAM).args(["-m", "pip", "--version"]).output().context("cannot start python3")?;
        if !pip.status.success() {
            bail!("python3 has no pip: install it (Debian, Ubuntu: apt install python3-pip)");
        }
        Ok(Self)
    }

    /// `python3` with these arguments: its output goes to our standard error, its own errors are captured for [`Failure`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::piped());
        command
    }

    /// Runs a script under the janitor's watch.
    pub fn run(&self, janitor: &mut Janitor, command: &mut Command) -> anyhow::Result<Result<(), Failure>> {
        let output = janitor.run(command)?;
        Ok(if output.status.success() { Ok(()) } else { Err(Failure::read(&String::from_utf8_lossy(&output.stderr))) })
    }

    /// Free bytes on the disk that holds `folder`.
    pub fn free_disk_bytes(&self, folder: &Path) -> anyhow::Result<u64> {
        let output = Command::new(PROGRAM)
            .args(["-c", "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)"])
            .arg(folder)
            .output()
            .context("cannot start python3")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        printed.trim().parse().with_context(|| format!("cannot find the free disk space at {}", folder.display()))
    }
}

/// Why a Python program failed, read from what it said.
#[derive(Debug, PartialEq)]
pub enum Failure {
    DiskFull,
    NoNetwork,
    /// In the program's own words, one line.
    Other(String),
}

impl Failure {
    /// Reads the standard error of pip, venv or our unpacking script.
    pub fn read(stderr: &str) -> Self {
        const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
        const OFFLINE: [&str; 10] = [
            "NewConnectionError",
            "NameResolutionError",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ProxyError",
            "ConnectionResetError",
            "IncompleteRead",
            "Max retries exceeded",
            "Temporary failure in name resolution",
            "Network is unreachable",
        ];
        if FULL.iter().any(|words| stderr.contains(words)) {
            return Self::DiskFull;
        }
        if OFFLINE.iter().any(|words| stderr.contains(words)) {
            return Self::NoNetwork;
        }
        let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines().find(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
        Self::Other(line.unwrap_or("it ended without saying why").trim_start_matches("ERROR:").trim().to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull => f.write_str("the disk is full: free some space and call again"),
            Self::NoNetwork => {
                f.write_str("no network: pip cannot reach its package index; connect, or set PIP_INDEX_URL, and call again")
            }
            Self::Other(line) => f.write_str(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_without_network() {
        let said = "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by \
            'NewConnectionError(': Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'\n\
            ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n\
            ERROR: No matching distribution found for torch==2.13.0";
        assert_eq!(Failure::read(said), Failure::NoNetwork);
    }

    #[test]
    fn full_disk_wins_over_what_follows_from_it() {
        let said =
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\nMax retries exceeded";
        assert_eq!(Failure::read(said), Failure::DiskFull);
    }

    #[test]
    fn anything_else_is_quoted_in_one_line() {
        let said =
            "WARNING: something\nERROR: Could not find a version that satisfies the requirement torch==9\nERROR: No matching\n";
        let expected = "Could not find a version that satisfies the requirement torch==9";
        assert_eq!(Failure::read(said), Failure::Other(expected.to_owned()));
        assert_eq!(Failure::read("torch.whl has no include/\n"), Failure::Other("torch.whl has no include/".to_owned()));
        assert_eq!(Failure::read(""), Failure::Other("it ended without saying why".to_owned()));
    }
}
