//! The little of parquet that this crate uses: whole files of few columns, written once and read in order.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, Float64Array, Int64Array, LargeListArray, ListArray, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use crate::durable;
use crate::error::{Error, Result};

/// LeRobot's codec, without the page statistics and dictionaries that a file read from end to end has no use for.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_offset_index_disabled(true)
}

/// Writes one batch as a complete file.
pub(crate) fn write(path: &Path, batch: &RecordBatch) -> Result<()> {
    let file = durable::begin(path)?;
    let partial = durable::partial(path);
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties().build())).map_err(Error::parquet(&partial))?;
    writer.write(batch).map_err(Error::parquet(&partial))?;
    writer.close().map_err(Error::parquet(&partial))?;
    durable::complete(path)
}

/// Opens a file: its schema and its number of rows are known.
pub(crate) fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path))
}

/// Reads the named columns only; the error names the first that is missing.
pub(crate) fn project(
    builder: ParquetRecordBatchReaderBuilder<File>,
    path: &Path,
    columns: &[&str],
) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let schema = builder.schema().clone();
    let roots: Vec<usize> = columns.iter().map(|c| position(&schema, path, c)).collect::<Result<_>>()?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    Ok(builder.with_projection(mask))
}

fn position(schema: &SchemaRef, path: &Path, column: &str) -> Result<usize> {
    schema.fields().iter().position(|f| f.name() == column).ok_or_else(|| {
        let there: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).filter(|n| !n.starts_with("stats/")).collect();
        Error::column(path, column, format!("is missing; the file has {}", there.join(", ")))
    })
}

/// All rows of some columns of a small file, in one batch for each row group or so.
pub(crate) fn read(path: &Path, columns: &[&str]) -> Result<ParquetRecordBatchReader> {
    project(open(path)?, path, columns)?.build().map_err(Error::parquet(path))
}

/// A column of a batch.
pub(crate) fn column<'a>(batch: &'a RecordBatch, path: &Path, name: &str) -> Result<&'a Arc<dyn Array>> {
    batch.column_by_name(name).ok_or_else(|| Error::column(path, name, "is missing"))
}

fn wrong_type(path: &Path, name: &str, array: &dyn Array, expected: &str) -> Error {
    Error::column(path, name, format!("has the type {}, {expected} expected", array.data_type()))
}

/// A column of whole numbers.
pub(crate) fn integers(batch: &RecordBatch, path: &Path, name: &str) -> Result<Vec<i64>> {
    let array = column(batch, path, name)?;
    match array.data_type() {
        DataType::Int64 => Ok(array.as_primitive::<arrow_array::types::Int64Type>().values().to_vec()),
        DataType::Int32 => {
            Ok(array.as_primitive::<arrow_array::types::Int32Type>().values().iter().map(|v| i64::from(*v)).collect())
        }
        _ => Err(wrong_type(path, name, array, "int64")),
    }
}

/// A column of indices and counts, which are never negative.
pub(crate) fn indices(batch: &RecordBatch, path: &Path, name: &str, first_row: usize) -> Result<Vec<usize>> {
    let checked = integers(batch, path, name)?.into_iter().enumerate().map(|(i, v)| {
        usize::try_from(v).map_err(|_| Error::Value {
            path: path.to_owned(),
            row: first_row + i,
            column: name.into(),
            reason: format!("is {v}, but can't be negative"),
        })
    });
    checked.collect()
}

/// A column of texts.
pub(crate) fn texts(array: &dyn Array, path: &Path, name: &str) -> Result<Vec<String>> {
    let owned = |v: Option<&str>| v.unwrap_or_default().to_owned();
    match array.data_type() {
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().map(owned).collect()),
        DataType::LargeUtf8 => Ok(array.as_string::<i64>().iter().map(owned).collect()),
        DataType::Utf8View => Ok(array.as_string_view().iter().map(owned).collect()),
        _ => Err(wrong_type(path, name, array, "string")),
    }
}

/// One row of a column of lists.
pub(crate) fn list_row(array: &dyn Array, row: usize, path: &Path, name: &str) -> Result<Arc<dyn Array>> {
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Ok(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Ok(array.as_fixed_size_list().value(row)),
        _ => Err(wrong_type(path, name, array, "list")),
    }
}

/// The numbers in a list, or in lists of lists of them.
pub(crate) fn numbers(array: &dyn Array, path: &Path, name: &str) -> Result<Vec<f64>> {
    if let Some(lists) = array.as_any().downcast_ref::<ListArray>() {
        return numbers(lists.values(), path, name);
    }
    if let Some(lists) = array.as_any().downcast_ref::<LargeListArray>() {
        return numbers(lists.values(), path, name);
    }
    if let Some(floats) = array.as_any().downcast_ref::<Float64Array>() {
        return Ok(floats.values().to_vec());
    }
    if let Some(integers) = array.as_any().downcast_ref::<Int64Array>() {
        return Ok(integers.values().iter().map(|v| *v as f64).collect());
    }
    Err(wrong_type(path, name, array, "numbers"))
}

/// A column of one text a row.
pub(crate) fn text_column(values: &[String]) -> StringArray {
    StringArray::from_iter_values(values)
}
