//! Who moves the robot in lockstep: a scripted expert, or a policy.

use anyhow::Result;
use reverie_policy::{Checkpoint, DecoderConfig};
use reverie_schema::{DecodeReport, Stamp};
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

    /// One control step of `rig`; what decoding took, if there was any.
    pub fn step(&mut self, rig: &mut Rig) -> Result<Option<DecodeReport>> {
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
                let mut report = None;
                if steps.is_multiple_of(*rows) {
                    let plan_rows = PlanRows {
                        executed: last_plan.map_or(0, |last| rows_between(last, observation.stamp)),
                        committed: rows_between(observation.stamp, rig.next_arrival()),
                        needed: *rows,
                    };
                    let (chunk, decoded) = planner.plan(&observation, plan_rows, &WallClock)?;
                    *last_plan = Some(observation.stamp);
                    rig.offer(&chunk)?;
                    report = Some(decoded);
                }
                *steps += 1;
                rig.step()?;
                Ok(report)
            }
        }
    }
}
