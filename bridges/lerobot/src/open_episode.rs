//! The episode that is being recorded: its data file, and what its statistics need.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::column::{Column, FrameValue};
use crate::episodes::fixed_list;
use crate::error::{Error, Result};
use crate::numpy_order::summarise;
use crate::pixels::{PixelCounts, sampled_frames};
use crate::spec::{DatasetSpec, Dtype, FeatureKind};
use crate::stats::{FeatureStats, Form};
use crate::{durable, parquet_file, picture};

/// Frames that are handed to the parquet writer together.
const BATCH_FRAMES: usize = 1024;
/// Bytes of compressed images that may wait for it, and those of a row group. They bound the memory of a long episode with
/// cameras.
const BATCH_BYTES: usize = 4 << 20;
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Arrow schema of the data files, with the note by which HuggingFace's `datasets` knows images from other structs.
pub(crate) fn schema(spec: &DatasetSpec) -> SchemaRef {
    let mut fields = Vec::new();
    let mut notes = Vec::new();
    let note = |dtype: &str| format!(r#"{{"dtype": "{dtype}", "_type": "Value"}}"#);
    for feature in &spec.features {
        let (data_type, text) = match &feature.kind {
            FeatureKind::Image { .. } => (DataType::Struct(image_fields()), r#"{"_type": "Image"}"#.to_owned()),
            FeatureKind::Vector { dtype, size, .. } => {
                let entry = match dtype {
                    Dtype::Float32 => DataType::Float32,
                    Dtype::Float64 => DataType::Float64,
                    Dtype::Int64 | Dtype::Bool => DataType::Int64,
                };
                let value = note(dtype.name());
                // lerobot declares a vector of one entry as a plain number.
                match *size {
                    1 => (entry, value),
                    n => (fixed_list(entry, n), format!(r#"{{"feature": {value}, "length": {n}, "_type": "List"}}"#)),
                }
            }
        };
        fields.push(Field::new(&feature.name, data_type, true));
        notes.push(format!("{}: {text}", serde_json::Value::from(feature.name.as_str())));
    }
    for name in crate::spec::INDEX_COLUMNS {
        let (data_type, dtype) = if name == "timestamp" { (DataType::Float32, "float32") } else { (DataType::Int64, "int64") };
        fields.push(Field::new(name, data_type, true));
        notes.push(format!("\"{name}\": {}", note(dtype)));
    }
    let huggingface = format!(r#"{{"info": {{"features": {{{}}}}}}}"#, notes.join(", "));
    Arc::new(Schema::new(fields).with_metadata([("huggingface".to_owned(), huggingface)].into()))
}

fn image_fields() -> Fields {
    vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)].into()
}

fn properties(spec: &DatasetSpec) -> WriterProperties {
    let mut properties = parquet_file::properties().set_max_row_group_row_count(Some(1 << 16));
    // One value over a whole episode; the bounds let a reader skip files when it looks for an episode.
    for name in ["episode_index", "task_index"] {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), true)
            .set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    for feature in spec.features.iter().filter(|f| f.is_image()) {
        let bytes = ColumnPath::from(vec![feature.name.clone(), "bytes".into()]);
        properties = properties.set_column_compression(bytes, Compression::UNCOMPRESSED);
    }
    properties.build()
}

/// Position of an episode in its data set.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub episode: usize,
    /// Index of its first frame in the data set.
    pub from: usize,
}

pub(crate) struct OpenEpisode {
    place: Place,
    path: PathBuf,
    writer: ArrowWriter<File>,
    /// Numbers of the whole episode, for the statistics; nothing for images.
    columns: Vec<Column>,
    /// Compressed images that the parquet writer hasn't got yet; nothing for numbers.
    images: Vec<Vec<Vec<u8>>>,
    waiting_bytes: usize,
    /// Task index of each frame.
    tasks: Vec<i64>,
    /// Frames that the parquet writer has got.
    handed_over: usize,
}

impl OpenEpisode {
    pub(crate) fn create(path: PathBuf, spec: &DatasetSpec, place: Place) -> Result<Self> {
        let file = durable::begin(&path)?;
        let partial = durable::partial(&path);
        let writer = ArrowWriter::try_new(file, schema(spec), Some(properties(spec))).map_err(Error::parquet(&partial))?;
        Ok(Self {
            place,
            path,
            writer,
            columns: spec.columns(),
            images: vec![Vec::new(); spec.features.len()],
            waiting_bytes: 0,
            tasks: Vec::new(),
            handed_over: 0,
        })
    }

    pub(crate) fn frames(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn last_task(&self) -> Option<usize> {
        self.tasks.last().map(|t| *t as usize)
    }

    /// Indices of the episode's tasks, in the order of their appearance.
    pub(crate) fn distinct_tasks(&self) -> Vec<usize> {
        let mut distinct = Vec::new();
        for task in self.tasks.iter().map(|t| *t as usize) {
            if !distinct.contains(&task) {
                distinct.push(task);
            }
        }
        distinct
    }

    /// Adds a frame whose values were checked.
    pub(crate) fn push(&mut self, spec: &DatasetSpec, task: usize, values: &[FrameValue]) -> Result<()> {
        for (i, value) in values.iter().enumerate() {
            match (value, &mut self.columns[i]) {
                (FrameValue::F32(v), Column::F32(column)) => column.extend_from_slice(v),
                (FrameValue::F64(v), Column::F64(column)) => column.extend_from_slice(v),
                (FrameValue::I64(v), Column::I64(column)) => column.extend_from_slice(v),
                (FrameValue::Image(pixels), Column::Image(_)) => {
                    let FeatureKind::Image { height, width } = spec.features[i].kind else { continue };
                    let png = picture::encode(pixels, height, width)
                        .map_err(|e| Error::feature(&spec.features[i].name, format!("can't be made a PNG: {e}")))?;
                    self.waiting_bytes += png.len();
                    self.images[i].push(png);
                }
                _ => unreachable!("the value was checked against its feature"),
            }
        }
        self.tasks.push(task as i64);
        if self.tasks.len() - self.handed_over >= BATCH_FRAMES || self.waiting_bytes >= BATCH_BYTES {
            self.hand_over(spec)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, spec: &DatasetSpec) -> Result<()> {
        let range = self.handed_over..self.tasks.len();
        let partial = durable::partial(&self.path);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(spec.features.len() + 5);
        for (i, feature) in spec.features.iter().enumerate() {
            let size = feature.size();
            let part = range.start * size..range.end * size;
            arrays.push(match &self.columns[i] {
                Column::F32(v) => in_rows(Arc::new(Float32Array::from(v[part].to_vec())), size),
                Column::F64(v) => in_rows(Arc::new(Float64Array::from(v[part].to_vec())), size),
                Column::I64(v) => in_rows(Arc::new(Int64Array::from(v[part].to_vec())), size),
                Column::Image(_) => image_array(&std::mem::take(&mut self.images[i]), range.start),
            });
        }
        let frames = range.clone().map(|i| i as i64);
        let fps = f64::from(spec.fps);
        arrays.push(Arc::new(Float32Array::from_iter_values(range.clone().map(|i| (i as f64 / fps) as f32))));
        arrays.push(Arc::new(Int64Array::from_iter_values(frames.clone())));
        arrays.push(Arc::new(Int64Array::from_value(self.place.episode as i64, range.len())));
        arrays.push(Arc::new(Int64Array::from_iter_values(frames.map(|i| i + self.place.from as i64))));
        arrays.push(Arc::new(Int64Array::from(self.tasks[range.clone()].to_vec())));
        let batch = RecordBatch::try_new(schema(spec), arrays).map_err(Error::arrow(&partial))?;
        self.writer.write(&batch).map_err(Error::parquet(&partial))?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(Error::parquet(&partial))?;
        }
        self.handed_over = range.end;
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Completes the data file under its final name and returns the statistics, in the order of `features_with_stats`.
    pub(crate) fn finish(mut self, spec: &DatasetSpec) -> Result<Vec<FeatureStats>> {
        self.hand_over(spec)?;
        let partial = durable::partial(&self.path);
        self.writer.finish().map_err(Error::parquet(&partial))?;
        let stats = self.stats(spec)?;
        durable::complete(&self.path)?;
        Ok(stats)
    }

    fn stats(&self, spec: &DatasetSpec) -> Result<Vec<FeatureStats>> {
        let frames = self.frames();
        let count = frames as u64;
        let mut stats = Vec::with_capacity(spec.features.len() + 5);
        let integers = |v: &[i64], size| {
            let wide: Vec<f64> = v.iter().map(|x| *x as f64).collect();
            FeatureStats::new(summarise(&wide, size), count, Form::Integers)
        };
        for (feature, column) in spec.features.iter().zip(&self.columns) {
            stats.push(match (column, &feature.kind) {
                (Column::F32(v), _) => FeatureStats::new(summarise(v, feature.size()), count, Form::Floats),
                (Column::F64(v), _) => FeatureStats::new(summarise(v, feature.size()), count, Form::Floats),
                (Column::I64(v), _) => integers(v, feature.size()),
                (Column::Image(_), FeatureKind::Image { height, width }) => self.image_stats(&feature.name, *height, *width)?,
                (Column::Image(_), FeatureKind::Vector { .. }) => unreachable!("only images have image columns"),
            });
        }
        // lerobot takes the timestamps' statistics before it rounds them to single precision.
        let timestamps: Vec<f64> = (0..frames).map(|i| i as f64 / f64::from(spec.fps)).collect();
        stats.push(FeatureStats::new(summarise(&timestamps, 1), count, Form::Floats));
        let indices: Vec<i64> = (0..frames as i64).collect();
        stats.push(integers(&indices, 1));
        stats.push(integers(&vec![self.place.episode as i64; frames], 1));
        let global: Vec<i64> = indices.iter().map(|i| i + self.place.from as i64).collect();
        stats.push(integers(&global, 1));
        stats.push(integers(&self.tasks, 1));
        Ok(stats)
    }

    /// Which frames lerobot samples is known only now, so they are read back, one at a time.
    fn image_stats(&self, name: &str, height: usize, width: usize) -> Result<FeatureStats> {
        let partial = durable::partial(&self.path);
        let samples = sampled_frames(self.frames());
        let mut selectors = Vec::with_capacity(2 * samples.len());
        let mut next = 0;
        for &sample in &samples {
            selectors.push(RowSelector::skip(sample - next));
            selectors.push(RowSelector::select(1));
            next = sample + 1;
        }
        let rows = parquet_file::project(parquet_file::open(&partial)?, &partial, &[name])?
            .with_row_selection(RowSelection::from(selectors))
            .with_batch_size(16)
            .build()
            .map_err(Error::parquet(&partial))?;
        let mut counts = PixelCounts::new();
        for batch in rows {
            let batch = batch.map_err(Error::arrow(&partial))?;
            let images = crate::frames::image_bytes(parquet_file::column(&batch, &partial, name)?, &partial, name)?;
            for row in 0..images.len() {
                let pixels = picture::decode(images.value(row), height, width).map_err(|reason| Error::feature(name, reason))?;
                counts.add(&pixels, height, width);
            }
        }
        Ok(FeatureStats::new(counts.summarise(), samples.len() as u64, Form::Pixels))
    }
}

fn in_rows(values: ArrayRef, size: usize) -> ArrayRef {
    if size == 1 {
        return values;
    }
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(field, size as i32, values, None))
}

fn image_array(images: &[Vec<u8>], first_frame: usize) -> ArrayRef {
    let mut bytes = BinaryBuilder::new();
    let mut paths = StringBuilder::new();
    for (i, image) in images.iter().enumerate() {
        bytes.append_value(image);
        // lerobot's name of the image from which it took the bytes.
        paths.append_value(format!("frame-{:06}.png", first_frame + i));
    }
    Arc::new(StructArray::new(image_fields(), vec![Arc::new(bytes.finish()), Arc::new(paths.finish())], None))
}
