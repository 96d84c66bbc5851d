//! The rapier simulation as an environment that policies are tuned in: the baseline that needs interactions (online DPPO).

use anyhow::Result;
use reverie_policy::Device;
use reverie_policy::{STATE_FEATURES, state_features};
use reverie_schema::{Action, N_ACT, derive_seed};
use reverie_sim::Task;
use reverie_world_model::{Conditioner, Environment, Forkable, Situation, Transition, WorldModelError};
use reverie_world_model::{Kind, Tensor};

use crate::{config::Config, parallel, rig::Rig};

/// Seeds of episodes that are learned from: apart from those of recordings and evaluations.
const FIRST_SEED: u64 = 7_000_000;

/// Episodes of one task side by side, in simulation.
pub struct Simulation<'a> {
    config: Config,
    task: Task,
    conditioner: &'a Conditioner,
    device: Device,
    episodes: Vec<Episode>,
    next_seed: u64,
    /// Control steps taken.
    pub control_steps: u64,
}

struct Episode {
    rig: Rig,
    features: [f32; STATE_FEATURES],
}

impl Episode {
    fn new(config: &Config, task: Task, seed: u64) -> Result<Self> {
        let mut rig = Rig::new(config, task, seed)?;
        let features = state_features(&rig.observe());
        Ok(Self { rig, features })
    }
}

/// What a chunk led to in one episode.
struct Led {
    steps: u64,
    success: bool,
    over: bool,
    reached: [f32; STATE_FEATURES],
}

impl<'a> Simulation<'a> {
    pub fn new(config: &Config, task: Task, conditioner: &'a Conditioner, device: Device, n: usize, seed: u64) -> Result<Self> {
        let first = FIRST_SEED + derive_seed(seed, "simulation") % 1_000_000_000;
        let mut simulation =
            Self { config: config.clone(), task, conditioner, device, episodes: Vec::new(), next_seed: first, control_steps: 0 };
        simulation.begin(n)?;
        Ok(simulation)
    }

    /// Begins `n` episodes from the next starts.
    fn begin(&mut self, n: usize) -> Result<()> {
        let (config, task, first) = (&self.config, self.task, self.next_seed);
        self.episodes =
            parallel::map(n, parallel::cores(), || Ok(()), |(), index| Episode::new(config, task, first + index as u64))?;
        self.next_seed += n as u64;
        Ok(())
    }

    /// Goes on where another run with the same seed has taken so many control steps, with starts that it can't have come to: each has
    /// taken it a step at least.
    pub fn go_on_after(&mut self, control_steps: u64) -> Result<()> {
        self.next_seed += control_steps;
        self.control_steps = control_steps;
        self.begin(self.episodes.len())
    }

    fn condition<'f>(&self, features: impl Iterator<Item = &'f [f32; STATE_FEATURES]>) -> Tensor {
        let all: Vec<f32> = features.flatten().copied().collect();
        let features = Tensor::from_slice(&all).view([-1, STATE_FEATURES as i64]).to_device(self.device);
        self.conditioner.condition(&features)
    }

    /// Plays a chunk in every episode, on all cores; ended ones begin anew.
    fn play(&mut self, chunks: &[f32], rows: usize) -> Result<Vec<Led>> {
        let (config, task, first_new) = (&self.config, self.task, self.next_seed);
        let most = config.finetune.dream.max_steps as u32;
        let work = |episode: &mut Episode, index: usize| -> Result<Led> {
            let mut led = Led { steps: 0, success: false, over: false, reached: episode.features };
            for row in chunks[index * rows * N_ACT..(index + 1) * rows * N_ACT].as_chunks::<N_ACT>().0 {
                episode.rig.act(Action(*row))?;
                led.steps += 1;
                led.success = episode.rig.solved();
                led.over = led.success || episode.rig.task_steps() >= most;
                if led.over {
                    break;
                }
            }
            episode.features = state_features(&episode.rig.observe());
            led.reached = episode.features;
            if led.over {
                *episode = Episode::new(config, task, first_new + index as u64)?;
            }
            Ok(led)
        };
        let each = self.episodes.len().div_ceil(parallel::cores());
        let parts: Vec<Result<Vec<Led>>> = std::thread::scope(|scope| {
            let mut handles = Vec::new();
            for (part, episodes) in self.episodes.chunks_mut(each).enumerate() {
                let work = &work;
                handles
                    .push(scope.spawn(move || episodes.iter_mut().enumerate().map(|(i, e)| work(e, part * each + i)).collect()));
            }
            let panicked = |_| Err(anyhow::anyhow!("a worker thread panicked"));
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(panicked)).collect()
        });
        self.next_seed += self.episodes.len() as u64;
        let led: Vec<Led> = parts.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        self.control_steps += led.iter().map(|l| l.steps).sum::<u64>();
        Ok(led)
    }
}

fn failed(error: &anyhow::Error) -> WorldModelError {
    WorldModelError::Environment(format!("{error:#}"))
}

impl Environment for Simulation<'_> {
    fn n(&self) -> i64 {
        self.episodes.len() as i64
    }

    fn observe(&mut self) -> Result<Situation, WorldModelError> {
        let cond = self.condition(self.episodes.iter().map(|episode| &episode.features));
        Ok(Situation { value: cond.shallow_clone(), cond })
    }

    fn step(&mut self, chunks: &Tensor) -> Result<Transition, WorldModelError> {
        let rows = chunks.size()[1] as usize;
        let flat = chunks.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
        let flat = Vec::<f32>::try_from(flat).map_err(|e| WorldModelError::Environment(e.to_string()))?;
        let led = self.play(&flat, rows).map_err(|e| failed(&e))?;
        let column = |f: &dyn Fn(&Led) -> bool| {
            let values: Vec<f32> = led.iter().map(|l| f32::from(u8::from(f(l)))).collect();
            Tensor::from_slice(&values).to_device(self.device)
        };
        let success = column(&|l| l.success);
        Ok(Transition {
            reward: success.shallow_clone(),
            terminated: success.shallow_clone(),
            truncated: column(&|l| l.over && !l.success),
            success,
            reached: self.condition(led.iter().map(|l| &l.reached)),
        })
    }
}

impl Forkable for Simulation<'_> {
    fn fork(&self, _: &Tensor, _: i64, _: u64) -> Result<Box<dyn Environment + '_>, WorldModelError> {
        Err(WorldModelError::Environment("a simulation is not branched; finetune.method = b2 and d3po need dreams".into()))
    }
}
