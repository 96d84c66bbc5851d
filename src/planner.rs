//! Observations in, chunks out: features, decoder and normaliser of one checkpoint, for one robot.

use anyhow::{Context, Result};
use reverie_policy::{Checkpoint, DecodeRequest, Decoder, DecoderConfig, Denoiser, FeatureHistory, NoiseSource};
use reverie_schema::{Action, ActionChunk, Clock, DecodeReport, N_ACT, Observation, derive_seed};

/// Plans for one task at a time.
pub struct Planner {
    checkpoint: Checkpoint,
    denoiser: Box<dyn Denoiser>,
    decoder: Box<dyn Decoder>,
    history: FeatureHistory,
    noise: NoiseSource,
    task: usize,
    seq: u64,
    cond: Vec<f32>,
    chunk: Vec<f32>,
}

impl Planner {
    /// A planner that decodes with `decoder`.
    pub fn new(checkpoint: Checkpoint, denoiser: Box<dyn Denoiser>, decoder: &DecoderConfig) -> Result<Self> {
        let shape = checkpoint.shape();
        Ok(Self {
            decoder: checkpoint.decoder(decoder).with_context(|| format!("decoder {}", decoder.label()))?,
            history: checkpoint.feature_history(),
            noise: NoiseSource::new(&[0]),
            task: 0,
            seq: 0,
            cond: vec![0.0; shape.n_cond],
            chunk: vec![0.0; shape.chunk_len()],
            checkpoint,
            denoiser,
        })
    }

    /// Takes another decoder; the next plan is a cold start.
    pub fn set_decoder(&mut self, decoder: &DecoderConfig) -> Result<()> {
        self.decoder = self.checkpoint.decoder(decoder).with_context(|| format!("decoder {}", decoder.label()))?;
        Ok(())
    }

    /// Begins an episode of `task`.
    pub fn reset(&mut self, task: &str, seed: u64) -> Result<()> {
        self.task = self.checkpoint.task_index(task)?;
        self.noise = NoiseSource::new(&[derive_seed(seed, "decoder")]);
        self.history.reset();
        self.decoder.reset();
        Ok(())
    }

    /// Takes note of an observation without planning.
    pub fn observe(&mut self, observation: &Observation) -> Result<()> {
        Ok(self.history.push(observation)?)
    }

    /// The chunk that begins with the newest observation. `rows_executed` rows were played since the last plan.
    pub fn plan(&mut self, newest: &Observation, rows_executed: usize, clock: &dyn Clock) -> Result<(ActionChunk, DecodeReport)> {
        let begin = clock.now();
        let info = &self.checkpoint.info;
        self.history.write_condition(&info.observation_normaliser, self.task, &mut self.cond)?;
        let request = DecodeRequest { cond: &self.cond, lanes: 1, rows_executed };
        let stats = self.decoder.decode(self.denoiser.as_mut(), &request, &mut self.noise, &mut self.chunk)?;
        info.action_normaliser.unnormalise(&mut self.chunk);
        let mut rows = [Action([0.0; N_ACT]); reverie_schema::MAX_CHUNK_ROWS];
        let (flat, _) = self.chunk.as_chunks::<N_ACT>();
        for (row, &entries) in rows.iter_mut().zip(flat) {
            *row = Action(entries);
        }
        let mut chunk = ActionChunk::from_rows(newest.stamp, &rows[..flat.len()])?;
        self.seq += 1;
        chunk.seq = self.seq;
        chunk.obs_seq = newest.seq;
        let decode_us = clock.now().since(begin) as f64 * 1e-3;
        Ok((chunk, DecodeReport { nfe: stats.nfe as u32, decode_us, warm: stats.warm }))
    }
}
