//! CALVIN's long-horizon benchmark (LH-MTLC): chains of five tasks, their starts and their figures.

mod chains;
mod report;
mod symbolic;

pub use chains::{CHAIN_LENGTH, Chain, chains};
pub use report::ChainReport;
pub use symbolic::{BlockPlace, InitialPlacement, Side, SymbolicState};
