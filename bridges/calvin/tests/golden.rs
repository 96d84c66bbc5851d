//! What numpy wrote, read here, and compared with what numpy reads from it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use reverie_calvin::{Annotation, CalvinFolder, ImageArray, ImageKind};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn open() -> CalvinFolder {
    CalvinFolder::open(golden().join("training")).unwrap()
}

/// By frame and array: the sum of the elements, each times its place from 1, in float64.
fn weighted_sums_of_numpy() -> BTreeMap<(u32, String), f64> {
    let text = fs::read_to_string(golden().join("weighted_sums.txt")).unwrap();
    let row = |line: &str| {
        let [frame, key, sum]: [&str; 3] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        ((frame.parse().unwrap(), key.to_owned()), sum.parse().unwrap())
    };
    text.lines().map(row).collect()
}

fn weighted<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    values.iter().zip(1_u32..).map(|(&value, place)| value.into() * f64::from(place)).sum()
}

#[test]
fn every_array_of_every_frame_is_what_numpy_reads() {
    let folder = open();
    let cameras = folder.cameras().unwrap();
    let mut expected = weighted_sums_of_numpy();
    let mut check = |frame: u32, key: &str, sum: f64| {
        let numpy = expected.remove(&(frame, key.to_owned())).unwrap();
        // State vectors pass through f32; images do not lose a bit, only their sums round.
        let tolerance = if key.starts_with("rgb") { 0.0 } else { 1e-4 };
        assert!((sum - numpy).abs() <= tolerance, "frame {frame} {key}: {sum}, numpy {numpy}");
    };
    for recording in folder.recordings() {
        for id in recording.frames.clone() {
            let frame = folder.read_frame(id, &cameras).unwrap();
            check(id, "robot_obs", weighted(&frame.robot_obs));
            check(id, "scene_obs", weighted(&frame.scene_obs));
            check(id, "actions", weighted(&frame.actions));
            check(id, "rel_actions", weighted(&frame.rel_actions));
            frame.images.iter().for_each(|(key, pixels)| check(id, key, weighted(pixels)));
            frame.depth.iter().for_each(|(key, metres)| check(id, key, weighted(metres)));
        }
    }
    assert_eq!(expected.len(), 0, "not read: {expected:?}");
}

#[test]
fn recordings_are_sorted_and_know_their_scene() {
    let folder = open();
    let rows: Vec<_> = folder.recordings().iter().map(|recording| (recording.frames.clone(), recording.scene)).collect();
    assert_eq!(rows, [(1000..=1003, Some('B')), (1010..=1012, Some('D'))]);
    assert_eq!(folder.frame_count(), 7);
}

#[test]
fn cameras_have_the_sizes_that_were_written() {
    let array = |key: &str, kind, height, width, channels| ImageArray { key: key.to_owned(), kind, height, width, channels };
    let expected = [
        array("depth_gripper", ImageKind::Depth, 4, 4, 1),
        array("depth_static", ImageKind::Depth, 8, 8, 1),
        array("depth_tactile", ImageKind::Depth, 4, 2, 2),
        array("rgb_gripper", ImageKind::Color, 4, 4, 3),
        array("rgb_static", ImageKind::Color, 8, 8, 3),
        array("rgb_tactile", ImageKind::Color, 4, 2, 6),
    ];
    assert_eq!(open().cameras().unwrap(), expected);
    assert_eq!(expected[2].camera(), "tactile");
}

#[test]
fn annotations_of_both_numpy_generations_are_read() {
    let expected = [
        Annotation { frames: 1000..1003, task: "open_drawer".into(), text: "pull the handle to open the drawer".into() },
        Annotation { frames: 1010..1013, task: "turn_on_led".into(), text: "schalte die grüne LED an".into() },
    ];
    assert_eq!(open().annotations().unwrap(), expected);

    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(golden().join("training")).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    let folder = CalvinFolder::open(copy.path()).unwrap();
    assert_eq!(folder.annotations().unwrap(), []);
    // Where CALVIN's loader looks when there is no `lang_annotations`.
    fs::copy(golden().join("auto_lang_ann.numpy2.npy"), copy.path().join("auto_lang_ann.npy")).unwrap();
    assert_eq!(folder.annotations().unwrap(), expected);
}
