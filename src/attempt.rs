//! One attempt at a task in lockstep, and what was planned and played during it.

use anyhow::Result;
use reverie_schema::{ActionChunk, DecodeReport};
use reverie_sim::Task;

use crate::{
    actor::{Actor, Planned},
    config::Config,
    rig::{EXPERT_STEPS, Rig},
};

/// Entries of an action that are continuous: the gripper, the last one, jumps by nature.
const CONTINUOUS: usize = 6;
/// First rows of a chunk that its own smoothness is measured on; later ones are hardly ever played.
const ROWS_INSIDE: usize = 8;

/// One attempt.
pub struct Attempt {
    pub success: bool,
    pub steps: u32,
    pub plans: Vec<DecodeReport>,
    pub smoothness: Smoothness,
}

/// Sums of squared second differences of action rows, and how many: `a[t+1] - 2 a[t] + a[t-1]`. Actions are displacements a row, so
/// this is jerk up to the square of the row's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smoothness {
    seams: (f64, u64),
    inside: (f64, u64),
}

impl Smoothness {
    /// Where rows of two plans meet, as they were played. Root mean square, action units.
    pub fn seams(&self) -> f64 {
        (self.seams.0 / self.seams.1 as f64).sqrt()
    }

    /// Between rows of one plan, as they were planned. Root mean square, action units.
    pub fn inside(&self) -> f64 {
        (self.inside.0 / self.inside.1 as f64).sqrt()
    }

    pub fn add(&mut self, other: Self) {
        for (to, from) in [(&mut self.seams, other.seams), (&mut self.inside, other.inside)] {
            *to = (to.0 + from.0, to.1 + from.1);
        }
    }
}

fn second_difference(rows: [&[f32]; 3]) -> f64 {
    (0..CONTINUOUS).map(|i| f64::from(rows[2][i] - 2.0 * rows[1][i] + rows[0][i]).powi(2)).sum()
}

/// Which rows of which plans are in force, control step by control step.
#[derive(Default)]
struct Played {
    /// Plans under way and in force: when they come into force, the step of their row 0, and their number.
    plans: Vec<(u32, u32, usize, ActionChunk)>,
    count: usize,
    /// The last rows, with the plan that each belongs to.
    rows: Vec<(usize, [f32; CONTINUOUS])>,
    smoothness: Smoothness,
}

impl Played {
    fn plan(&mut self, planned: &Planned) {
        let rows = planned.chunk.rows();
        for window in rows[..rows.len().min(ROWS_INSIDE)].windows(3) {
            self.smoothness.inside.0 += second_difference([&window[0].0, &window[1].0, &window[2].0]);
            self.smoothness.inside.1 += 1;
        }
        self.plans.push((planned.in_force, planned.first_row, self.count, planned.chunk));
        self.count += 1;
    }

    fn step(&mut self, step: u32) {
        let newest = self.plans.iter().rposition(|plan| plan.0 <= step);
        self.plans.drain(..newest.unwrap_or(0));
        let Some((_, first, number, chunk)) = self.plans.first().filter(|plan| plan.0 <= step) else { return };
        let Some(row) = chunk.rows().get((step - first) as usize) else {
            self.rows.clear();
            return;
        };
        self.rows.push((*number, std::array::from_fn(|i| row.0[i])));
        if let [.., a, b, c] = &self.rows[..]
            && !(a.0 == b.0 && b.0 == c.0)
        {
            self.smoothness.seams.0 += second_difference([&a.1, &b.1, &c.1]);
            self.smoothness.seams.1 += 1;
        }
    }
}

/// Lets `actor` try `task` from the start with this seed.
pub fn attempt(config: &Config, actor: &mut Actor, task: Task, seed: u64) -> Result<Attempt> {
    attempt_with_noise(config, actor, task, seed, seed)
}

/// The same with a seed of its own for what the actor draws, so that one start can be tried more than once.
pub fn attempt_with_noise(config: &Config, actor: &mut Actor, task: Task, seed: u64, noise: u64) -> Result<Attempt> {
    let mut rig = Rig::new(config, task, seed)?;
    actor.begin(task, config.sim.scene, noise)?;
    let most = if matches!(actor, Actor::Expert(_)) { EXPERT_STEPS } else { config.decode.max_steps };
    let (mut plans, mut played) = (Vec::new(), Played::default());
    let mut success = false;
    while !success && rig.task_steps() < most {
        let step = rig.steps();
        if let Some(planned) = actor.step(&mut rig)? {
            plans.push(planned.report);
            played.plan(&planned);
        }
        played.step(step);
        success = rig.solved();
    }
    Ok(Attempt { success, steps: rig.task_steps(), plans, smoothness: played.smoothness })
}

#[cfg(test)]
mod tests {
    use reverie_schema::{Action, Stamp};

    use super::*;

    fn plan(in_force: u32, first_row: u32, values: &[f32]) -> Planned {
        let rows: Vec<Action> = values.iter().map(|&v| Action([v, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])).collect();
        let chunk = ActionChunk::from_rows(Stamp(0), &rows).unwrap();
        let report = DecodeReport {
            nfe: 1,
            decode_us: 0.0,
            start: reverie_schema::DecodeStart::Noise,
            stop: reverie_schema::StopReason::ChainEnd,
        };
        Planned { chunk, report, in_force, first_row }
    }

    /// Two plans of constant slope, the second one a step higher: within each the second difference is 0, and the two windows
    /// that reach over the seam see the step.
    #[test]
    fn a_step_between_plans_shows_at_the_seam_alone() {
        let mut played = Played::default();
        played.plan(&plan(0, 0, &[0.0, 0.1, 0.2, 0.3]));
        played.plan(&plan(2, 1, &[0.3, 0.4, 0.5, 0.6]));
        for step in 0..5 {
            played.step(step);
        }
        // Played: 0.0, 0.1, then of the second plan rows 1 to 3: 0.4, 0.5, 0.6.
        assert_eq!(played.smoothness.seams.1, 2);
        assert!((played.smoothness.seams() - 0.2).abs() < 1e-6, "{}", played.smoothness.seams());
        assert!(played.smoothness.inside() < 1e-6);
    }
}
