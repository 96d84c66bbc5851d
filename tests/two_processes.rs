//! `reverie sim` and `reverie run` as two processes over loopback: the task gets done, a killed policy leaves the arm held and the
//! servo running, a new policy process goes on, and a Python client reads the wire.
#![cfg(all(feature = "robot", feature = "learn"))]
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is ended with its owner, and its output line by line.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let errors = sender.clone();
        thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        thread::spawn(move || BufReader::new(err).lines().map_while(Result::ok).all(|line| errors.send(line).is_ok()));
        Self { child, lines, seen: Vec::new() }
    }

    fn reverie(args: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_reverie")).args(args).current_dir(root()))
    }

    /// Waits for a line with `text` in it.
    fn wait_for(&mut self, text: &str) -> String {
        let begin = Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begin.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => break,
            }
        }
        panic!("no line with '{text}' in:\n{}", self.seen.join("\n"));
    }

    fn finish(mut self) -> (bool, Vec<String>) {
        let status = self.child.wait().unwrap();
        self.seen.extend(self.lines.iter());
        (status.success(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An endpoint on loopback that was free a moment ago.
fn endpoint() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp/127.0.0.1:{port}")
}

fn robot(endpoint: &str) -> Process {
    let mut robot = Process::reverie(&["sim", "--listen", endpoint]);
    robot.wait_for("listens on");
    robot
}

fn policy(endpoint: &str, more: &[&str]) -> Process {
    let mut args = vec!["run", "--policy", "models/state", "--connect", endpoint];
    args.extend(more);
    Process::reverie(&args)
}

/// Over 12 episodes of three tasks. At the lockstep success rates (over 0.9) fewer than 7 successes have a probability below 1e-4.
#[test]
fn two_processes_do_the_tasks() {
    let endpoint = endpoint();
    let _robot = robot(&endpoint);
    let tasks = ["--task", "close_drawer", "--task", "move_slider_left", "--task", "turn_on_lightbulb"];
    let (success, lines) = policy(&endpoint, &[&tasks[..], &["--episodes", "4", "--json"]].concat()).finish();
    assert!(success, "{lines:#?}");
    let rows: Vec<serde_json::Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(rows.len(), 3, "{lines:#?}");
    let successes: u64 = rows.iter().map(|row| row["successes"].as_u64().unwrap()).sum();
    assert!(successes >= 7, "{rows:#?}");
}

#[test]
fn a_killed_policy_leaves_the_arm_held_and_the_next_goes_on() {
    let endpoint = endpoint();
    let mut robot = robot(&endpoint);
    // The far slider takes a second or more.
    let mut first = policy(&endpoint, &["--task", "open_drawer", "--episodes", "20"]);
    robot.wait_for("a policy process is here");
    robot.wait_for("servo tracking");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    robot.wait_for("the policy process has gone");
    robot.wait_for("servo holding: chunk exhausted");
    assert!(robot.child.try_wait().unwrap().is_none(), "the robot process lives");

    let mut second = policy(&endpoint, &["--task", "close_drawer", "--episodes", "1"]);
    second.wait_for("close_drawer: ");
    robot.wait_for("servo tracking");
}

#[test]
fn a_python_client_reads_observations_and_chunks() {
    let endpoint = endpoint();
    let _robot = robot(&endpoint);
    let _policy = policy(&endpoint, &["--task", "open_drawer", "--task", "close_drawer", "--episodes", "8"]);
    let watch = Process::start(Command::new(python()).arg(root().join("tests/python/watch.py")).args([
        "--endpoint",
        &endpoint,
        "--observations",
        "10",
        "--chunks",
        "10",
        "--timeout",
        "40",
    ]));
    let (success, lines) = watch.finish();
    assert!(success, "{lines:#?}");
    let messages: Vec<serde_json::Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(messages.len() >= 20, "{lines:#?}");
}

#[test]
fn a_port_in_use_is_named() {
    let endpoint = endpoint();
    let _robot = robot(&endpoint);
    let (success, lines) = Process::reverie(&["sim", "--listen", &endpoint]).finish();
    assert!(!success);
    assert!(lines.iter().any(|line| line.starts_with("error:") && line.contains(&endpoint)), "{lines:#?}");
}

/// A Python with zenoh and MessagePack, made once in the target folder.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-watch");
    let python = folder.join("bin/python");
    let ready = folder.join("ready");
    if !ready.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let run = |command: &mut Command| {
            let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "eclipse-zenoh==1.10.2", "msgpack==1.1.2"]));
        std::fs::write(&ready, "").unwrap();
    }
    python
}
