//! `reverie demo`: simulation, policy and controller together in real time, task by task and decoder by decoder.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reverie_control::{Cadence, CadenceReport};
use reverie_schema::{CONTROL_PERIOD_NS, Clock, Stamp};
use reverie_sim::Task;
use serde::Serialize;

use crate::{
    clock::WallClock,
    config::Config,
    eval::Name,
    models,
    pilot::{self, Pilot, PilotInput, Planned},
    recorder::Recorder,
    report::{Rate, Samples},
    robot::{EpisodeOrder, PlantEvent, Robot},
    tasks::Selection,
};

/// How often the table's side looks for news.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// An episode that takes this much longer than its steps has lost its robot.
const PATIENCE_NS: i64 = 10_000_000_000;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the policy's checkpoint
    #[arg(long, default_value = models::SHIPPED)]
    policy: PathBuf,
    /// Task, or `mechanism` (the eight of drawer, slider, bulb and LED); may be given more than once
    #[arg(long = "task", value_name = "TASK", default_value = "mechanism")]
    tasks: Vec<Selection>,
    /// Episodes of each task and decoder
    #[arg(long, default_value_t = 4)]
    episodes: u64,
    /// First seed of the starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu (the decode engine), torch-cpu or cuda:0
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The recording
    #[arg(long, default_value = "demo.rrd", value_name = "FILE")]
    rrd: PathBuf,
    /// Show live in the rerun viewer at this address instead of recording, for example rerun+http://127.0.0.1:9876/proxy
    #[arg(long, value_name = "URL")]
    connect: Option<String>,
    /// Record nothing
    #[arg(long, conflicts_with = "connect")]
    no_rerun: bool,
    /// Print JSON rows instead of a table
    #[arg(long)]
    json: bool,
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    task: &'static str,
    decoder: Name,
    episodes: u64,
    successes: u64,
    wilson95: [f64; 2],
    nfe_mean: f64,
    decode_us_p50: f64,
    decode_us_p99: f64,
    plans_per_s: f64,
    servo: CadenceReport,
}

struct Demo<'a> {
    config: &'a Config,
    robot: Robot,
    pilot: mpsc::Sender<PilotInput>,
    planned: mpsc::Receiver<Planned>,
    recorder: Recorder,
    cadence: Cadence,
    seq: u64,
    interrupted: &'a AtomicBool,
}

/// What an episode came to.
struct Outcome {
    success: bool,
    seconds: f64,
}

pub fn run(config: &Config, args: &Args, interrupted: &AtomicBool) -> Result<()> {
    ensure!(args.episodes > 0, "--episodes must be at least 1");
    let checkpoint = models::load(&args.policy)?;
    let tasks = Selection::tasks(&args.tasks);
    for &task in &tasks {
        checkpoint.task_index(task.name())?;
    }
    let names = [Name::Ddpm, Name::Rti];
    models::set_threads(1);
    let pilot = Pilot::new(models::planner(config, &checkpoint, &config.decode.ddpm, &args.device)?);
    let (pilot_in, pilot_inbox) = mpsc::channel();
    let (planned_out, planned) = mpsc::channel();
    let observations = pilot_in.clone();
    let mut robot = Robot::start(config, move |observation| {
        let _ = observations.send(PilotInput::Observation(*observation));
    })?;
    let chunks = robot.chunks.take().context("the chunk port was taken already")?;
    let policy = pilot::spawn(pilot, pilot_inbox, chunks, planned_out)?;
    let recorder = match &args.connect {
        Some(url) => Recorder::connect(url, &robot.scene)?,
        None if args.no_rerun => Recorder::disabled(),
        None => Recorder::to_file(&args.rrd, &robot.scene)?,
    };
    if !(robot.privileges.servo_fifo && robot.privileges.memory_locked) {
        eprintln!(
            "note: no real-time scheduling or no locked memory for the servo, expect some late ticks; see `reverie doctor`"
        );
    }

    let total = tasks.len() as u64 * names.len() as u64 * args.episodes;
    let bar = ProgressBar::new(total)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left  {msg}").context("progress bar")?);
    let mut demo = Demo { config, robot, pilot: pilot_in, planned, recorder, cadence: Cadence::new(), seq: 0, interrupted };
    if !args.json {
        println!("{}", HEADER);
    }
    let played = demo.play(&tasks, &names, args, &bar);
    bar.finish_and_clear();
    let Demo { robot, pilot, recorder, .. } = demo;
    let finished = robot.finish();
    drop(pilot);
    // The cause before its consequence: what a thread failed of, then what was missed for it.
    policy.join().map_err(|_| anyhow::anyhow!("the policy thread panicked"))??;
    let cadence = finished?;
    played?;
    eprintln!(
        "servo over the whole run: {} ticks, {} skipped, wake-up lateness p50 {:.0} us, p99 {:.0} us, max {:.0} us",
        cadence.ticks, cadence.skipped, cadence.lateness_us.p50, cadence.lateness_us.p99, cadence.lateness_us.max
    );
    if let Some(path) = recorder.finish()? {
        eprintln!("wrote {}; open it with: cargo xtask view {}", path.display(), path.display());
    }
    Ok(())
}

impl Demo<'_> {
    fn play(&mut self, tasks: &[Task], names: &[Name], args: &Args, bar: &ProgressBar) -> Result<()> {
        for &task in tasks {
            for &name in names {
                bar.set_message(format!("{task} {}", name.label()));
                let row = self.row(task, name, args, bar)?;
                let text = if args.json { serde_json::to_string(&row)? } else { line(&row) };
                bar.suspend(|| println!("{text}"));
            }
        }
        Ok(())
    }

    fn row(&mut self, task: Task, name: Name, args: &Args, bar: &ProgressBar) -> Result<Row> {
        let mut rate = Rate::default();
        let (mut nfe, mut decode_us, mut seconds) = (Samples::default(), Samples::default(), 0.0);
        self.cadence.reset();
        for seed in args.seed..args.seed + args.episodes {
            let outcome = self.episode(task, name, seed, &mut nfe, &mut decode_us)?;
            rate += Rate { successes: outcome.success.into(), trials: 1 };
            seconds += outcome.seconds;
            bar.inc(1);
        }
        Ok(Row {
            task: task.name(),
            decoder: name,
            episodes: rate.trials,
            successes: rate.successes,
            wilson95: rate.wilson95(),
            nfe_mean: nfe.mean(),
            decode_us_p50: decode_us.quantile(0.5),
            decode_us_p99: decode_us.quantile(0.99),
            plans_per_s: nfe.len() as f64 / seconds,
            servo: self.cadence.report(),
        })
    }

    fn episode(&mut self, task: Task, name: Name, seed: u64, nfe: &mut Samples, decode_us: &mut Samples) -> Result<Outcome> {
        self.seq += 1;
        let max_steps = self.config.decode.max_steps;
        self.robot.begin(EpisodeOrder { seq: self.seq, task, seed, max_steps })?;
        let mut begun: Option<Stamp> = None;
        let give_up = WallClock.now().plus_ns(i64::from(max_steps) * CONTROL_PERIOD_NS + PATIENCE_NS);
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let mut events: VecDeque<PlantEvent> = self.robot.events.recv_timeout(LOOK_EVERY).into_iter().collect();
            events.extend(self.robot.events.try_iter());
            // What the episode before asked for may still come in.
            let own = |planned: &Planned| begun.is_some_and(|begun| planned.chunk.obs_stamp >= begun);
            for Planned { chunk, report } in self.planned.try_iter().filter(own) {
                nfe.push(report.nfe.into());
                decode_us.push(report.decode_us);
                self.recorder.plan(&chunk, &report)?;
            }
            for sample in self.robot.samples.drain_samples() {
                if begun.is_some() {
                    self.cadence.record(&sample);
                    self.recorder.servo(&sample)?;
                }
            }
            for event in events {
                match event {
                    PlantEvent::Started { stamp, .. } => {
                        begun = Some(stamp);
                        let decoder = name.config(self.config).clone();
                        self.pilot
                            .send(PilotInput::Begin {
                                task: task.name(),
                                seed,
                                since: stamp,
                                rows: name.rows(self.config),
                                decoder,
                            })
                            .context("the policy thread has ended")?;
                        self.recorder.begin(&format!("{task} {} seed {seed}", name.label()), stamp)?;
                    }
                    PlantEvent::Frame { observation, world_from_body } => {
                        if begun.is_some() {
                            self.recorder.frame(&observation, &world_from_body)?;
                        }
                    }
                    PlantEvent::Ended { order, stamp, success, steps } if order.seq == self.seq => {
                        self.pilot.send(PilotInput::End).context("the policy thread has ended")?;
                        self.recorder.ended(stamp, success, steps)?;
                        let seconds = begun.map_or(f64::NAN, |begun| stamp.since(begun) as f64 * 1e-9);
                        return Ok(Outcome { success, seconds });
                    }
                    PlantEvent::Refused { order, reason } => bail!("{} with seed {}: {reason}", order.task, order.seed),
                    PlantEvent::Status(status) => self.recorder.status(&status)?,
                    PlantEvent::Ended { .. } => {}
                }
            }
            ensure!(WallClock.now() < give_up, "{task} with seed {seed}: the robot has stopped answering");
        }
    }
}

const HEADER: &str = "task                 decoder  success  Wilson 95 %   nfe    decode us p50/p99   plans/s  servo late us p50/p99/max   skipped";

fn line(row: &Row) -> String {
    let [low, high] = row.wilson95.map(|bound| 100.0 * bound);
    let late = row.servo.lateness_us;
    format!(
        "{:<20} {:<8} {:>3}/{:<3}  [{low:>3.0}, {high:>3.0}] %  {:>6.1}  {:>8.0} {:>8.0}  {:>8.1}  {:>9.0} {:>6.0} {:>7.0}  {:>6}",
        row.task,
        row.decoder.label(),
        row.successes,
        row.episodes,
        row.nfe_mean,
        row.decode_us_p50,
        row.decode_us_p99,
        row.plans_per_s,
        late.p50,
        late.p99,
        late.max,
        row.servo.skipped,
    )
}
