//! The condition that a policy sees: state features of the last observations, and which task.
//!
//! State features are those of DiWA's DPPO(State) baseline: CALVIN's `robot_obs` and `scene_obs` with every Euler triplet
//! replaced by a 6-D rotation (Zhou et al. 2019), which has no jumps. The six numbers are the first two columns of
//! `world_from_body` (the body's x and y axes), with CALVIN's extrinsic x-y-z angles; DiWA reads the same angles as
//! intrinsic ones and takes rows, an equivalent but geometrically meaningless encoding.
//!
//! A condition is `[n_obs * STATE_FEATURES]` normalised features, oldest observation first, then the task one-hot.

use reverie_schema::{Observation, ROBOT_OBS, SCENE_OBS, Stamp};

use crate::error::{check_finite, check_length};
use crate::{MinMax, PolicyError};

/// Features of one observation: 18 of the robot, 33 of the scene.
pub const STATE_FEATURES: usize = ROBOT_OBS + SCENE_OBS + 4 * 3;

/// The features of one observation, not normalised.
///
/// Robot: TCP position (m), TCP rotation (6), gripper width (m), arm joints (7, rad), last gripper command. Scene: sliding
/// door, drawer, button, switch (m), light bulb, LED, then position (m) and rotation (6) of the red, blue and pink block.
pub fn state_features(observation: &Observation) -> [f32; STATE_FEATURES] {
    let mut out = [0.0; STATE_FEATURES];
    let mut at = 0;
    let mut put = |values: &[f32]| {
        out[at..at + values.len()].copy_from_slice(values);
        at += values.len();
    };
    let (robot, scene) = (&observation.robot, &observation.scene);
    put(&robot[..3]);
    put(&rotation_6d([robot[3], robot[4], robot[5]]));
    put(&robot[6..]);
    put(&scene[..6]);
    for block in scene[6..].chunks_exact(6) {
        put(&block[..3]);
        put(&rotation_6d([block[3], block[4], block[5]]));
    }
    out
}

/// The observation whose features these are: the inverse of [`state_features`], for features that were foretold. The two axes of a
/// rotation are made perpendicular, of unit length.
pub fn observation_of_features(features: &[f32; STATE_FEATURES], stamp: Stamp) -> Observation {
    let mut robot = [0.0; ROBOT_OBS];
    let mut scene = [0.0; SCENE_OBS];
    robot[..3].copy_from_slice(&features[..3]);
    robot[3..6].copy_from_slice(&euler_of_axes(&features[3..9]));
    robot[6..].copy_from_slice(&features[9..18]);
    scene[..6].copy_from_slice(&features[18..24]);
    for (block, pose) in scene[6..].chunks_exact_mut(6).zip(features[24..].chunks_exact(9)) {
        block[..3].copy_from_slice(&pose[..3]);
        block[3..].copy_from_slice(&euler_of_axes(&pose[3..]));
    }
    Observation { seq: 0, stamp, robot, scene }
}

/// Roll, pitch, yaw of the rotation whose x and y axes these are, nearly.
fn euler_of_axes(axes: &[f32]) -> [f32; 3] {
    let dot = |a: [f32; 3], b: [f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let unit = |a: [f32; 3]| {
        let length = dot(a, a).sqrt().max(1e-6);
        a.map(|v| v / length)
    };
    let x = unit([axes[0], axes[1], axes[2]]);
    let y = [axes[3], axes[4], axes[5]];
    let along = dot(x, y);
    let y = unit([y[0] - along * x[0], y[1] - along * x[1], y[2] - along * x[2]]);
    let z_z = x[0] * y[1] - x[1] * y[0];
    [y[2].atan2(z_z), (-x[2]).clamp(-1.0, 1.0).asin(), x[1].atan2(x[0])]
}

/// The first two columns of `Rz(yaw) Ry(pitch) Rx(roll)`.
fn rotation_6d([roll, pitch, yaw]: [f32; 3]) -> [f32; 6] {
    let ((sr, cr), (sp, cp), (sy, cy)) = (roll.sin_cos(), pitch.sin_cos(), yaw.sin_cos());
    [cy * cp, sy * cp, -sp, cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr]
}

/// The last observations of an episode, as features.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureHistory {
    n_obs: usize,
    frames: Vec<[f32; STATE_FEATURES]>,
}

impl FeatureHistory {
    /// An empty history that keeps `n_obs` observations (at least one).
    pub fn new(n_obs: usize) -> Self {
        let n_obs = n_obs.max(1);
        Self { n_obs, frames: Vec::with_capacity(n_obs) }
    }

    /// Entries of a condition for `n_tasks` tasks.
    pub fn n_cond(&self, n_tasks: usize) -> usize {
        self.n_obs * STATE_FEATURES + n_tasks
    }

    /// Forgets everything. Call at the beginning of every episode.
    pub fn reset(&mut self) {
        self.frames.clear();
    }

    /// Adds the newest observation.
    ///
    /// # Errors
    /// [`PolicyError::NotFinite`] with the index of the feature; the history is then unchanged.
    pub fn push(&mut self, observation: &Observation) -> Result<(), PolicyError> {
        let features = state_features(observation);
        check_finite("observation feature", &features)?;
        if self.frames.len() == self.n_obs {
            self.frames.rotate_left(1);
            self.frames.pop();
        }
        self.frames.push(features);
        Ok(())
    }

    /// Writes the condition for the task with index `task` into `cond`, `[n_obs * STATE_FEATURES + n_tasks]`. Before `n_obs`
    /// observations the oldest stands for the missing ones.
    ///
    /// # Errors
    /// [`PolicyError::Length`] if `cond` has no room for the task or the history is empty.
    pub fn write_condition(&self, normaliser: &MinMax, task: usize, cond: &mut [f32]) -> Result<(), PolicyError> {
        let n_state = self.n_obs * STATE_FEATURES;
        let Some(oldest) = self.frames.first() else {
            return Err(PolicyError::Length { what: "observation history", expected: 1, got: 0 });
        };
        if cond.len() <= n_state + task {
            return Err(PolicyError::Length { what: "condition", expected: n_state + task + 1, got: cond.len() });
        }
        check_length("observation normaliser", STATE_FEATURES, normaliser.width())?;
        let (state, one_hot) = cond.split_at_mut(n_state);
        let missing = self.n_obs - self.frames.len();
        let padded = std::iter::repeat_n(oldest, missing).chain(&self.frames);
        for (out, frame) in state.chunks_exact_mut(STATE_FEATURES).zip(padded) {
            out.copy_from_slice(frame);
        }
        normaliser.normalise(state);
        one_hot.fill(0.0);
        one_hot[task] = 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(value: f32) -> Observation {
        Observation { seq: 0, stamp: Stamp(0), robot: [value; ROBOT_OBS], scene: [value; SCENE_OBS] }
    }

    /// A quarter turn about z sends x to y and y to -x; half a turn about x keeps x and turns y over.
    #[test]
    fn six_numbers_are_the_axes_of_the_body() {
        let close = |got: [f32; 6], want: [f32; 6]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        let (half, turn) = (std::f32::consts::FRAC_PI_2, std::f32::consts::PI);
        assert!(close(rotation_6d([0.0, 0.0, half]), [0.0, 1.0, 0.0, -1.0, 0.0, 0.0]));
        assert!(close(rotation_6d([turn, 0.0, 0.0]), [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]));
        assert!(close(rotation_6d([0.0, half, 0.0]), [0.0, 0.0, -1.0, 0.0, 1.0, 0.0]));
        assert!(close(rotation_6d([turn, 0.3, 0.2]), rotation_6d([-turn, 0.3, 0.2])), "no jump at a half turn");
    }

    #[test]
    fn features_lead_back_to_their_observation() {
        let mut observation = observation(0.0);
        for (i, value) in observation.robot.iter_mut().enumerate() {
            *value = 0.13 * i as f32 - 0.6;
        }
        for (i, value) in observation.scene.iter_mut().enumerate() {
            *value = 1.2 - 0.11 * i as f32;
        }
        let back = observation_of_features(&state_features(&observation), observation.stamp);
        let pairs = observation.robot.iter().zip(&back.robot).chain(observation.scene.iter().zip(&back.scene));
        for (want, got) in pairs {
            assert!((want - got).abs() < 1e-5, "{want} {got}");
        }
    }

    #[test]
    fn layout_is_robot_then_scene() {
        let mut observation = observation(0.0);
        observation.robot[6] = 0.07;
        observation.robot[14] = -1.0;
        observation.scene[0] = 0.28;
        observation.scene[18] = 0.23;
        let features = state_features(&observation);
        assert_eq!((features[9], features[17], features[18], features[42]), (0.07, -1.0, 0.28, 0.23));
        assert_eq!(features[43..51], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn history_is_oldest_first_and_padded_with_the_oldest() {
        let identity = MinMax { offset: vec![0.0; STATE_FEATURES], scale: vec![1.0; STATE_FEATURES] };
        let mut history = FeatureHistory::new(3);
        let firsts = |history: &FeatureHistory| {
            let mut cond = vec![9.0; history.n_cond(2)];
            history.write_condition(&identity, 1, &mut cond).unwrap();
            [cond[0], cond[STATE_FEATURES], cond[2 * STATE_FEATURES], cond[153], cond[154]]
        };
        history.push(&observation(0.1)).unwrap();
        history.push(&observation(0.2)).unwrap();
        assert_eq!(firsts(&history), [0.1, 0.1, 0.2, 0.0, 1.0]);
        history.push(&observation(0.3)).unwrap();
        history.push(&observation(0.4)).unwrap();
        assert_eq!(firsts(&history), [0.2, 0.3, 0.4, 0.0, 1.0]);
        assert!(history.push(&observation(f32::NAN)).is_err());
        assert_eq!(firsts(&history), [0.2, 0.3, 0.4, 0.0, 1.0]);
        history.reset();
        assert!(history.write_condition(&identity, 0, &mut [0.0; 155]).is_err());
    }
}
