//! Who moves the robot in lockstep: a scripted expert, or a policy.

use anyhow::Result;
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_schema::{ActionChunk, DecodeReport, Stamp};
use reverie_sim::{Expert, SceneId, Task};

use crate::{
    clock::WallClock,
    config::Config,
    models,
    planner::{PlanRows, Planner, rows_between},
    rig::Rig,
};

pub enum Actor {
    Expert(Option<Box<Expert>>),
    Policy {
        planner: Box<Planner>,
        /// Rows played before the next plan.
        rows: usize,
        steps: usize,
        /// The observation of the last plan.
        last_plan: Option<Stamp>,
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
        })
    }

    /// Begins a task.
    pub fn begin(&mut self, task: Task, scene: SceneId, seed: u64) -> Result<()> {
        match self {
            Self::Expert(expert) => *expert = Some(Box::new(Expert::new(task, scene, seed))),
            Self::Policy { planner, steps, last_plan, .. } => {
                planner.reset(task.name(), seed)?;
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
            Self::Policy { planner, rows, steps, last_plan } => {
                planner.observe(&observation)?;
                let mut planned = None;
                if steps.is_multiple_of(*rows) {
                    let plan_rows = PlanRows {
                        executed: last_plan.map_or(0, |last| rows_between(last, observation.stamp)),
                        committed: rows_between(observation.stamp, rig.next_arrival()),
                        needed: *rows,
                    };
                    let (chunk, report) = planner.plan(&observation, plan_rows, &WallClock)?;
                    *last_plan = Some(observation.stamp);
                    rig.offer(&chunk)?;
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
