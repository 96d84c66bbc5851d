//! Observations in, chunks out: features, decoder and normaliser of one checkpoint, for one robot.

use anyhow::{Context, Result};
use reverie_policy::{Checkpoint, DecodeRequest, Decoder, DecoderConfig, Denoiser, FeatureHistory, NoiseSource};
use reverie_schema::{Action, ActionChunk, CONTROL_PERIOD_NS, Clock, DecodeReport, N_ACT, Observation, Stamp, derive_seed};

/// Which rows of old and new plans are executed, counted in control steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanRows {
    /// Rows of the last plan that were executed since it was made.
    pub executed: usize,
    /// First rows of the new plan that are over before it is in force.
    pub committed: usize,
    /// Rows after these until the next plan.
    pub needed: usize,
}

/// Control steps between two stamps, to the nearest.
pub fn rows_between(earlier: Stamp, later: Stamp) -> usize {
    let periods = (later.since(earlier) + CONTROL_PERIOD_NS / 2) / CONTROL_PERIOD_NS;
    usize::try_from(periods).unwrap_or(0)
}

/// Plans for one task at a time.
pub struct Planner {
    checkpoint: Checkpoint,
    denoiser: Box<dyn Denoiser>,
    decoder: Box<dyn Decoder>,
    history: FeatureHistory,
    noise: NoiseSource,
    /// Of the episode's noise.
    seed: u64,
    task: usize,
    seq: u64,
    cond: Vec<f32>,
    chunk: Vec<f32>,
    normalised: Vec<f32>,
}

impl Planner {
    /// A planner that decodes with `decoder`.
    pub fn new(checkpoint: Checkpoint, denoiser: Box<dyn Denoiser>, decoder: &DecoderConfig) -> Result<Self> {
        let shape = checkpoint.shape();
        let decoder = checkpoint.decoder(decoder).with_context(|| format!("decoder {}", decoder.label()))?;
        Ok(Self {
            noise: NoiseSource::new(0, decoder.candidates()),
            decoder,
            history: checkpoint.feature_history(),
            seed: 0,
            task: 0,
            seq: 0,
            cond: vec![0.0; shape.n_cond],
            chunk: vec![0.0; shape.chunk_len()],
            normalised: vec![0.0; shape.chunk_len()],
            checkpoint,
            denoiser,
        })
    }

    /// Takes another decoder; the next plan is a cold start, and noise begins anew.
    pub fn set_decoder(&mut self, decoder: &DecoderConfig) -> Result<()> {
        self.decoder = self.checkpoint.decoder(decoder).with_context(|| format!("decoder {}", decoder.label()))?;
        self.noise = NoiseSource::new(self.seed, self.decoder.candidates());
        Ok(())
    }

    /// Begins an episode of `task`.
    pub fn reset(&mut self, task: &str, seed: u64) -> Result<()> {
        self.task = self.checkpoint.task_index(task)?;
        self.seed = derive_seed(seed, "decoder");
        self.noise = NoiseSource::new(self.seed, self.decoder.candidates());
        self.history.reset();
        self.decoder.reset();
        Ok(())
    }

    /// Takes note of an observation without planning.
    pub fn observe(&mut self, observation: &Observation) -> Result<()> {
        Ok(self.history.push(observation)?)
    }

    /// The last plan as the network made it: normalised, `[horizon, n_act]`.
    pub fn normalised(&self) -> &[f32] {
        &self.normalised
    }

    /// Another plan for the condition of the last one, with noise of its own, normalised. For a decoder that begins from noise.
    pub fn sample(&mut self, noise: &mut NoiseSource, chunk: &mut [f32]) -> Result<()> {
        let request = DecodeRequest { cond: &self.cond, rows_executed: 0, rows_committed: 0, rows_needed: 1 };
        self.decoder.decode(self.denoiser.as_mut(), &request, noise, chunk)?;
        Ok(())
    }

    /// The chunk that begins with the newest observation.
    pub fn plan(&mut self, newest: &Observation, rows: PlanRows, clock: &dyn Clock) -> Result<(ActionChunk, DecodeReport)> {
        let begin = clock.now();
        let info = &self.checkpoint.info;
        self.history.write_condition(&info.observation_normaliser, self.task, &mut self.cond)?;
        let request = DecodeRequest {
            cond: &self.cond,
            rows_executed: rows.executed,
            rows_committed: rows.committed,
            rows_needed: rows.needed,
        };
        let stats = self.decoder.decode(self.denoiser.as_mut(), &request, &mut self.noise, &mut self.chunk)?;
        self.normalised.copy_from_slice(&self.chunk);
        info.action_normaliser.unnormalise(&mut self.chunk);
        let mut actions = [Action([0.0; N_ACT]); reverie_schema::MAX_CHUNK_ROWS];
        let (flat, _) = self.chunk.as_chunks::<N_ACT>();
        for (row, &entries) in actions.iter_mut().zip(flat) {
            *row = Action(entries);
        }
        let mut chunk = ActionChunk::from_rows(newest.stamp, &actions[..flat.len()])?;
        self.seq += 1;
        chunk.seq = self.seq;
        chunk.obs_seq = newest.seq;
        let decode_us = clock.now().since(begin) as f64 * 1e-3;
        Ok((chunk, DecodeReport { nfe: stats.nfe as u32, decode_us, start: stats.start, stop: stats.stop }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_to_the_nearest_control_step() {
        let at = |ms: i64| Stamp(1_000_000_000 + ms * 1_000_000);
        assert_eq!([0, 10, 33, 40, 66, 84, 266].map(|ms| rows_between(at(0), at(ms))), [0, 0, 1, 1, 2, 3, 8]);
    }
}
