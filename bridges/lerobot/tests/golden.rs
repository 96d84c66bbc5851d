//! Data sets and statistics that lerobot 0.4.4 made (`golden/make_golden.py`).
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::{Path, PathBuf};

use reverie_lerobot::{Column, DatasetSpec, Dtype, Feature, FeatureStats, Reader, Writer};
use serde_json::{Value, json};

const SIZE: usize = 16;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn a_data_set_of_lerobot_is_read() {
    let reader = Reader::open(golden("set")).unwrap();
    reader.expect_fps(30).unwrap();
    let spec = reader.spec();
    assert_eq!(spec.robot_type, "panda");
    assert_eq!(
        spec.features,
        [
            Feature::floats("observation.state", ["x", "y", "z"]),
            Feature::image("observation.images.static", SIZE, SIZE),
            Feature::floats("action", ["dx", "dy"]),
            Feature::vector("next.reward", Dtype::Float64, 1),
            Feature::vector("next.done", Dtype::Bool, 1),
        ]
    );
    assert_eq!(reader.tasks(), ["push the block", "open the drawer"]);
    for (episode, length) in [3, 5].into_iter().enumerate() {
        assert_eq!(reader.episodes()[episode].length, length);
        assert_eq!(reader.episodes()[episode].tasks, [reader.tasks()[episode].clone()]);
        assert_eq!(reader.episodes()[episode].extra, None);
        let read = reader.read_episode(episode).unwrap();
        assert_eq!(read.tasks, vec![episode; length]);
        let frames = 0..length;
        let state = frames.clone().flat_map(|f| [f as f32, episode as f32, -0.5 * f as f32]).collect();
        let pixel = |f: usize, i: usize| {
            let (y, x, c) = (i / (SIZE * 3), i / 3 % SIZE, i % 3);
            ((y * 13 + x * 7 + c * 50 + f * 31 + episode * 101) % 256) as u8
        };
        let images = frames.clone().flat_map(|f| (0..SIZE * SIZE * 3).map(move |i| pixel(f, i))).collect();
        let action = frames.clone().flat_map(|f| [0.25 * f as f32, -1.0]).collect();
        let reward = frames.clone().map(|f| f as f64 / 8.0).collect();
        let done = frames.map(|f| i64::from(f + 1 == length)).collect();
        let expected = [Column::F32(state), Column::Image(images), Column::F32(action), Column::F64(reward), Column::I64(done)];
        assert_eq!(read.columns, expected);
    }
}

/// The episodes of `make_golden.py`.
fn episodes() -> Vec<Vec<Column>> {
    let mut x: u64 = 5;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    let mut episode = |length: usize| {
        let rows: Vec<[f64; 7]> = (0..length).map(|_| std::array::from_fn(|_| next())).collect();
        vec![
            Column::F32(rows.iter().flat_map(|r| [r[0] as f32, 0.7, (40.0 + r[1] / 64.0) as f32]).collect()),
            Column::F32(rows.iter().map(|r| (3.0 * r[2]) as f32).collect()),
            Column::F64(rows.iter().flat_map(|r| [5.0 * r[3], 5.0 * r[4]]).collect()),
            Column::I64(rows.iter().map(|r| (1000.0 * r[5]).floor() as i64).collect()),
        ]
    };
    [1, 2, 9, 130, 9001].into_iter().map(&mut episode).collect()
}

/// Largest difference from lerobot's statistics, relative to the value where that is above 1.
fn difference(ours: &FeatureStats, theirs: &Value) -> f64 {
    let [q01, q10, q50, q90, q99] = &ours.quantiles;
    let count = [ours.count as f64];
    let keyed: [(&str, &[f64]); 10] = [
        ("min", &ours.min),
        ("max", &ours.max),
        ("mean", &ours.mean),
        ("std", &ours.std),
        ("count", &count),
        ("q01", q01),
        ("q10", q10),
        ("q50", q50),
        ("q90", q90),
        ("q99", q99),
    ];
    let mut largest: f64 = 0.0;
    for (key, values) in keyed {
        let expected: Vec<f64> = theirs[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert_eq!(values.len(), expected.len(), "{key}");
        for (a, b) in values.iter().zip(expected) {
            largest = largest.max((a - b).abs() / b.abs().max(1.0));
        }
    }
    largest
}

#[test]
fn statistics_equal_those_of_lerobot() {
    let golden: Value = serde_json::from_slice(&std::fs::read(golden("stats.json")).unwrap()).unwrap();
    let spec = DatasetSpec {
        fps: 30,
        robot_type: "none".into(),
        features: vec![
            Feature::vector("vector", Dtype::Float32, 3),
            Feature::vector("scalar", Dtype::Float32, 1),
            Feature::vector("double", Dtype::Float64, 2),
            Feature::vector("integer", Dtype::Int64, 1),
        ],
    };
    let names = ["vector", "scalar", "double", "integer", "timestamp", "index"];
    let whole = tempfile::tempdir().unwrap();
    let mut all = Writer::create(whole.path(), spec).unwrap();
    for (i, columns) in episodes().iter().enumerate() {
        all.add_episode(&["go"], columns, &json!(null)).unwrap();
        if i == 0 {
            for name in names {
                let difference = difference(all.stats(name).unwrap(), &golden["episodes"][0][name]);
                assert!(difference <= 1e-12, "{name}: {difference}");
            }
        }
    }
    for name in names {
        let difference = difference(all.stats(name).unwrap(), &golden["total"][name]);
        assert!(difference <= 1e-7, "{name}: {difference}");
    }
    // The reader gets the same from the table of episodes.
    for (name, stats) in Reader::open(whole.path()).unwrap().stats().unwrap() {
        assert_eq!(all.stats(&name), Some(&stats));
    }
}
