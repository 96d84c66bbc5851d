//! D3PO (Yang et al., CVPR 2024), on dreams: of two continuations of the same moment one is preferred, and the policy's likelihood ratio
//! to a reference is raised on the preferred chain and lowered on the other.
//!
//! A pair differs in one chunk only, from the same noise on; then the same policy goes on under the same chance, so that credit goes
//! where the difference is. Who prefers is a [`Judge`]: success and how soon, Pareto dominance over several, or a person.

use std::path::Path;

use rand::seq::SliceRandom;
use reverie_policy::{Checkpoint, Device};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::b2::{BranchPlan, DECISIONS_BETWEEN, advance, branch, chunks_of_an_episode, moments};
use super::config::TuneConfig;
use super::learner::Learner;
use super::objective::preference_loss;
use super::{Beside, Iteration, Tuner};
use crate::environment::Forkable;
use crate::error::Result;
use crate::noise::Noise;

/// What is known of one of two continuations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it ended in success.
    pub success: bool,
    /// Discounted success: sooner ones are worth more, failures nothing.
    pub value: f64,
    /// Roughness of its first chunk.
    pub jerk: f64,
}

/// Which of two is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The first.
    First,
    /// The second.
    Second,
    /// Neither: nothing is learned from the pair.
    Neither,
}

/// A continuation as it is seen: the policy's conditions before each chunk.
pub type Seen = Vec<Vec<f32>>;

/// Prefers one of two continuations.
pub trait Judge {
    /// Whether [`prefer`](Self::prefer) is to be shown the continuations.
    fn looks(&self) -> bool {
        false
    }

    /// Judges the pair with the number `pair`, both of whose continuations begin at the same moment. `seen` is empty unless the judge
    /// looks.
    ///
    /// # Errors
    /// What the judge says; a person may stop.
    fn prefer(&mut self, pair: usize, outcomes: [Outcome; 2], seen: &[Seen]) -> Result<Preference>;
}

/// Prefers success, and of two the sooner.
#[derive(Clone, Copy, Debug, Default)]
pub struct SuccessJudge;

impl Judge for SuccessJudge {
    fn prefer(&mut self, _: usize, [first, second]: [Outcome; 2], _: &[Seen]) -> Result<Preference> {
        Ok(match first.value.total_cmp(&second.value) {
            _ if (first.value - second.value).abs() < 1e-6 => Preference::Neither,
            std::cmp::Ordering::Greater => Preference::First,
            _ => Preference::Second,
        })
    }
}

/// Prefers what is no worse in success and smoothness, and better in one of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParetoJudge;

impl Judge for ParetoJudge {
    fn prefer(&mut self, _: usize, [first, second]: [Outcome; 2], _: &[Seen]) -> Result<Preference> {
        let dominates = |a: Outcome, b: Outcome| {
            a.value >= b.value && a.jerk <= b.jerk && (a.value > b.value + 1e-6 || a.jerk < b.jerk - 1e-6)
        };
        Ok(match (dominates(first, second), dominates(second, first)) {
            (true, false) => Preference::First,
            (false, true) => Preference::Second,
            _ => Preference::Neither,
        })
    }
}

/// See the module's text.
pub struct D3po {
    learner: Learner,
    judge: Box<dyn Judge>,
    /// Weights of the reference, which ratios are taken to.
    reference: Tensor,
}

impl std::fmt::Debug for D3po {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("D3po").field("learner", &self.learner).finish_non_exhaustive()
    }
}

impl D3po {
    /// A run that begins with `checkpoint`.
    ///
    /// # Errors
    /// Settings that can't be used, or don't fit the policy.
    pub fn new(checkpoint: &Checkpoint, config: &TuneConfig, judge: Box<dyn Judge>, device: Device) -> Result<Self> {
        let learner = Learner::new(checkpoint, config, device)?;
        let reference = learner.policy.parameters().copy();
        Ok(Self { learner, judge, reference })
    }

    /// Log-likelihoods under the reference, by lending it the network.
    fn under_reference(&mut self, x: &Tensor, cond: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let own = self.learner.policy.parameters().copy();
        self.learner.policy.parameters_mut().assign(&self.reference);
        let log_likelihood = self.learner.policy.log_likelihood(x, cond);
        self.learner.policy.parameters_mut().assign(&own);
        log_likelihood
    }
}

/// A row of each tensor.
fn rows_of(tensors: &[Tensor], row: i64) -> Seen {
    let values = |t: &Tensor| Vec::<f32>::try_from(t.get(row).to_device(Device::Cpu).contiguous()).expect("a row of numbers");
    tensors.iter().map(values).collect()
}

impl Tuner for D3po {
    fn iterate(&mut self, environment: &mut dyn Forkable, iteration: u64) -> Result<Iteration> {
        let config = self.learner.config().clone();
        let (d3po, window) = (&config.d3po, config.chain.tuned);
        let device = self.learner.policy.device();
        let mut noise = Noise::new(config.seed, "pairs", device).part(iteration);
        let mut stats = Iteration { iteration, window, ..Iteration::default() };
        if d3po.refresh_every > 0 && iteration > 0 && iteration.is_multiple_of(d3po.refresh_every) {
            self.reference = self.learner.policy.parameters().copy();
        }
        for _ in 0..DECISIONS_BETWEEN {
            advance(&self.learner, environment, &mut noise)?;
        }
        let now = environment.observe()?;
        let rows = moments(environment.n(), d3po.pairs, &mut noise, device);
        let plan = BranchPlan {
            branches: 2,
            window,
            gamma: d3po.gamma,
            chunks: chunks_of_an_episode(&config),
            seed: reverie_schema::derive_seed(config.seed, &format!("fork {iteration}")),
        };
        let pairs = branch(&self.learner.policy, environment, &now.cond, &rows, &plan, &mut noise)?;
        stats.success = pairs.success.mean(Kind::Double).double_value(&[]);
        stats.reward = pairs.returns.mean(Kind::Double).double_value(&[]);
        stats.episodes = pairs.success.numel() as u64;
        stats.beside = pairs.steps;

        // Rows of the preferred and of the other chain of each pair that someone has preferred.
        let mut preferred = Vec::new();
        for pair in 0..rows.size()[0] {
            let outcome = |which: i64| Outcome {
                success: pairs.success.double_value(&[pair, which]) > 0.5,
                value: pairs.payoff.double_value(&[pair, which]),
                jerk: pairs.jerk.double_value(&[pair, which]),
            };
            let seen =
                if self.judge.looks() { [0, 1].map(|which| rows_of(&pairs.seen, 2 * pair + which)).to_vec() } else { Vec::new() };
            match self.judge.prefer(pair as usize, [outcome(0), outcome(1)], &seen)? {
                Preference::First => preferred.push([2 * pair, 2 * pair + 1]),
                Preference::Second => preferred.push([2 * pair + 1, 2 * pair]),
                Preference::Neither => {}
            }
        }
        let reference = self.under_reference(&pairs.x, &pairs.cond);
        let lesson = self.learner.lesson(&pairs.cond, usize::MAX, &mut noise);
        let mut batches = 0.0;
        for _ in 0..d3po.epochs {
            preferred.shuffle(noise.rng());
            for batch in preferred.chunks(d3po.batch) {
                let side = |which: usize| {
                    let rows: Vec<i64> = batch.iter().map(|pair| pair[which]).collect();
                    Tensor::from_slice(&rows).to_device(device)
                };
                let (better, worse) = (side(0), side(1));
                let ratio = |rows: &Tensor| {
                    let take = |t: &Tensor| t.index_select(0, rows);
                    self.learner.policy.log_likelihood(&take(&pairs.x), &take(&pairs.cond)) - take(&reference)
                };
                // The margin can't exceed beta times the clip, so that the loss is all but linear: divided by beta its gradient has
                // the scale of the other methods'.
                let loss = preference_loss(&ratio(&better), &ratio(&worse), d3po.beta, d3po.ratio_clip) / d3po.beta;
                let cloning = self.learner.cloning_loss(lesson.as_ref(), 2 * better.size()[0] * window as i64, &mut noise);
                stats.cloning_loss += self.learner.step(&loss, cloning.as_ref())?;
                stats.policy_loss += loss.double_value(&[]);
                batches += 1.0;
            }
        }
        for sum in [&mut stats.cloning_loss, &mut stats.policy_loss] {
            *sum /= f64::max(batches, 1.0);
        }
        stats.divergence_from_base = self.learner.policy.divergence(&pairs.x, &pairs.cond).mean(Kind::Float).double_value(&[]);
        Ok(stats)
    }

    fn learner(&self) -> &Learner {
        &self.learner
    }

    fn save_state(&self, path: &Path, beside: &Beside) -> Result<()> {
        super::save_learner(path, &self.learner, beside, &serde_json::Value::Null, &[("reference", &self.reference)])
    }

    fn resume(&mut self, path: &Path) -> Result<Beside> {
        let (beside, _, state) = super::resume_learner(path, &mut self.learner)?;
        self.reference = state.tensor("reference", &self.reference.size(), self.learner.policy.device())?;
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::config::D3poConfig;
    use crate::tune::toy::{TwoStates, assert_learns, assert_resumes, small_config};

    #[test]
    fn the_known_optimum_of_a_two_state_problem_is_found() {
        let config = TuneConfig { cloning: 0.0, learning_rate: 1e-3, ..small_config() };
        let mut d3po = D3po::new(&TwoStates::checkpoint(), &config, Box::new(SuccessJudge), Device::Cpu).unwrap();
        assert_learns(&mut d3po, 64, 80);
    }

    #[test]
    fn pareto_needs_no_loss_anywhere() {
        let outcome = |value, jerk| Outcome { success: value > 0.0, value, jerk };
        let mut judge = ParetoJudge;
        let mut prefer = |a, b| judge.prefer(0, [a, b], &[]).unwrap();
        assert_eq!(prefer(outcome(1.0, 0.2), outcome(1.0, 0.3)), Preference::First);
        assert_eq!(prefer(outcome(0.0, 0.2), outcome(1.0, 0.1)), Preference::Second);
        assert_eq!(prefer(outcome(1.0, 0.3), outcome(0.0, 0.1)), Preference::Neither, "better here, worse there");
        assert_eq!(prefer(outcome(1.0, 0.3), outcome(1.0, 0.3)), Preference::Neither);
    }

    #[test]
    fn an_interrupted_run_goes_on_as_it_would_have() {
        // Saved after three iterations: the reference is of the third, and the fourth goes on with it.
        let config = TuneConfig { d3po: D3poConfig { refresh_every: 2, ..small_config().d3po }, ..small_config() };
        assert_resumes(|| D3po::new(&TwoStates::checkpoint(), &config, Box::new(SuccessJudge), Device::Cpu).unwrap());
    }
}
