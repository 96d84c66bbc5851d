//! Rollouts in the rerun viewer
