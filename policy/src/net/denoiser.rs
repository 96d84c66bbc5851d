use tch::{Device, Kind, Tensor};

use reverie_schema::StopReason;

use super::layers::{Network, TensorTable};
use super::residual_mlp::Drafter;
use crate::decode::{Chain, ChainEnd, ChainScratch, Exit};
use crate::error::check_length;
use crate::{Checkpoint, Denoiser, PolicyError, PolicyShape};

/// A checkpoint's network on libtorch, weights frozen.
#[derive(Debug)]
pub struct TchDenoiser {
    network: Network,
    drafter: Option<Drafter>,
    shape: PolicyShape,
    device: Device,
    cond: Tensor,
    batch: usize,
}

impl TchDenoiser {
    /// Copies the weights of `checkpoint` to `device`.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the device is not there.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: Device) -> Result<Self, PolicyError> {
        check_device(device)?;
        let shape = checkpoint.shape();
        let specs = checkpoint.info.parameters();
        let values = specs.iter().map(|spec| checkpoint.tensor(&spec.name)).collect::<Result<Vec<_>, _>>()?;
        let table = TensorTable::from_raw(specs, values.into_iter(), device);
        Ok(Self {
            network: Network::new(&checkpoint.info.network, &table),
            drafter: checkpoint.info.draft.as_ref().map(|draft| Drafter::new(draft, &table, shape)),
            shape,
            device,
            cond: Tensor::zeros([0, shape.n_cond as i64], (Kind::Float, device)),
            batch: 0,
        })
    }

    /// Copies chunks, `[n, batch, horizon, n_act]`, to the device.
    fn upload(&self, chunks: &[f32], batch: usize) -> Tensor {
        let size = [-1, batch as i64, self.shape.horizon as i64, self.shape.n_act as i64];
        Tensor::from_slice(chunks).view(size).to_device(self.device)
    }

    fn predict(&self, x: &Tensor, label: usize) -> Tensor {
        let labels = Tensor::full([1], label as i64, (Kind::Int64, self.device));
        self.network.forward(x, &labels, &self.cond)
    }

    fn check(&self, what: &'static str, got: usize) -> Result<(), PolicyError> {
        check_length(what, self.batch * self.shape.chunk_len(), got)
    }
}

impl Denoiser for TchDenoiser {
    fn shape(&self) -> PolicyShape {
        self.shape
    }

    fn condition(&mut self, cond: &[f32], batch: usize) -> Result<(), PolicyError> {
        check_length("condition", batch * self.shape.n_cond, cond.len())?;
        self.cond = Tensor::from_slice(cond).view([batch as i64, self.shape.n_cond as i64]).to_device(self.device);
        self.batch = batch;
        Ok(())
    }

    fn predict_noise(&mut self, x: &[f32], label: usize, eps: &mut [f32]) -> Result<(), PolicyError> {
        self.check("noisy chunk", x.len())?;
        self.check("predicted noise", eps.len())?;
        let _guard = tch::no_grad_guard();
        download(&self.predict(&self.upload(x, self.batch).squeeze_dim(0), label), eps)
    }

    fn has_draft(&self) -> bool {
        self.drafter.is_some()
    }

    fn draft(&mut self, chunk: &mut [f32]) -> Result<(), PolicyError> {
        let Some(drafter) = &self.drafter else { return Err(PolicyError::NoDrafter) };
        self.check("draft", chunk.len())?;
        let _guard = tch::no_grad_guard();
        download(&drafter.forward(&self.cond), chunk)
    }

    /// Everything stays on the device from the first step to the last: chunk, noise and held rows are uploaded before, the
    /// coefficients are constants of the kernels. Only an early exit looks at a flag after each evaluation, since that flag
    /// decides whether the next one is worth its time.
    fn run_chain(&mut self, chain: &Chain<'_>, x: &mut [f32], _: &mut ChainScratch) -> Result<ChainEnd, PolicyError> {
        self.check("noisy chunk", x.len())?;
        chain.check(x, self.shape)?;
        let _guard = tch::no_grad_guard();
        let noise = self.upload(chain.noise, self.batch);
        let hold = chain.hold.map(|hold| [hold.known, hold.weights].map(|rows| self.upload(rows, 1).squeeze_dim(0)));
        let exit = chain.exit.as_ref().map(|exit| DeviceExit::new(exit, self.shape, self.device));
        let mut before = chain.exit.as_ref().and_then(|exit| exit.reference).map(|rows| self.upload(rows, 1).squeeze_dim(0));
        let mut now = self.upload(x, self.batch).squeeze_dim(0);
        let mut noisy = 0;
        let mut end = ChainEnd { nfe: chain.steps.len(), stop: StopReason::ChainEnd };
        for (index, step) in chain.steps.iter().enumerate() {
            let eps = self.predict(&now, step.label);
            let mut clean = ((&now - eps * f64::from(step.noise)) / f64::from(step.signal)).clamp(-1.0, 1.0);
            if let Some([known, weights]) = &hold {
                let pulled = (weights.ones_like() - weights) * &clean + weights * known;
                clean = pulled.where_self(&weights.gt(0.0), &clean);
            }
            let nfe = index + 1;
            if let (Some(exit), Some(rule)) = (&exit, &chain.exit)
                && nfe < chain.steps.len()
            {
                let settled = nfe >= rule.floor && before.as_ref().is_some_and(|before| exit.has_settled(before, &clean));
                if settled || nfe >= rule.cap {
                    now = clean;
                    end = ChainEnd { nfe, stop: if settled { StopReason::Settled } else { StopReason::Cap } };
                    break;
                }
                before = Some(clean.shallow_clone());
            }
            now = clean * f64::from(step.x0_weight) + now * f64::from(step.x_weight);
            if step.sigma > 0.0 {
                now += noise.get(noisy) * f64::from(step.sigma);
                noisy += 1;
            }
        }
        download(&now, x)?;
        chain.finish(x, self.shape)?;
        Ok(end)
    }
}

/// [`Exit`] on a device.
struct DeviceExit {
    tolerance: Tensor,
    signs: Tensor,
    first: i64,
    rows: i64,
}

impl DeviceExit {
    fn new(exit: &Exit<'_>, shape: PolicyShape, device: Device) -> Self {
        let sign = |entry: usize| if exit.signs.contains(&entry) { 1.0_f32 } else { 0.0 };
        let signs: Vec<f32> = (0..shape.n_act).map(sign).collect();
        Self {
            tolerance: Tensor::from_slice(exit.tolerance).to_device(device),
            signs: Tensor::from_slice(&signs).to_device(device).gt(0.5),
            first: exit.rows.start as i64,
            rows: exit.rows.len() as i64,
        }
    }

    fn has_settled(&self, before: &Tensor, now: &Tensor) -> bool {
        let watched = |chunks: &Tensor| chunks.narrow(-2, self.first, self.rows);
        let (before, now) = (watched(before), watched(now));
        let still = (&before - &now).abs().lt_tensor(&self.tolerance);
        let turned = before.gt(0.0).logical_xor(&now.gt(0.0)).logical_and(&self.signs);
        still.logical_and(&turned.logical_not()).all().int64_value(&[]) != 0
    }
}

fn download(from: &Tensor, to: &mut [f32]) -> Result<(), PolicyError> {
    let from = from.contiguous().to_device(Device::Cpu);
    from.f_copy_data(to, to.len()).map_err(|e| PolicyError::Torch(first_line(&e)))
}

/// Threads that one tensor operation may use, on the calling thread and those begun later. Between operations libtorch's threads
/// spin, so a process beside others does best with 1.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX).max(1));
}

/// Reads `cpu`, `cuda` or `cuda:1`.
///
/// # Errors
/// [`PolicyError::Config`] for anything else, or a CUDA device that is not there.
pub fn device_by_name(name: &str) -> Result<Device, PolicyError> {
    let device = match (name, name.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => Device::Cpu,
        ("cuda", _) => Device::Cuda(0),
        (_, Some(Ok(index))) => Device::Cuda(index),
        _ => return Err(PolicyError::config("device", name, "must be `cpu`, `cuda` or `cuda:<index>`")),
    };
    check_device(device)?;
    Ok(device)
}

fn check_device(device: Device) -> Result<(), PolicyError> {
    match device {
        Device::Cuda(index) if (index as i64) >= tch::Cuda::device_count() => {
            let reason = format!("libtorch sees {} CUDA devices", tch::Cuda::device_count());
            Err(PolicyError::config("device", format!("cuda:{index}"), reason))
        }
        _ => Ok(()),
    }
}

/// libtorch's messages carry a C++ stack; the first line says what happened.
fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
