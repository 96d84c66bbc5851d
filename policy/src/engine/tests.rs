//! The engine against a plain implementation in f64 that shares no code with it, on every instruction set of this CPU.

#![allow(clippy::needless_range_loop)] // written as the sums are in the publications

use super::*;
use crate::{DraftConfig, RawTensor};

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// `[channels][rows]`, as PyTorch has it.
type Signal = Vec<Vec<f64>>;

struct Reference<'a>(&'a Checkpoint);

impl Reference<'_> {
    fn tensor(&self, name: &str) -> &RawTensor {
        self.0.tensor(name).unwrap()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (w, b) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |o: usize| (0..x.len()).map(|i| f64::from(w.data[o * x.len() + i]) * x[i]).sum::<f64>() + f64::from(b.data[o]);
        (0..b.data.len()).map(row).collect()
    }

    /// Correlation with zero padding.
    fn conv(&self, name: &str, x: &Signal, stride: usize, padding: usize) -> Signal {
        let (w, b) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let [out, inputs, taps] = w.shape[..] else { panic!() };
        let rows = (x[0].len() + 2 * padding - taps) / stride + 1;
        let at = |o: usize, l: usize| {
            let mut sum = f64::from(b.data[o]);
            for i in 0..inputs {
                for t in 0..taps {
                    let row = (l * stride + t) as isize - padding as isize;
                    if (0..x[0].len() as isize).contains(&row) {
                        sum += f64::from(w.data[(o * inputs + i) * taps + t]) * x[i][row as usize];
                    }
                }
            }
            sum
        };
        (0..out).map(|o| (0..rows).map(|l| at(o, l)).collect()).collect()
    }

    /// Every input row is spread over `taps` output rows.
    fn conv_transposed(&self, name: &str, x: &Signal) -> Signal {
        let (w, b) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let [inputs, out, taps] = w.shape[..] else { panic!() };
        let rows = x[0].len();
        let mut y: Signal = (0..out).map(|o| vec![f64::from(b.data[o]); 2 * rows]).collect();
        for i in 0..inputs {
            for l in 0..rows {
                for o in 0..out {
                    for t in 0..taps {
                        let row = (2 * l + t) as isize - 1;
                        if (0..2 * rows as isize).contains(&row) {
                            y[o][row as usize] += f64::from(w.data[(i * out + o) * taps + t]) * x[i][l];
                        }
                    }
                }
            }
        }
        y
    }

    fn block(&self, name: &str, x: &Signal, padding: usize, groups: usize) -> Signal {
        let mut y = self.conv(&format!("{name}.block.0"), x, 1, padding);
        let (gamma, beta) = (self.tensor(&format!("{name}.block.1.weight")), self.tensor(&format!("{name}.block.1.bias")));
        let per_group = y.len() / groups;
        for g in 0..groups {
            let group = g * per_group..(g + 1) * per_group;
            let all: Vec<f64> = y[group.clone()].iter().flatten().copied().collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64;
            for c in group {
                for v in &mut y[c] {
                    let normal = (*v - mean) / (variance + 1e-5).sqrt();
                    *v = mish(normal * f64::from(gamma.data[c]) + f64::from(beta.data[c]));
                }
            }
        }
        y
    }

    fn residual(&self, name: &str, x: &Signal, c: &[f64], padding: usize, groups: usize) -> Signal {
        let film = self.linear(&format!("{name}.cond_encoder.1"), c);
        let mut h = self.block(&format!("{name}.blocks.0"), x, padding, groups);
        let n = h.len();
        for (channel, row) in h.iter_mut().enumerate() {
            row.iter_mut().for_each(|v| *v = *v * film[channel] + film[n + channel]);
        }
        let mut h = self.block(&format!("{name}.blocks.1"), &h, padding, groups);
        let skip = if x.len() == n { x.clone() } else { self.conv(&format!("{name}.residual_conv"), x, 1, 0) };
        for (row, skip) in h.iter_mut().zip(&skip) {
            row.iter_mut().zip(skip).for_each(|(v, s)| *v += s);
        }
        h
    }

    fn embedding(&self, label: usize, width: usize, layers: [&str; 2]) -> Vec<f64> {
        let half = width / 2;
        let angle = |i: usize| label as f64 * (-(10_000_f64.ln()) * i as f64 / (half - 1) as f64).exp();
        let sinusoid: Vec<f64> = (0..half).map(|i| angle(i).sin()).chain((0..half).map(|i| angle(i).cos())).collect();
        let hidden: Vec<f64> = self.linear(layers[0], &sinusoid).into_iter().map(mish).collect();
        self.linear(layers[1], &hidden)
    }

    fn predict(&self, x: &[f32], label: usize, cond: &[f32]) -> Vec<f64> {
        let (x, cond): (Vec<f64>, Vec<f64>) = (x.iter().map(|&v| v.into()).collect(), cond.iter().map(|&v| v.into()).collect());
        match &self.0.info.network {
            NetworkConfig::ResidualMlp { blocks, step_embed, .. } => {
                let time = self.embedding(label, *step_embed, ["time.0", "time.1"]);
                let h = self.linear("input", &[x, time, cond].concat());
                self.trunk("", *blocks, h)
            }
            NetworkConfig::Unet1d { widths, kernel, groups, step_embed } => {
                let (n_act, padding, groups) = (self.0.info.n_act, kernel / 2, *groups);
                let time = self.embedding(label, *step_embed, ["diffusion_step_encoder.1", "diffusion_step_encoder.3"]);
                let c: Vec<f64> = time.into_iter().chain(cond).map(mish).collect();
                let mut h: Signal = (0..n_act).map(|a| x.iter().skip(a).step_by(n_act).copied().collect()).collect();
                let mut skips = Vec::new();
                for level in 0..widths.len() {
                    for block in 0..2 {
                        h = self.residual(&format!("down_modules.{level}.{block}"), &h, &c, padding, groups);
                    }
                    skips.push(h.clone());
                    if level + 1 < widths.len() {
                        h = self.conv(&format!("down_modules.{level}.2.conv"), &h, 2, 1);
                    }
                }
                for block in 0..2 {
                    h = self.residual(&format!("mid_modules.{block}"), &h, &c, padding, groups);
                }
                for up in 0..widths.len() - 1 {
                    h.extend(skips.pop().unwrap());
                    for block in 0..2 {
                        h = self.residual(&format!("up_modules.{up}.{block}"), &h, &c, padding, groups);
                    }
                    h = self.conv_transposed(&format!("up_modules.{up}.2.conv"), &h);
                }
                let h = self.conv("final_conv.1", &self.block("final_conv.0", &h, padding, groups), 1, 0);
                (0..self.0.info.horizon).flat_map(|l| h.iter().map(move |row| row[l])).collect()
            }
        }
    }

    fn trunk(&self, prefix: &str, blocks: usize, mut h: Vec<f64>) -> Vec<f64> {
        let act = |h: &[f64]| h.iter().map(|&v| mish(v)).collect::<Vec<_>>();
        for block in 0..blocks {
            let first = self.linear(&format!("{prefix}blocks.{block}.0"), &act(&h));
            let second = self.linear(&format!("{prefix}blocks.{block}.1"), &act(&first));
            h.iter_mut().zip(second).for_each(|(h, s)| *h += s);
        }
        self.linear(&format!("{prefix}output"), &h)
    }
}

fn mish(x: f64) -> f64 {
    x * x.exp().ln_1p().tanh()
}

/// Networks that reach every branch: odd sizes, one level and five (where a kernel reaches over all rows), equal widths, groups that don't fill a vector, no block.
fn networks() -> Vec<NetworkConfig> {
    let unet =
        |widths: &[usize], kernel, groups| NetworkConfig::Unet1d { widths: widths.to_vec(), kernel, groups, step_embed: 8 };
    let mlp = |hidden, blocks| NetworkConfig::ResidualMlp { hidden, blocks, step_embed: 6 };
    vec![
        unet(&[16, 32, 64], 5, 8),
        unet(&[64, 128], 3, 8),
        unet(&[24, 24, 40], 5, 8),
        unet(&[9], 3, 3),
        unet(&[8, 8, 16, 8, 8], 5, 8),
        unet(&[128, 64], 5, 4),
        mlp(512, 2),
        mlp(65, 1),
        mlp(32, 0),
    ]
}

/// A network whose parameters are all random: the first values of norms are ones and zeros, which would hide mistakes.
fn checkpoint(network: &NetworkConfig) -> Checkpoint {
    let draft = Some(DraftConfig { hidden: 33, blocks: 1 });
    let plain = Checkpoint::untrained(network.clone(), draft, &["a", "b"], 5).unwrap();
    let jitter = |(index, spec): (usize, crate::ParameterSpec)| {
        let mut tensor = plain.tensor(&spec.name).unwrap().clone();
        let scale = if spec.name.contains("block.1") || spec.name.ends_with("bias") { 0.3 } else { 0.0 };
        tensor.data.iter_mut().zip(noise(spec.numel(), index as u64 + 7)).for_each(|(v, n)| *v += scale * n);
        (spec.name, tensor)
    };
    let tensors = plain.info.parameters().into_iter().enumerate().map(jitter).collect();
    Checkpoint::new(plain.info.clone(), tensors).unwrap()
}

/// RMS of the difference over the RMS of the reference.
fn difference(got: &[f32], want: &[f64]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - w)).sum();
    (error / want.iter().copied().map(square).sum::<f64>()).sqrt()
}

fn evaluate(engine: &Engine, x: &[f32], label: usize, cond: &[f32], batch: usize) -> Vec<f32> {
    let mut denoiser = engine.denoiser().unwrap();
    denoiser.condition(cond, batch).unwrap();
    let mut eps = vec![f32::NAN; x.len()];
    denoiser.predict_noise(x, label, &mut eps).unwrap();
    eps
}

fn instructions() -> impl Iterator<Item = Instructions> {
    Instructions::ALL.into_iter().filter(|i| i.available())
}

#[test]
fn every_format_on_every_instruction_set_computes_the_network() {
    for network in networks() {
        let checkpoint = checkpoint(&network);
        let (shape, batch) = (checkpoint.shape(), 3);
        let (x, cond) = (noise(batch * shape.chunk_len(), 1), noise(batch * shape.n_cond, 2));
        let reference = Reference(&checkpoint);
        let want: Vec<f64> = x
            .chunks(shape.chunk_len())
            .zip(cond.chunks(shape.n_cond))
            .flat_map(|(x, cond)| reference.predict(x, 37, cond))
            .collect();
        for instructions in instructions() {
            for (weights, bound) in [(WeightFormat::F32, 3e-6), (WeightFormat::Bf16, 0.02), (WeightFormat::Int8, 0.05)] {
                for threads in [1, 2, 3] {
                    let config = EngineConfig { weights, threads, instructions };
                    let got = evaluate(&Engine::new(&checkpoint, &config, batch).unwrap(), &x, 37, &cond, batch);
                    let off = difference(&got, &want);
                    assert!(off < bound, "{network:?} {config:?}: {off}");
                }
            }
        }
    }
}

#[test]
fn a_draft_is_the_drafters_output() {
    let checkpoint = checkpoint(&networks()[0]);
    let cond = noise(checkpoint.shape().n_cond, 4);
    let reference = Reference(&checkpoint);
    let want = reference.trunk("draft.", 1, reference.linear("draft.input", &cond.iter().map(|&v| v.into()).collect::<Vec<_>>()));
    let mut denoiser = Engine::new(&checkpoint, &EngineConfig::default(), 1).unwrap().denoiser().unwrap();
    denoiser.condition(&cond, 1).unwrap();
    let mut chunk = vec![0.0; checkpoint.shape().chunk_len()];
    denoiser.draft(&mut chunk).unwrap();
    assert!(difference(&chunk, &want) < 3e-6);
}

/// Batches are seen as columns or sample by sample; neither may change a result.
#[test]
fn a_sample_is_the_same_alone_and_in_company() {
    for network in [&networks()[0], &networks()[6]] {
        let checkpoint = checkpoint(network);
        let (shape, batch) = (checkpoint.shape(), 7);
        let (x, cond) = (noise(batch * shape.chunk_len(), 1), noise(batch * shape.n_cond, 2));
        for weights in WeightFormat::ALL {
            let engine = Engine::new(&checkpoint, &EngineConfig { weights, ..EngineConfig::default() }, 32).unwrap();
            let together = evaluate(&engine, &x, 9, &cond, batch);
            for b in [0, 4, 6] {
                let x = &x[b * shape.chunk_len()..][..shape.chunk_len()];
                let alone = evaluate(&engine, x, 9, &cond[b * shape.n_cond..][..shape.n_cond], 1);
                assert_eq!(alone, together[b * shape.chunk_len()..][..shape.chunk_len()], "{weights:?} {b}");
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_result_and_survive_rest() {
    let checkpoint = checkpoint(&networks()[0]);
    let shape = checkpoint.shape();
    let (x, cond) = (noise(shape.chunk_len(), 1), noise(shape.n_cond, 2));
    let engine = |threads| Engine::new(&checkpoint, &EngineConfig { threads, ..EngineConfig::default() }, 1).unwrap();
    let want = evaluate(&engine(1), &x, 3, &cond, 1);
    for threads in [2, 4] {
        let mut denoiser = engine(threads).denoiser().unwrap();
        let mut eps = vec![0.0; x.len()];
        for tick in 0..200 {
            denoiser.condition(&cond, 1).unwrap();
            denoiser.predict_noise(&x, 3, &mut eps).unwrap();
            assert_eq!(eps, want, "{threads} threads, tick {tick}");
            denoiser.rest();
            if tick % 50 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    }
}

#[test]
fn wrong_sizes_and_missing_instructions_are_refused() {
    let checkpoint = checkpoint(&networks()[7]);
    let refusal = |config: EngineConfig| Engine::new(&checkpoint, &config, 1).unwrap_err().to_string();
    assert!(refusal(EngineConfig { threads: 0, ..EngineConfig::default() }).starts_with("engine.threads = 0"));
    let error = Engine::new(&checkpoint, &EngineConfig::default(), 33).unwrap_err().to_string();
    assert!(error.starts_with("batch = 33: must be in 1..=32"), "{error}");
    for instructions in Instructions::ALL.into_iter().filter(|i| !i.available()) {
        assert!(refusal(EngineConfig { instructions, ..EngineConfig::default() }).contains("this CPU has"));
    }
    let shape = checkpoint.shape();
    let mut denoiser = Engine::new(&checkpoint, &EngineConfig::default(), 1).unwrap().denoiser().unwrap();
    let cond = vec![0.0; 2 * shape.n_cond];
    assert!(denoiser.condition(&cond, 2).unwrap_err().to_string().contains("laid out for 1..=1"));
    assert!(denoiser.condition(&cond, 1).is_err());
    denoiser.condition(&cond[..shape.n_cond], 1).unwrap();
    let (x, mut eps) = (vec![0.0; shape.chunk_len()], vec![0.0; shape.chunk_len()]);
    assert!(denoiser.predict_noise(&x, 100, &mut eps).unwrap_err().to_string().contains("noise levels 0 to 99"));
    assert!(denoiser.predict_noise(&x[1..], 0, &mut eps).is_err());
}

/// Broken activations must not be rounded to plausible bytes.
#[test]
fn nan_passes_through_every_format() {
    let checkpoint = checkpoint(&networks()[6]);
    let shape = checkpoint.shape();
    let mut x = noise(shape.chunk_len(), 1);
    x[40] = f32::NAN;
    for weights in WeightFormat::ALL {
        for instructions in instructions() {
            let config = EngineConfig { weights, instructions, ..EngineConfig::default() };
            let eps = evaluate(&Engine::new(&checkpoint, &config, 1).unwrap(), &x, 3, &noise(shape.n_cond, 2), 1);
            assert!(eps.iter().all(|e| e.is_nan()), "{config:?}");
        }
    }
}
