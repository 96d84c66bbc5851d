//! The servo loop between action chunks and joint commands
