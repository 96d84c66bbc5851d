//! `meta/tasks.parquet`: the task strings, in the order of their indices.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use crate::error::{Error, Result};
use crate::parquet_file;

/// What makes pandas take `task` for the index; it looks in the arrow schema, not in parquet's own key-value pairs.
const PANDAS: &str = r#"{"index_columns":["task"],"column_indexes":[],"columns":[{"name":"task_index","field_name":"task_index","pandas_type":"int64","numpy_type":"int64","metadata":null},{"name":"task","field_name":"task","pandas_type":"unicode","numpy_type":"object","metadata":null}]}"#;

/// Writes the table as a whole.
pub(crate) fn write(path: &Path, tasks: &[String]) -> Result<()> {
    let fields = vec![Field::new("task_index", DataType::Int64, true), Field::new("task", DataType::Utf8, true)];
    let schema = Schema::new(fields).with_metadata(HashMap::from([("pandas".to_owned(), PANDAS.to_owned())]));
    let indices = Int64Array::from_iter_values(0..tasks.len() as i64);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(indices), Arc::new(parquet_file::text_column(tasks))])
        .map_err(Error::arrow(path))?;
    parquet_file::write(path, &batch)
}

/// Reads the first `count` tasks; later ones belong to an episode that was never finished.
pub(crate) fn read(path: &Path, count: usize) -> Result<Vec<String>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let builder = parquet_file::open(path)?;
    // pandas names an index without a name `__index_level_0__`, which is what lerobot 0.4.4 leaves.
    let name = if builder.schema().field_with_name("task").is_ok() { "task" } else { "__index_level_0__" };
    let mut tasks: Vec<Option<String>> = Vec::new();
    for batch in parquet_file::project(builder, path, &[name, "task_index"])?.build().map_err(Error::parquet(path))? {
        let batch = batch.map_err(Error::arrow(path))?;
        let indices = parquet_file::indices(&batch, path, "task_index", tasks.len())?;
        let texts = parquet_file::texts(parquet_file::column(&batch, path, name)?, path, name)?;
        for (index, text) in indices.into_iter().zip(texts) {
            // lerobot looks a task up by its row, so both must be the same.
            if index != tasks.len() {
                return Err(Error::Value {
                    path: path.to_owned(),
                    row: tasks.len(),
                    column: "task_index".into(),
                    reason: format!("is {index}, the number of the row expected"),
                });
            }
            tasks.push(Some(text));
        }
    }
    if tasks.len() < count {
        return Err(Error::mismatch(path, format!("holds {} tasks, info.json says {count}", tasks.len())));
    }
    tasks.truncate(count);
    Ok(tasks.into_iter().flatten().collect())
}
