//! Nothing half-made is left behind, however we end: by an error, by Ctrl-C, or killed.
//!
//! A small shell child holds the other end of a pipe. When the pipe closes without the word `keep`, our end is gone, and the
//! child ends the program that we had running and removes the folder. It needs no signal handler here, and works for SIGKILL too.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::Context;

/// `$1` is the folder. Lines read: a process to end when we die, an empty line when it has ended by itself, or `keep`.
const WATCH: &str = r#"
trap '' INT TERM HUP
keep= pid=
while read -r line; do
    case $line in
        keep) keep=1 ;;
        *) pid=$line ;;
    esac
done
[ -n "$keep" ] && exit 0
[ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
rm -rf -- "$1"
# What the program was writing as it died.
sleep 0.1
rm -rf -- "$1"
"#;

/// A folder under construction. Dropped without [`Janitor::keep`], it is removed.
pub struct Janitor {
    folder: PathBuf,
    watcher: Child,
}

impl Janitor {
    /// Creates `folder`, which must not exist yet, and watches over it.
    pub fn create(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "janitor"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watcher {
            Ok(watcher) => Ok(Self { folder, watcher }),
            Err(error) => {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
                Err(error).context("cannot start sh")
            }
        }
    }

    /// The folder watched over.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a program to its end; it is ended, too, when we are.
    pub fn run(&mut self, command: &mut Command) -> anyhow::Result<Output> {
        let name = command.get_program().to_owned();
        let child = command.spawn().with_context(|| format!("cannot start {}", name.display()))?;
        self.say(&child.id().to_string())?;
        let output = child.wait_with_output().with_context(|| format!("lost {}", name.display()))?;
        self.say("")?;
        Ok(output)
    }

    /// The folder is complete: move it to `target`.
    pub fn keep_as(mut self, target: &Path) -> anyhow::Result<()> {
        fs::rename(&self.folder, target)
            .with_context(|| format!("cannot rename {} to {}", self.folder.display(), target.display()))?;
        self.say("keep")
    }

    /// The folder is complete where it is.
    pub fn keep(mut self) -> anyhow::Result<()> {
        self.say("keep")
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        let pipe = self.watcher.stdin.as_mut().context("the janitor is gone")?;
        writeln!(pipe, "{line}").and_then(|()| pipe.flush()).context("the janitor is gone")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // A failure here leaves a folder that the next set-up removes.
        let _: io::Result<_> = self.watcher.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_folder_is_removed_with_its_contents() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("partial with space");
        let janitor = Janitor::create(folder.clone()).unwrap();
        fs::write(folder.join("file"), "half").unwrap();
        drop(janitor);
        assert!(!folder.exists());
    }

    #[test]
    fn kept_folder_has_moved() {
        let outer = tempfile::tempdir().unwrap();
        let janitor = Janitor::create(outer.path().join("partial")).unwrap();
        fs::write(janitor.folder().join("file"), "whole").unwrap();
        janitor.keep_as(&outer.path().join("done")).unwrap();
        let names: Vec<_> = fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["done"]);
        assert_eq!(fs::read_to_string(outer.path().join("done/file")).unwrap(), "whole");
    }

    #[test]
    fn a_running_program_is_ended_when_the_pipe_closes() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("partial");
        let mut janitor = Janitor::create(folder.clone()).unwrap();
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        janitor.say(&sleeper.id().to_string()).unwrap();
        drop(janitor.watcher.stdin.take());
        // Returns only if the sleeper was ended; a `sleep 600` left alone would hold the test up for ten minutes.
        assert!(!sleeper.wait().unwrap().success());
        drop(janitor);
        assert!(!folder.exists());
    }
}
