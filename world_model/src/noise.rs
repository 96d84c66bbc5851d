use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use reverie_schema::derive_seed;
use tch::{Device, Tensor};

/// Random tensors from a seeded stream of our own: the same seed gives the same numbers on every device, and other users of
/// libtorch's generator change nothing.
#[derive(Clone, Debug)]
pub struct Noise {
    rng: ChaCha8Rng,
    device: Device,
}

impl Noise {
    /// The stream of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: &str, device: Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(derive_seed(seed, purpose)), device }
    }

    /// The part with the number `index` of the stream; parts don't overlap.
    pub fn part(mut self, index: u64) -> Self {
        self.rng.set_stream(index);
        self
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self, shape: &[i64]) -> Tensor {
        self.fill(shape, |rng| rng.random::<f32>())
    }

    /// Standard normal.
    pub fn normal(&mut self, shape: &[i64]) -> Tensor {
        self.fill(shape, |rng| rng.sample(StandardNormal))
    }

    /// Whole numbers in `[0, below)`.
    pub fn below(&mut self, below: i64, shape: &[i64]) -> Tensor {
        let n = shape.iter().product::<i64>();
        let values: Vec<i64> = (0..n).map(|_| self.rng.random_range(0..below)).collect();
        Tensor::from_slice(&values).view(shape).to_device(self.device)
    }

    /// The generator itself.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    fn fill(&mut self, shape: &[i64], draw: impl Fn(&mut ChaCha8Rng) -> f32) -> Tensor {
        let n = shape.iter().product::<i64>();
        let values: Vec<f32> = (0..n).map(|_| draw(&mut self.rng)).collect();
        Tensor::from_slice(&values).view(shape).to_device(self.device)
    }
}

/// A one-hot sample of each categorical, by inverting its distribution function.
///
/// # Shapes
/// `probabilities`: `[.., classes]`; `uniform`: `[..]`; returns the shape of `probabilities`.
pub fn sample_one_hot(probabilities: &Tensor, uniform: &Tensor) -> Tensor {
    let classes = *probabilities.size().last().expect("a last dimension");
    let below = probabilities.cumsum(-1, probabilities.kind()).le_tensor(&uniform.unsqueeze(-1));
    let index = below.sum_dim_intlist([-1_i64].as_slice(), true, tch::Kind::Int64).clamp_max(classes - 1);
    probabilities.zeros_like().scatter_value(-1, &index, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_probabilities() {
        let p = Tensor::from_slice(&[0.1_f32, 0.6, 0.3]).expand([20_000, 3], false);
        let mut noise = Noise::new(1, "test", Device::Cpu);
        let mean = sample_one_hot(&p, &noise.uniform(&[20_000])).mean_dim([0_i64].as_slice(), false, tch::Kind::Float);
        for (i, want) in [0.1, 0.6, 0.3].into_iter().enumerate() {
            assert!((mean.double_value(&[i as i64]) - want).abs() < 0.012, "{mean:?}");
        }
        // The ends of the unit interval stay in range.
        let ends =
            sample_one_hot(&Tensor::from_slice(&[0.3_f32, 0.7]).expand([2, 2], false), &Tensor::from_slice(&[0.0_f32, 1.0]));
        assert_eq!(Vec::<f32>::try_from(ends.view([-1])).unwrap(), [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn parts_are_other_numbers_and_come_again() {
        let part = |index| Vec::<f32>::try_from(Noise::new(3, "x", Device::Cpu).part(index).normal(&[4])).unwrap();
        assert_ne!(part(0), part(1));
        assert_eq!(part(1), part(1));
    }
}
