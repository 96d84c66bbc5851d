//! Reverie's messages over zenoh
