//! The nearest surface in each pixel.

use std::ops::Range;

/// Nothing is in a pixel: the sky.
pub(crate) const SKY: u32 = 0;
/// The floor is in a pixel.
pub(crate) const FLOOR: u32 = 1;
/// Shape `i` writes `SHAPES + IDS_PER_SHAPE * i` and on, one id a face.
pub(crate) const SHAPES: u32 = 8;
/// See [`SHAPES`].
pub(crate) const IDS_PER_SHAPE: u32 = 8;

/// Where faces of two shapes lie in one plane, the first keeps the pixel: rounding would mottle it with both.
const PREFER_FIRST: f32 = 1.0 + 4e-6;

/// Inverse depth, which is linear over the image on a plane, and what is there. `ids` may be empty: then only depth is kept.
pub(crate) struct Layers<'a> {
    pub width: usize,
    pub keys: &'a mut [f32],
    pub ids: &'a mut [u32],
}

impl Layers<'_> {
    /// Draws a plane into a part of a row: its inverse depth at the first pixel, and the change a pixel.
    pub fn plane(&mut self, row: usize, columns: Range<usize>, key: f32, step: f32, id: u32) {
        let (keys, ids) = self.row(row, columns);
        if ids.is_empty() {
            for (i, nearest) in keys.iter_mut().enumerate() {
                let key = key + step * (i as i32 as f32);
                *nearest = if key > *nearest { key } else { *nearest };
            }
        } else {
            for (i, (nearest, owner)) in keys.iter_mut().zip(ids).enumerate() {
                let key = key + step * (i as i32 as f32);
                let closer = key > *nearest * PREFER_FIRST;
                *nearest = if closer { key } else { *nearest };
                *owner = if closer { id } else { *owner };
            }
        }
    }

    /// Draws whatever `surface` gives for the i-th pixel of a part of a row: inverse depth (0: nothing) and id.
    #[inline(always)]
    pub fn surface(&mut self, row: usize, columns: Range<usize>, surface: impl Fn(f32) -> (f32, u32)) {
        // By the block, so that `surface` is compiled in one place, into a loop over vectors.
        const BLOCK: usize = 16;
        let (keys, ids) = self.row(row, columns);
        let mut new_keys = [0.0_f32; BLOCK];
        let mut new_ids = [0_u32; BLOCK];
        let mut ids = ids.chunks_mut(BLOCK);
        for (block, keys) in keys.chunks_mut(BLOCK).enumerate() {
            let first = (block * BLOCK) as i32;
            for (i, (key, id)) in new_keys.iter_mut().zip(&mut new_ids).enumerate() {
                (*key, *id) = surface((first + i as i32) as f32);
            }
            match ids.next() {
                None => {
                    for (nearest, &key) in keys.iter_mut().zip(&new_keys) {
                        *nearest = if key > *nearest { key } else { *nearest };
                    }
                }
                Some(ids) => {
                    for ((nearest, owner), (&key, &id)) in keys.iter_mut().zip(ids).zip(new_keys.iter().zip(&new_ids)) {
                        let closer = key > *nearest * PREFER_FIRST;
                        *nearest = if closer { key } else { *nearest };
                        *owner = if closer { id } else { *owner };
                    }
                }
            }
        }
    }

    #[inline]
    fn row(&mut self, row: usize, columns: Range<usize>) -> (&mut [f32], &mut [u32]) {
        let pixels = row * self.width + columns.start..row * self.width + columns.end;
        let keys = self.keys.get_mut(pixels.clone()).unwrap_or_default();
        (keys, self.ids.get_mut(pixels).unwrap_or_default())
    }
}
