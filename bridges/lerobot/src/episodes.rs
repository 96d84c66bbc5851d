//! `meta/episodes`: where each episode lies, what its tasks are, and its statistics.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Schema};

use crate::error::{Error, Result};
use crate::layout::{self, FileIndex, Layout};
use crate::parquet_file;
use crate::spec::{DatasetSpec, FeatureKind, INDEX_COLUMNS};
use crate::stats::{FeatureStats, Form, VALUE_KEYS};

/// One row of the table, without its statistics.
#[derive(Clone, Debug)]
pub(crate) struct EpisodeRow {
    pub episode: usize,
    pub tasks: Vec<String>,
    pub length: usize,
    pub data: FileIndex,
    /// Index of the first frame in the data set.
    pub from: usize,
    /// Where this row itself lies.
    pub file: FileIndex,
}

/// Features with statistics, in the order of the frame and then of the index columns.
pub(crate) fn features_with_stats(spec: &DatasetSpec) -> Vec<(&str, Form)> {
    let own = spec.features.iter().map(|feature| {
        let form = match feature.kind {
            FeatureKind::Image { .. } => Form::Pixels,
            FeatureKind::Vector { dtype: crate::Dtype::Float32 | crate::Dtype::Float64, .. } => Form::Floats,
            FeatureKind::Vector { .. } => Form::Integers,
        };
        (feature.name.as_str(), form)
    });
    let index = INDEX_COLUMNS.iter().map(|name| (*name, if *name == "timestamp" { Form::Floats } else { Form::Integers }));
    own.chain(index).collect()
}

/// Writes the file of one episode.
pub(crate) fn write(path: &Path, row: &EpisodeRow, spec: &DatasetSpec, stats: &[FeatureStats]) -> Result<()> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut push = |name: String, array: ArrayRef| {
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    };
    let integer = |v: usize| -> ArrayRef { Arc::new(Int64Array::from(vec![v as i64])) };
    push("episode_index".into(), integer(row.episode));
    push("tasks".into(), one_list(Arc::new(parquet_file::text_column(&row.tasks))));
    push("length".into(), integer(row.length));
    push("data/chunk_index".into(), integer(row.data.chunk));
    push("data/file_index".into(), integer(row.data.file));
    push("dataset_from_index".into(), integer(row.from));
    push("dataset_to_index".into(), integer(row.from + row.length));
    for ((name, _), stats) in features_with_stats(spec).into_iter().zip(stats) {
        for (i, (key, values)) in VALUE_KEYS.iter().zip(stats.values()).enumerate() {
            let array: ArrayRef = if stats.form == Form::Integers && i < 2 {
                Arc::new(Int64Array::from_iter_values(values.iter().map(|v| *v as i64)))
            } else {
                Arc::new(Float64Array::from(values.clone()))
            };
            let array = if stats.form == Form::Pixels { each_in_a_list(each_in_a_list(array)) } else { array };
            push(format!("stats/{name}/{key}"), one_list(array));
            if *key == "std" {
                push(format!("stats/{name}/count"), one_list(integer(stats.count as usize)));
            }
        }
    }
    push("meta/episodes/chunk_index".into(), integer(row.file.chunk));
    push("meta/episodes/file_index".into(), integer(row.file.file));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(Error::arrow(path))?;
    parquet_file::write(path, &batch)
}

fn list(offsets: OffsetBuffer<i32>, values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// A column of one row, which holds all of `values`.
fn one_list(values: ArrayRef) -> ArrayRef {
    list(OffsetBuffer::from_lengths([values.len()]), values)
}

fn each_in_a_list(values: ArrayRef) -> ArrayRef {
    list(OffsetBuffer::from_lengths(std::iter::repeat_n(1, values.len())), values)
}

/// The rows of the first `count` episodes, checked to follow one another without holes; later ones were never finished.
pub(crate) fn read(layout: &Layout, count: usize) -> Result<Vec<EpisodeRow>> {
    let mut rows: Vec<EpisodeRow> = Vec::with_capacity(count);
    for file in layout::numbered(&layout.episodes_folder())? {
        if rows.len() >= count {
            break;
        }
        let path = layout.episodes(file);
        let first = rows.len();
        let names =
            ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"];
        for batch in parquet_file::read(&path, &names)? {
            let batch = batch.map_err(Error::arrow(&path))?;
            let in_file = rows.len() - first;
            let column = |name| parquet_file::indices(&batch, &path, name, in_file);
            let (episode, length, chunk) = (column(names[0])?, column(names[2])?, column(names[3])?);
            let (data_file, from, to) = (column(names[4])?, column(names[5])?, column(names[6])?);
            let tasks = parquet_file::column(&batch, &path, "tasks")?;
            for i in 0..batch.num_rows() {
                let row = EpisodeRow {
                    episode: episode[i],
                    tasks: parquet_file::texts(&parquet_file::list_row(tasks, i, &path, "tasks")?, &path, "tasks")?,
                    length: length[i],
                    data: FileIndex { chunk: chunk[i], file: data_file[i] },
                    from: from[i],
                    file,
                };
                follows(&row, to[i], rows.last(), &path, in_file + i, rows.len())?;
                rows.push(row);
            }
        }
    }
    if rows.len() < count {
        let found = rows.len();
        return Err(Error::mismatch(&layout.episodes_folder(), format!("holds {found} episodes, info.json says {count}")));
    }
    rows.truncate(count);
    Ok(rows)
}

/// Whether a row goes on where the one before ended.
fn follows(row: &EpisodeRow, to: usize, last: Option<&EpisodeRow>, path: &Path, in_file: usize, number: usize) -> Result<()> {
    let wrong =
        |column: &str, reason: String| Err(Error::Value { path: path.to_owned(), row: in_file, column: column.into(), reason });
    if row.episode != number {
        return wrong("episode_index", format!("is {}, {number} expected: an episode is missing or stands twice", row.episode));
    }
    let from = last.map_or(0, |last| last.from + last.length);
    if row.from != from {
        return wrong("dataset_from_index", format!("is {}, {from} expected: frames are missing or stand twice", row.from));
    }
    if row.length == 0 || to != row.from + row.length {
        return wrong("length", format!("is {}, but the frames go from {} to {to}", row.length, row.from));
    }
    Ok(())
}

/// Visits the statistics of the first `count` episodes in their order.
pub(crate) fn read_stats(
    layout: &Layout,
    spec: &DatasetSpec,
    count: usize,
    mut visit: impl FnMut(Vec<FeatureStats>),
) -> Result<()> {
    let features = features_with_stats(spec);
    let keys =
        |name: &str| -> Vec<String> { VALUE_KEYS.iter().chain(&["count"]).map(|key| format!("stats/{name}/{key}")).collect() };
    let names: HashMap<&str, Vec<String>> = features.iter().map(|(name, _)| (*name, keys(name))).collect();
    let columns: Vec<&str> = names.values().flatten().map(String::as_str).collect();
    let mut seen = 0;
    for file in layout::numbered(&layout.episodes_folder())? {
        let path = layout.episodes(file);
        if seen >= count {
            break;
        }
        for batch in parquet_file::read(&path, &columns)? {
            let batch = batch.map_err(Error::arrow(&path))?;
            for row in 0..batch.num_rows().min(count - seen) {
                let cell = |name: &String| -> Result<Vec<f64>> {
                    let list = parquet_file::list_row(parquet_file::column(&batch, &path, name)?, row, &path, name)?;
                    parquet_file::numbers(&list, &path, name)
                };
                let mut stats = Vec::with_capacity(features.len());
                for (name, form) in &features {
                    let mut values: [Vec<f64>; 9] = Default::default();
                    for (value, column) in values.iter_mut().zip(&names[name]) {
                        *value = cell(column)?;
                    }
                    let entries = entries(spec, name);
                    if let Some(wrong) = values.iter().position(|v| v.len() != entries) {
                        let reason = format!("has {} entries, {entries} expected", values[wrong].len());
                        return Err(Error::Value { path, row, column: names[name][wrong].clone(), reason });
                    }
                    let count = cell(&names[name][9])?.first().copied().unwrap_or_default() as u64;
                    stats.push(FeatureStats::from_values(values, count, *form));
                }
                visit(stats);
            }
            seen += batch.num_rows();
        }
    }
    Ok(())
}

/// Number of entries of the statistics of a feature.
fn entries(spec: &DatasetSpec, name: &str) -> usize {
    spec.features.iter().find(|f| f.name == name).map_or(1, |feature| match feature.kind {
        FeatureKind::Vector { size, .. } => size,
        FeatureKind::Image { .. } => 3,
    })
}

/// The type of a list in our tables.
pub(crate) fn fixed_list(entry: DataType, size: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("element", entry, true)), size as i32)
}
