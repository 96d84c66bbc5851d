//! Reading and writing safetensors files of F32 tensors.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{PolicyError, RawTensor};

/// Reads every F32 tensor of a safetensors file; `path` is for the errors.
///
/// # Errors
/// [`PolicyError::Tensors`], [`PolicyError::TensorType`].
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, RawTensor>, PolicyError> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| PolicyError::Tensors { path: path.to_owned(), reason: e.to_string() })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            let got = format!("{:?}", view.dtype());
            return Err(PolicyError::TensorType { path: path.to_owned(), name: name.to_owned(), got });
        }
        let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name.to_owned(), RawTensor { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

/// The bytes of a safetensors file with `tensors` and free-form `metadata`; `path` is for the errors.
///
/// # Errors
/// [`PolicyError::Tensors`].
pub fn serialise_tensors(
    tensors: &BTreeMap<String, RawTensor>,
    path: &Path,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, PolicyError> {
    let refuse = |e: safetensors::SafeTensorError| PolicyError::Tensors { path: path.to_owned(), reason: e.to_string() };
    let bytes: Vec<(&String, &RawTensor, Vec<u8>)> =
        tensors.iter().map(|(name, t)| (name, t, t.data.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let views = bytes
        .iter()
        .map(|(name, t, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, t.shape.clone(), data).map_err(refuse)?)))
        .collect::<Result<Vec<_>, PolicyError>>()?;
    safetensors::serialize(views, metadata).map_err(refuse)
}

/// Writes a file beside its place and renames it, so that a crash or a full disk leaves the old file whole.
///
/// # Errors
/// [`PolicyError::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), PolicyError> {
    let fail = |e| PolicyError::io(path, e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".partial-").tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    make_readable(file.as_file()).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Temporary files are private; a checkpoint is not.
#[cfg(unix)]
fn make_readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_file: &File) -> std::io::Result<()> {
    Ok(())
}
