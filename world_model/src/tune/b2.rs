//! B2-DiffuRL (Hu et al., CVPR 2025), on dreams: backward progressive training and branch sampling.
//!
//! From a moment of an episode one chain is denoised down to the last `window` steps, and from there continued several times. Each
//! continuation is played, the policy goes on from where it led under the same chance as its siblings, and its discounted success,
//! as a z-score among them, is the advantage of the steps in the window alone. The window begins small, at the clean end, and grows.
//!
//! Deviations: what costs reward in a dream beside success (`penalty`, `risk`) is not scored, since among failures it would be all
//! that differs; scores are among siblings only (the original keeps a history of each prompt); the window grows when success stagnates
//! instead of by a clock; groups without differences are dropped.

use std::path::Path;

use rand::seq::SliceRandom;
use reverie_policy::{Checkpoint, Device};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::chain::{ChunkNoise, DiffusionPolicy};
use super::config::{Select, TuneConfig};
use super::learner::Learner;
use super::objective::policy_loss;
use super::{Beside, Iteration, Tuner};
use crate::WorldModelError;
use crate::environment::{Environment, Forkable};
use crate::error::Result;
use crate::noise::Noise;

/// Deviation of returns below which siblings count as equal.
const EQUAL_BELOW: f64 = 1e-3;
/// Least rise of success that counts as one.
const RISE: f64 = 0.01;

/// See the module's text.
#[derive(Debug)]
pub struct B2 {
    learner: Learner,
    schedule: WindowSchedule,
}

/// How many of the last denoising steps are tuned: one more whenever success has not risen for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct WindowSchedule {
    window: usize,
    best: f64,
    since: u64,
}

impl WindowSchedule {
    fn see(&mut self, success: f64, patience: u64, most: usize) {
        if success > self.best + RISE {
            (self.best, self.since) = (success, 0);
            return;
        }
        self.since += 1;
        if self.since >= patience && self.window < most {
            (self.window, self.since, self.best) = (self.window + 1, 0, success);
        }
    }
}

/// Continuations of moments: what was sampled, and what it was worth.
pub(crate) struct Branches {
    /// `[groups * branches, n_cond]`.
    pub(crate) cond: Tensor,
    /// `[groups * branches, window + 1, horizon, n_act]`.
    pub(crate) x: Tensor,
    /// Log-likelihoods, `[groups * branches, window]`.
    pub(crate) log_likelihood: Tensor,
    /// Discounted returns, `[groups, branches]`.
    pub(crate) returns: Tensor,
    /// Discounted successes, `[groups, branches]`: what siblings are compared by. Returns of failures differ by their uncertainty.
    pub(crate) payoff: Tensor,
    /// Control steps that were lived through.
    pub(crate) steps: u64,
    /// Success in the end, `[groups, branches]`.
    pub(crate) success: Tensor,
    /// Situations before each chunk, `[groups * branches, n_cond]`.
    pub(crate) seen: Vec<Tensor>,
    /// Roughness of the first chunk, `[groups, branches]`: sum of squared second differences.
    pub(crate) jerk: Tensor,
}

/// How continuations are made.
pub(crate) struct BranchPlan {
    pub(crate) branches: i64,
    pub(crate) window: usize,
    pub(crate) gamma: f64,
    pub(crate) chunks: usize,
    pub(crate) seed: u64,
}

/// Lives through what follows each of `rows` (moments of `environment`, in the situations `cond`) several times.
pub(crate) fn branch(
    policy: &DiffusionPolicy,
    environment: &dyn Forkable,
    cond: &Tensor,
    rows: &Tensor,
    plan: &BranchPlan,
    noise: &mut Noise,
) -> Result<Branches> {
    let _guard = tch::no_grad_guard();
    let (groups, branches) = (rows.size()[0], plan.branches);
    let n = groups * branches;
    let cond = cond.index_select(0, rows);
    let mut own = ChunkNoise::own(noise, groups);
    let first = own.next(policy);
    let entering = policy.to_window(first, plan.window, &cond, &mut own);
    let each = |t: &Tensor, count: i64| t.repeat_interleave_self_int(branches, 0, count);
    let (cond, entering) = (each(&cond, n), each(&entering, n));
    let chains = policy.sample_from(&entering, plan.window, &cond, &mut ChunkNoise::own(noise, n));
    let mut fork: Box<dyn Environment + '_> = environment.fork(&each(rows, n), branches, plan.seed)?;
    let mut chunk = policy.actions(&chains.x.select(1, -1));
    let jerk = roughness(&chunk).view([groups, branches]);
    let zeros = || Tensor::zeros([n], (Kind::Float, cond.device()));
    let (mut returns, mut payoff, mut success, mut over) = (zeros(), zeros(), zeros(), zeros());
    let mut steps = 0;
    let mut discount = 1.0;
    let mut seen = vec![cond.shallow_clone()];
    for step in 0..plan.chunks {
        if step > 0 {
            let now = fork.observe()?;
            let later = policy.sample(&now.cond, &mut ChunkNoise::shared(noise, n, branches));
            chunk = policy.actions(&later.x.select(1, -1));
            seen.push(now.cond);
        }
        let led = fork.step(&chunk)?;
        let counts = &over * -1.0 + 1.0;
        steps += n as u64 * policy.config().rows as u64;
        returns += &led.reward * &counts * discount;
        payoff += &led.success * &counts * discount;
        success += &led.success * counts;
        over = over.maximum(&led.terminated).maximum(&led.truncated);
        discount *= plan.gamma;
        if over.min().double_value(&[]) > 0.5 {
            break;
        }
    }
    let shape = [groups, branches];
    Ok(Branches {
        cond,
        x: chains.x,
        log_likelihood: chains.log_likelihood,
        returns: returns.view(shape),
        payoff: payoff.view(shape),
        steps,
        success: success.view(shape),
        seen,
        jerk,
    })
}

/// Entries of an action that are continuous: the gripper jumps by nature.
const CONTINUOUS: i64 = 6;

/// Sum of squared second differences of a chunk's rows, `[n, rows, n_act] -> [n]`.
fn roughness(chunks: &Tensor) -> Tensor {
    let rows = chunks.size()[1];
    if rows < 3 {
        return Tensor::zeros([chunks.size()[0]], (Kind::Float, chunks.device()));
    }
    let at = |from: i64| chunks.narrow(1, from, rows - 2).narrow(2, 0, CONTINUOUS);
    (at(2) - at(1) * 2.0 + at(0)).square().sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Float)
}

/// z-scores among siblings; 0 where they don't differ, or where the branch is not selected.
///
/// # Shapes
/// `[groups, branches]`.
fn scores(returns: &Tensor, select: Select, clip: f64) -> Tensor {
    let mean = returns.mean_dim([1_i64].as_slice(), true, Kind::Float);
    let deviation = returns.std_dim([1_i64].as_slice(), false, true);
    let z = ((returns - mean) / (&deviation + 1e-6)).clamp(-clip, clip) * deviation.gt(EQUAL_BELOW).to_kind(Kind::Float);
    match select {
        Select::All {} => z,
        Select::BestWorst { above, below } => {
            let only = |index: Tensor| z.zeros_like().scatter_value(1, &index, 1.0);
            let best = only(z.argmax(1, true)) * z.ge(above).to_kind(Kind::Float);
            let worst = only(z.argmin(1, true)) * z.lt(below).to_kind(Kind::Float);
            &z * (best + worst).clamp_max(1.0)
        }
    }
}

impl B2 {
    /// A run that begins with `checkpoint`.
    ///
    /// # Errors
    /// Settings that can't be used, or don't fit the policy.
    pub fn new(checkpoint: &Checkpoint, config: &TuneConfig, device: Device) -> Result<Self> {
        let schedule = WindowSchedule { window: config.b2.first_window, best: 0.0, since: 0 };
        Ok(Self { learner: Learner::new(checkpoint, config, device)?, schedule })
    }
}

/// Chunks until an episode of these settings is over.
pub(crate) fn chunks_of_an_episode(config: &TuneConfig) -> usize {
    config.dream.max_steps.div_ceil(config.chain.rows)
}

/// Lets the policy act for one decision, so that the moments that are branched from are its own.
pub(crate) fn advance(learner: &Learner, environment: &mut dyn Forkable, noise: &mut Noise) -> Result<()> {
    let n = environment.n();
    let now = environment.observe()?;
    let chains = learner.policy.sample(&now.cond, &mut ChunkNoise::own(noise, n));
    environment.step(&learner.policy.actions(&chains.x.select(1, -1)))?;
    Ok(())
}

/// `count` moments among `n`, each at most once while there are enough.
pub(crate) fn moments(n: i64, count: usize, noise: &mut Noise, device: Device) -> Tensor {
    let mut rows: Vec<i64> = (0..n).collect();
    rows.shuffle(noise.rng());
    let rows: Vec<i64> = rows.into_iter().cycle().take(count).collect();
    Tensor::from_slice(&rows).to_device(device)
}

/// Decisions that the environment takes between two times that it is branched from.
pub(crate) const DECISIONS_BETWEEN: usize = 3;

impl Tuner for B2 {
    fn iterate(&mut self, environment: &mut dyn Forkable, iteration: u64) -> Result<Iteration> {
        let config = self.learner.config().clone();
        let device = self.learner.policy.device();
        let mut noise = Noise::new(config.seed, "branches", device).part(iteration);
        let window = self.schedule.window;
        let mut stats = Iteration { iteration, window, ..Iteration::default() };
        for _ in 0..DECISIONS_BETWEEN {
            advance(&self.learner, environment, &mut noise)?;
        }
        let now = environment.observe()?;
        let rows = moments(environment.n(), config.b2.groups, &mut noise, device);
        let plan = BranchPlan {
            branches: config.b2.branches as i64,
            window,
            gamma: config.b2.gamma,
            chunks: chunks_of_an_episode(&config),
            seed: reverie_schema::derive_seed(config.seed, &format!("fork {iteration}")),
        };
        let branches = branch(&self.learner.policy, environment, &now.cond, &rows, &plan, &mut noise)?;
        let success = branches.success.mean(Kind::Double).double_value(&[]);
        stats.reward = branches.returns.mean(Kind::Double).double_value(&[]);
        stats.success = success;
        stats.episodes = branches.success.numel() as u64;
        stats.beside = branches.steps;
        let advantage = scores(&branches.payoff, config.b2.select, config.b2.score_clip).view([-1]);
        let selected = advantage.ne(0.0).nonzero().view([-1]);
        let mut order = Vec::<i64>::try_from(selected.to_device(Device::Cpu)).expect("indices");
        let clip = Tensor::full([window as i64], config.b2.clip, (Kind::Float, device));
        let lesson = self.learner.lesson(&branches.cond, usize::MAX, &mut noise);
        let mut batches = 0.0;
        for _ in 0..config.b2.epochs {
            order.shuffle(noise.rng());
            for rows in order.chunks(config.b2.batch) {
                let rows = Tensor::from_slice(rows).to_device(device);
                let take = |t: &Tensor| t.index_select(0, &rows);
                let now = self.learner.policy.log_likelihood(&take(&branches.x), &take(&branches.cond));
                let weight = take(&advantage).unsqueeze(-1).expand_as(&now);
                let [loss, clipped, divergence] = policy_loss(&now, &take(&branches.log_likelihood), &weight, &clip);
                let cloning = self.learner.cloning_loss(lesson.as_ref(), rows.size()[0] * window as i64, &mut noise);
                stats.cloning_loss += self.learner.step(&loss, cloning.as_ref())?;
                stats.policy_loss += loss.double_value(&[]);
                stats.clipped += clipped.double_value(&[]);
                stats.divergence += divergence.double_value(&[]);
                batches += 1.0;
            }
        }
        for sum in [&mut stats.cloning_loss, &mut stats.policy_loss, &mut stats.clipped, &mut stats.divergence] {
            *sum /= f64::max(batches, 1.0);
        }
        stats.divergence_from_base =
            self.learner.policy.divergence(&branches.x, &branches.cond).mean(Kind::Float).double_value(&[]);
        self.schedule.see(success, config.b2.patience, config.chain.tuned);
        Ok(stats)
    }

    fn learner(&self) -> &Learner {
        &self.learner
    }

    fn save_state(&self, path: &Path, beside: &Beside) -> Result<()> {
        super::save_learner(path, &self.learner, beside, &serde_json::json!(self.schedule), &[])
    }

    fn resume(&mut self, path: &Path) -> Result<Beside> {
        let (beside, own, _) = super::resume_learner(path, &mut self.learner)?;
        self.schedule = serde_json::from_value(own).map_err(|e| WorldModelError::file(path, e))?;
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::config::B2Config;
    use crate::tune::toy::{TwoStates, assert_learns, assert_resumes, small_config};

    #[test]
    fn the_known_optimum_of_a_two_state_problem_is_found() {
        let config = TuneConfig { cloning: 0.0, learning_rate: 1e-3, ..small_config() };
        let mut b2 = B2::new(&TwoStates::checkpoint(), &config, Device::Cpu).unwrap();
        assert_learns(&mut b2, 32, 80);
    }

    #[test]
    fn scores_are_among_siblings_and_only_the_ends_are_selected() {
        let returns = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 5.0, 5.0, 5.0]).view([2, 3]);
        let all = scores(&returns, Select::All {}, 5.0);
        let values = |t: &Tensor| Vec::<f32>::try_from(t.view([-1])).unwrap();
        for (got, want) in values(&all).iter().zip([-1.224_745, 0.0, 1.224_745, 0.0, 0.0, 0.0]) {
            assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
        let ends = values(&scores(&returns, Select::BestWorst { above: 0.5, below: -0.5 }, 1.0));
        assert_eq!(ends, [-1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_window_grows_when_success_stagnates() {
        let mut schedule = WindowSchedule { window: 2, best: 0.0, since: 0 };
        for success in [0.1, 0.2, 0.2, 0.2] {
            schedule.see(success, 2, 3);
        }
        assert_eq!(schedule.window, 3);
        for _ in 0..9 {
            schedule.see(0.2, 2, 3);
        }
        assert_eq!(schedule.window, 3, "at most all tuned steps");
    }

    #[test]
    fn an_interrupted_run_goes_on_as_it_would_have() {
        let config = TuneConfig { b2: B2Config { patience: 1, ..small_config().b2 }, ..small_config() };
        let whole = assert_resumes(|| B2::new(&TwoStates::checkpoint(), &config, Device::Cpu).unwrap());
        assert!(whole.schedule.window > config.b2.first_window, "the window is part of what is resumed");
    }
}
