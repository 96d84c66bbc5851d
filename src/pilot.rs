//! Plans as observations come in: the policy side in real time, in a thread of this process or in a process of its own.

use std::{sync::mpsc, thread};

use anyhow::Result;
use reverie_control::ChunkSender;
use reverie_policy::DecoderConfig;
use reverie_schema::{ActionChunk, CONTROL_PERIOD_NS, Clock as _, DecodeReport, Observation, Stamp};

use crate::{
    clock::WallClock,
    planner::{PlanRows, Planner, rows_between},
};

/// Decides when to plan, and how many rows were played since.
pub struct Pilot {
    planner: Planner,
    rows: usize,
    /// Observations before this belong to another episode.
    since: Stamp,
    last_plan: Option<Stamp>,
    /// What the last plan took, microseconds.
    decode_us: f64,
}

impl Pilot {
    pub fn new(planner: Planner) -> Self {
        Self { planner, rows: 1, since: Stamp(i64::MAX), last_plan: None, decode_us: 0.0 }
    }

    /// Begins an episode with its first observation at or after `since`; plans again after every `rows` rows.
    pub fn begin(&mut self, task: &str, seed: u64, since: Stamp, rows: usize) -> Result<()> {
        self.planner.reset(task, seed)?;
        (self.rows, self.since, self.last_plan) = (rows.max(1), since, None);
        Ok(())
    }

    pub fn set_decoder(&mut self, decoder: &DecoderConfig) -> Result<()> {
        self.planner.set_decoder(decoder)
    }

    /// Ends the episode: nothing is planned until the next begins.
    pub fn end(&mut self) {
        self.since = Stamp(i64::MAX);
    }

    /// A chunk, if it is time for one.
    pub fn see(&mut self, observation: &Observation) -> Result<Option<(ActionChunk, DecodeReport)>> {
        if observation.stamp < self.since {
            return Ok(None);
        }
        self.planner.observe(observation)?;
        let played = self.last_plan.map(|last| rows_between(last, observation.stamp));
        if played.is_some_and(|played| played < self.rows) {
            return Ok(None);
        }
        // The plan will be in force about as late after the observation as this one has come, and as the last one took.
        let late_ns = WallClock.now().since(observation.stamp) + (self.decode_us * 1e3) as i64;
        let committed = usize::try_from(late_ns / CONTROL_PERIOD_NS).unwrap_or(0);
        let rows = PlanRows { executed: played.unwrap_or(0), committed, needed: self.rows };
        let (chunk, report) = self.planner.plan(observation, rows, &WallClock)?;
        self.last_plan = Some(observation.stamp);
        self.decode_us = report.decode_us;
        Ok(Some((chunk, report)))
    }
}

/// What the pilot's thread is told.
pub enum PilotInput {
    Begin { task: &'static str, seed: u64, since: Stamp, rows: usize, decoder: DecoderConfig },
    Observation(Observation),
    End,
}

/// What it did.
pub struct Planned {
    pub chunk: ActionChunk,
    pub report: DecodeReport,
}

/// Runs `pilot` in a thread of its own until the senders of its inputs are gone. Plans go to the servo and to `planned`.
pub fn spawn(
    mut pilot: Pilot,
    inputs: mpsc::Receiver<PilotInput>,
    mut chunks: ChunkSender,
    planned: mpsc::Sender<Planned>,
) -> Result<thread::JoinHandle<Result<()>>> {
    Ok(thread::Builder::new().name("policy".into()).spawn(move || {
        crate::models::set_threads(1);
        let mut newest: Option<Observation> = None;
        while let Ok(first) = inputs.recv() {
            for input in std::iter::once(first).chain(inputs.try_iter()) {
                match input {
                    PilotInput::Begin { task, seed, since, rows, decoder } => {
                        pilot.set_decoder(&decoder)?;
                        pilot.begin(task, seed, since, rows)?;
                    }
                    PilotInput::Observation(observation) => newest = Some(observation),
                    PilotInput::End => pilot.end(),
                }
            }
            if let Some(observation) = newest
                && let Some((chunk, report)) = pilot.see(&observation)?
            {
                newest = None;
                chunks.send_chunk(&chunk);
                // The table counts what it is told; without it the robot goes on.
                let _ = planned.send(Planned { chunk, report });
            }
        }
        Ok(())
    })?)
}
