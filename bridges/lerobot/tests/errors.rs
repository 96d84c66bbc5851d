//! Bad input is told with the file, the row or the feature, and what was expected.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod fixture;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, cast::AsArray, types::Int64Type};
use fixture::{SIZE, contents, differing, pixels, spec, state, write};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use reverie_lerobot::{DatasetSpec, Dtype, Error, Feature, FrameValue, Reader, Writer};
use serde_json::{Value, json};

const DATA: &str = "data/chunk-000/file-001.parquet";
const EPISODES: &str = "meta/episodes/chunk-000/file-001.parquet";

fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 3);
    folder
}

/// Replaces a parquet file by what `change` makes of its rows.
fn rewrite(path: &Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let rows = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = rows.map(|batch| change(batch.unwrap())).collect();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

fn with_column(batch: RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let at = batch.schema().index_of(name).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn integers(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn read(folder: &Path) -> Error {
    match Reader::open(folder).and_then(|reader| reader.read_episode(1)) {
        Ok(_) => panic!("the damage was not seen"),
        Err(e) => e,
    }
}

fn edit_info(folder: &Path, edit: impl Fn(&mut Value)) {
    let path = folder.join("meta/info.json");
    let mut info: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut info);
    std::fs::write(path, info.to_string()).unwrap();
}

fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} doesn't say {part:?}");
    }
}

#[test]
fn a_truncated_table() {
    for file in [DATA, EPISODES, "meta/tasks.parquet"] {
        let folder = sample();
        let path = folder.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = read(folder.path());
            assert!(matches!(error, Error::Parquet { .. }), "{error:?}");
            assert_says(&error, &[file, "cut short"]);
        }
        std::fs::remove_file(&path).unwrap();
        let error = read(folder.path());
        assert!(matches!(error, Error::Io { .. } | Error::Value { .. }), "{error:?}");
    }
}

#[test]
fn a_missing_camera_or_column() {
    for column in ["observation.images.static", "action", "timestamp"] {
        let folder = sample();
        rewrite(&folder.path().join(DATA), |mut batch| {
            batch.remove_column(batch.schema().index_of(column).unwrap());
            batch
        });
        let error = read(folder.path());
        assert!(matches!(error, Error::Column { .. }), "{error:?}");
        assert_says(&error, &[DATA, column, "missing", "observation.state"]);
    }
    let folder = sample();
    let error = Reader::open(folder.path()).unwrap().spec().position("observation.images.gripper").unwrap_err();
    assert_says(&error, &["observation.images.gripper", "observation.images.static"]);
}

#[test]
fn holes_in_the_indices() {
    for column in ["frame_index", "index", "episode_index"] {
        let folder = sample();
        rewrite(&folder.path().join(DATA), |batch| {
            let mut values = integers(&batch, column);
            values[2] += 1;
            with_column(batch, column, Arc::new(Int64Array::from(values)))
        });
        let error = read(folder.path());
        assert!(matches!(error, Error::Value { row: 2, .. }), "{error:?}");
        assert_says(&error, &[DATA, column, "row 2"]);
    }
    for (column, says) in [("episode_index", "episode"), ("dataset_from_index", "frames"), ("length", "length")] {
        let folder = sample();
        rewrite(&folder.path().join(EPISODES), |batch| {
            let value = integers(&batch, column)[0];
            with_column(batch, column, Arc::new(Int64Array::from(vec![value + 1])))
        });
        assert_says(&read(folder.path()), &[EPISODES, "row 0", says]);
    }
    let folder = sample();
    std::fs::remove_file(folder.path().join(EPISODES)).unwrap();
    assert_says(&read(folder.path()), &["file-002.parquet", "episode_index", "1 expected"]);
}

#[test]
fn another_rate() {
    let folder = sample();
    let error = Reader::open(folder.path()).unwrap().expect_fps(25).unwrap_err();
    assert!(matches!(error, Error::Fps { expected: 25, got: 30, .. }));
    assert_says(&error, &["info.json", "30", "25"]);
    // The frames say otherwise than info.json.
    edit_info(folder.path(), |info| info["fps"] = json!(10));
    assert_says(&read(folder.path()), &[DATA, "row 1", "timestamp", "10 Hz"]);
    edit_info(folder.path(), |info| info["fps"] = json!(29.97));
    assert_says(&read(folder.path()), &["info.json", "29.97"]);
}

#[test]
fn numbers_that_are_none() {
    let folder = sample();
    rewrite(&folder.path().join(DATA), |batch| {
        let lists = batch.column_by_name("observation.state").unwrap().as_fixed_size_list().clone();
        let arrow_schema::DataType::FixedSizeList(field, 3) = lists.data_type().clone() else { panic!() };
        let mut values = lists.values().as_primitive::<arrow_array::types::Float32Type>().values().to_vec();
        values[3 * 2 + 1] = f32::NAN;
        let lists = FixedSizeListArray::new(field, 3, Arc::new(Float32Array::from(values)), None);
        with_column(batch, "observation.state", Arc::new(lists))
    });
    let error = read(folder.path());
    assert!(matches!(error, Error::Value { row: 2, .. }), "{error:?}");
    assert_says(&error, &[DATA, "observation.state", "entry 1 is not finite"]);
}

#[test]
fn another_shape_than_the_table_has() {
    let folder = sample();
    edit_info(folder.path(), |info| {
        info["features"]["observation.state"]["shape"] = json!([4]);
        info["features"]["observation.state"]["names"] = json!(null);
    });
    assert_says(&read(folder.path()), &[DATA, "observation.state", "3 entries", "4"]);
    let folder = sample();
    edit_info(folder.path(), |info| info["features"]["observation.images.static"]["shape"] = json!([12, 13, 3]));
    assert_says(&read(folder.path()), &[DATA, "row 0", "12 x 12", "12 x 13"]);
    let folder = sample();
    edit_info(folder.path(), |info| info["features"]["action"]["dtype"] = json!("int64"));
    assert_says(&read(folder.path()), &[DATA, "action", "Float32", "int64"]);
}

#[test]
fn a_video_is_refused_by_its_name() {
    let folder = sample();
    edit_info(folder.path(), |info| info["features"]["observation.images.static"]["dtype"] = json!("video"));
    assert_says(&read(folder.path()), &["observation.images.static", "video"]);
}

#[test]
fn what_is_no_data_set() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(folder.path()), Err(Error::NotADataset { .. })));
    assert!(matches!(Writer::append(folder.path()), Err(Error::NotADataset { .. })));
    let folder = sample();
    edit_info(folder.path(), |info| info["codebase_version"] = json!("v2.1"));
    let error = read(folder.path());
    assert!(matches!(error, Error::Version { .. }));
    assert_says(&error, &["info.json", "v2.1", "v3.0"]);
    std::fs::write(folder.path().join("meta/info.json"), "{\"codebase_version\": ").unwrap();
    assert_says(&read(folder.path()), &["info.json", "line 1"]);
}

#[test]
fn tables_that_contradict_each_other() {
    let folder = sample();
    edit_info(folder.path(), |info| info["total_frames"] = json!(99));
    assert_says(&read(folder.path()), &["info.json", "99"]);
    let folder = sample();
    edit_info(folder.path(), |info| info["total_episodes"] = json!(4));
    assert_says(&read(folder.path()), &["meta/episodes", "3 episodes", "4"]);
    let folder = sample();
    edit_info(folder.path(), |info| info["total_tasks"] = json!(7));
    assert_says(&read(folder.path()), &["tasks.parquet", "7"]);
    let folder = sample();
    rewrite(&folder.path().join(DATA), |batch| batch.slice(0, 3));
    assert_says(&read(folder.path()), &[DATA, "3 rows", "episode 1", "5"]);
    let folder = sample();
    assert_says(&Reader::open(folder.path()).unwrap().read_episode(3).unwrap_err(), &["3 episodes", "number 3"]);
    let lines = folder.path().join("meta/reverie.jsonl");
    let text = std::fs::read_to_string(&lines).unwrap().replacen("{\"episode_index\":1", "{episode", 1);
    std::fs::write(&lines, text).unwrap();
    assert_says(&read(folder.path()), &["reverie.jsonl", "line 2"]);
}

#[test]
fn a_frame_that_does_not_fit_is_not_added() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), spec()).unwrap();
    let (state, pixels) = (state(0, 0), pixels(0, 0));
    let good = [FrameValue::F32(&state), FrameValue::Image(&pixels), FrameValue::F32(&[1.0])];
    let mut refused = |at: usize, value: FrameValue, parts: &[&str]| {
        let mut values = good;
        values[at] = value;
        writer.push("go", &good).unwrap();
        let error = writer.push("go", &values).unwrap_err();
        assert!(matches!(error, Error::Frame { .. }), "{error:?}");
        assert_says(&error, parts);
    };
    refused(0, FrameValue::F32(&[0.0, f32::NAN, 0.0]), &["frame 1", "observation.state", "entry 1", "not finite"]);
    refused(2, FrameValue::F32(&[f32::INFINITY]), &["frame 2", "action", "not finite"]);
    refused(0, FrameValue::F32(&[0.0; 4]), &["frame 3", "4 entries, 3 expected"]);
    refused(0, FrameValue::F64(&[0.0; 3]), &["float32", "float64"]);
    refused(1, FrameValue::Image(&pixels[1..]), &["431 bytes", "12 x 12 x 3"]);
    refused(1, FrameValue::F32(&[0.0]), &["observation.images.static", "image"]);
    assert_says(&writer.push("go", &good[..2]).unwrap_err(), &["action", "2 values", "3 features"]);
    assert_says(&writer.push("", &good).unwrap_err(), &["task", "empty"]);
    writer.finish_episode(&json!(null)).unwrap();
    assert_eq!(Reader::open(folder.path()).unwrap().frames(), 6);
    assert!(matches!(writer.finish_episode(&json!(null)), Err(Error::EmptyEpisode { episode: 1 })));
}

#[test]
fn specs_that_lerobot_could_not_load() {
    let refused = |features: Vec<Feature>, part: &str| {
        let folder = tempfile::tempdir().unwrap();
        let result = Writer::create(folder.path(), DatasetSpec { fps: 30, robot_type: "arm".into(), features });
        assert_says(&result.err().unwrap(), &[part]);
        assert!(contents(folder.path()).is_empty());
    };
    refused(vec![], "at least one");
    refused(vec![Feature::vector("a/b", Dtype::Float32, 1)], "'/'");
    refused(vec![Feature::vector("index", Dtype::Float32, 1)], "taken");
    refused(vec![Feature::vector("a", Dtype::Float32, 0)], "at least one entry");
    refused(vec![Feature::vector("a", Dtype::Bool, 1)], "int64");
    refused(vec![Feature::vector("image_quality", Dtype::Float32, 1)], "\"image\"");
    refused(vec![Feature::vector("a", Dtype::Float32, 1), Feature::image("a", SIZE, SIZE)], "twice");
    refused(vec![Feature::image("a", SIZE, 0)], "rows and columns");
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "mine").unwrap();
    let before = contents(folder.path());
    assert!(matches!(Writer::create(folder.path(), spec()), Err(Error::Occupied { .. })));
    assert_eq!(differing(&before, &contents(folder.path())), Vec::<PathBuf>::new());
}
