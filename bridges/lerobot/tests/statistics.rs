//! Statistics against a direct computation in double precision.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use proptest::prelude::*;
use reverie_lerobot::{Column, DatasetSpec, Dtype, Feature, FeatureStats, Reader, Writer};
use serde_json::json;

const BINS: f64 = 5000.0;

struct Direct {
    min: f64,
    max: f64,
    mean: f64,
    std: f64,
    sorted: Vec<f64>,
}

fn direct(values: impl Iterator<Item = f64>) -> Direct {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let std = (sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    Direct { min: sorted[0], max: sorted[sorted.len() - 1], mean, std, sorted }
}

/// `q n` values are at most the quantile, up to the width of a histogram bin.
fn quantile_holds(quantile: f64, q: f64, direct: &Direct) -> bool {
    let bin = (direct.max - direct.min) / BINS + 1e-9 + 1e-6 * direct.max.abs().max(direct.min.abs());
    let rank = (q * direct.sorted.len() as f64).ceil() as usize;
    (quantile - direct.sorted[rank.max(1) - 1]).abs() <= bin
}

fn agrees(stats: &FeatureStats, entry: usize, direct: &Direct, tolerance: f64) -> Result<(), TestCaseError> {
    let scale = direct.max.abs().max(direct.min.abs()).max(1.0);
    prop_assert_eq!(stats.min[entry], direct.min);
    prop_assert_eq!(stats.max[entry], direct.max);
    prop_assert!((stats.mean[entry] - direct.mean).abs() <= tolerance * scale, "mean {} {}", stats.mean[entry], direct.mean);
    // The variance is a difference of squares, which loses half of the digits.
    let std = stats.std[entry];
    prop_assert!((std * std - direct.std * direct.std).abs() <= 10.0 * tolerance * scale * scale, "std {std} {}", direct.std);
    if direct.sorted.len() > 1 {
        for (quantiles, q) in stats.quantiles.iter().zip([0.01, 0.10, 0.50, 0.90, 0.99]) {
            prop_assert!(quantile_holds(quantiles[entry], q, direct), "q{q}: {}", quantiles[entry]);
        }
    }
    Ok(())
}

fn spec(features: Vec<Feature>) -> DatasetSpec {
    DatasetSpec { fps: 30, robot_type: "none".into(), features }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_one_episode(rows in prop::collection::vec((-1e3..1e3_f64, -1.0..1.0_f32, -1.0..1.0_f32, -500..500_i64), 1..400)) {
        let folder = tempfile::tempdir().unwrap();
        let features = vec![
            Feature::vector("double", Dtype::Float64, 1),
            Feature::vector("pair", Dtype::Float32, 2),
            Feature::vector("integer", Dtype::Int64, 1),
        ];
        let mut writer = Writer::create(folder.path(), spec(features)).unwrap();
        let columns = [
            Column::F64(rows.iter().map(|r| r.0).collect()),
            Column::F32(rows.iter().flat_map(|r| [r.1, r.2]).collect()),
            Column::I64(rows.iter().map(|r| r.3).collect()),
        ];
        writer.add_episode(&["go"], &columns, &json!(null)).unwrap();
        agrees(writer.stats("double").unwrap(), 0, &direct(rows.iter().map(|r| r.0)), 1e-12)?;
        agrees(writer.stats("pair").unwrap(), 0, &direct(rows.iter().map(|r| f64::from(r.1))), 1e-5)?;
        agrees(writer.stats("pair").unwrap(), 1, &direct(rows.iter().map(|r| f64::from(r.2))), 1e-5)?;
        agrees(writer.stats("integer").unwrap(), 0, &direct(rows.iter().map(|r| r.3 as f64)), 1e-12)?;
        prop_assert_eq!(writer.stats("integer").unwrap().count, rows.len() as u64);
    }

    #[test]
    fn of_many_episodes(episodes in prop::collection::vec(prop::collection::vec(-10.0..10.0_f64, 1..60), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), spec(vec![Feature::vector("x", Dtype::Float64, 1)])).unwrap();
        for episode in &episodes {
            writer.add_episode(&["go"], &[Column::F64(episode.clone())], &json!(null)).unwrap();
        }
        let all = direct(episodes.iter().flatten().copied());
        let stats = writer.stats("x").unwrap();
        prop_assert_eq!(stats.min[0], all.min);
        prop_assert_eq!(stats.max[0], all.max);
        prop_assert!((stats.mean[0] - all.mean).abs() < 1e-12);
        prop_assert!((stats.std[0].powi(2) - all.std.powi(2)).abs() < 1e-10);
        prop_assert_eq!(stats.count as usize, all.sorted.len());
        let read = Reader::open(folder.path()).unwrap().stats().unwrap();
        prop_assert_eq!(&read[0].1, stats);
    }

    #[test]
    fn of_images(images in prop::collection::vec(prop::collection::vec(any::<u8>(), 5 * 4 * 3), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), spec(vec![Feature::image("observation.images.a", 5, 4)])).unwrap();
        writer.add_episode(&["go"], &[Column::Image(images.concat())], &json!(null)).unwrap();
        // Up to a hundred images, all of them are looked at.
        for channel in 0..3 {
            let values = images.iter().flatten().skip(channel).step_by(3).map(|v| f64::from(*v) / 255.0);
            agrees(writer.stats("observation.images.a").unwrap(), channel, &direct(values), 1e-12)?;
        }
        prop_assert_eq!(writer.stats("observation.images.a").unwrap().count, images.len() as u64);
    }
}
