//! Between sRGB bytes and linear light (IEC 61966-2-1).

use std::sync::LazyLock;

use glam::Vec3;

use crate::texture::whole;

const STEPS: usize = 4096;

static ENCODED: LazyLock<[u8; STEPS]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let linear = i as f32 / (STEPS - 1) as f32;
        let encoded = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        (255.0 * encoded).round() as u8
    })
});

static DECODED: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let encoded = i as f32 / 255.0;
        if encoded <= 0.040_45 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
    })
});

/// The table behind [`encode`], fetched once a picture.
#[derive(Clone, Copy)]
pub(crate) struct Encoder(&'static [u8; STEPS]);

impl Encoder {
    pub fn new() -> Self {
        Self(&ENCODED)
    }

    /// A colour of 0 or more; what is brighter than 1 is cut.
    #[inline]
    pub fn encode(self, linear: Vec3) -> [u8; 3] {
        let channel = |value: f32| {
            let value = if value < 1.0 { value } else { 1.0 };
            self.0[whole(value * (STEPS - 1) as f32) & (STEPS - 1)]
        };
        [channel(linear.x), channel(linear.y), channel(linear.z)]
    }
}

/// The linear light of sRGB bytes.
#[inline]
pub(crate) fn linear(rgb: [u8; 3]) -> Vec3 {
    let [x, y, z] = rgb.map(|channel| DECODED[usize::from(channel)]);
    Vec3::new(x, y, z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_to_linear_light_and_back() {
        for byte in 0..=255 {
            assert_eq!(Encoder::new().encode(linear([byte, 0, 255])), [byte, 0, 255]);
        }
    }
}
