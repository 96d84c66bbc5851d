//! `reverie sim`: the simulated robot with its servo as a process that talks over zenoh.

use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use reverie_schema::{Control, EpisodeEvent, HoldReason, ServoState, Status};
use reverie_sim::Task;
use reverie_zenoh::RobotLink;

use crate::{
    config::Config,
    recorder::Recorder,
    robot::{EpisodeOrder, PlantEvent, Robot},
};

/// How often chunks, orders and events are looked for: well within a control step.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[derive(clap::Args)]
pub struct Args {
    /// Endpoint to listen on instead of the configured ones, for example tcp/127.0.0.1:7447
    #[arg(long)]
    listen: Option<String>,
    /// Record to this .rrd file
    #[arg(long, value_name = "FILE")]
    rrd: Option<PathBuf>,
    /// Show live in the rerun viewer at this address, for example rerun+http://127.0.0.1:9876/proxy
    #[arg(long, value_name = "URL", conflicts_with = "rrd")]
    connect: Option<String>,
    /// Print events as JSON lines
    #[arg(long)]
    json: bool,
}

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    let mut link_config = config.link.clone();
    if let Some(listen) = &args.listen {
        link_config.listen = vec![listen.clone()];
    }
    let link = Arc::new(RobotLink::open(&link_config)?);
    let publisher = Arc::clone(&link);
    let mut robot = Robot::start(config, move |observation| {
        if let Err(error) = publisher.publish_obs(observation) {
            tracing::warn!("{error}");
        }
    })?;
    let mut chunks = robot.chunks.take().context("the chunk port was taken already")?;
    let mut recorder = match (&args.rrd, &args.connect) {
        (Some(path), _) => Recorder::to_file(path, &robot.scene)?,
        (None, Some(url)) => Recorder::connect(url, &robot.scene)?,
        (None, None) => Recorder::disabled(),
    };
    let mut teller = Teller { json: args.json, state: (ServoState::Holding, HoldReason::None), policies: 0 };
    teller.say(&format!("robot '{}' listens on {}", link_config.robot, link_config.listen.join(", ")))?;

    while !interrupted.load(Ordering::Relaxed) {
        match link.chunks().recv_timeout(LOOK_EVERY) {
            Ok(Some(chunk)) => chunks.send_chunk(&chunk),
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
        match link.controls().try_recv() {
            Ok(Some(order)) => carry_out(&robot, &link, order)?,
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
        for sample in robot.samples.drain_samples() {
            recorder.servo(&sample)?;
        }
        for event in robot.events.try_iter() {
            match event {
                PlantEvent::Started { order, stamp } => {
                    recorder.begin(&format!("{} seed {}", order.task, order.seed), stamp)?;
                    teller.say(&format!("episode {}: {} with seed {}", order.seq, order.task, order.seed))?;
                    link.publish_episode(&EpisodeEvent::Started { seq: order.seq, task: order.task.name().into(), stamp })?;
                }
                PlantEvent::Frame { observation, world_from_body } => recorder.frame(&observation, &world_from_body)?,
                PlantEvent::Ended { order, stamp, success, steps } => {
                    recorder.ended(stamp, success, steps)?;
                    let word = if success { "success" } else { "failure" };
                    teller.say(&format!("episode {}: {word} after {steps} control steps", order.seq))?;
                    let task = order.task.name().into();
                    link.publish_episode(&EpisodeEvent::Ended { seq: order.seq, task, stamp, success, steps })?;
                }
                PlantEvent::Refused { order, reason } => {
                    teller.say(&format!("episode {}: refused: {reason}", order.seq))?;
                    link.publish_episode(&EpisodeEvent::Refused { seq: order.seq, reason })?;
                }
                PlantEvent::Status(status) => {
                    recorder.status(&status)?;
                    teller.status(&status, link.policy().count())?;
                    link.publish_status(&status)?;
                }
            }
        }
    }
    let cadence = robot.finish()?;
    teller.say(&format!(
        "servo: {} ticks, {} skipped, lateness p50 {:.0} us, p99 {:.0} us, max {:.0} us",
        cadence.ticks, cadence.skipped, cadence.lateness_us.p50, cadence.lateness_us.p99, cadence.lateness_us.max
    ))?;
    if let Some(path) = recorder.finish()? {
        teller.say(&format!("wrote {}", path.display()))?;
    }
    Ok(())
}

fn carry_out(robot: &Robot, link: &RobotLink, order: Control) -> Result<()> {
    match order {
        Control::Reset { seq, task, seed, max_steps } => match task.parse::<Task>() {
            Ok(task) => robot.begin(EpisodeOrder { seq, task, seed, max_steps }),
            Err(error) => Ok(link.publish_episode(&EpisodeEvent::Refused { seq, reason: error.to_string() })?),
        },
        Control::Stop { .. } => robot.halt(),
    }
}

/// Says on the screen what changes.
struct Teller {
    json: bool,
    state: (ServoState, HoldReason),
    policies: usize,
}

impl Teller {
    fn say(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::json!({ "event": text }))?;
        } else {
            writeln!(out, "{text}")?;
        }
        // Whoever reads through a pipe wants it now.
        Ok(out.flush()?)
    }

    fn status(&mut self, status: &Status, policies: usize) -> Result<()> {
        if policies != self.policies {
            let text = if policies < self.policies { "the policy process has gone" } else { "a policy process is here" };
            self.policies = policies;
            self.say(text)?;
        }
        let state = (status.servo, status.hold_reason);
        if state != self.state {
            self.state = state;
            let name = |value: serde_json::Result<serde_json::Value>| {
                value.ok().and_then(|value| value.as_str().map(|name| name.replace('_', " "))).unwrap_or_default()
            };
            let (servo, reason) = (name(serde_json::to_value(state.0)), name(serde_json::to_value(state.1)));
            let text = if state.1 == HoldReason::None { format!("servo {servo}") } else { format!("servo {servo}: {reason}") };
            self.say(&format!("{text} (commanded joint speed {:.3} rad/s)", status.speed_command_radps))?;
        }
        Ok(())
    }
}
