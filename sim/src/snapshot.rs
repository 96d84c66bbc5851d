//! A world's whole state, in memory and on disk.
//!
//! File: the magic `RVWORLD` and a zero byte, the format version (u32), the FNV-1a hash of what follows (u64), both little-endian,
//! then the state as MessagePack. The state is rapier's own, so the version changes with rapier's as well as with ours.

use std::{fs, path::Path};

use rapier3d::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{SceneId, SimError, arm::Arm, world::Logic};

const MAGIC: [u8; 8] = *b"RVWORLD\0";
/// 1: rapier 0.36.1.
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 8;

/// A world's whole state at one moment. See [`World::snapshot`](crate::World::snapshot).
#[derive(Clone, Serialize, Deserialize)]
pub struct WorldSnapshot {
    pub(crate) bodies: RigidBodySet,
    pub(crate) colliders: ColliderSet,
    pub(crate) impulse_joints: ImpulseJointSet,
    pub(crate) multibody_joints: MultibodyJointSet,
    pub(crate) islands: IslandManager,
    pub(crate) broad_phase: BroadPhaseBvh,
    pub(crate) narrow_phase: NarrowPhase,
    pub(crate) arm: Arm,
    pub(crate) logic: Logic,
    pub(crate) scene: SceneId,
}

impl WorldSnapshot {
    /// Writes the state to `path`. What was there is replaced whole or, on an error, not at all.
    ///
    /// # Errors
    /// [`SimError::SnapshotFile`].
    pub fn save(&self, path: &Path) -> Result<(), SimError> {
        let failed = |reason: String| SimError::SnapshotFile { path: path.display().to_string(), reason };
        let state = rmp_serde::to_vec(self).map_err(|error| failed(error.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER + state.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(fnv1a(&state).to_le_bytes());
        bytes.extend(state);
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        fs::write(&part, bytes).and_then(|()| fs::rename(&part, path)).map_err(|error| failed(error.to_string()))
    }

    /// Reads what [`WorldSnapshot::save`] wrote. A world that is restored to it goes on identically to the last bit, on a machine
    /// and a build alike.
    ///
    /// # Errors
    /// [`SimError::SnapshotFile`], [`SimError::SnapshotVersion`].
    pub fn load(path: &Path) -> Result<Self, SimError> {
        let name = || path.display().to_string();
        let failed = |reason: String| SimError::SnapshotFile { path: name(), reason };
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Err(failed("is no world snapshot".into())) };
        let truncated = || failed("ends early; save it again".into());
        let (version, rest) = rest.split_first_chunk().ok_or_else(truncated)?;
        let found = u32::from_le_bytes(*version);
        if found != VERSION {
            return Err(SimError::SnapshotVersion { path: name(), found, expected: VERSION });
        }
        let (hash, state) = rest.split_first_chunk().ok_or_else(truncated)?;
        if u64::from_le_bytes(*hash) != fnv1a(state) {
            return Err(failed("is damaged or ends early; save it again".into()));
        }
        rmp_serde::from_slice(state).map_err(|error| failed(error.to_string()))
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
