//! What is written is what is read, and is the same bytes each time.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod fixture;

use fixture::{contents, differing, length, pixels, record, spec, state, task, write};
use reverie_lerobot::{Column, DatasetSpec, Dtype, Feature, Reader, Writer};
use serde_json::json;

#[test]
fn every_value_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 5);
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.spec(), &spec());
    assert_eq!(reader.episodes().len(), 5);
    assert_eq!(reader.frames(), (0..5).map(length).sum::<usize>());
    assert_eq!(reader.tasks(), ["task 0", "task 1", "task 2"]);
    for (i, info) in reader.episodes().iter().enumerate() {
        assert_eq!(info.tasks, [task(i)]);
        assert_eq!(info.extra, Some(json!({ "seed": i, "success": true })));
        let episode = reader.read_episode(i).unwrap();
        let states: Vec<f32> = (0..length(i)).flat_map(|frame| state(i, frame)).collect();
        let images: Vec<u8> = (0..length(i)).flat_map(|frame| pixels(i, frame)).collect();
        assert_eq!(episode.columns[0], Column::F32(states));
        assert_eq!(episode.columns[1], Column::Image(images));
        assert_eq!(episode.tasks, vec![i / 2; length(i)]);
    }
}

#[test]
fn two_runs_write_the_same_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(a.path(), 4);
    write(b.path(), 4);
    assert_eq!(differing(&contents(a.path()), &contents(b.path())), Vec::<std::path::PathBuf>::new());
}

#[test]
fn appending_writes_what_one_run_writes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(a.path(), 5);
    write(b.path(), 2);
    for episode in 2..5 {
        // A new process for each episode, as far as the data set can tell.
        record(&mut Writer::append(b.path()).unwrap(), episode).unwrap();
    }
    assert_eq!(differing(&contents(a.path()), &contents(b.path())), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_data_set_copied_through_the_reader_is_the_same() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(a.path(), 3);
    let reader = Reader::open(a.path()).unwrap();
    let mut writer = Writer::create(b.path(), reader.spec().clone()).unwrap();
    for (i, info) in reader.episodes().iter().enumerate() {
        let episode = reader.read_episode(i).unwrap();
        let tasks: Vec<&str> = episode.tasks.iter().map(|t| reader.tasks()[*t].as_str()).collect();
        writer.add_episode(&tasks, &episode.columns, info.extra.as_ref().unwrap()).unwrap();
    }
    assert_eq!(differing(&contents(a.path()), &contents(b.path())), Vec::<std::path::PathBuf>::new());
}

#[test]
fn tasks_may_change_within_an_episode() {
    let folder = tempfile::tempdir().unwrap();
    let one = DatasetSpec { fps: 10, robot_type: "arm".into(), features: vec![Feature::vector("count", Dtype::Int64, 1)] };
    let mut writer = Writer::create(folder.path(), one).unwrap();
    writer.add_episode(&["a", "b", "a"], &[Column::I64(vec![4, -5, 6])], &json!(null)).unwrap();
    writer.add_episode(&["c"], &[Column::I64(vec![7, 8])], &json!(null)).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.episodes()[0].tasks, ["a", "b"]);
    assert_eq!(reader.read_episode(0).unwrap().tasks, [0, 1, 0]);
    assert_eq!(reader.read_episode(1).unwrap().tasks, [2, 2]);
    assert_eq!(reader.read_episode(0).unwrap().columns[0], Column::I64(vec![4, -5, 6]));
}

#[test]
fn a_long_episode_is_read_in_blocks_without_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let one = DatasetSpec { fps: 30, robot_type: "arm".into(), features: vec![Feature::vector("x", Dtype::Float64, 2)] };
    let mut writer = Writer::create(folder.path(), one).unwrap();
    let values: Vec<f64> = (0..10_000).map(f64::from).collect();
    writer.add_episode(&["go"], &[Column::F64(vec![0.5; 6])], &json!(1)).unwrap();
    writer.add_episode(&["go"], &[Column::F64(values.clone())], &json!(2)).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    let mut seen = Vec::new();
    for block in reader.blocks(1, &[0]).unwrap() {
        let block = block.unwrap();
        assert!(block.frames() <= 1024);
        assert_eq!(block.first_frame * 2, seen.len());
        let Column::F64(part) = &block.columns[0] else { panic!("a column of float64") };
        seen.extend_from_slice(part);
    }
    assert_eq!(seen, values);
}

#[test]
fn more_files_than_a_chunk_holds_roll_over() {
    let folder = tempfile::tempdir().unwrap();
    let one = DatasetSpec { fps: 30, robot_type: "arm".into(), features: vec![Feature::vector("x", Dtype::Float32, 1)] };
    let mut writer = Writer::create(folder.path(), one).unwrap();
    for episode in 0..1003 {
        writer.add_episode(&["go"], &[Column::F32(vec![episode as f32])], &json!(null)).unwrap();
    }
    assert!(folder.path().join("data/chunk-000/file-999.parquet").exists());
    assert!(folder.path().join("data/chunk-001/file-002.parquet").exists());
    drop(writer);
    let mut writer = Writer::append(folder.path()).unwrap();
    writer.add_episode(&["go"], &[Column::F32(vec![-1.0])], &json!(null)).unwrap();
    assert!(folder.path().join("meta/episodes/chunk-001/file-003.parquet").exists());
    let reader = Reader::open(folder.path()).unwrap();
    for (episode, value) in [(999, 999.0), (1000, 1000.0), (1003, -1.0)] {
        assert_eq!(reader.read_episode(episode).unwrap().columns[0], Column::F32(vec![value]));
    }
}
