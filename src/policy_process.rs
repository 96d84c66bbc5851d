//! `reverie run`: the policy process for a robot that talks over zenoh.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use reverie_schema::{CONTROL_PERIOD_NS, Clock, Control, EpisodeEvent};
use reverie_sim::Task;
use reverie_zenoh::{LinkConfig, PolicyLink};
use serde_json::json;

use crate::{
    clock::WallClock,
    config::Config,
    eval::Name,
    models,
    pilot::Pilot,
    report::{Rate, Samples},
};

/// How long to wait for a robot to appear.
const ROBOT_PATIENCE: Duration = Duration::from_secs(30);
/// A robot that is silent for this long beyond an episode's steps is given up.
const SILENCE_NS: i64 = 5_000_000_000;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Task; may be given more than once, one after the other
    #[arg(long = "task", value_name = "TASK", required = true)]
    tasks: Vec<Task>,
    /// Episodes of each task
    #[arg(long, default_value_t = 1)]
    episodes: u64,
    /// First seed of the starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// ddpm, rti or cold-ddim
    #[arg(long, default_value = "rti")]
    decoder: Name,
    /// Endpoint of the robot [default: link.connect of the config, else tcp/127.0.0.1:7447]
    #[arg(long)]
    connect: Option<String>,
    /// cpu (the decode engine), torch-cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON rows
    #[arg(long)]
    json: bool,
}

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let checkpoint = models::load(&args.policy)?;
    for task in &args.tasks {
        checkpoint.task_index(task.name())?;
    }
    models::set_threads(1);
    let mut pilot = Pilot::new(models::planner(config, &checkpoint, args.decoder.config(config), &args.device)?);
    let connect = match &args.connect {
        Some(endpoint) => vec![endpoint.clone()],
        None if config.link.connect.is_empty() => vec![reverie_zenoh::DEFAULT_ENDPOINT.to_owned()],
        None => config.link.connect.clone(),
    };
    let link_config = LinkConfig { connect, listen: Vec::new(), ..config.link.clone() };
    let link = PolicyLink::open(&link_config)?;
    if !link.wait_for_robot(ROBOT_PATIENCE)? {
        bail!(
            "no robot '{}' answers at {} within {} s; start `reverie sim`",
            link_config.robot,
            link_config.connect.join(", "),
            ROBOT_PATIENCE.as_secs()
        );
    }
    // Of orders, a robot tells apart those of this process from those of one before by their number.
    let mut seq = WallClock.now().0.unsigned_abs();
    for &task in &args.tasks {
        let (mut rate, mut nfe, mut decode_us, mut steps) =
            (Rate::default(), Samples::default(), Samples::default(), Samples::default());
        for seed in args.seed..args.seed + args.episodes {
            seq += 1;
            let max_steps = config.decode.max_steps;
            link.send_control(&Control::Reset { seq, task: task.name().into(), seed, max_steps })?;
            let mut give_up = WallClock.now().plus_ns(SILENCE_NS);
            let (success, taken) = loop {
                if interrupted.load(Ordering::Relaxed) {
                    link.send_control(&Control::Stop { seq })?;
                    bail!("interrupted; the robot was told to stop");
                }
                if let Some(observation) = link.obs().recv_timeout(Duration::from_millis(5)).unwrap_or_else(warn)
                    && let Some((chunk, report)) = pilot.see(&observation)?
                {
                    link.publish_chunk(&chunk)?;
                    nfe.push(report.nfe.into());
                    decode_us.push(report.decode_us);
                }
                match link.episodes().try_recv().unwrap_or_else(warn) {
                    Some(EpisodeEvent::Started { seq: started, stamp, .. }) if started == seq => {
                        pilot.begin(task.name(), seed, stamp, args.decoder.rows(config))?;
                        give_up = give_up.plus_ns(i64::from(max_steps) * CONTROL_PERIOD_NS);
                    }
                    Some(EpisodeEvent::Ended { seq: ended, success, steps, .. }) if ended == seq => break (success, steps),
                    Some(EpisodeEvent::Refused { seq: refused, reason }) if refused == seq => {
                        bail!("{task} with seed {seed}: the robot refused: {reason}");
                    }
                    _ => {}
                }
                ensure!(WallClock.now() < give_up, "{task} with seed {seed}: the robot has stopped answering");
            };
            pilot.end();
            rate += Rate { successes: success.into(), trials: 1 };
            if success {
                steps.push(taken.into());
            }
            if !args.json {
                println!("{task} seed {seed}: {} after {taken} control steps", if success { "success" } else { "failure" });
            }
        }
        let row = json!({
            "task": task.name(), "decoder": args.decoder, "episodes": rate.trials, "successes": rate.successes,
            "wilson95": rate.wilson95(), "nfe_mean": nfe.mean(), "decode_us_p50": decode_us.quantile(0.5),
            "decode_us_p99": decode_us.quantile(0.99), "steps_mean": steps.mean(),
        });
        if args.json {
            println!("{row}");
        } else {
            println!("{task}: {}/{} succeeded", rate.successes, rate.trials);
        }
    }
    Ok(())
}

/// A message that can't be read is one message lost.
fn warn<T>(error: reverie_zenoh::Error) -> Option<T> {
    tracing::warn!("{error}");
    None
}
