use serde::{Deserialize, Serialize};

use super::{CHAIN_LENGTH, Chain};
use crate::Task;

/// Quantile of the normal distribution that leaves 2.5 % on either side.
const Z_95: f64 = 1.959_964;

/// Results of chains, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Number of chains by the number of tasks solved in a row, 0 to 5.
    lengths: [u64; CHAIN_LENGTH + 1],
    /// Attempts and successes of each task, in the order of [`Task::ALL`].
    tasks: Vec<[u64; 2]>,
}

impl ChainReport {
    /// Adds the result of a chain: its first `solved` tasks were solved, the next one was not; counts above 5 are 5. Tasks behind
    /// the first failure were not attempted.
    pub fn add(&mut self, chain: &Chain, solved: usize) {
        let solved = solved.min(CHAIN_LENGTH);
        self.lengths[solved] += 1;
        self.tasks.resize(Task::ALL.len(), [0; 2]);
        for (step, task) in chain.tasks.iter().enumerate().take(solved + 1) {
            let [attempts, successes] = &mut self.tasks[task.index()];
            *attempts += 1;
            *successes += u64::from(step < solved);
        }
    }

    /// Number of chains.
    pub fn chains(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// Number of chains by the number of tasks solved in a row, 0 to 5.
    pub const fn lengths(&self) -> [u64; CHAIN_LENGTH + 1] {
        self.lengths
    }

    /// Share of chains with at least `tasks` tasks solved in a row; NaN without chains.
    pub fn share_at_least(&self, tasks: usize) -> f64 {
        self.lengths.iter().skip(tasks).sum::<u64>() as f64 / self.chains() as f64
    }

    /// Mean number of tasks solved in a row, 0 to 5; NaN without chains.
    pub fn average_length(&self) -> f64 {
        self.moment(|length| length)
    }

    /// 95 % interval of [`ChainReport::average_length`], by the normal approximation of the mean with the sample's variance, cut to
    /// [0, 5]. The chains are taken as independent draws; that they are spread evenly over the initial states makes it wide rather
    /// than narrow. It has no width if all lengths are the same, and is NaN with fewer than two chains.
    pub fn average_length_interval(&self) -> [f64; 2] {
        let (n, mean) = (self.chains() as f64, self.average_length());
        let variance = self.moment(|length| (length - mean).powi(2)) * n / (n - 1.0);
        let half = Z_95 * (variance / n).sqrt();
        [-half, half].map(|offset| if half.is_nan() { f64::NAN } else { (mean + offset).clamp(0.0, CHAIN_LENGTH as f64) })
    }

    /// Attempts and successes of `task`, wherever in a chain it stood.
    pub fn task(&self, task: Task) -> [u64; 2] {
        self.tasks.get(task.index()).copied().unwrap_or_default()
    }

    /// Mean over chains of a function of the length.
    fn moment(&self, of: impl Fn(f64) -> f64) -> f64 {
        let sum: f64 = self.lengths.iter().enumerate().map(|(length, &count)| of(length as f64) * count as f64).sum();
        sum / self.chains() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::chains;

    /// By hand: lengths 0, 2, 5, 5 have mean 3, sample variance (9 + 1 + 4 + 4) / 3 = 6, standard error sqrt(6 / 4).
    #[test]
    fn figures_of_four_chains() {
        let all = chains(4, 1);
        let mut report = ChainReport::default();
        for (chain, solved) in all.iter().zip([0, 2, 5, 5]) {
            report.add(chain, solved);
        }
        assert_eq!(report.chains(), 4);
        assert_eq!([1, 2, 3, 4, 5].map(|tasks| report.share_at_least(tasks)), [0.75, 0.75, 0.5, 0.5, 0.5]);
        assert_eq!(report.average_length(), 3.0);
        let [low, high] = report.average_length_interval();
        assert!((low - (3.0 - 1.96 * 1.5_f64.sqrt())).abs() < 1e-3 && high == 5.0, "{low} {high}");
        // One attempt in the first chain, three in the second, five in the others.
        let [attempts, successes] = [0, 1].map(|which| Task::ALL.iter().map(|&task| report.task(task)[which]).sum::<u64>());
        assert_eq!([attempts, successes], [14, 12]);
        assert!(report.task(all[0].tasks[0])[0] > report.task(all[0].tasks[0])[1]);
    }

    #[test]
    fn no_chains_no_figures() {
        let report = ChainReport::default();
        assert!(report.average_length().is_nan() && report.share_at_least(1).is_nan());
        assert!(report.average_length_interval().iter().all(|bound| bound.is_nan()));
        assert_eq!(report.task(Task::StackBlock), [0, 0]);
    }
}
