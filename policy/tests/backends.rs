//! The decode engine and libtorch run the same network, and a chain that stays on libtorch's device is the host's.
#![cfg(feature = "tch")]
#![allow(clippy::unwrap_used)]

use reverie_policy::engine::{Engine, EngineConfig, WeightFormat};
use reverie_policy::{
    Checkpoint, ColdStart, DecodeRequest, DecoderConfig, Denoiser, Device, DraftConfig, ExitConfig, InpaintConfig, NetworkConfig,
    NoiseSource, PolicyError, PolicyShape, TchDenoiser,
};

const TASKS: [&str; 3] = ["a", "b", "c"];

fn networks() -> [NetworkConfig; 2] {
    [NetworkConfig::Unet1d { widths: vec![64, 128, 256], kernel: 5, groups: 8, step_embed: 256 }, NetworkConfig::default()]
}

fn checkpoint(network: &NetworkConfig) -> Checkpoint {
    Checkpoint::untrained(network.clone(), Some(DraftConfig { hidden: 64, blocks: 1 }), &TASKS, 3).unwrap()
}

/// Standard normal.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; n];
    NoiseSource::new(seed, 1).fill(&mut values);
    values
}

/// RMS of the difference over the RMS of the second.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (error / b.iter().copied().map(square).sum::<f64>()).sqrt()
}

#[test]
fn the_engine_computes_what_libtorch_computes() {
    for network in networks() {
        let checkpoint = checkpoint(&network);
        let shape = checkpoint.shape();
        let batch = 4;
        let (x, cond) = (noise(batch * shape.chunk_len(), 1), noise(batch * shape.n_cond, 2));
        let run = |denoiser: &mut dyn Denoiser| {
            denoiser.condition(&cond, batch).unwrap();
            let [mut eps, mut draft] = [0, 1].map(|_| vec![0.0; x.len()]);
            denoiser.draft(&mut draft).unwrap();
            let mut all = draft;
            for label in [0, 10, 99] {
                denoiser.predict_noise(&x, label, &mut eps).unwrap();
                all.extend_from_slice(&eps);
            }
            all
        };
        let want = run(&mut TchDenoiser::from_checkpoint(&checkpoint, Device::Cpu).unwrap());
        for (weights, bound) in [(WeightFormat::F32, 1e-5), (WeightFormat::Bf16, 1e-2), (WeightFormat::Int8, 3e-2)] {
            let config = EngineConfig { weights, threads: 2, ..EngineConfig::default() };
            let got = run(&mut Engine::new(&checkpoint, &config, batch).unwrap().denoiser().unwrap());
            let off = difference(&got, &want);
            assert!(off < bound, "{network:?} {weights:?}: {off}");
        }
    }
}

/// Libtorch without its own chain: what is run evaluation by evaluation on the host.
struct OnHost(TchDenoiser);

impl Denoiser for OnHost {
    fn shape(&self) -> PolicyShape {
        self.0.shape()
    }
    fn condition(&mut self, cond: &[f32], batch: usize) -> Result<(), PolicyError> {
        self.0.condition(cond, batch)
    }
    fn predict_noise(&mut self, x: &[f32], label: usize, eps: &mut [f32]) -> Result<(), PolicyError> {
        self.0.predict_noise(x, label, eps)
    }
    fn has_draft(&self) -> bool {
        self.0.has_draft()
    }
    fn draft(&mut self, chunk: &mut [f32]) -> Result<(), PolicyError> {
        self.0.draft(chunk)
    }
}

/// Every kind of decoder over several ticks with delays, with exits and held rows: the same evaluations, the same reasons to
/// stop, the same chunks. On tensors of the CPU; nothing in the chain depends on where they lie.
#[test]
fn a_chain_on_the_device_is_the_hosts() {
    let checkpoint = checkpoint(&networks()[1]);
    let shape = checkpoint.shape();
    let with = |mut config: DecoderConfig, exit: bool| {
        let options = config.options_mut();
        options.exit = exit.then_some(ExitConfig { tolerance: 0.3, floor: 1, cap: None, max_noise: 0.5 });
        options.inpaint = Some(InpaintConfig::default());
        config
    };
    let drafted = match DecoderConfig::rti(&[10, 5, 0]) {
        DecoderConfig::Rti { labels, discrete, stall, jump, options, .. } => {
            let cold = ColdStart::Draft { renoise: true, labels: None };
            DecoderConfig::Rti { labels, cold, discrete, stall, jump, options }
        }
        other => other,
    };
    for config in [DecoderConfig::ddpm(), DecoderConfig::ddim(7), DecoderConfig::rti(&[20, 10, 5, 1, 0]), drafted] {
        for exit in [false, true] {
            let config = with(config.clone(), exit);
            let run = |denoiser: &mut dyn Denoiser| {
                let mut decoder = checkpoint.decoder(&config).unwrap();
                let mut noise_source = NoiseSource::new(4, decoder.candidates());
                let mut ticks = Vec::new();
                for tick in 0..4 {
                    let cond = noise(shape.n_cond, 10 + tick);
                    let request = DecodeRequest { cond: &cond, rows_executed: 2, rows_committed: 2, rows_needed: 2 };
                    let mut chunk = vec![0.0; shape.chunk_len()];
                    let stats = decoder.decode(denoiser, &request, &mut noise_source, &mut chunk).unwrap();
                    ticks.push((stats, chunk));
                }
                ticks
            };
            let device = run(&mut TchDenoiser::from_checkpoint(&checkpoint, Device::Cpu).unwrap());
            let host = run(&mut OnHost(TchDenoiser::from_checkpoint(&checkpoint, Device::Cpu).unwrap()));
            for (tick, (device, host)) in device.iter().zip(&host).enumerate() {
                assert_eq!(device.0, host.0, "{} tick {tick}", config.label());
                let off = difference(&device.1, &host.1);
                assert!(off < 1e-4, "{} tick {tick}: {off}", config.label());
            }
        }
    }
}
