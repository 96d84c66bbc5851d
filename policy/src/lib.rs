//! Diffusion policies: networks, schedules, decoders, training
