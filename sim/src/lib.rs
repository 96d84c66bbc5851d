//! The CALVIN-like tabletop on rapier3d
