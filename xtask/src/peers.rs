//! Foreign programs that do the same as ours, in versions pinned here: our speed is measured beside theirs, our files read by them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::cargo::replace_by;
use crate::venv;

const FOLDER: &str = ".venv-peers";
/// Written last into an environment: it is whole, and holds these packages.
const MARKER: &str = "installed.txt";
const RESULTS: &str = "target/peers";

/// The CPU simulator that CALVIN is made of. NumPy lets it hand out images without a list of numbers.
const PYBULLET: Environment = Environment { name: "pybullet", packages: &["pybullet==3.2.7", "numpy==2.2.6"], download_mb: 120 };
/// The reader of our data sets, with PyTorch. It wants a keyboard library that is published as C source alone.
const LEROBOT: Environment =
    Environment { name: "lerobot", packages: &["lerobot==0.4.4", "--no-binary=evdev"], download_mb: 3000 };

/// Runtimes of networks on CPUs, for the decode engine.
const DECODE: Environment = Environment {
    name: "decode",
    packages: &["openvino==2026.4.1", "onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6", "safetensors==0.8.0"],
    download_mb: 110,
};

/// What `cargo xtask peers` takes.
#[derive(Args)]
pub struct Options {
    /// Install lerobot, too: about 3 GB of downloads.
    #[arg(long)]
    lerobot: bool,
    #[command(subcommand)]
    pub peer: Option<Peer>,
}

/// What is run after it is installed.
#[derive(Subcommand)]
pub enum Peer {
    /// Time PyBullet; its figures go to `target/peers/pybullet.json`.
    Pybullet {
        /// What `benches/peers/pybullet_speed.py` takes, e.g. `-- --steps 1000`.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Install OpenVINO and ONNX Runtime, beside which `reverie bench decode --peers` times the decode engine.
    Decode,
    /// Read a data set with lerobot (about 3 GB of downloads once), and compare.
    Lerobot {
        /// The data set, e.g. `data/play`.
        folder: PathBuf,
    },
}

/// Installs, and runs what is asked for.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<ExitCode> {
    if options.lerobot {
        LEROBOT.python(root)?;
    }
    match &options.peer {
        None => drop(PYBULLET.python(root)?),
        Some(Peer::Pybullet { args }) => {
            let mut command = Command::new(PYBULLET.python(root)?);
            keep_json(command.arg(root.join("benches/peers/pybullet_speed.py")).args(args), &root.join(RESULTS), "pybullet")?;
        }
        Some(Peer::Decode) => {
            DECODE.python(root)?;
            println!("reverie bench decode --peers {FOLDER}/{}/bin/python", DECODE.name);
        }
        Some(Peer::Lerobot { folder }) => {
            if !folder.is_dir() {
                bail!("{} is no folder: give a data set that `reverie collect` or `reverie import` wrote", folder.display());
            }
            let python = LEROBOT.python(root)?;
            return replace_by(Command::new(python).arg(root.join("benches/peers/lerobot_check.py")).arg(folder));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A virtual environment and what is in it.
struct Environment {
    name: &'static str,
    /// What `pip install` takes; only wheels are installed, but for what is excepted here.
    packages: &'static [&'static str],
    download_mb: u32,
}

impl Environment {
    /// Its Python; the environment is made if it is not there, and made anew if it is half or holds other versions.
    fn python(&self, root: &Path) -> anyhow::Result<PathBuf> {
        let folder = root.join(FOLDER).join(self.name);
        let python = folder.join("bin/python");
        let marker = folder.join(MARKER);
        let wanted = self.packages.join("\n") + "\n";
        if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) && python.exists() {
            return Ok(python);
        }
        if folder.exists() {
            eprintln!("xtask: {} is half-made or of other versions: making it anew", folder.display());
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(root.join(FOLDER)).with_context(|| format!("cannot make {}", root.join(FOLDER).display()))?;
        let (packages, megabytes) = (self.packages.join(" "), self.download_mb);
        eprintln!("xtask: installing {packages} in {} (once; downloads about {megabytes} MB)", folder.display());
        venv::make(&folder, self.packages, || {
            fs::write(&marker, wanted).with_context(|| format!("cannot write {}", marker.display()))
        })
        .with_context(|| {
            format!("the peer {} is not installed; it is known to install with Python 3.11 and a C compiler", self.name)
        })?;
        Ok(python)
    }
}

/// Runs a program that prints one JSON object, and leaves that in `results/name.json`; a failure leaves the earlier file there.
fn keep_json(command: &mut Command, results: &Path, name: &str) -> anyhow::Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("the peer {name} ended with {}; its message stands above", output.status);
    }
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("the peer {name} printed no JSON"))?;
    let (file, partial) = (results.join(name).with_extension("json"), results.join(name).with_extension("json.partial"));
    let written = fs::create_dir_all(results).and_then(|()| fs::write(&partial, format!("{json:#}\n")));
    written.and_then(|()| fs::rename(&partial, &file)).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("xtask: the figures are in {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_peer_leaves_the_earlier_figures() {
        let outer = tempfile::tempdir().unwrap();
        let results = outer.path().join("target/peers");
        keep_json(&mut shell("echo '{\"step_us\": 46}'"), &results, "peer").unwrap();
        let failed = keep_json(&mut shell("echo '{\"step_us\": 1}'; exit 3"), &results, "peer").unwrap_err().to_string();
        assert!(failed.contains("peer ended with") && failed.contains('3'), "{failed}");
        assert!(keep_json(&mut shell("echo figures"), &results, "peer").unwrap_err().to_string().contains("no JSON"));
        let kept: serde_json::Value = serde_json::from_str(&fs::read_to_string(results.join("peer.json")).unwrap()).unwrap();
        assert_eq!(kept, serde_json::json!({ "step_us": 46 }));
        assert_eq!(fs::read_dir(&results).unwrap().count(), 1);
    }

    #[test]
    fn an_environment_is_used_only_if_whole_and_of_these_versions() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER).join(PYBULLET.name);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::write(folder.join("bin/python"), "").unwrap();
        fs::write(folder.join(MARKER), PYBULLET.packages.join("\n") + "\n").unwrap();
        assert_eq!(PYBULLET.python(root.path()).unwrap(), folder.join("bin/python"));

        // A package that exists nowhere: what was there of other versions is gone, and nothing half-made is in its place.
        let other = Environment { name: PYBULLET.name, packages: &["./no-such-package"], download_mb: 0 };
        assert!(other.python(root.path()).is_err());
        assert!(!folder.exists());
    }
}
