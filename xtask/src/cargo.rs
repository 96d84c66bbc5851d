//! Runs cargo for the person: the same commands that they could type after `cargo xtask setup`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::libtorch;

/// Builds and runs `reverie demo`; returns its exit code.
pub fn demo(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    eprintln!("xtask: building (the first build takes 15-20 minutes on two cores, a later one under a minute)");
    let built = cargo(root).args(["build", "--bin", "reverie"]).status().context("cannot start cargo")?;
    if !built.success() {
        anyhow::bail!("the build failed; the compiler's message stands above");
    }
    replace_by(cargo(root).args(["run", "--quiet", "--bin", "reverie", "--", "demo"]).args(args))
}

/// Runs the workspace's tests; returns cargo's exit code.
pub fn test(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    eprintln!("xtask: building and testing (the first build takes 15-20 minutes on two cores)");
    let mut command = cargo(root);
    command.arg("test");
    if !args.iter().any(|arg| arg == "-p" || arg.starts_with("--package")) {
        command.arg("--workspace");
    }
    replace_by(command.args(args))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // Cargo has put the value of `.cargo/config.toml` into our environment. Handed on, it would look to build scripts like a
    // variable of the user's, and libtorch's bindings would be compiled again at every change between this and plain `cargo build`.
    if std::env::var_os("LIBTORCH").is_some_and(|path| libtorch::is_own(root, path.as_ref())) {
        command.env_remove("LIBTORCH");
    }
    command
}

/// Becomes the command, so that Ctrl-C and the exit code are the command's own. Returns only when that fails.
pub fn replace_by(command: &mut Command) -> anyhow::Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}
