use serde::{Deserialize, Serialize};

use crate::{
    SimError,
    geometry::{BLOCK_MASS_KG, SceneId},
};

/// Physics settings. The defaults are those under which grasps hold in `tests/grasp.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// Which of CALVIN's scenes, A to D. D: CALVIN evaluates in it.
    pub scene: SceneId,
    /// Solver sub-steps of one 1/240 s step. One holds a squeezed 1 kg block without slip; each further one costs another mass
    /// matrix of the arm.
    pub solver_iterations: usize,
    /// Natural frequency of contacts, Hz. Higher is stiffer; rapier's own 30 lets a squeezed block sink in by 5-10 mm.
    pub contact_frequency_hz: f32,
    /// Arm position gain, N m/rad.
    pub arm_stiffness: f32,
    /// Arm velocity gain, N m s/rad.
    pub arm_damping: f32,
    /// Reflected rotor inertia added to each arm joint, kg m^2. Zero makes grasps creep three times as much.
    pub arm_armature: f32,
    /// Force with which the fingers close, N. CALVIN's 200 N crushes; the Panda's hand holds 70 N.
    pub grip_force_n: f32,
    /// Force with which the fingers open, N (CALVIN: 2).
    pub release_force_n: f32,
    /// Dry friction of drawer, door and switch, and the strongest spring-back of the button, N (CALVIN: 4).
    pub mechanism_force_n: f32,
    /// Mass of each block, kg (CALVIN: 1).
    pub block_mass_kg: f32,
    /// Factor on the friction coefficient of every pair; 1: CALVIN's.
    pub friction_scale: f32,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            scene: SceneId::D,
            solver_iterations: 1,
            contact_frequency_hz: 240.0,
            arm_stiffness: 4000.0,
            arm_damping: 300.0,
            arm_armature: 0.3,
            grip_force_n: 40.0,
            release_force_n: 2.0,
            mechanism_force_n: 4.0,
            block_mass_kg: BLOCK_MASS_KG,
            friction_scale: 1.0,
        }
    }
}

impl WorldConfig {
    /// # Errors
    /// The first value that makes no sense.
    pub fn validate(&self) -> Result<(), SimError> {
        if !(1..=64).contains(&self.solver_iterations) {
            return Err(SimError::Config { key: "solver_iterations", value: self.solver_iterations as f64, expected: "1 to 64" });
        }
        for (key, value) in [
            ("contact_frequency_hz", self.contact_frequency_hz),
            ("arm_stiffness", self.arm_stiffness),
            ("arm_damping", self.arm_damping),
            ("grip_force_n", self.grip_force_n),
            ("release_force_n", self.release_force_n),
            ("mechanism_force_n", self.mechanism_force_n),
            ("block_mass_kg", self.block_mass_kg),
            ("friction_scale", self.friction_scale),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(SimError::Config { key, value: f64::from(value), expected: "a positive number" });
            }
        }
        if !(self.arm_armature.is_finite() && self.arm_armature >= 0.0) {
            return Err(SimError::Config { key: "arm_armature", value: f64::from(self.arm_armature), expected: "0 or more" });
        }
        Ok(())
    }
}
