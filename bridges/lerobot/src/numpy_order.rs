//! Sums and quantiles in the order and precision in which lerobot has numpy compute them.
//!
//! lerobot 0.4.4 (`RunningQuantileStats`) takes the mean, and the mean of squares, of an array `[rows, entries]` over the rows in
//! the array's own type. In single precision the order of additions shows in the fourth digit after some ten thousand rows, so
//! equal statistics need numpy's order: with one entry a row, pairwise sums of blocks of 8192; with more, row after row.
//! Quantiles come from a histogram of 5000 bins over `[min - 1e-10, max + 1e-10]`, whose edges are again of the array's type,
//! interpolated in the bin.

/// Bins of lerobot's histogram.
const BINS: usize = 5000;
/// numpy's buffer, in elements.
const BUFFER: usize = 8192;
/// Below this many elements numpy adds with eight accumulators instead of halving.
const PAIRWISE_BLOCK: usize = 128;

/// The arithmetic of one numpy type.
pub(crate) trait Real: Copy + PartialOrd {
    const NEGATIVE_ZERO: Self;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn root(self) -> Self;
    fn order(&self, other: &Self) -> std::cmp::Ordering;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const NEGATIVE_ZERO: Self = -0.0;
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn add(self, other: Self) -> Self {
                self + other
            }
            fn sub(self, other: Self) -> Self {
                self - other
            }
            fn mul(self, other: Self) -> Self {
                self * other
            }
            fn div(self, other: Self) -> Self {
                self / other
            }
            fn root(self) -> Self {
                self.sqrt()
            }
            fn order(&self, other: &Self) -> std::cmp::Ordering {
                self.total_cmp(other)
            }
        }
    };
}
real!(f32);
real!(f64);

fn pairwise<T: Real>(x: &[T]) -> T {
    let n = x.len();
    if n < 8 {
        return x.iter().fold(T::NEGATIVE_ZERO, |sum, &v| sum.add(v));
    }
    if n > PAIRWISE_BLOCK {
        let half = n / 2 - (n / 2) % 8;
        return pairwise(&x[..half]).add(pairwise(&x[half..]));
    }
    let eights = x.chunks_exact(8);
    let rest = eights.remainder();
    let mut r: Option<[T; 8]> = None;
    for eight in eights {
        r = Some(match r {
            None => std::array::from_fn(|i| eight[i]),
            Some(sums) => std::array::from_fn(|i| sums[i].add(eight[i])),
        });
    }
    let r = r.expect("there are at least eight elements");
    let sum = (r[0].add(r[1])).add(r[2].add(r[3])).add((r[4].add(r[5])).add(r[6].add(r[7])));
    rest.iter().fold(sum, |sum, &v| sum.add(v))
}

/// Mean over the rows of `rows` x `entries` numbers, as `numpy.mean(x, axis=0)`.
fn means<T: Real>(x: &[T], entries: usize) -> Vec<T> {
    let rows = T::from_f64((x.len() / entries) as f64);
    let mut sums = vec![T::from_f64(0.0); entries];
    if entries == 1 {
        for block in x.chunks(BUFFER) {
            sums[0] = sums[0].add(pairwise(block));
        }
    } else {
        for row in x.chunks_exact(entries) {
            for (sum, &v) in sums.iter_mut().zip(row) {
                *sum = sum.add(v);
            }
        }
    }
    sums.into_iter().map(|s| s.div(rows)).collect()
}

/// `numpy.linspace(min - 1e-10, max + 1e-10, 5001)`, one edge at a time.
pub(crate) struct Edges<T> {
    start: T,
    stop: T,
    step: T,
}

impl<T: Real> Edges<T> {
    pub(crate) fn new(min: T, max: T) -> Self {
        let start = min.sub(T::from_f64(1e-10));
        let stop = max.add(T::from_f64(1e-10));
        Self { start, stop, step: stop.sub(start).div(T::from_f64(BINS as f64)) }
    }

    fn at(&self, i: usize) -> T {
        if i == BINS {
            return self.stop;
        }
        let i = T::from_f64(i as f64);
        if self.step.to_f64() == 0.0 {
            i.div(T::from_f64(BINS as f64)).mul(self.stop.sub(self.start)).add(self.start)
        } else {
            i.mul(self.step).add(self.start)
        }
    }

    /// Quantile `q` of `count` values; `below(edge)` says how many of them are less, `kth(k)` is the k-th smallest from 1.
    ///
    /// lerobot builds the histogram and walks its cumulative sum; the bin that it stops in is the one that holds the value of
    /// rank `q count`, which is found here by bisection.
    pub(crate) fn quantile(&self, q: f64, count: usize, below: impl Fn(T) -> usize, kth: impl Fn(usize) -> T) -> f64 {
        let target = q * count as f64;
        let rank = (target.ceil() as usize).clamp(1, count);
        let value = kth(rank);
        // The first bin whose upper edge lies above the value; the last bin includes its upper edge.
        let (mut low, mut high) = (0, BINS - 1);
        while low < high {
            let middle = (low + high) / 2;
            if self.at(middle + 1) > value {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if low == 0 {
            return self.at(0).to_f64();
        }
        let before = below(self.at(low)) as f64;
        let until = if low == BINS - 1 { count } else { below(self.at(low + 1)) } as f64;
        let edge = self.at(low);
        edge.to_f64() + (target - before) / (until - before) * self.at(low + 1).sub(edge).to_f64()
    }
}

/// The moments and quantiles of each entry.
pub(crate) struct Summary {
    pub min: Vec<f64>,
    pub max: Vec<f64>,
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    /// For each quantile its entries.
    pub quantiles: [Vec<f64>; 5],
}

/// lerobot's quantiles.
pub(crate) const QUANTILES: [f64; 5] = [0.01, 0.10, 0.50, 0.90, 0.99];

/// Statistics of `rows` x `entries` finite numbers in row-major order, at least one row, as lerobot's `get_feature_stats`.
pub(crate) fn summarise<T: Real>(x: &[T], entries: usize) -> Summary {
    let rows = x.len() / entries;
    let mean = means(x, entries);
    let std: Vec<T> = if rows < 2 {
        vec![T::from_f64(0.0); entries]
    } else {
        let squares: Vec<T> = x.iter().map(|v| v.mul(*v)).collect();
        let spread = |(&square, &m): (&T, &T)| {
            let variance = square.sub(m.mul(m));
            if variance > T::from_f64(0.0) { variance.root() } else { T::from_f64(0.0) }
        };
        means(&squares, entries).iter().zip(&mean).map(spread).collect()
    };
    let mut summary = Summary {
        min: Vec::with_capacity(entries),
        max: Vec::with_capacity(entries),
        mean: mean.iter().map(|v| v.to_f64()).collect(),
        std: std.iter().map(|v| v.to_f64()).collect(),
        quantiles: std::array::from_fn(|_| Vec::with_capacity(entries)),
    };
    let mut column = Vec::with_capacity(rows);
    for (entry, mean) in mean.iter().enumerate() {
        column.clear();
        column.extend(x.iter().skip(entry).step_by(entries).copied());
        column.sort_unstable_by(T::order);
        let (min, max) = (column[0], column[rows - 1]);
        summary.min.push(min.to_f64());
        summary.max.push(max.to_f64());
        let edges = Edges::new(min, max);
        for (values, q) in summary.quantiles.iter_mut().zip(QUANTILES) {
            values.push(if rows < 2 {
                // lerobot has no histogram of a single value and writes the mean.
                mean.to_f64()
            } else {
                edges.quantile(q, rows, |edge| column.partition_point(|v| *v < edge), |k| column[k - 1])
            });
        }
    }
    summary
}
