//! The Python objects that CALVIN keeps in `.npy` files: numpy's pickled scalars and arrays, and the dict around them.

use std::path::Path;

use crate::error::Error;
use crate::npy::{Array, Dtype};
use crate::npz::read_file;
use crate::pickle::{Id, Node, Pickle, signed};

/// The largest published annotations, 24,000 embeddings of 1024 numbers, are 100 MB.
const MAX_BYTES: u64 = 512 << 20;

/// Reads the dict that `numpy.save` wrote to `path`, and hands it to `take`; an error of `take` is a sentence.
pub(crate) fn with_dict<T>(path: &Path, take: impl FnOnce(&Pickle<'_>, Id) -> Result<T, Error>) -> Result<T, Error> {
    let failed = |reason| Error::Pickle { path: path.to_owned(), reason };
    let bytes = read_file(path, MAX_BYTES)?;
    let array = Array::parse(&bytes).map_err(failed)?;
    if array.dtype != Dtype::Object || !array.shape.0.is_empty() {
        let reason = format!("it holds {} of shape {}, not a pickled dict", array.dtype.name(), array.shape);
        return Err(failed(reason));
    }
    let pickle = Pickle::parse(array.data).map_err(failed)?;
    let dict = only_element(&pickle).ok_or_else(|| failed("the pickle holds no dict".to_owned()))?;
    take(&pickle, dict)
}

/// The dict in a pickled array of no dimension.
fn only_element(pickle: &Pickle<'_>) -> Option<Id> {
    let (_, _, elements) = array_state(pickle, pickle.root())?;
    let &[dict] = pickle.elements(elements)? else { return None };
    matches!(pickle.node(dict), Node::Dict(_)).then_some(dict)
}

/// Shape, dtype and elements of what `numpy.ndarray.__reduce__` gives: state (version, shape, dtype, fortran order, elements).
fn array_state(pickle: &Pickle<'_>, id: Id) -> Option<(Id, Id, Id)> {
    let Node::Object { callable, state: Some(state), .. } = *pickle.node(id) else { return None };
    is_numpy(pickle, callable, "_reconstruct").then_some(())?;
    let &[_, shape, dtype, fortran_order, elements] = pickle.elements(state)? else { return None };
    (*pickle.node(fortran_order) == Node::Bool(false)).then_some((shape, dtype, elements))
}

/// Version 1 of numpy says `numpy.core`, version 2 `numpy._core`.
fn is_numpy(pickle: &Pickle<'_>, callable: Id, function: &str) -> bool {
    matches!(*pickle.node(callable), Node::Global("numpy.core.multiarray" | "numpy._core.multiarray", name) if name == function)
}

/// Bytes of one element, if the dtype is a little-endian signed whole number.
fn int_size(pickle: &Pickle<'_>, dtype: Id) -> Option<usize> {
    let Node::Object { callable, args, state: Some(state) } = *pickle.node(dtype) else { return None };
    let (&Node::Global("numpy", "dtype"), &[descr, ..]) = (pickle.node(callable), pickle.elements(args)?) else { return None };
    let &[_, byte_order, ..] = pickle.elements(state)? else { return None };
    match (pickle.node(descr), pickle.node(byte_order)) {
        (Node::Text("i4"), Node::Text("<")) => Some(4),
        (Node::Text("i8"), Node::Text("<")) => Some(8),
        _ => None,
    }
}

/// A Python `int` or a numpy whole number.
pub(crate) fn int(pickle: &Pickle<'_>, id: Id) -> Option<i64> {
    match *pickle.node(id) {
        Node::Int(value) => Some(value),
        Node::Object { callable, args, .. } if is_numpy(pickle, callable, "scalar") => {
            let &[dtype, bytes] = pickle.elements(args)? else { return None };
            let Node::Bytes(bytes) = *pickle.node(bytes) else { return None };
            (bytes.len() == int_size(pickle, dtype)?).then(|| signed(bytes))?
        }
        _ => None,
    }
}

/// A pair of whole numbers: tuple, list, or numpy array of two.
pub(crate) fn pair(pickle: &Pickle<'_>, id: Id) -> Option<(i64, i64)> {
    if let Some(elements) = pickle.elements(id) {
        let &[first, second] = elements else { return None };
        return Some((int(pickle, first)?, int(pickle, second)?));
    }
    let (_, dtype, elements) = array_state(pickle, id)?;
    let Node::Bytes(bytes) = *pickle.node(elements) else { return None };
    let size = int_size(pickle, dtype)?;
    (bytes.len() == 2 * size).then_some(())?;
    Some((signed(&bytes[..size])?, signed(&bytes[size..])?))
}

/// A text.
pub(crate) fn text<'a>(pickle: &Pickle<'a>, id: Id) -> Option<&'a str> {
    if let Node::Text(text) = *pickle.node(id) { Some(text) } else { None }
}
