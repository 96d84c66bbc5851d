//! Solid patterns: the share of the second colour at a place in the shape's frame.

use std::sync::LazyLock;

use glam::Vec3;
use reverie_schema::scene::{Pattern, Texture};

/// Side of the tables that hold wood and clouds, a power of two.
const SIDE: usize = 256;

/// The tables, `[SIDE, SIDE]`, 255 for the second colour. They repeat without a seam.
struct Tables {
    wood: Vec<u8>,
    noise: Vec<u8>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let table = |value: fn(f32, f32) -> f32| {
        let side = SIDE as f32;
        (0..SIDE * SIDE)
            .map(|i| (255.0 * value((i % SIDE) as f32 / side, (i / SIDE) as f32 / side).clamp(0.0, 1.0)).round() as u8)
            .collect()
    };
    Tables { wood: table(wood), noise: table(clouds) }
});

/// Grain along u: rings that wander, and fine streaks.
fn wood(u: f32, v: f32) -> f32 {
    let wander = 1.6 * lattice(u, v, 2, 5, 1) + 0.35 * lattice(u, v, 4, 16, 2);
    let ring = (14.0 * v + wander).rem_euclid(1.0);
    // A ring darkens slowly and ends at once.
    let ring = ring * ring * (1.0 - ((ring - 0.9).max(0.0) * 10.0));
    let streaks = lattice(u, v, 4, 96, 3);
    let broad = lattice(u, v, 2, 4, 4);
    0.5 * ring + 0.3 * streaks + 0.3 * broad - 0.05
}

fn clouds(u: f32, v: f32) -> f32 {
    let octaves = [(5, 0.5), (11, 0.28), (23, 0.15), (47, 0.07)];
    let sum: f32 = octaves.iter().zip(5..).map(|(&(cells, weight), seed)| weight * lattice(u, v, cells, cells, seed)).sum();
    (sum - 0.5) * 2.2 + 0.5
}

/// Smooth noise in [0, 1] on a lattice of `columns` x `rows` cells that repeats after 1 in u and v.
fn lattice(u: f32, v: f32, columns: u32, rows: u32, seed: u32) -> f32 {
    let (x, y) = (u * columns as f32, v * rows as f32);
    let value = |x: u32, y: u32| hash((x % columns) ^ ((y % rows) << 10) ^ (seed << 20));
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (i, j) = (x as u32, y as u32);
    let (s, t) = (ease(x.fract()), ease(y.fract()));
    let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
    mix(mix(value(i, j), value(i + 1, j), s), mix(value(i, j + 1), value(i + 1, j + 1), s), t)
}

/// A number in [0, 1) from the bits of another (the finaliser of MurmurHash3).
fn hash(mut bits: u32) -> f32 {
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    (bits ^ (bits >> 16)) as f32 / 4_294_967_296.0
}

/// A pattern ready to be asked for.
#[derive(Clone, Copy)]
pub(crate) enum Solid {
    Plain,
    Glow,
    Table { table: &'static [u8], per_m: [Vec3; 2] },
    Checker { per_m: f32 },
    Stripes { per_m: f32 },
}

impl Solid {
    pub fn new(texture: &Texture) -> Self {
        // y and z share an axis of the table at an angle, so that every face of a box shows the pattern.
        let table = |table, pattern: &Pattern, stretch: f32| {
            let per_m = SIDE as f32 / pattern.scale_m;
            Self::Table { table, per_m: [Vec3::new(per_m / stretch, 0.0, 0.0), Vec3::new(0.0, per_m, 0.83 * per_m)] }
        };
        match texture {
            Texture::Plain => Self::Plain,
            Texture::Glow => Self::Glow,
            Texture::Wood(pattern) => table(&TABLES.wood, pattern, 2.0),
            Texture::Noise(pattern) => {
                let per_m = SIDE as f32 / pattern.scale_m;
                let rows = [Vec3::new(0.8, 0.0, 0.6) * per_m, Vec3::new(-0.36, 0.8, 0.48) * per_m];
                Self::Table { table: &TABLES.noise, per_m: rows }
            }
            Texture::Checker(pattern) => Self::Checker { per_m: 2.0 / pattern.scale_m },
            Texture::Stripes(pattern) => Self::Stripes { per_m: 2.0 / pattern.scale_m },
        }
    }

    /// Share of the second colour, 0 to 1.
    #[inline]
    pub fn share(&self, place: Vec3) -> f32 {
        // Keeps borders between cells off the faces of boxes, which often lie at round numbers.
        const SHIFT: f32 = 1024.37;
        match self {
            Self::Plain | Self::Glow => 0.0,
            Self::Table { table, per_m } => {
                // The middle of the table is the shape's origin.
                let [u, v] = per_m.map(|row| whole(row.dot(place) + 128.0) & (SIDE - 1));
                f32::from(table.get(v * SIDE + u).copied().unwrap_or_default()) * (1.0 / 255.0)
            }
            Self::Checker { per_m } => {
                let sum = whole(place.x * per_m + SHIFT) + whole(place.y * per_m + SHIFT) + whole(place.z * per_m + SHIFT);
                (sum & 1) as f32
            }
            Self::Stripes { per_m } => (whole(place.x * per_m + SHIFT) & 1) as f32,
        }
    }
}

/// The whole number nearest to a value of magnitude below 2^22, modulo 2^20, without the cost of a checked conversion.
#[inline]
pub(crate) fn whole(value: f32) -> usize {
    const ALIGN: f32 = 12_582_912.0;
    ((value + ALIGN).to_bits() & 0x000f_ffff) as usize
}
