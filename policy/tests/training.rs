//! Training on libtorch: it learns what it is shown, and goes on identically after a stop.
#![cfg(feature = "tch")]
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use reverie_policy::train::{Outcome, Provenance, TrainConfig, TrainProgress, Trainer, TrainingData};
use reverie_policy::{Checkpoint, DecodeRequest, DecoderConfig, Denoiser as _, NetworkConfig, NoiseSource, TchDenoiser};
use reverie_schema::{Action, Episode, Frame, Observation, ROBOT_OBS, SCENE_OBS, Stamp};
use tch::Device;

const TASK: &str = "choose_a_side";

/// Episodes that go left with an open gripper or right with a closed one, seen from the same place.
fn two_sided(n: usize) -> Vec<Episode> {
    let side = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let frame = |sign: f32| Frame {
        observation: Observation { seq: 0, stamp: Stamp(0), robot: [0.3; ROBOT_OBS], scene: [0.1; SCENE_OBS] },
        action: Action([0.8 * sign, 0.0, 0.0, 0.0, 0.0, 0.0, sign]),
    };
    (0..n).map(|i| Episode { task: TASK.into(), seed: i as u64, success: true, frames: vec![frame(side(i)); 4] }).collect()
}

fn tiny() -> TrainConfig {
    TrainConfig {
        network: NetworkConfig::ResidualMlp { hidden: 64, blocks: 1, step_embed: 16 },
        horizon: 4,
        noise_steps: 50,
        gripper_factor: 1.0,
        steps: 20,
        batch: 64,
        learning_rate: 2e-3,
        warmup_steps: 5,
        ema_max: 0.99,
        report_every: 10,
        save_every: 1000,
        ..TrainConfig::default()
    }
}

/// One thread: waiting for one another's share of such small work costs more than doing it.
fn trainer(config: &TrainConfig) -> Trainer {
    tch::set_num_threads(1);
    let data = TrainingData::from_episodes(&two_sided(8), &[TASK.to_owned()], config).unwrap();
    Trainer::new(config.clone(), data, Device::Cpu).unwrap()
}

fn go_on(_: &TrainProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn checkpoint(trainer: &Trainer) -> Checkpoint {
    trainer.checkpoint(DecoderConfig::default(), Provenance::default()).unwrap()
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    let config = tiny();
    let mut straight = trainer(&config);
    assert_eq!(straight.run(None, go_on).unwrap(), Outcome::Finished);

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run.safetensors");
    let mut first = trainer(&config);
    let stopped = first.run(Some(&state), |p| if p.step == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    assert_eq!(stopped.unwrap(), Outcome::Interrupted);
    let data = TrainingData::from_episodes(&two_sided(8), &[TASK.to_owned()], &config).unwrap();
    let mut second = Trainer::new(config.clone(), data.clone(), Device::Cpu).unwrap();
    second.resume(&state).unwrap();
    assert_eq!(second.step(), 10);
    second.run(None, go_on).unwrap();
    assert_eq!(checkpoint(&straight), checkpoint(&second));
    assert_ne!(checkpoint(&first), checkpoint(&second));

    let other = TrainConfig { learning_rate: 1e-5, ..config };
    let error = Trainer::new(other, data, Device::Cpu).unwrap().resume(&state).unwrap_err().to_string();
    assert!(error.contains("run.safetensors was trained with other settings"), "{error}");
}

/// What the demonstrations do is learned as a distribution: both sides often, never the middle, and the
/// gripper that belongs to the side. By DDPM, and by RTI after its first tick without changing sides.
#[test]
fn both_modes_are_learned_and_kept_by_a_warm_start() {
    let config = TrainConfig { steps: 5000, batch: 128, ..tiny() };
    let mut trainer = trainer(&config);
    trainer.run(None, go_on).unwrap();
    let folder = tempfile::tempdir().unwrap();
    checkpoint(&trainer).save(folder.path()).unwrap();
    let checkpoint = Checkpoint::load(folder.path()).unwrap();
    let mut denoiser = TchDenoiser::from_checkpoint(&checkpoint, Device::Cpu).unwrap();

    let mut history = checkpoint.feature_history();
    history.push(&two_sided(1)[0].frames[0].observation).unwrap();
    let shape = denoiser.shape();
    let mut cond = vec![0.0; shape.n_cond];
    let task = checkpoint.task_index(TASK).unwrap();
    history.write_condition(&checkpoint.info.observation_normaliser, task, &mut cond).unwrap();

    let mut decoder = checkpoint.decoder(&DecoderConfig::rti(&[3, 1, 0])).unwrap();
    let request = DecodeRequest { cond: &cond, rows_executed: 1, rows_committed: 0, rows_needed: 1 };
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for seed in 0..200 {
        decoder.reset();
        let mut noise = NoiseSource::new(seed, 1);
        for chunks in [&mut cold, &mut warm] {
            let mut chunk = vec![0.0; shape.chunk_len()];
            decoder.decode(&mut denoiser, &request, &mut noise, &mut chunk).unwrap();
            checkpoint.info.action_normaliser.unnormalise(&mut chunk);
            chunks.append(&mut chunk);
        }
    }
    let rows: Vec<&[f32]> = cold.chunks_exact(7).collect();
    let right = rows.iter().filter(|r| r[0] > 0.0).count() as f64 / rows.len() as f64;
    let on_a_mode = rows.iter().filter(|r| (r[0].abs() - 0.8).abs() < 0.15).count() as f64 / rows.len() as f64;
    let gripper_fits = rows.iter().filter(|r| (r[0] > 0.0) == (r[6] > 0.0)).count() as f64 / rows.len() as f64;
    assert!((0.25..0.75).contains(&right), "{right}");
    assert!(on_a_mode > 0.95, "{on_a_mode}");
    assert!(gripper_fits > 0.97, "{gripper_fits}");

    let kept = cold.chunks_exact(7).zip(warm.chunks_exact(7)).filter(|(a, b)| (a[0] > 0.0) == (b[0] > 0.0)).count();
    assert!(kept as f64 / rows.len() as f64 > 0.98, "{kept} of {}", rows.len());
}

/// With a single window the noise follows from what is seen, so the loss falls towards 0 (predicting no noise gives 1).
#[test]
fn a_unet_overfits_one_window() {
    let network = NetworkConfig::Unet1d { widths: vec![16, 32], kernel: 5, groups: 8, step_embed: 16 };
    let config = TrainConfig { network, steps: 1200, batch: 32, learning_rate: 3e-3, ..tiny() };
    let mut episodes = two_sided(1);
    episodes[0].frames.truncate(1);
    let data = TrainingData::from_episodes(&episodes, &[TASK.to_owned()], &config).unwrap();
    tch::set_num_threads(1);
    let mut trainer = Trainer::new(config, data, Device::Cpu).unwrap();
    let first = trainer.train_step().unwrap();
    let mut last = f64::NAN;
    let mut report = |p: &TrainProgress| {
        last = p.loss;
        ControlFlow::Continue(())
    };
    trainer.run(None, &mut report).unwrap();
    assert!(first > 0.8 && last < 0.5, "{first} -> {last}");
}

#[test]
fn training_goes_on_from_a_checkpoint_of_the_same_network_only() {
    let config = tiny();
    let mut first = trainer(&config);
    first.run(None, go_on).unwrap();
    let start = checkpoint(&first);
    let data = TrainingData::for_checkpoint(&two_sided(4), &start, &config).unwrap();
    let tuned = Trainer::from_checkpoint(config.clone(), data.clone(), &start, Device::Cpu).unwrap();
    assert_eq!(checkpoint(&tuned).tensor("input.weight").unwrap(), start.tensor("input.weight").unwrap());
    let network = NetworkConfig::ResidualMlp { hidden: 32, blocks: 1, step_embed: 16 };
    assert!(Trainer::from_checkpoint(TrainConfig { network, ..config }, data, &start, Device::Cpu).is_err());
}
