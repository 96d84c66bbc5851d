use tch::{Kind, Tensor};

use crate::error::Result;

/// What the policy and the critic are told of `n` parallel episodes.
#[derive(Debug)]
pub struct Situation {
    /// The policy's condition, normalised, `[n, n_cond]`.
    pub cond: Tensor,
    /// What the critic sees, `[n, n_value]`.
    pub value: Tensor,
}

/// What a chunk led to, one entry an episode.
#[derive(Debug)]
pub struct Transition {
    /// `[n]`.
    pub reward: Tensor,
    /// 1 where the episode ended for good (success, or a dream that was stopped): nothing follows, `[n]`.
    pub terminated: Tensor,
    /// 1 where it was cut off by its length: what would follow is estimated, `[n]`.
    pub truncated: Tensor,
    /// 1 where it ended in success, `[n]`.
    pub success: Tensor,
    /// What the critic sees of the state that was reached, before ended episodes begin anew, `[n, n_value]`.
    pub reached: Tensor,
}

/// Parallel episodes of one task, in a dream or in a simulation. Ended ones begin anew at once.
pub trait Environment {
    /// Number of episodes.
    fn n(&self) -> i64;

    /// Where they are.
    ///
    /// # Errors
    /// What the environment says.
    fn observe(&mut self) -> Result<Situation>;

    /// Plays `chunks`, actions as the robot takes them, `[n, rows, n_act]`.
    ///
    /// # Errors
    /// What the environment says.
    fn step(&mut self, chunks: &Tensor) -> Result<Transition>;
}

/// An environment in which the same moment can be lived through several times.
pub trait Forkable: Environment {
    /// New episodes at the moments of `rows` (indices, i64). Consecutive `branches` rows share their chance: what happens to them
    /// differs by what they do alone (common random numbers). They don't begin anew when they end.
    ///
    /// # Errors
    /// What the environment says.
    fn fork(&self, rows: &Tensor, branches: i64, seed: u64) -> Result<Box<dyn Environment + '_>>;
}

/// Generalised advantage estimation (Schulman et al. 2016), with what follows an episode kept apart from what precedes it:
///
/// ```text
/// delta_t = r_t + gamma (1 - terminated_t) V(reached_t) - V_t
/// A_t     = delta_t + gamma lambda (1 - ended_t) A_{t+1}
/// ```
///
/// `V(reached_t)` is the value of the state that the chunk led to, also where the next row of the table already belongs to another
/// episode (DPPO and DiWA take that row's value, and let the sum run on).
///
/// # Shapes
/// All `[time, n]`; returns advantages and returns (`A + V`).
pub fn advantages(table: &Returns<'_>, gamma: f64, lambda: f64) -> [Tensor; 2] {
    let time = table.reward.size()[0];
    let delta = table.reward + table.after * (table.terminated * -1.0 + 1.0) * gamma - table.value;
    let goes_on = (table.terminated + table.truncated).clamp_max(1.0) * -1.0 + 1.0;
    let mut sum = table.reward.get(0).zeros_like();
    let mut rows = Vec::with_capacity(time as usize);
    for t in (0..time).rev() {
        sum = delta.get(t) + goes_on.get(t) * sum * (gamma * lambda);
        rows.push(sum.shallow_clone());
    }
    rows.reverse();
    let advantage = Tensor::stack(&rows, 0);
    let returns = &advantage + table.value;
    [advantage, returns]
}

/// What [`advantages`] needs, all `[time, n]`.
#[derive(Debug)]
pub struct Returns<'a> {
    /// Rewards.
    pub reward: &'a Tensor,
    /// Values before each chunk.
    pub value: &'a Tensor,
    /// Values of the states reached.
    pub after: &'a Tensor,
    /// See [`Transition::terminated`].
    pub terminated: &'a Tensor,
    /// See [`Transition::truncated`].
    pub truncated: &'a Tensor,
}

/// Divides rewards by the running standard deviation of the discounted return (DPPO), clipped to +-10.
#[derive(Debug)]
pub struct RewardScale {
    running: Tensor,
    gamma: f64,
    count: f64,
    mean: f64,
    spread: f64,
}

impl RewardScale {
    /// For `n` episodes.
    pub fn new(n: i64, gamma: f64) -> Self {
        Self { running: Tensor::zeros([n], (Kind::Float, tch::Device::Cpu)), gamma, count: 0.0, mean: 0.0, spread: 0.0 }
    }

    /// The scaled rewards of a step, `[n]`.
    pub fn scale(&mut self, reward: &Tensor, ended: &Tensor) -> Tensor {
        let on_host = |tensor: &Tensor| tensor.to_device(tch::Device::Cpu);
        self.running = &self.running * self.gamma + on_host(reward);
        // Welford's update with a batch (Chan et al.).
        let n = self.running.numel() as f64;
        let mean = self.running.mean(Kind::Double).double_value(&[]);
        let spread = (&self.running - mean).square().sum(Kind::Double).double_value(&[]);
        let total = self.count + n;
        let shift = mean - self.mean;
        self.spread += spread + shift * shift * self.count * n / total;
        self.mean += shift * n / total;
        self.count = total;
        self.running = &self.running * (on_host(ended) * -1.0 + 1.0);
        let deviation = (self.spread / self.count).sqrt().max(1e-4);
        (reward / deviation).clamp(-10.0, 10.0)
    }

    /// Everything but the settings, to be saved.
    pub(crate) fn numbers(&self) -> (Tensor, [f64; 3]) {
        (self.running.shallow_clone(), [self.count, self.mean, self.spread])
    }

    pub(crate) fn restore(&mut self, running: Tensor, [count, mean, spread]: [f64; 3]) {
        (self.running, self.count, self.mean, self.spread) = (running, count, mean, spread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two episodes, three steps, worked out by hand with gamma 0.9 and lambda 0.5.
    ///
    /// Episode 0 succeeds at step 1 and begins anew; episode 1 is cut off at step 1, where V(reached) = 4 counts, and the sum
    /// stops there too.
    #[test]
    fn a_written_out_case() {
        let t = |v: [f64; 6]| Tensor::from_slice(&v).view([3, 2]);
        let (reward, value) = (t([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), t([0.5, 1.0, 0.8, 2.0, 0.1, 0.3]));
        let after = t([0.8, 2.0, 9.0, 4.0, 0.2, 0.6]);
        let (terminated, truncated) = (t([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), t([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]));
        let table = Returns { reward: &reward, value: &value, after: &after, terminated: &terminated, truncated: &truncated };
        let [advantage, returns] = advantages(&table, 0.9, 0.5);
        // Step 2: 0.9 * 0.2 - 0.1; 0.9 * 0.6 - 0.3.
        // Step 1: 1 - 0.8 (nothing follows); 0.9 * 4 - 2.
        // Step 0: 0.9 * 0.8 - 0.5 + 0.45 * 0.2; 0.9 * 2 - 1 + 0.45 * 1.6.
        let want = t([0.31, 1.52, 0.2, 1.6, 0.08, 0.24]);
        assert!((&advantage - &want).abs().max().double_value(&[]) < 1e-12, "{advantage:?}");
        assert!((returns - want - value).abs().max().double_value(&[]) < 1e-12);
    }

    /// Rewards of 1 in a tenth of the steps, each ending its episode: the return is 0 or 1 with deviation 0.3.
    #[test]
    fn rewards_are_divided_by_the_deviation_of_the_return() {
        let mut scale = RewardScale::new(1000, 0.99);
        let reward = Tensor::zeros([1000], (Kind::Float, tch::Device::Cpu));
        let _ = reward.narrow(0, 0, 100).fill_(1.0);
        for _ in 0..50 {
            let scaled = scale.scale(&reward, &reward);
            assert!((scaled.double_value(&[0]) - 1.0 / 0.3).abs() < 0.01);
        }
        // Rewards that hardly vary are not blown up beyond measure.
        let scaled = RewardScale::new(1000, 0.99).scale(&(&reward * 1e-6), &reward).max().double_value(&[]);
        assert!((scaled - 0.01).abs() < 1e-6, "{scaled}");
    }
}
