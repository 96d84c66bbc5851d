//! RTI-DP (Duan, Yin and Kragic 2025, arXiv 2508.05396): a few ancestral steps from the previous chunk.
//!
//! First tick: all DDPM steps from noise, or, if so configured, a few DDIM steps, which an episode of a second can't do without.
//! Later ticks: the previous clean normalised chunk, shifted by the rows that were
//! executed and padded by its last row, goes as it is through the ancestral steps of a short label list. The steps use the
//! `t -> t-1` coefficients even where the list skips labels, as published.
//!
//! Deviations from the released code, which are defects there: the schedule is the one the network was trained on (the
//! released evaluation decodes by a linear one); the state is reset at every episode; the shift is the number of rows really
//! executed, not always one.

use super::{Cold, DecodeRequest, DecodeStats, Decoder, DecoderSnapshot, NoiseSource, Scratch, check_request, run_chain};
use crate::{Denoiser, NoiseSchedule, PolicyError, PolicyShape, ReverseStep};

/// Settings of [`Rti`], already checked by [`DecoderConfig::build`](super::DecoderConfig::build).
#[derive(Clone, Debug, PartialEq)]
pub struct RtiConfig {
    /// Noise levels of the warm steps, falling strictly to 0.
    pub labels: Vec<usize>,
    /// Noise levels of the DDIM steps of the first tick; none for all DDPM steps, as in the paper.
    pub cold_labels: Option<Vec<usize>>,
    /// Entries of a row whose guess is replaced by its sign divided by `clip_factor`.
    pub clip_dims: Vec<usize>,
    /// See `clip_dims`.
    pub clip_factor: f32,
}

/// The warm-started decoder.
#[derive(Debug)]
pub struct Rti {
    cold: Cold,
    warm: Vec<ReverseStep>,
    shape: PolicyShape,
    clip_dims: Vec<usize>,
    clip_factor: f32,
    guess: Option<Vec<f32>>,
    scratch: Scratch,
}

impl Rti {
    /// A decoder that has seen no chunk. Panics if a label is not below `schedule.n_steps()`.
    pub fn new(schedule: &NoiseSchedule, shape: PolicyShape, config: RtiConfig) -> Self {
        Self {
            cold: config.cold_labels.map_or_else(|| Cold::ddpm(schedule), |labels| Cold::ddim(schedule, &labels)),
            warm: config.labels.iter().map(|&label| schedule.ancestral(label)).collect(),
            shape,
            clip_dims: config.clip_dims,
            clip_factor: config.clip_factor,
            guess: None,
            scratch: Scratch::default(),
        }
    }

    /// The previous chunk, where it can still be a start.
    fn usable_guess(&mut self, rows_executed: usize) -> Option<Vec<f32>> {
        self.guess.take().filter(|_| rows_executed < self.shape.horizon)
    }

    fn remember(&mut self, mut storage: Vec<f32>, chunk: &[f32]) {
        storage.clear();
        storage.extend_from_slice(chunk);
        for row in storage.chunks_exact_mut(self.shape.n_act) {
            for &dim in &self.clip_dims {
                row[dim] = if row[dim] > 0.0 { 1.0 } else { -1.0 } / self.clip_factor;
            }
        }
        self.guess = Some(storage);
    }
}

/// Writes each lane of `guess` into `chunk`, `rows` rows earlier, and repeats its last row.
fn shift_rows(guess: &[f32], chunk: &mut [f32], shape: PolicyShape, rows: usize) {
    let (n, cut) = (shape.chunk_len(), rows * shape.n_act);
    for (from, to) in guess.chunks_exact(n).zip(chunk.chunks_exact_mut(n)) {
        let (body, tail) = to.split_at_mut(n - cut);
        body.copy_from_slice(&from[cut..]);
        for row in tail.chunks_exact_mut(shape.n_act) {
            row.copy_from_slice(&from[n - shape.n_act..]);
        }
    }
}

impl Decoder for Rti {
    fn decode(
        &mut self,
        denoiser: &mut dyn Denoiser,
        request: &DecodeRequest<'_>,
        noise: &mut NoiseSource,
        chunk: &mut [f32],
    ) -> Result<DecodeStats, PolicyError> {
        let guess = self.usable_guess(request.rows_executed);
        check_request(denoiser, request, noise, chunk)?;
        denoiser.condition(request.cond, request.lanes)?;
        let (storage, stats) = match guess {
            Some(guess) => {
                crate::error::check_length("previous chunk", chunk.len(), guess.len())?;
                shift_rows(&guess, chunk, self.shape, request.rows_executed);
                run_chain(denoiser, &self.warm, noise, &mut self.scratch, chunk)?;
                (guess, DecodeStats { nfe: self.warm.len(), warm: true })
            }
            None => (Vec::new(), self.cold.sample(denoiser, noise, chunk)?),
        };
        self.remember(storage, chunk);
        Ok(stats)
    }

    fn reset(&mut self) {
        self.guess = None;
    }

    fn retain_lanes(&mut self, keep: &[bool]) {
        let n = self.shape.chunk_len();
        if let Some(guess) = &mut self.guess {
            *guess = guess.chunks_exact(n).zip(keep).filter(|(_, keep)| **keep).flat_map(|(lane, _)| lane).copied().collect();
        }
    }

    fn snapshot(&self) -> DecoderSnapshot {
        DecoderSnapshot { guess: self.guess.clone() }
    }

    fn restore(&mut self, snapshot: &DecoderSnapshot) {
        self.guess.clone_from(&snapshot.guess);
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{GaussianOracle, mean_and_std};
    use super::*;

    const SHAPE: PolicyShape = PolicyShape { horizon: 16, n_act: 7, n_cond: 1 };

    fn schedule() -> NoiseSchedule {
        NoiseSchedule::squared_cosine(100)
    }

    fn rti(labels: &[usize], clip_dims: &[usize]) -> Rti {
        let config = RtiConfig { labels: labels.to_vec(), cold_labels: None, clip_dims: clip_dims.to_vec(), clip_factor: 10.0 };
        Rti::new(&schedule(), SHAPE, config)
    }

    fn tick(decoder: &mut Rti, conds: &[f32], noise: &mut NoiseSource, rows_executed: usize) -> (Vec<f32>, DecodeStats) {
        let lanes = conds.len();
        let mut chunk = vec![0.0; lanes * SHAPE.chunk_len()];
        let mut oracle = GaussianOracle::new(schedule(), 0.1, 0.05);
        let request = DecodeRequest { cond: conds, lanes, rows_executed };
        let stats = decoder.decode(&mut oracle, &request, noise, &mut chunk).unwrap();
        assert_eq!(oracle.evaluations, stats.nfe);
        (chunk, stats)
    }

    /// Share of the guess's error that survives a tick, and the noise it adds, for the exact denoiser of N(0, s^2). The
    /// expected values are products of `x_weight + x0_weight sqrt(alpha_bar) lambda / (1 - alpha_bar)` with the posterior
    /// variance `lambda = s^2 (1 - alpha_bar) / (alpha_bar s^2 + 1 - alpha_bar)`, worked out beforehand. 14336 samples.
    #[test]
    fn surviving_error_and_noise_of_a_tick_match_the_closed_form() {
        let table = [
            (&[2, 1, 0][..], 0.02, 0.107, 0.010),
            (&[2, 1, 0], 0.05, 0.427, 0.023),
            (&[2, 1, 0], 0.10, 0.750, 0.031),
            (&[3, 1, 0], 0.05, 0.434, 0.027),
            (&[5, 3, 1, 0], 0.10, 0.630, 0.050),
        ];
        for (labels, s, kappa, std) in table {
            let lanes = 128;
            let mut decoder = rti(labels, &[]);
            let offset = 0.2;
            decoder.restore(&DecoderSnapshot { guess: Some(vec![offset; lanes * SHAPE.chunk_len()]) });
            let mut oracle = GaussianOracle::new(schedule(), 0.0, s);
            let mut chunk = vec![0.0; lanes * SHAPE.chunk_len()];
            let seeds: Vec<u64> = (0..lanes as u64).collect();
            let request = DecodeRequest { cond: &vec![0.0; lanes], lanes, rows_executed: 1 };
            let stats = decoder.decode(&mut oracle, &request, &mut NoiseSource::new(&seeds), &mut chunk).unwrap();
            assert_eq!(stats, DecodeStats { nfe: labels.len(), warm: true });
            let (got_mean, got_std) = mean_and_std(&chunk);
            assert!(
                (got_mean / f64::from(offset) - kappa).abs() < 0.008,
                "{labels:?} s={s}: kappa {}",
                got_mean / f64::from(offset)
            );
            assert!((got_std - std).abs() < 0.001, "{labels:?} s={s}: noise {got_std}");
        }
    }

    /// The single step at label 0 returns the clean estimate without noise; with a wide prior that is nearly the guess
    /// itself, so the shift shows in the result.
    #[test]
    fn the_guess_moves_by_the_rows_really_executed() {
        let guess: Vec<f32> = (0..2 * SHAPE.chunk_len()).map(|i| (i / SHAPE.n_act) as f32 / 100.0).collect();
        for rows in [0, 1, 5, 15] {
            let mut decoder = rti(&[0], &[]);
            decoder.restore(&DecoderSnapshot { guess: Some(guess.clone()) });
            let mut chunk = vec![0.0; guess.len()];
            let mut oracle = GaussianOracle::new(schedule(), 0.0, 100.0);
            let request = DecodeRequest { cond: &[0.0, 0.0], lanes: 2, rows_executed: rows };
            decoder.decode(&mut oracle, &request, &mut NoiseSource::new(&[1, 2]), &mut chunk).unwrap();
            for (lane, row) in [(0, 0), (0, 15), (1, 0), (1, 7), (1, 15)] {
                let want = (16 * lane + (row + rows).min(15)) as f32 / 100.0;
                let got = chunk[(16 * lane + row) * SHAPE.n_act];
                assert!((got - want).abs() < 1e-3, "rows {rows} lane {lane} row {row}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_fully_executed_chunk_is_no_start() {
        let mut decoder = rti(&[2, 1, 0], &[]);
        let mut noise = NoiseSource::new(&[1]);
        assert_eq!(tick(&mut decoder, &[0.0], &mut noise, 0).1, DecodeStats { nfe: 100, warm: false });
        assert_eq!(tick(&mut decoder, &[0.0], &mut noise, 15).1, DecodeStats { nfe: 3, warm: true });
        assert_eq!(tick(&mut decoder, &[0.0], &mut noise, 16).1, DecodeStats { nfe: 100, warm: false });
    }

    /// The released code kept its guess across episodes.
    #[test]
    fn after_reset_the_first_tick_is_that_of_a_fresh_decoder() {
        let mut used = rti(&[2, 1, 0], &[6]);
        let mut noise = NoiseSource::new(&[7]);
        tick(&mut used, &[0.0], &mut noise, 0);
        used.reset();
        let after_reset = tick(&mut used, &[0.1], &mut NoiseSource::new(&[9]), 3);
        let fresh = tick(&mut rti(&[2, 1, 0], &[6]), &[0.1], &mut NoiseSource::new(&[9]), 3);
        assert_eq!(after_reset, fresh);
    }

    #[test]
    fn clip_replaces_discrete_entries_of_the_guess_by_a_tenth_of_their_sign() {
        let mut decoder = rti(&[2, 1, 0], &[6]);
        let (chunk, _) = tick(&mut decoder, &[-0.3], &mut NoiseSource::new(&[1]), 0);
        let guess = decoder.snapshot().guess.unwrap();
        for (row, guess) in chunk.chunks_exact(7).zip(guess.chunks_exact(7)) {
            assert_eq!(row[..6], guess[..6]);
            assert_eq!(guess[6], 0.1_f32.copysign(row[6]));
        }
    }

    #[test]
    fn a_lane_gets_the_same_chunks_alone_and_in_company() {
        let mut together = rti(&[3, 1, 0], &[]);
        let mut noise = NoiseSource::new(&[11, 12, 13]);
        let conds = [0.0, 0.1, -0.1];
        tick(&mut together, &conds, &mut noise, 0);
        together.retain_lanes(&[true, false, true]);
        noise.retain_lanes(&[true, false, true]);
        let (chunk, _) = tick(&mut together, &[0.0, -0.1], &mut noise, 2);

        let mut alone = rti(&[3, 1, 0], &[]);
        let mut noise = NoiseSource::new(&[13]);
        tick(&mut alone, &[-0.1], &mut noise, 0);
        let (expected, _) = tick(&mut alone, &[-0.1], &mut noise, 2);
        assert_eq!(chunk[SHAPE.chunk_len()..], expected);
    }

    #[test]
    fn a_restored_decoder_goes_on_identically() {
        let mut first = rti(&[3, 1, 0], &[6]);
        let mut noise = NoiseSource::new(&[5]);
        tick(&mut first, &[0.0], &mut noise, 0);
        let (snapshot, mut noise_copy) = (first.snapshot(), noise.clone());
        let mut second = rti(&[3, 1, 0], &[6]);
        second.restore(&snapshot);
        assert_eq!(tick(&mut first, &[0.0], &mut noise, 1), tick(&mut second, &[0.0], &mut noise_copy, 1));
    }

    #[test]
    fn a_short_cold_start_takes_its_own_number_of_evaluations() {
        let config =
            RtiConfig { labels: vec![3, 1, 0], cold_labels: Some(vec![75, 50, 25, 0]), clip_dims: Vec::new(), clip_factor: 1.0 };
        let mut rti = Rti::new(&schedule(), SHAPE, config);
        let mut noise = NoiseSource::new(&[1]);
        let mut nfe = || tick(&mut rti, &[0.0], &mut noise, 1).1.nfe;
        assert_eq!((nfe(), nfe()), (4, 3));
    }
}
