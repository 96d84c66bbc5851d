//! Virtual environments at the repository's root: whole, or not there.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::janitor::Janitor;
use crate::python::Python;

/// Makes the environment `folder` with these packages; `finish` checks it. A failure leaves nothing behind.
pub fn make(folder: &Path, packages: &[&str], finish: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let python = Python::find()?;
    let mut janitor = Janitor::create(folder.to_owned())?;
    if let Err(failure) = python.run(&mut janitor, python.command().args(["-m", "venv"]).arg(folder))? {
        bail!("cannot make {}: {failure} (Debian, Ubuntu: apt install python3-venv)", folder.display());
    }
    let mut pip = Command::new(folder.join("bin/python"));
    pip.stdin(Stdio::null()).stdout(io::stderr()).stderr(Stdio::piped());
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--only-binary=:all:", "--retries", "2"]).args(packages);
    if let Err(failure) = python.run(&mut janitor, &mut pip)? {
        bail!("cannot install {}: {failure}", packages.join(" "));
    }
    finish()?;
    janitor.keep().with_context(|| format!("cannot keep {}", folder.display()))
}
