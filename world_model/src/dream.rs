//! Dreams: episodes that happen in a learned world alone (DiWA's Dream Diffusion MDP), behind the interface of [`Environment`].

use reverie_policy::{Checkpoint, Device, MinMax};
use reverie_schema::N_ACT;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::WorldModelError;
use crate::checkpoint::TrainedWorldModel;
use crate::environment::{Environment, Forkable, Situation, Transition};
use crate::error::Result;
use crate::noise::Noise;

/// How uncertainty counts against a dream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Each step costs its share of uncertainty (MOPO).
    #[default]
    Sum,
    /// A success pays less by the worst step that led to it (PURE's min-form): one impossible step can't be made up for.
    Min,
}

/// How dreams go, and what keeps a policy from believing them too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DreamConfig {
    /// Dreams side by side (50 in DiWA).
    pub dreams: usize,
    /// Control steps after which a dream is cut off (72 in DiWA).
    pub max_steps: usize,
    /// Checks in a row that must tell success (1 in DiWA). A chunk is one check.
    pub successes_in_a_row: u32,
    /// MOREC's filter: candidates for each next latent, drawn from the prior heads in turn; 0: off.
    pub candidates: usize,
    /// Temperature of the choice among them (0.1).
    pub temperature: f64,
    /// A dream ends without reward at a step that looks less plausible to MOREC's discriminators than all but this share of recorded steps;
    /// 0: never. Only with the filter. What a policy being tuned does is itself not as in play, so that a limit ends its better dreams too.
    /// (Published: a dynamics reward below 0.6, where discriminators fight a generator; what a discriminator says of a finished model
    /// depends on how good both are.)
    pub implausible_share: f64,
    /// Noise on the TCP's position at each step, as a share of the model's usual error one step ahead; 0: none. A policy that has had to
    /// correct for it does not hang on millimetres that the model gets wrong. The joints stay as they are.
    pub jitter: f64,
    /// Weight of the heads' disagreement, as a share of what 99 of 100 steps along play stay below; 0: off.
    pub penalty: f64,
    /// How it counts.
    pub risk: Risk,
}

impl Default for DreamConfig {
    fn default() -> Self {
        Self {
            dreams: 64,
            max_steps: 96,
            successes_in_a_row: 2,
            candidates: 10,
            temperature: 0.1,
            implausible_share: 0.0,
            jitter: 1.0,
            penalty: 0.02,
            risk: Risk::Sum,
        }
    }
}

impl DreamConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`WorldModelError::Config`] with the key and the value that can't be used.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [("dream.dreams", self.dreams), ("dream.max_steps", self.max_steps)] {
            if value == 0 {
                return Err(WorldModelError::config(key, value, "must be positive"));
            }
        }
        if self.successes_in_a_row == 0 {
            return Err(WorldModelError::config("dream.successes_in_a_row", 0, "must be at least 1"));
        }
        if !(0.0..1.0).contains(&self.implausible_share) {
            return Err(WorldModelError::config("dream.implausible_share", self.implausible_share, "must be in [0, 1)"));
        }
        if self.implausible_share > 0.0 && self.candidates == 0 {
            let reason = "what is implausible is told by the filter: dream.candidates must be at least 1";
            return Err(WorldModelError::config("dream.implausible_share", self.implausible_share, reason));
        }
        for (key, value) in
            [("dream.temperature", self.temperature), ("dream.penalty", self.penalty), ("dream.jitter", self.jitter)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(WorldModelError::config(key, value, "must not be negative"));
            }
        }
        Ok(())
    }
}

/// What a model says of the next moment.
#[derive(Debug)]
pub struct Imagined {
    /// `[n, latent]`.
    pub latent: Tensor,
    /// Uncertainty as a share of what is usual, `[n]`.
    pub uncertainty: Tensor,
    /// 1 where the step is not believed and the dream is to end, `[n]`.
    pub implausible: Tensor,
}

/// A world to dream in.
pub trait Dynamics {
    /// Control steps that one step covers.
    fn actions_per_step(&self) -> usize;

    /// The next moment. `latent`: `[n, latent]`; `actions`: `[n, actions_per_step * n_act]`; `branches` consecutive rows share their
    /// chance.
    fn step(&self, latent: &Tensor, actions: &Tensor, branches: i64, noise: &mut Noise) -> Imagined;

    /// State features in their units, `[n, latent] -> [n, 51]`.
    fn features(&self, latent: &Tensor) -> Tensor;

    /// 1 where the task is done, `[n]`.
    fn done(&self, latent: &Tensor) -> Tensor;
}

/// Chance of which consecutive rows, the branches of one moment, have the same.
pub(crate) struct SharedNoise<'a> {
    pub noise: &'a mut Noise,
    pub n: i64,
    pub branches: i64,
}

impl SharedNoise<'_> {
    /// `[n, rest..]`.
    pub fn uniform(&mut self, rest: &[i64]) -> Tensor {
        self.draw(rest, Noise::uniform)
    }

    /// `[n, rest..]`.
    pub fn normal(&mut self, rest: &[i64]) -> Tensor {
        self.draw(rest, Noise::normal)
    }

    fn draw(&mut self, rest: &[i64], of: fn(&mut Noise, &[i64]) -> Tensor) -> Tensor {
        let mut shape = vec![self.n / self.branches];
        shape.extend(rest);
        let fresh = of(self.noise, &shape);
        if self.branches == 1 { fresh } else { fresh.repeat_interleave_self_int(self.branches, 0, self.n) }
    }
}

/// Writes conditions of a policy from state features.
#[derive(Debug)]
pub struct Conditioner {
    offset: Tensor,
    scale: Tensor,
    task: Tensor,
}

impl Conditioner {
    /// For `task` of `checkpoint`.
    ///
    /// # Errors
    /// A task that it does not know, or a policy that looks at more than one observation.
    pub fn new(checkpoint: &Checkpoint, task: &str, device: Device) -> Result<Self> {
        let info = &checkpoint.info;
        if info.n_obs != 1 {
            return Err(WorldModelError::config("n_obs", info.n_obs, "policies that are tuned look at one observation"));
        }
        let MinMax { offset, scale } = &info.observation_normaliser;
        let mut one_hot = vec![0.0_f32; info.tasks.len()];
        one_hot[checkpoint.task_index(task)?] = 1.0;
        let on = |values: &[f32]| Tensor::from_slice(values).to_device(device);
        Ok(Self { offset: on(offset), scale: on(scale), task: on(&one_hot) })
    }

    /// Entries of a condition.
    pub fn width(&self) -> usize {
        self.offset.numel() + self.task.numel()
    }

    /// `[n, 51] -> [n, n_cond]`.
    pub fn condition(&self, features: &Tensor) -> Tensor {
        let n = features.size()[0];
        Tensor::cat(&[(features - &self.offset) / &self.scale, self.task.unsqueeze(0).expand([n, -1], false)], -1)
    }
}

/// Dreams of one task side by side.
pub struct Dream<'a> {
    dynamics: &'a dyn Dynamics,
    conditioner: &'a Conditioner,
    config: &'a DreamConfig,
    /// `[starts, latent]`; none in a fork, whose dreams don't begin anew.
    starts: Option<&'a Tensor>,
    latent: Tensor,
    /// Control steps so far, `[n]`.
    elapsed: Tensor,
    /// Checks in a row that told success, `[n]`.
    told: Tensor,
    /// Worst uncertainty so far, `[n]`.
    worst: Tensor,
    /// 1 in forks whose dream is over, `[n]`.
    over: Tensor,
    branches: i64,
    noise: Noise,
    /// Control steps imagined.
    imagined: u64,
}

impl std::fmt::Debug for Dream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dream").field("latent", &self.latent).field("imagined", &self.imagined).finish_non_exhaustive()
    }
}

impl<'a> Dream<'a> {
    /// Dreams from random ones of `starts`, `[starts, latent]`.
    ///
    /// # Errors
    /// A setting that can't be used.
    pub fn new(
        dynamics: &'a dyn Dynamics,
        conditioner: &'a Conditioner,
        starts: &'a Tensor,
        config: &'a DreamConfig,
        seed: u64,
    ) -> Result<Self> {
        config.validate()?;
        if starts.size()[0] == 0 {
            return Err(WorldModelError::Data("there is no moment for a dream to begin at".into()));
        }
        let n = config.dreams as i64;
        let mut noise = Noise::new(seed, "dream", starts.device());
        let rows = noise.below(starts.size()[0], &[n]);
        let zeros = || Tensor::zeros([n], (Kind::Float, starts.device()));
        // Dreams don't all begin at once, so that ends are spread over the iterations.
        let elapsed = (noise.uniform(&[n]) * config.max_steps as f64 / 4.0).floor();
        Ok(Self {
            latent: starts.index_select(0, &rows),
            elapsed,
            told: zeros(),
            worst: zeros(),
            over: zeros(),
            dynamics,
            conditioner,
            config,
            starts: Some(starts),
            branches: 1,
            noise,
            imagined: 0,
        })
    }

    /// Control steps imagined so far.
    pub fn imagined(&self) -> u64 {
        self.imagined
    }

    /// Draws the chance of what follows from the part `index` of the stream, so that a run that goes on from a file goes on as it
    /// would have.
    pub fn restart_noise(&mut self, seed: u64, index: u64) {
        self.noise = Noise::new(seed, "dream", self.latent.device()).part(index + 1);
    }

    /// Everything that [`restore`](Self::restore) needs, `[n, latent + 3]`.
    pub fn snapshot(&self) -> Tensor {
        let column = |t: &Tensor| t.unsqueeze(-1);
        Tensor::cat(&[&self.latent, &column(&self.elapsed), &column(&self.told), &column(&self.worst)], -1)
    }

    /// Goes on from a snapshot.
    pub fn restore(&mut self, snapshot: &Tensor, imagined: u64) {
        let latent = self.latent.size()[1];
        self.latent = snapshot.narrow(-1, 0, latent);
        [&mut self.elapsed, &mut self.told, &mut self.worst]
            .into_iter()
            .enumerate()
            .for_each(|(i, to)| *to = snapshot.select(-1, latent + i as i64));
        self.imagined = imagined;
    }
}

impl Environment for Dream<'_> {
    fn n(&self) -> i64 {
        self.latent.size()[0]
    }

    fn observe(&mut self) -> Result<Situation> {
        let _guard = tch::no_grad_guard();
        let features = self.dynamics.features(&self.latent);
        Ok(Situation { cond: self.conditioner.condition(&features), value: self.latent.shallow_clone() })
    }

    fn step(&mut self, chunks: &Tensor) -> Result<Transition> {
        let _guard = tch::no_grad_guard();
        let (n, rows) = (self.n(), chunks.size()[1]);
        let each = self.dynamics.actions_per_step() as i64;
        if rows % each != 0 {
            let reason = format!("a world model's step covers {each} control steps: rows must be a multiple");
            return Err(WorldModelError::config("chain.rows", rows, reason));
        }
        let mut uncertainty = self.told.zeros_like();
        let mut implausible = self.told.zeros_like();
        for step in 0..rows / each {
            let actions = chunks.narrow(1, step * each, each).reshape([n, each * N_ACT as i64]);
            let imagined = self.dynamics.step(&self.latent, &actions, self.branches, &mut self.noise);
            self.latent = imagined.latent;
            uncertainty += &imagined.uncertainty;
            self.worst = self.worst.maximum(&imagined.uncertainty);
            implausible = implausible.maximum(&imagined.implausible);
        }
        let awake = &self.over * -1.0 + 1.0;
        self.imagined += (n * rows) as u64;
        self.elapsed += rows as f64;
        self.told = (&self.told + 1.0) * self.dynamics.done(&self.latent);
        let success =
            self.told.ge(f64::from(self.config.successes_in_a_row)).to_kind(Kind::Float) * (&implausible * -1.0 + 1.0) * &awake;
        let terminated = (&success + implausible).clamp_max(1.0).maximum(&self.over);
        let truncated = self.elapsed.ge(self.config.max_steps as f64).to_kind(Kind::Float) * (&terminated * -1.0 + 1.0);
        let reward = match self.config.risk {
            Risk::Sum => &success - uncertainty * self.config.penalty * awake,
            Risk::Min => &success * (&self.worst * -self.config.penalty + 1.0).clamp_min(0.0),
        };
        let reached = self.latent.shallow_clone();
        let ended = (&terminated + &truncated).clamp_max(1.0);
        if let Some(starts) = self.starts {
            let rows = self.noise.below(starts.size()[0], &[n]);
            let anew = ended.gt(0.5);
            self.latent = starts.index_select(0, &rows).where_self(&anew.unsqueeze(-1), &self.latent);
            for counter in [&mut self.elapsed, &mut self.told, &mut self.worst] {
                *counter = counter.masked_fill(&anew, 0.0);
            }
        } else {
            self.over = ended;
        }
        Ok(Transition { reward, terminated, truncated, success, reached })
    }
}

impl Forkable for Dream<'_> {
    fn fork(&self, rows: &Tensor, branches: i64, seed: u64) -> Result<Box<dyn Environment + '_>> {
        let at = |tensor: &Tensor| tensor.index_select(0, rows);
        Ok(Box::new(Dream {
            dynamics: self.dynamics,
            conditioner: self.conditioner,
            config: self.config,
            starts: None,
            latent: at(&self.latent),
            elapsed: at(&self.elapsed),
            told: at(&self.told),
            worst: at(&self.worst),
            over: at(&self.over),
            branches,
            noise: Noise::new(seed, "fork", self.latent.device()),
            imagined: 0,
        }))
    }
}

/// Latents at which dreams can begin: windows of `steps` steps are followed from their first frames, the last moment counts.
pub fn starts(
    world: &TrainedWorldModel,
    data: &crate::data::PlayData,
    firsts: &[i64],
    steps: usize,
    noise: &mut Noise,
) -> Tensor {
    const TOGETHER: usize = 512;
    let _guard = tch::no_grad_guard();
    let parts: Vec<Tensor> = firsts
        .chunks(TOGETHER)
        .map(|firsts| {
            let sequence = data.windows(firsts, steps, world.model.config());
            let blank = world.model.blank(firsts.len() as i64, &sequence.actions);
            world.model.observe(&sequence, &blank, noise).latents.get(-1)
        })
        .collect();
    if parts.is_empty() {
        return Tensor::zeros([0, world.info.config.latent() as i64], (Kind::Float, world.device()));
    }
    Tensor::cat(&parts, 0)
}

#[cfg(test)]
mod tests {
    use reverie_policy::STATE_FEATURES;

    use super::*;
    use crate::tune::chain::tests::small_checkpoint;

    /// A linear world with Gaussian noise: `s' = 0.9 s + b sum(a_x) + 0.05 w`, one number; done above 1.
    struct Linear;

    impl Dynamics for Linear {
        fn actions_per_step(&self) -> usize {
            1
        }

        fn step(&self, latent: &Tensor, actions: &Tensor, branches: i64, noise: &mut Noise) -> Imagined {
            let n = latent.size()[0];
            let mut shared = SharedNoise { noise, n, branches };
            let w = shared.normal(&[1]);
            let next = latent * 0.9 + actions.narrow(-1, 0, 1) * 0.2 + w * 0.05;
            let zero = latent.select(-1, 0).zeros_like();
            Imagined { latent: next, uncertainty: zero.shallow_clone(), implausible: zero }
        }

        fn features(&self, latent: &Tensor) -> Tensor {
            latent.expand([-1, STATE_FEATURES as i64], false).copy()
        }

        fn done(&self, latent: &Tensor) -> Tensor {
            latent.select(-1, 0).gt(1.0).to_kind(Kind::Float)
        }
    }

    fn config(dreams: usize) -> DreamConfig {
        DreamConfig { dreams, max_steps: 8, successes_in_a_row: 1, penalty: 0.0, ..DreamConfig::default() }
    }

    /// Mean and variance after four steps under a constant action `u`: `m = 0.9^4 s + 0.2 u (1 + 0.9 + 0.81 + 0.729)`,
    /// `v = 0.05^2 (1 + 0.81 + 0.81^2 + 0.81^3)`.
    #[test]
    fn a_dream_in_a_linear_gaussian_world_matches_the_closed_form() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let (config, starts) = (config(20_000), Tensor::from_slice(&[0.3_f32]).view([1, 1]));
        let mut dream = Dream::new(&Linear, &conditioner, &starts, &config, 1).unwrap();
        dream.elapsed = dream.elapsed.zeros_like();
        let chunk = Tensor::full([20_000, 4, 7], 0.5, (Kind::Float, Device::Cpu));
        let reached = dream.step(&chunk).unwrap().reached;
        let mean = reached.mean(Kind::Double).double_value(&[]);
        let variance = (reached - mean).square().mean(Kind::Double).double_value(&[]);
        let (m, v) = (0.6561 * 0.3 + 0.1 * 3.439, 0.0025 * (1.0 + 0.81 + 0.6561 + 0.531_441));
        assert!((mean - m).abs() < 4.0 * (v / 20_000.0_f64).sqrt(), "{mean} {m}");
        assert!((variance / v - 1.0).abs() < 0.04, "{variance} {v}");
        assert_eq!(dream.imagined(), 80_000);
    }

    #[test]
    fn successes_pay_end_the_dream_and_begin_another_and_long_dreams_are_cut_off() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let (config, starts) = (config(4), Tensor::from_slice(&[0.0_f32]).view([1, 1]));
        let mut dream = Dream::new(&Linear, &conditioner, &starts, &config, 1).unwrap();
        dream.elapsed = Tensor::from_slice(&[0.0_f32, 0.0, 4.0, 4.0]);
        dream.latent = Tensor::from_slice(&[3.0_f32, 0.0, 3.0, 0.0]).view([4, 1]);
        let step = dream.step(&Tensor::zeros([4, 4, 7], (Kind::Float, Device::Cpu))).unwrap();
        let values = |t: &Tensor| Vec::<f32>::try_from(t).unwrap();
        assert_eq!(values(&step.success), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!((values(&step.reward), values(&step.terminated)), (values(&step.success), values(&step.success)));
        assert_eq!(values(&step.truncated), [0.0, 0.0, 0.0, 1.0]);
        assert!(values(&step.reached.select(-1, 0))[0] > 1.0, "what was reached, not where the next begins");
        assert_eq!(values(&dream.latent.select(-1, 0))[0], 0.0);
        assert_eq!(values(&dream.elapsed), [0.0, 4.0, 0.0, 0.0]);
    }

    /// Three steps above the threshold, two in a row asked for: told at the first, believed at the second.
    #[test]
    fn success_is_believed_when_it_is_told_often_enough_in_a_row() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let config = DreamConfig { successes_in_a_row: 2, ..config(2) };
        let starts = Tensor::from_slice(&[0.0_f32]).view([1, 1]);
        let mut dream = Dream::new(&Linear, &conditioner, &starts, &config, 1).unwrap();
        dream.elapsed = dream.elapsed.zeros_like();
        let still = Tensor::zeros([2, 1, 7], (Kind::Float, Device::Cpu));
        let values = |t: &Tensor| Vec::<f32>::try_from(t).unwrap();
        // The first stays above; the second falls below between two times that it is told.
        let mut success = |first: f32, second: f32| {
            dream.latent = Tensor::from_slice(&[first, second]).view([2, 1]);
            values(&dream.step(&still).unwrap().success)
        };
        assert_eq!(success(3.0, 3.0), [0.0, 0.0]);
        assert_eq!(success(3.0, 0.0), [1.0, 0.0]);
        assert_eq!(success(3.0, 3.0), [0.0, 0.0], "the first has begun anew");
        assert_eq!(success(3.0, 3.0), [1.0, 1.0]);
    }

    /// Forks of one moment share their chance: with equal actions they end alike, with others the difference is the actions' alone.
    #[test]
    fn forks_share_their_chance() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let (config, starts) = (config(3), Tensor::from_slice(&[0.1_f32]).view([1, 1]));
        let dream = Dream::new(&Linear, &conditioner, &starts, &config, 1).unwrap();
        let mut fork = dream.fork(&Tensor::from_slice(&[0_i64, 0, 1, 1]), 2, 5).unwrap();
        let chunks = Tensor::zeros([4, 1, 7], (Kind::Float, Device::Cpu));
        let _ = chunks.get(1).fill_(1.0);
        let reached = fork.step(&chunks).unwrap().reached;
        let at = |i: i64| reached.double_value(&[i, 0]);
        assert_eq!(at(2), at(3));
        assert_ne!(at(0), at(2));
        assert!((at(1) - at(0) - 0.2).abs() < 1e-6);
    }

    /// Done above 1, whatever the actions; the first step of a dream is doubtful, later ones are not.
    struct Doubtful;

    impl Dynamics for Doubtful {
        fn actions_per_step(&self) -> usize {
            1
        }

        fn step(&self, latent: &Tensor, _: &Tensor, _: i64, _: &mut Noise) -> Imagined {
            let uncertainty = (latent.select(-1, 0) * -1.0 + 0.8).clamp_min(0.0);
            let implausible = uncertainty.zeros_like();
            Imagined { latent: latent + 0.6, uncertainty, implausible }
        }

        fn features(&self, latent: &Tensor) -> Tensor {
            latent.expand([-1, STATE_FEATURES as i64], false).copy()
        }

        fn done(&self, latent: &Tensor) -> Tensor {
            latent.select(-1, 0).gt(1.0).to_kind(Kind::Float)
        }
    }

    /// From 0: steps of uncertainty 0.8 and 0.2, the second of which succeeds. Their sum costs step by step, the worst costs success.
    #[test]
    fn uncertainty_counts_as_a_sum_or_by_its_worst_step() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let starts = Tensor::from_slice(&[0.0_f32]).view([1, 1]);
        for (risk, want) in [(Risk::Sum, [-0.4, 0.9]), (Risk::Min, [0.0, 0.6])] {
            let config = DreamConfig { penalty: 0.5, risk, ..config(1) };
            let mut dream = Dream::new(&Doubtful, &conditioner, &starts, &config, 1).unwrap();
            dream.elapsed = dream.elapsed.zeros_like();
            for want in want {
                let got = dream.step(&Tensor::zeros([1, 1, 7], (Kind::Float, Device::Cpu))).unwrap().reward.double_value(&[0]);
                assert!((got - want).abs() < 1e-6, "{risk:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_dream_goes_on_from_a_snapshot_as_it_would_have() {
        let checkpoint = small_checkpoint();
        let conditioner = Conditioner::new(&checkpoint, "open_drawer", Device::Cpu).unwrap();
        let (config, starts) = (config(5), Tensor::from_slice(&[0.3_f32, 0.7]).view([2, 1]));
        let chunks = Tensor::full([5, 2, 7], 0.8, (Kind::Float, Device::Cpu));
        let mut dream = Dream::new(&Linear, &conditioner, &starts, &config, 1).unwrap();
        dream.step(&chunks).unwrap();
        let (snapshot, imagined) = (dream.snapshot(), dream.imagined());
        let go_on = |dream: &mut Dream<'_>| {
            dream.restart_noise(1, 7);
            let steps: Vec<Tensor> = (0..6).map(|_| dream.step(&chunks).unwrap().reward).collect();
            (Tensor::stack(&steps, 0), dream.snapshot(), dream.imagined())
        };
        let want = go_on(&mut dream);
        let mut other = Dream::new(&Linear, &conditioner, &starts, &config, 99).unwrap();
        other.restore(&snapshot, imagined);
        assert_eq!(go_on(&mut other), want);
    }
}
