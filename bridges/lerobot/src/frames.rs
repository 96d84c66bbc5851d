use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, BinaryArray, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::column::Column;
use crate::episodes::EpisodeRow;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::spec::{DatasetSpec, Dtype, Feature, FeatureKind, INDEX_COLUMNS};
use crate::{parquet_file, picture};

/// Frames that are decoded together, without and with images.
const BATCH_FRAMES: usize = 1024;
const BATCH_IMAGES: usize = 16;
/// How far a timestamp may be from its frame, seconds: lerobot's `tolerance_s`.
const TIMESTAMP_TOLERANCE_S: f64 = 1e-4;

/// Some frames of an episode, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameBlock {
    /// Index of the first frame in its episode.
    pub first_frame: usize,
    /// Index of the task of each frame in [`crate::Reader::tasks`].
    pub tasks: Vec<usize>,
    /// One column for each feature that was asked for, in their order.
    pub columns: Vec<Column>,
}

impl FrameBlock {
    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.tasks.len()
    }
}

/// The frames of one episode in blocks of up to 1024, or 16 with images, so that a long episode needs little memory.
///
/// After an error it ends.
pub struct Frames {
    rows: Option<ParquetRecordBatchReader>,
    path: PathBuf,
    features: Vec<Feature>,
    fps: f64,
    n_tasks: usize,
    episode: EpisodeRow,
    /// Row of the episode's first frame in its file.
    first_row: usize,
    done: usize,
}

impl Frames {
    pub(crate) fn open(
        layout: &Layout,
        spec: &DatasetSpec,
        wanted: &[usize],
        n_tasks: usize,
        episode: &EpisodeRow,
        first_row: usize,
    ) -> Result<Self> {
        let path = layout.data(episode.data);
        let features: Vec<Feature> = wanted.iter().map(|i| spec.features[*i].clone()).collect();
        let builder = parquet_file::open(&path)?;
        let found = builder.metadata().file_metadata().num_rows() as usize;
        if found < first_row + episode.length {
            let needed = first_row + episode.length;
            return Err(Error::mismatch(
                &path,
                format!("holds {found} rows, episode {} needs {needed} by meta/episodes", episode.episode),
            ));
        }
        let names: Vec<&str> = features.iter().map(|f| f.name.as_str()).chain(INDEX_COLUMNS).collect();
        let batch = if features.iter().any(Feature::is_image) { BATCH_IMAGES } else { BATCH_FRAMES };
        let rows = parquet_file::project(builder, &path, &names)?
            .with_offset(first_row)
            .with_limit(episode.length)
            .with_batch_size(batch)
            .build()
            .map_err(Error::parquet(&path))?;
        let fps = f64::from(spec.fps);
        Ok(Self { rows: Some(rows), path, features, fps, n_tasks, episode: episode.clone(), first_row, done: 0 })
    }

    fn block(&self, batch: &RecordBatch) -> Result<FrameBlock> {
        let first_row = self.first_row + self.done;
        let wrong = |i: usize, column: &str, reason: String| Error::Value {
            path: self.path.clone(),
            row: first_row + i,
            column: column.to_owned(),
            reason,
        };
        for (name, start, step) in [
            ("frame_index", self.done, 1),
            ("index", self.episode.from + self.done, 1),
            ("episode_index", self.episode.episode, 0),
        ] {
            self.no_nulls(parquet_file::column(batch, &self.path, name)?, name)?;
            for (i, value) in parquet_file::integers(batch, &self.path, name)?.into_iter().enumerate() {
                let expected = (start + i * step) as i64;
                if value != expected {
                    return Err(wrong(i, name, format!("is {value}, {expected} expected: frames are missing or out of order")));
                }
            }
        }
        let timestamps = parquet_file::column(batch, &self.path, "timestamp")?;
        for (i, value) in self.decode_floats(timestamps, "timestamp")?.into_iter().enumerate() {
            let expected = (self.done + i) as f64 / self.fps;
            let tolerance = TIMESTAMP_TOLERANCE_S + expected * f64::from(f32::EPSILON);
            if value.is_nan() || (value - expected).abs() > tolerance {
                return Err(wrong(i, "timestamp", format!("is {value} s, {expected} s expected at {} Hz", self.fps)));
            }
        }
        self.no_nulls(parquet_file::column(batch, &self.path, "task_index")?, "task_index")?;
        let tasks = parquet_file::indices(batch, &self.path, "task_index", first_row)?;
        if let Some(i) = tasks.iter().position(|t| *t >= self.n_tasks) {
            return Err(wrong(i, "task_index", format!("is {}, but there are {} tasks", tasks[i], self.n_tasks)));
        }
        let columns = self.features.iter().map(|feature| {
            let array = parquet_file::column(batch, &self.path, &feature.name)?;
            self.column(feature, array)
        });
        Ok(FrameBlock { first_frame: self.done, tasks, columns: columns.collect::<Result<_>>()? })
    }

    fn value_error(&self, row: usize, column: &str, reason: impl Into<String>) -> Error {
        Error::Value {
            path: self.path.clone(),
            row: self.first_row + self.done + row,
            column: column.to_owned(),
            reason: reason.into(),
        }
    }

    fn no_nulls(&self, array: &dyn Array, name: &str) -> Result<()> {
        match (0..array.len()).find(|i| array.is_null(*i)) {
            Some(row) if array.null_count() > 0 => Err(self.value_error(row, name, "is empty")),
            _ => Ok(()),
        }
    }

    fn column(&self, feature: &Feature, array: &dyn Array) -> Result<Column> {
        let name = feature.name.as_str();
        self.no_nulls(array, name)?;
        let (dtype, size) = match feature.kind {
            FeatureKind::Image { height, width } => return self.images(name, array, height, width),
            FeatureKind::Vector { dtype, size, .. } => (dtype, size),
        };
        let entries = self.entries(array, name, size)?;
        let entries = entries.as_ref();
        if let Some(i) = (0..entries.len()).find(|i| entries.is_null(*i)) {
            return Err(self.value_error(i / size, name, format!("entry {} is empty", i % size)));
        }
        let column = match (dtype, entries.data_type()) {
            (Dtype::Float32, DataType::Float32) => Column::F32(entries.as_primitive::<Float32Type>().values().to_vec()),
            (Dtype::Float32, DataType::Float64) => {
                Column::F32(entries.as_primitive::<Float64Type>().values().iter().map(|v| *v as f32).collect())
            }
            (Dtype::Float64, _) => Column::F64(self.decode_floats(entries, name)?),
            (Dtype::Int64, DataType::Int64) => Column::I64(entries.as_primitive::<Int64Type>().values().to_vec()),
            (Dtype::Int64, DataType::Int32) => {
                Column::I64(entries.as_primitive::<Int32Type>().values().iter().map(|v| i64::from(*v)).collect())
            }
            (Dtype::Bool, DataType::Boolean) => Column::I64(entries.as_boolean().values().iter().map(i64::from).collect()),
            (_, found) => {
                return Err(Error::column(&self.path, name, format!("holds {found}, info.json says {}", dtype.name())));
            }
        };
        let not_finite = match &column {
            Column::F32(v) => v.iter().position(|x| !x.is_finite()),
            Column::F64(v) => v.iter().position(|x| !x.is_finite()),
            Column::I64(_) | Column::Image(_) => None,
        };
        match not_finite {
            Some(i) => Err(self.value_error(i / size, name, format!("entry {} is not finite", i % size))),
            None => Ok(column),
        }
    }

    /// All entries of a column of vectors one after another, after a check that each row has `size`.
    fn entries(&self, array: &dyn Array, name: &str, size: usize) -> Result<arrow_array::ArrayRef> {
        let wrong = |row, length| self.value_error(row, name, format!("has {length} entries, info.json says {size}"));
        let (lengths, values): (Vec<usize>, _) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
                (list.offsets().lengths().collect(), list.values().slice(first, last - first))
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
                (list.offsets().lengths().collect(), list.values().slice(first, last - first))
            }
            DataType::FixedSizeList(_, length) => {
                (vec![*length as usize; array.len()], array.as_fixed_size_list().values().clone())
            }
            _ => (vec![1; array.len()], array.slice(0, array.len())),
        };
        match lengths.iter().position(|length| *length != size) {
            Some(row) => Err(wrong(row, lengths[row])),
            None => Ok(values),
        }
    }

    fn decode_floats(&self, array: &dyn Array, name: &str) -> Result<Vec<f64>> {
        match array.data_type() {
            DataType::Float32 => Ok(array.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()),
            DataType::Float64 => Ok(array.as_primitive::<Float64Type>().values().to_vec()),
            found => Err(Error::column(&self.path, name, format!("holds {found}, floating-point numbers expected"))),
        }
    }

    fn images(&self, name: &str, array: &dyn Array, height: usize, width: usize) -> Result<Column> {
        let bytes = image_bytes(array, &self.path, name)?;
        let mut pixels = Vec::with_capacity(bytes.len() * height * width * 3);
        for row in 0..bytes.len() {
            if bytes.is_null(row) {
                return Err(self.value_error(row, name, "has no bytes; images outside the table are not read"));
            }
            let image = picture::decode(bytes.value(row), height, width).map_err(|reason| self.value_error(row, name, reason))?;
            pixels.extend_from_slice(&image);
        }
        Ok(Column::Image(pixels))
    }
}

impl Iterator for Frames {
    type Item = Result<FrameBlock>;

    fn next(&mut self) -> Option<Result<FrameBlock>> {
        let batch = match self.rows.as_mut()?.next() {
            Some(batch) => batch.map_err(Error::arrow(&self.path)),
            None if self.done < self.episode.length => Err(Error::mismatch(
                &self.path,
                format!("ends after {} of the {} frames of episode {}", self.done, self.episode.length, self.episode.episode),
            )),
            None => return None,
        };
        let block = batch.and_then(|batch| self.block(&batch));
        match &block {
            Ok(block) => self.done += block.frames(),
            Err(_) => self.rows = None,
        }
        Some(block)
    }
}

/// The encoded images of a column `struct<bytes, path>`.
pub(crate) fn image_bytes<'a>(array: &'a dyn Array, path: &std::path::Path, name: &str) -> Result<&'a BinaryArray> {
    let bytes = array.as_struct_opt().and_then(|fields| fields.column_by_name("bytes"));
    bytes.and_then(|bytes| bytes.as_binary_opt::<i32>()).ok_or_else(|| {
        Error::column(path, name, format!("has the type {}, struct<bytes: binary, path: string> expected", array.data_type()))
    })
}
