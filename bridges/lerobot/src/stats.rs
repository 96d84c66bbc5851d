//! LeRobot's statistics of a feature, over an episode or over the data set.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::numpy_order::Summary;

/// lerobot's keys of the values, in its order; `count` stands after `std`.
pub(crate) const VALUE_KEYS: [&str; 9] = ["min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"];

/// How lerobot writes the values of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Numbers `[x, ...]`.
    Floats,
    /// As `Floats`, with integral `min` and `max`.
    Integers,
    /// One number for each channel, shape `[3, 1, 1]`.
    Pixels,
}

/// Statistics of one feature as `meta/stats.json` holds them; images are in [0, 1], one entry for each channel.
///
/// Quantiles of a data set are the means of its episodes' quantiles, weighted by their numbers of frames, which is how lerobot
/// 0.4.4 defines them. Standard deviations are of the population.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureStats {
    /// Smallest value of each entry.
    pub min: Vec<f64>,
    /// Largest value of each entry.
    pub max: Vec<f64>,
    /// Mean of each entry.
    pub mean: Vec<f64>,
    /// Standard deviation of each entry.
    pub std: Vec<f64>,
    /// Frames that were looked at: all, or the sampled ones of an image.
    pub count: u64,
    /// The 1st, 10th, 50th, 90th and 99th percentile of each entry.
    pub quantiles: [Vec<f64>; 5],
    pub(crate) form: Form,
}

impl FeatureStats {
    pub(crate) fn new(summary: Summary, count: u64, form: Form) -> Self {
        let Summary { min, max, mean, std, quantiles } = summary;
        Self { min, max, mean, std, count, quantiles, form }
    }

    /// The values in the order of [`VALUE_KEYS`].
    pub(crate) fn values(&self) -> [&Vec<f64>; 9] {
        let [q01, q10, q50, q90, q99] = &self.quantiles;
        [&self.min, &self.max, &self.mean, &self.std, q01, q10, q50, q90, q99]
    }

    pub(crate) fn from_values(values: [Vec<f64>; 9], count: u64, form: Form) -> Self {
        let [min, max, mean, std, q01, q10, q50, q90, q99] = values;
        Self { min, max, mean, std, count, quantiles: [q01, q10, q50, q90, q99], form }
    }

    /// Adds the statistics of another episode, as lerobot's `aggregate_feature_stats`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let (a, b) = (self.count as f64, other.count as f64);
        let total = a + b;
        let weighted = |x: f64, y: f64| (x * a + y * b) / total;
        for i in 0..self.mean.len() {
            let mean = weighted(self.mean[i], other.mean[i]);
            let spread = |std: f64, m: f64| std * std + (m - mean) * (m - mean);
            self.std[i] = weighted(spread(self.std[i], self.mean[i]), spread(other.std[i], other.mean[i])).sqrt();
            self.mean[i] = mean;
            self.min[i] = self.min[i].min(other.min[i]);
            self.max[i] = self.max[i].max(other.max[i]);
            for (mine, theirs) in self.quantiles.iter_mut().zip(&other.quantiles) {
                mine[i] = weighted(mine[i], theirs[i]);
            }
        }
        self.count += other.count;
    }
}

/// Adds the statistics of an episode to those of the data set, feature by feature in the same order.
pub(crate) fn merge_all(total: &mut Vec<FeatureStats>, episode: &[FeatureStats]) {
    if total.is_empty() {
        total.extend_from_slice(episode);
    } else {
        for (total, episode) in total.iter_mut().zip(episode) {
            total.merge(episode);
        }
    }
}

struct Values<'a> {
    values: &'a [f64],
    form: Form,
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            Form::Floats => serializer.collect_seq(self.values),
            Form::Integers => serializer.collect_seq(self.values.iter().map(|v| *v as i64)),
            Form::Pixels => serializer.collect_seq(self.values.iter().map(|v| [[v]])),
        }
    }
}

impl Serialize for FeatureStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(10))?;
        for (i, (key, values)) in VALUE_KEYS.iter().zip(self.values()).enumerate() {
            // Of integers only the smallest and the largest are integers.
            let form = if self.form == Form::Integers && i >= 2 { Form::Floats } else { self.form };
            map.serialize_entry(key, &Values { values, form })?;
            if *key == "std" {
                map.serialize_entry("count", &[self.count])?;
            }
        }
        map.end()
    }
}

/// `meta/stats.json`.
pub(crate) struct Named<'a> {
    pub features: &'a [(&'a str, Form)],
    pub stats: &'a [FeatureStats],
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.features.iter().map(|(name, _)| name).zip(self.stats))
    }
}
