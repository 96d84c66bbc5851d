//! How far the commanded TCP is ahead of the measured one.
//!
//! Actions add up on the *commanded* pose ([`reverie_schema::Action`]), from which the servo's leash keeps the measured one no farther than
//! [`LEASH_M`]. At rest the lead is nothing, in motion it is what the arm lags, against an obstacle it grows to the leash and is how hard
//! the hand presses. What an arm does in the next steps hangs on it as much as on where it is. Nobody measures it, but it follows from
//! actions and measured positions, but for what the leash takes within a step: a model that is told needs not guess whether an arm that it
//! sees for the first time is moving. Premises: episodes begin at rest, actions are played without delay, and the servo's leash is
//! [`LEASH_M`] long.

use reverie_policy::{MinMax, STATE_FEATURES};
use reverie_schema::{N_ACT, TRANSLATION_STEP_M};
use tch::{Device, Kind, Tensor};

/// Entries of a lead: world axes, in leash lengths.
pub const LEAD: usize = 3;
/// The servo's leash (`ServoConfig::leash_m`), metres.
pub const LEASH_M: f64 = 0.04;

/// Adds leads up.
#[derive(Debug)]
pub(crate) struct Leads {
    /// Leash lengths in a half-range of the TCP's position, `[3]`.
    leashes: Tensor,
}

impl Leads {
    /// For states normalised by `normaliser`.
    pub fn new(normaliser: &MinMax, device: Device) -> Self {
        let leashes: Vec<f32> = normaliser.scale.iter().take(LEAD).map(|scale| scale / LEASH_M as f32).collect();
        Self { leashes: Tensor::from_slice(&leashes).to_device(device) }
    }

    /// The lead after `actions`, during which the measured TCP went evenly from that of the state `before` to that of `after`. Without
    /// gradient.
    ///
    /// # Shapes
    /// `lead`: `[.., 3]`; `actions`: `[.., k * n_act]`; states: `[.., 51]`; they may differ where one has size 1.
    pub fn after(&self, lead: &Tensor, actions: &Tensor, before: &Tensor, after: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let count = actions.size()[actions.dim() - 1] / N_ACT as i64;
        let tcp = |state: &Tensor| state.narrow(-1, 0, LEAD as i64);
        let moved = (tcp(after) - tcp(before)) * &self.leashes / count as f64;
        let mut lead = lead.shallow_clone();
        for row in 0..count {
            let commanded = actions.narrow(-1, row * N_ACT as i64, LEAD as i64) * (TRANSLATION_STEP_M / LEASH_M);
            lead = lead + commanded - &moved;
            let length = lead.square().sum_dim_intlist([-1_i64].as_slice(), true, Kind::Float).sqrt();
            lead /= length.clamp_min(1.0);
        }
        lead
    }
}

/// The leads at recorded frames of an episode that began at rest, `[frames, 3]`. `state` in metres, `[frames, 51]`; `actions`: `[frames, 7]`.
pub(crate) fn leads_of(state: &[f32], actions: &[f32]) -> Vec<f32> {
    let tcp = |frame: usize| &state[frame * STATE_FEATURES..][..LEAD];
    let mut leads = vec![0.0; state.len() / STATE_FEATURES * LEAD];
    for frame in 1..state.len() / STATE_FEATURES {
        let action = &actions[(frame - 1) * N_ACT..][..LEAD];
        let mut lead: [f32; LEAD] = std::array::from_fn(|axis| {
            let commanded = f64::from(action[axis]) * TRANSLATION_STEP_M;
            let moved = f64::from(tcp(frame)[axis] - tcp(frame - 1)[axis]);
            leads[(frame - 1) * LEAD + axis] + ((commanded - moved) / LEASH_M) as f32
        });
        let length = lead.iter().map(|entry| entry * entry).sum::<f32>().sqrt().max(1.0);
        lead.iter_mut().for_each(|entry| *entry /= length);
        leads[frame * LEAD..][..LEAD].copy_from_slice(&lead);
    }
    leads
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four frames: the arm stands still under an action along x, then follows under none.
    fn frames() -> (Vec<f32>, Vec<f32>) {
        let mut state = vec![0.0; 4 * STATE_FEATURES];
        state[3 * STATE_FEATURES] = 0.015;
        let mut actions = vec![0.0; 4 * N_ACT];
        actions[0] = 1.0;
        (state, actions)
    }

    #[test]
    fn a_lead_is_what_was_commanded_and_not_yet_done() {
        let (state, actions) = frames();
        let x: Vec<f32> = leads_of(&state, &actions).chunks_exact(LEAD).map(|lead| lead[0]).collect();
        let want = [0.0, 0.5, 0.5, 0.125];
        assert!(x.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{x:?}");
        // Pressing on, it grows to the leash.
        let pressing = leads_of(&state[..3 * STATE_FEATURES].repeat(2), &[vec![1.0], vec![0.0; 6]].concat().repeat(6));
        assert_eq!(pressing[15..], [1.0, 0.0, 0.0]);
    }

    #[test]
    fn leads_add_up_in_tensors_as_in_recordings() {
        let (state, actions) = frames();
        let normaliser = MinMax { offset: vec![0.1; STATE_FEATURES], scale: vec![0.5; STATE_FEATURES] };
        let leads = Leads::new(&normaliser, Device::Cpu);
        let mut normalised = state.clone();
        normaliser.normalise(&mut normalised);
        let row = |frame: usize| Tensor::from_slice(&normalised[frame * STATE_FEATURES..][..STATE_FEATURES]);
        let want = leads_of(&state, &actions);
        let mut lead = Tensor::zeros([LEAD as i64], (Kind::Float, Device::Cpu));
        for frame in 1..4 {
            let action = Tensor::from_slice(&actions[(frame - 1) * N_ACT..][..N_ACT]);
            lead = leads.after(&lead, &action, &row(frame - 1), &row(frame));
            let want = Tensor::from_slice(&want[frame * LEAD..][..LEAD]);
            assert!((&lead - want).abs().max().double_value(&[]) < 1e-5, "frame {frame}");
        }
        // Several actions at once, against an obstacle and back: half a leash each.
        let rows = |x: f32| Tensor::from_slice(&[x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).repeat([4]);
        let pressed = leads.after(&lead.zeros_like(), &rows(1.0), &row(0), &row(0));
        let released = leads.after(&pressed, &rows(-1.0), &row(0), &row(0));
        assert_eq!([&pressed, &released].map(|lead| lead.double_value(&[0])), [1.0, -1.0]);
    }
}
