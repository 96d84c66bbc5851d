use tch::{Device, Kind, Tensor};

use super::layers::{Network, TensorTable};
use crate::error::check_length;
use crate::{Checkpoint, Denoiser, PolicyError, PolicyShape};

/// A checkpoint's network on libtorch, weights frozen.
#[derive(Debug)]
pub struct TchDenoiser {
    network: Network,
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
        let specs = checkpoint.info.network.parameters(shape);
        let values = specs.iter().map(|spec| checkpoint.tensor(&spec.name)).collect::<Result<Vec<_>, _>>()?;
        let table = TensorTable::from_raw(specs, values.into_iter(), device);
        let network = Network::new(&checkpoint.info.network, &table);
        Ok(Self { network, shape, device, cond: Tensor::zeros([0, shape.n_cond as i64], (Kind::Float, device)), batch: 0 })
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
        let n = self.batch * self.shape.chunk_len();
        check_length("noisy chunk", n, x.len())?;
        check_length("predicted noise", n, eps.len())?;
        let _guard = tch::no_grad_guard();
        let size = [self.batch as i64, self.shape.horizon as i64, self.shape.n_act as i64];
        let x = Tensor::from_slice(x).view(size).to_device(self.device);
        let labels = Tensor::full([1], label as i64, (Kind::Int64, self.device));
        let out = self.network.forward(&x, &labels, &self.cond).contiguous().to_device(Device::Cpu);
        out.f_copy_data(eps, n).map_err(|e| PolicyError::Torch(first_line(&e)))
    }
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
