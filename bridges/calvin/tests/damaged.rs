//! Damaged, hostile and misplaced files: an error that names the file and what is wrong in it, never a panic.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reverie_calvin::{CalvinFolder, Error, ImageArray};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/training")
}

/// A copy of the golden split.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        fs::create_dir(copy.path("lang_annotations")).unwrap();
        for name in [
            "ep_lens.npy",
            "ep_start_end_ids.npy",
            "scene_info.npy",
            "lang_annotations/auto_lang_ann.npy",
            "episode_0001000.npz",
            "episode_0001001.npz",
            "episode_0001002.npz",
            "episode_0001003.npz",
            "episode_0001010.npz",
            "episode_0001011.npz",
            "episode_0001012.npz",
        ] {
            fs::copy(golden().join(name), copy.path(name)).unwrap();
        }
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> Result<CalvinFolder, Error> {
        CalvinFolder::open(self.0.path())
    }

    /// All that can be read of the folder.
    fn read_all(&self) -> Result<(), Error> {
        let folder = self.open()?;
        folder.annotations()?;
        let cameras = folder.cameras()?;
        for recording in folder.recordings() {
            for id in recording.frames.clone() {
                folder.read_frame(id, &cameras)?;
            }
        }
        Ok(())
    }

    fn message(&self) -> String {
        self.read_all().unwrap_err().to_string()
    }
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn vector(values: &[f64]) -> Vec<u8> {
    let data: Vec<_> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy("<f8", &format!("({},)", values.len()), &data)
}

fn pairs(values: &[[i64; 2]]) -> Vec<u8> {
    let data: Vec<_> = values.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    npy("<i8", &format!("({}, 2)", values.len()), &data)
}

/// A frame without images, right but for one array.
fn frame_with(replaced: &str, npy: Option<Vec<u8>>) -> Vec<u8> {
    let mut action = [0.25; 7];
    action[6] = -1.0;
    let right = [
        ("robot_obs", vector(&[0.5; 15])),
        ("scene_obs", vector(&[0.5; 24])),
        ("actions", vector(&action)),
        ("rel_actions", vector(&action)),
    ];
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (key, bytes) in right {
        let bytes = if key == replaced { npy.clone() } else { Some(bytes) };
        let Some(bytes) = bytes else { continue };
        archive
            .start_file(format!("{key}.npy"), SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
            .unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The message for a frame that is right but for one array.
fn message_for(replaced: &str, npy: Option<Vec<u8>>) -> String {
    let copy = Copy::new();
    fs::write(copy.path("episode_0001002.npz"), frame_with(replaced, npy)).unwrap();
    let message = copy.open().unwrap().read_frame(1002, &[]).unwrap_err().to_string();
    assert!(message.contains("episode_0001002.npz"), "{message}");
    message
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

#[test]
fn a_frame_without_images_is_read() {
    let copy = Copy::new();
    fs::write(copy.path("episode_0001002.npz"), frame_with("none", None)).unwrap();
    assert_eq!(copy.open().unwrap().read_frame(1002, &[]).unwrap().robot_obs, [0.5; 15]);
}

#[test]
fn wrong_vectors_are_named() {
    says(&message_for("robot_obs", Some(vector(&[0.0; 16]))), &["`robot_obs` has shape (16,), expected (15,)"]);
    says(&message_for("scene_obs", None), &["no array `scene_obs`", "actions, rel_actions, robot_obs"]);
    says(&message_for("actions", Some(npy("<i8", "(7,)", &[0; 56]))), &["`actions` has dtype int64, expected float64"]);
    says(&message_for("robot_obs", Some(npy(">f8", "(15,)", &[0; 120]))), &["`robot_obs`", "big-endian"]);
    says(&message_for("robot_obs", Some(npy("|O", "()", b"N."))), &["`robot_obs`", "shape ()"]);
    let mut scene = [0.0; 24];
    scene[5] = f64::NAN;
    says(&message_for("scene_obs", Some(vector(&scene))), &["`scene_obs[5]` is NaN"]);
    // Finite as float64, but not as the float32 that is handed on.
    scene[5] = 1e300;
    says(&message_for("scene_obs", Some(vector(&scene))), &["`scene_obs[5]`", "no finite number"]);
}

#[test]
fn impossible_actions_are_named() {
    let action = |index: usize, value: f64| {
        let mut action = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        action[index] = value;
        Some(vector(&action))
    };
    says(&message_for("rel_actions", action(3, -1.25)), &["`rel_actions[3]` is -1.25", "[-1, 1]"]);
    says(&message_for("rel_actions", action(6, 0.0)), &["`rel_actions[6]` is 0", "-1 (close) and +1 (open)"]);
    says(&message_for("actions", action(6, 0.5)), &["`actions[6]` is 0.5"]);
}

#[test]
fn missing_and_changed_cameras_are_named() {
    let copy = Copy::new();
    fs::write(copy.path("episode_0001002.npz"), frame_with("none", None)).unwrap();
    says(&copy.message(), &["episode_0001002.npz", "no array `depth_gripper`"]);

    let copy = Copy::new();
    let cameras = copy.open().unwrap().cameras().unwrap();
    let widened = cameras.into_iter().filter(|array| array.key == "rgb_static").map(|array| ImageArray { width: 200, ..array });
    let wide: Vec<_> = widened.collect();
    let message = copy.open().unwrap().read_frame(1000, &wide).unwrap_err().to_string();
    says(&message, &["episode_0001000.npz", "`rgb_static` has shape (8, 8, 3), expected (8, 200, 3)"]);
}

#[test]
fn an_array_that_unpacks_without_end_is_refused() {
    let copy = Copy::new();
    let mut archive = ZipWriter::new(File::create(copy.path("episode_0001002.npz")).unwrap());
    archive.start_file("robot_obs.npy", SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)).unwrap();
    for _ in 0..80 {
        archive.write_all(&vec![0; 1 << 20]).unwrap();
    }
    archive.finish().unwrap();
    let message = copy.open().unwrap().read_frame(1002, &[]).unwrap_err().to_string();
    says(&message, &["episode_0001002.npz", "`robot_obs`", "more than"]);
}

#[test]
fn misplaced_folders_are_told_what_to_give() {
    says(&CalvinFolder::open("/no/such").unwrap_err().to_string(), &["/no/such", "no such folder"]);
    says(&CalvinFolder::open(golden().parent().unwrap()).unwrap_err().to_string(), &["give one of them", "golden/training"]);
    says(&CalvinFolder::open(golden().join("ep_lens.npy")).unwrap_err().to_string(), &["ep_lens.npy", "no folder"]);
    let empty = tempfile::tempdir().unwrap();
    says(&CalvinFolder::open(empty.path()).unwrap_err().to_string(), &["no split of CALVIN"]);
    let copy = Copy::new();
    fs::remove_file(copy.path("ep_start_end_ids.npy")).unwrap();
    says(&copy.message(), &["ep_start_end_ids.npy", "is missing"]);
    fs::copy(golden().join("ep_start_end_ids.npy"), empty.path().join("ep_start_end_ids.npy")).unwrap();
    says(&CalvinFolder::open(empty.path()).unwrap_err().to_string(), &["no episode_*.npz"]);
}

#[test]
fn holes_are_named_by_their_first_file() {
    for (removed, first) in [(&[1001, 1003][..], 1001), (&[1003], 1003), (&[1000], 1000)] {
        let copy = Copy::new();
        for id in removed {
            fs::remove_file(copy.path(&format!("episode_{id:07}.npz"))).unwrap();
        }
        let expected =
            [format!("no file episode_{first:07}.npz"), format!("{} of the 4 frames of recording 1000-1003", removed.len())];
        says(&copy.message(), &[&expected[0], &expected[1]]);
    }
}

#[test]
fn contradicting_recordings_name_the_row() {
    let message = |ids: &[[i64; 2]]| {
        let copy = Copy::new();
        fs::remove_file(copy.path("ep_lens.npy")).unwrap();
        fs::write(copy.path("ep_start_end_ids.npy"), pairs(ids)).unwrap();
        copy.message()
    };
    says(
        &message(&[[1000, 1003], [1012, 1010]]),
        &["ep_start_end_ids.npy: row 1", "ends at frame 1010, before it begins at 1012"],
    );
    says(&message(&[[1002, 1003], [1010, 1012], [1000, 1002]]), &["row 0", "1002-1003 overlap 1000-1002 of row 2"]);
    says(&message(&[[-1, 1003]]), &["row 0", "-1-1003"]);
    says(&message(&[[1000, i64::MAX]]), &["row 0"]);
    says(&message(&[]), &["lists no recording"]);
    says(&message(&[[1000, 1003], [1008, 1012]]), &["no file episode_0001008.npz", "2 of the 5 frames"]);
    // Half of it in scene B, half in D, by the golden scene_info.npy; frames 1004 to 1009 are missing, but the list comes first.
    says(&message(&[[1003, 1004]]), &["scene_info.npy", "calvin_scene_B", "recording 1003-1004"]);

    let copy = Copy::new();
    fs::write(copy.path("ep_lens.npy"), npy("<i8", "(2,)", &[3_i64.to_le_bytes(), 5_i64.to_le_bytes()].concat())).unwrap();
    says(&copy.message(), &["ep_lens.npy: row 1: 5 frames here, 4 by ep_start_end_ids.npy"]);
    fs::write(copy.path("ep_start_end_ids.npy"), vector(&[0.0; 4])).unwrap();
    says(&copy.message(), &["ep_start_end_ids", "shape (4,), expected (recordings, 2)"]);
}

#[test]
fn unreadable_annotations_say_why() {
    let copy = Copy::new();
    let path = copy.path("lang_annotations/auto_lang_ann.npy");
    fs::write(&path, npy("|O", "()", b"\x80\x04cposix\nsystem\nX\x01\x00\x00\x00x\x85R.")).unwrap();
    says(&copy.message(), &["auto_lang_ann.npy", "the pickle holds no dict"]);
    fs::write(&path, vector(&[1.0])).unwrap();
    says(&copy.message(), &["auto_lang_ann.npy", "float64 of shape (1,), not a pickled dict"]);

    // The same file, with one annotation moved out of its recording.
    let bytes = fs::read(golden().join("lang_annotations/auto_lang_ann.npy")).unwrap();
    let frame = 1013_i64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == frame).unwrap();
    let mut moved = bytes.clone();
    moved[at..at + 8].copy_from_slice(&1014_i64.to_le_bytes());
    fs::write(&path, &moved).unwrap();
    says(&copy.message(), &["auto_lang_ann.npy: annotation 1", "frames 1010 to 1014 (not included) lie in no recording"]);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    says(&copy.message(), &["auto_lang_ann.npy", "byte", "cut off"]);
}

#[test]
fn a_frame_cut_off_anywhere_is_an_error_that_names_it() {
    let copy = Copy::new();
    let folder = copy.open().unwrap();
    let cameras = folder.cameras().unwrap();
    let path = copy.path("episode_0001002.npz");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let message = folder.read_frame(1002, &cameras).unwrap_err().to_string();
        assert!(message.contains("episode_0001002.npz"), "{length} bytes: {message}");
    }
}

#[test]
fn a_list_or_annotation_file_cut_off_anywhere_is_an_error_that_names_it() {
    for name in ["ep_start_end_ids.npy", "ep_lens.npy", "scene_info.npy", "lang_annotations/auto_lang_ann.npy"] {
        let copy = Copy::new();
        let whole = fs::read(copy.path(name)).unwrap();
        for length in 0..whole.len() {
            fs::write(copy.path(name), &whole[..length]).unwrap();
            let message = copy.message();
            assert!(message.contains(name), "{length} bytes: {message}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A checksum guards the arrays of a frame: a read that succeeds in spite of the damage gives the undamaged numbers.
    #[test]
    fn a_frame_with_flipped_bytes_is_refused_or_unharmed(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        packed in any::<bool>(),
    ) {
        let id = if packed { 1003 } else { 1002 };
        let original = CalvinFolder::open(golden()).unwrap();
        let cameras = original.cameras().unwrap();
        let mut bytes = fs::read(original.frame_path(id)).unwrap();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        let copy = Copy::new();
        fs::write(copy.path(&format!("episode_{id:07}.npz")), bytes).unwrap();
        match copy.open().unwrap().read_frame(id, &cameras) {
            Ok(frame) => prop_assert_eq!(frame, original.read_frame(id, &cameras).unwrap()),
            Err(error) => prop_assert!(error.to_string().contains("episode_000100"), "{}", error),
        }
    }

    /// Pickles have no checksum; what is left to hold is that nothing panics and errors name a file.
    #[test]
    fn flipped_bytes_in_lists_and_pickles_never_panic(
        file in prop::sample::select(&["ep_start_end_ids.npy", "scene_info.npy", "lang_annotations/auto_lang_ann.npy"][..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let copy = Copy::new();
        let mut bytes = fs::read(copy.path(file)).unwrap();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        fs::write(copy.path(file), bytes).unwrap();
        if let Err(error) = copy.open().and_then(|folder| folder.annotations()) {
            prop_assert!(error.to_string().contains(copy.0.path().to_str().unwrap()), "{}", error);
        }
    }
}
