//! Fine-tuning in dreams through the command line: play to world model to classifier to tuned policy, in sizes that teach nothing, and
//! what is said when something does not fit.
#![cfg(all(feature = "learn", feature = "view"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Networks so small that a whole chain takes seconds.
const TINY: &str = r#"
[collect]
action_noise = 0.2

[train]
network = { kind = "residual_mlp", hidden = 16, blocks = 1, step_embed = 8 }
horizon = 4
noise_steps = 20
gripper_factor = 1.0
steps = 20
warmup_steps = 2

[decode]
ddpm_rows = 4
max_steps = 24
rti = { name = "rti", labels = [4, 2, 0], cold = { kind = "ddim", steps = 4, spacing = "leading" }, discrete = { kind = "clip" } }

[world_model]
deter = 16
groups = 4
classes = 4
hidden = 16
embed = 16
heads = 2
streams = 4
sequence = 6
updates = 8
warmup_updates = 2
report_every = 2

[dynamics_reward]
snapshots = 2
updates_each = 2
hidden = 8
batch = 4
depth = 3

[success]
members = 2
hidden = 8
embed = 4
batch = 16
updates = 6

[finetune]
iterations = 3
save_every = 1
dream = { dreams = 4, max_steps = 24, candidates = 4 }
ppo = { decisions = 3, epochs = 1, batch = 16, critic_hidden = 8, critic_warmup = 1 }
b2 = { groups = 4, branches = 2, epochs = 1 }
d3po = { pairs = 4, epochs = 1 }
"#;

fn reverie(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(folder).args(["--config", "tiny.toml"]).args(args);
    command.output().expect("the program starts")
}

fn works(folder: &Path, args: &[&str]) -> String {
    let output = reverie(folder, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Interrupts the program as soon as there is a state to resume from; what it says.
fn interrupted(folder: &Path, args: &[&str], state: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command.current_dir(folder).args(["--config", "tiny.toml"]).args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    for _ in 0..6000 {
        if folder.join(state).exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success(), "the program was still running");
    let output = child.wait_with_output().expect("it ends");
    assert!(!output.status.success(), "an interrupted run is not a finished one");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails(folder: &Path, args: &[&str]) -> String {
    let output = reverie(folder, args);
    assert!(!output.status.success(), "{args:?} must fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with play, demonstrations and a base policy.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    fs::write(at.join("tiny.toml"), TINY).expect("a file");
    works(at, &["collect", "play", "--hours", "0.1"]);
    works(at, &["collect", "demos", "--task", "open_drawer", "--task", "turn_on_led", "--episodes", "10"]);
    works(at, &["train", "policy", "--out", "runs/base"]);
    folder
}

#[test]
fn from_play_to_a_tuned_policy() {
    let folder = prepared();
    let at = folder.path();
    let said = works(at, &["train", "world-model"]);
    assert!(said.contains("80 control steps ahead by model"), "{said}");
    let said = works(at, &["train", "reward", "--task", "open_drawer", "--rrd", "reward.rrd"]);
    assert!(said.contains("open_drawer") && said.contains("recall") && at.join("reward.rrd").exists(), "{said}");
    let finetune = ["finetune", "--task", "open_drawer", "--policy", "runs/base", "--check-every", "2", "--check-episodes", "2"];
    works(at, &finetune);
    let info = fs::read_to_string(at.join("runs/finetune/open_drawer/policy.json")).expect("a policy");
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["tuning"]["environment_steps"], 0, "dreams need no environment step");
    assert_eq!(info["tuning"]["steps"], 3 * 3 * 4 * 4, "iterations, decisions, dreams and rows");
    let history = fs::read_to_string(at.join("runs/finetune/open_drawer/history.json")).expect("a history");
    let history: serde_json::Value = serde_json::from_str(&history).expect("JSON");
    assert_eq!(history["iterations"].as_array().map(Vec::len), Some(3));
    assert_eq!(history["checks"].as_array().map(Vec::len), Some(3), "before, after two, at the end");
    assert!(!at.join("runs/finetune/open_drawer.state").exists(), "a finished run leaves no state");

    // The same seed, the same policy, on one thread; the other algorithms and the simulation.
    fn again<'a>(finetune: &[&'a str], out: &'a str) -> Vec<&'a str> {
        [&finetune[..5], &["--check-every", "0", "--threads", "1", "--out", out]].concat()
    }
    let again = |out| again(&finetune, out);
    works(at, &again("runs/one"));
    works(at, &again("runs/two"));
    let weights = |run: &str| fs::read(at.join(run).join("policy.safetensors")).expect("weights");
    assert_eq!(weights("runs/one"), weights("runs/two"));
    // Interrupted and resumed: as if it had not been.
    let long = |out| [&["--set", "finetune.iterations=20"], &again(out)[..]].concat();
    let said = interrupted(at, &long("runs/cut"), "runs/cut.state");
    assert!(said.contains("the same command goes on from there"), "{said}");
    works(at, &long("runs/cut"));
    works(at, &long("runs/whole"));
    assert_eq!(weights("runs/cut"), weights("runs/whole"));
    let train =
        |out| ["--set", "world_model.updates=60", "--set", "world_model.save_every=4", "train", "world-model", "--out", out];
    let said = interrupted(at, &train("runs/cut_world"), "runs/cut_world.state");
    assert!(said.contains("the same command goes on"), "{said}");
    works(at, &train("runs/cut_world"));
    works(at, &train("runs/whole_world"));
    let world = |run: &str| fs::read(at.join(run).join("world_model.safetensors")).expect("weights");
    assert_eq!(world("runs/cut_world"), world("runs/whole_world"));
    for method in ["b2", "d3po"] {
        works(at, &[&["--set", &format!("finetune.method={method}")], &again("runs/other")[..]].concat());
    }
    works(at, &[&again("runs/online")[..], &["--in", "simulation"]].concat());
    let info = fs::read_to_string(at.join("runs/online/policy.json")).expect("a policy");
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert!(info["tuning"]["environment_steps"].as_u64() > Some(0), "the simulation is counted");

    let both = ["--decoder", "ddpm", "--decoder", "rti"];
    works(
        at,
        &[&["eval", "--policy", "runs/finetune/open_drawer", "--task", "open_drawer", "--episodes", "2"][..], &both].concat(),
    );
    works(at, &["view", "dream", "--policy", "runs/base", "--steps", "8", "--rrd", "dream.rrd", "--strip", "dream.png"]);
    assert!(at.join("dream.rrd").exists() && at.join("dream.png").exists());
    for whose in ["simulation", "dream"] {
        let said = works(
            at,
            &["view", "dream", "--policy", "runs/base", "--steps", "8", "--along", whose, "--strip", &format!("{whose}.png")],
        );
        assert!(said.contains("simulation: ") && said.contains("dream: ") && at.join(format!("{whose}.png")).exists(), "{said}");
    }

    // What does not fit is refused, with what to do.
    let error = fails(at, &["train", "reward", "--task", "lift_red_block_table"]);
    assert!(error.contains("hangs on contacts") && error.contains("open_drawer"), "{error}");
    let error = fails(at, &["finetune", "--task", "turn_on_led", "--policy", "runs/base"]);
    assert!(error.contains("reverie train reward --task turn_on_led"), "{error}");
    let error = fails(at, &["eval", "--policy", "runs/base", "--decoder", "ddpm", "--world-model", "runs/world_model"]);
    assert!(error.contains("this world model sees the state itself"), "{error}");
    let error = fails(at, &["eval", "--policy", "experts", "--world-model", "runs/world_model"]);
    assert!(error.contains("--world-model has no meaning for --policy experts"), "{error}");
    works(at, &["--set", "world_model.seed=1", "train", "world-model", "--out", "runs/other_world"]);
    let error = fails(at, &[&again("runs/three")[..], &["--world-model", "runs/other_world"]].concat());
    assert!(error.contains("world model that the success classifier was trained on"), "{error}");
    let error = fails(at, &["--set", "finetune.chain.tuned=21", "finetune", "--task", "open_drawer", "--policy", "runs/base"]);
    assert!(error.contains("chain.tuned = 21"), "{error}");
    let damaged = at.join("runs/world_model/world_model.safetensors");
    let bytes = fs::read(&damaged).expect("weights");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("a shorter file");
    let error = fails(at, &["train", "reward", "--task", "open_drawer"]);
    assert!(error.contains("world_model.safetensors"), "{error}");
}

/// From pictures to a policy that is told the state by a world model.
#[test]
fn a_world_model_of_vision_tells_the_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let looking = "\n[cameras]\nstatic_px = 64\ngripper_px = 64\n";
    let seeing = TINY.replace("[world_model]\n", "[world_model]\ninputs = \"vision\"\ncamera_depth = 2\n") + looking;
    fs::write(at.join("tiny.toml"), seeing).expect("a file");
    let cameras = ["--camera", "static", "--camera", "gripper"];
    works(at, &[&["collect", "play", "--hours", "0.07"][..], &cameras].concat());
    works(at, &[&["collect", "demos", "--task", "open_drawer", "--episodes", "4"][..], &cameras].concat());
    works(at, &["train", "policy", "--out", "runs/base"]);
    let said = works(at, &["train", "world-model"]);
    assert!(said.contains("80 control steps ahead by model"), "{said}");
    let eval = ["eval", "--policy", "runs/base", "--task", "open_drawer", "--episodes", "2", "--world-model", "runs/world_model"];
    works(at, &[&eval[..], &["--decoder", "ddpm"]].concat());
    let error = fails(at, &eval);
    assert!(error.contains("with the decoder rti") && error.contains("4 control steps"), "{error}");
    works(at, &["view", "dream", "--policy", "runs/base", "--steps", "8", "--strip", "dream.png"]);
    let size = fs::read(at.join("dream.png")).expect("a picture")[16..24].to_vec();
    assert_eq!(
        size,
        [1200_u32.to_be_bytes(), 600_u32.to_be_bytes()].concat(),
        "simulation, dream, and what was imagined to be seen"
    );
    works(at, &["--set", "world_model.inputs=hybrid", "train", "world-model", "--out", "runs/hybrid"]);
}

#[test]
fn play_that_cannot_be_learned_from_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    fs::write(at.join("tiny.toml"), TINY).expect("a file");
    let error = fails(at, &["train", "world-model"]);
    assert!(error.contains("no data set in data/play"), "{error}");
    works(at, &["collect", "play", "--hours", "0.002"]);
    let error = fails(at, &["train", "world-model"]);
    assert!(error.contains("too few"), "{error}");
    let error = fails(at, &["--set", "world_model.inputs=vision", "train", "world-model"]);
    assert!(error.contains("no camera `static`") && error.contains("--camera static"), "{error}");
    let info = at.join("data/play/meta/info.json");
    let text = fs::read_to_string(&info).expect("the description");
    fs::write(&info, text.replace("\"panda\"", "\"ur5\"")).expect("another robot");
    let error = fails(at, &["train", "world-model"]);
    assert!(error.contains("robot `ur5`"), "{error}");
    fs::write(&info, text).expect("the robot it was");
    let error = fails(at, &["--set", "sim.scene=B", "train", "world-model"]);
    assert!(error.contains("is of scene D") && error.contains("--set sim.scene=D"), "{error}");
    assert!(!at.join("runs/world_model").exists(), "nothing half-made is left");
}
