//! Who moves the robot in lockstep: a scripted expert, or a policy.

use anyhow::Result;
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_schema::{Action, ActionChunk, DecodeReport, Observation, Stamp};
use reverie_sim::{Expert, SceneId, Task};

use crate::{
    clock::WallClock,
    config::Config,
    models,
    planner::{PlanRows, Planner, rows_between},
    rig::Rig,
};

/// What a policy believes that it sees, instead of the simulated state.
pub trait Sight {
    /// A new episode begins.
    fn begin(&mut self, seed: u64);

    /// What is believed now; `observation` holds what is true, of which what the robot measures of itself may be used.
    fn believe(&mut self, rig: &Rig, observation: &Observation) -> Result<Observation>;

    /// These rows will be played before the next look.
    fn played(&mut self, rows: &[Action]);
}

pub enum Actor {
    Expert(Option<Box<Expert>>),
    Policy {
        planner: Box<Planner>,
        /// Rows played before the next plan.
        rows: usize,
        steps: usize,
        /// The observation of the last plan.
        last_plan: Option<Stamp>,
        sight: Option<Box<dyn Sight>>,
    },
}

/// A plan that was made in a control step.
pub struct Planned {
    pub chunk: ActionChunk,
    pub report: DecodeReport,
    /// The control step from which it is played, delays included.
    pub in_force: u32,
    /// The control step of its first row.
    pub first_row: u32,
}

impl Actor {
    pub const fn expert() -> Self {
        Self::Expert(None)
    }

    pub fn policy(config: &Config, checkpoint: &Checkpoint, decoder: &DecoderConfig, rows: usize, device: &str) -> Result<Self> {
        Ok(Self::Policy {
            planner: Box::new(models::planner(config, checkpoint, decoder, device)?),
            rows,
            steps: 0,
            last_plan: None,
            sight: None,
        })
    }

    /// A policy that believes `eyes` instead of the simulated state.
    #[cfg(feature = "learn")]
    pub fn seeing(mut self, eyes: impl Sight + 'static) -> Self {
        if let Self::Policy { sight, .. } = &mut self {
            *sight = Some(Box::new(eyes));
        }
        self
    }

    /// Begins a task.
    pub fn begin(&mut self, task: Task, scene: SceneId, seed: u64) -> Result<()> {
        match self {
            Self::Expert(expert) => *expert = Some(Box::new(Expert::new(task, scene, seed))),
            Self::Policy { planner, steps, last_plan, sight, .. } => {
                planner.reset(task.name(), seed)?;
                if let Some(sight) = sight {
                    sight.begin(seed);
                }
                (*steps, *last_plan) = (0, None);
            }
        }
        Ok(())
    }

    /// One control step of `rig`; the plan, if one was made.
    pub fn step(&mut self, rig: &mut Rig) -> Result<Option<Planned>> {
        let observation = rig.observe();
        match self {
            Self::Expert(expert) => {
                let action = match expert {
                    Some(expert) => expert.act(&observation),
                    None => anyhow::bail!("a step before the task began"),
                };
                rig.act(action)?;
                Ok(None)
            }
            Self::Policy { planner, rows, steps, last_plan, sight } => {
                let plans = steps.is_multiple_of(*rows);
                let observation = match sight {
                    Some(sight) if plans => sight.believe(rig, &observation)?,
                    _ => observation,
                };
                // Who sees through pictures looks when a plan is made.
                if plans || sight.is_none() {
                    planner.observe(&observation)?;
                }
                let mut planned = None;
                if plans {
                    let plan_rows = PlanRows {
                        executed: last_plan.map_or(0, |last| rows_between(last, observation.stamp)),
                        committed: rows_between(observation.stamp, rig.next_arrival()),
                        needed: *rows,
                    };
                    let (chunk, report) = planner.plan(&observation, plan_rows, &WallClock)?;
                    *last_plan = Some(observation.stamp);
                    rig.offer(&chunk)?;
                    if let Some(sight) = sight {
                        sight.played(&chunk.rows()[..*rows]);
                    }
                    let first_row = rig.step_of(observation.stamp);
                    planned = Some(Planned { chunk, report, in_force: rig.step_of(rig.next_arrival()), first_row });
                }
                *steps += 1;
                rig.step()?;
                Ok(planned)
            }
        }
    }
}
