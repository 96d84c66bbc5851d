//! One time step: state vectors, actions and images.

use std::collections::BTreeMap;
use std::path::Path;

use reverie_schema::{Action, N_ACT, ROBOT_OBS, SCENE_OBS};

use crate::error::Error;
use crate::npy::{Array, Shape};
use crate::npz::Npz;

/// What the elements of an image array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// `rgb_*`: 0 to 255.
    Color,
    /// `depth_*`: metres; `depth_tactile` in its sensor's own unit.
    Depth,
}

/// An image array: its name in the file, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageArray {
    /// Name in the file, for example `rgb_static` or `depth_gripper`.
    pub key: String,
    /// What its elements are.
    pub kind: ImageKind,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 3 for colour, 6 for the two tactile images side by side, 1 for depth, 2 for tactile depth.
    pub channels: usize,
}

impl ImageArray {
    /// The camera's name: `static` for `rgb_static` and `depth_static`.
    pub fn camera(&self) -> &str {
        self.key.split_once('_').map_or(&self.key, |(_, camera)| camera)
    }

    fn is_of_shape(&self, shape: &Shape) -> bool {
        ImageSize::of(shape) == Some(ImageSize(self.height, self.width, self.channels))
    }
}

/// One time step. Images are `[height, width, channels]`, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CalvinFrame {
    /// `robot_obs`, as in [`reverie_schema::Observation::robot`].
    pub robot_obs: [f32; ROBOT_OBS],
    /// `scene_obs`, as in [`reverie_schema::Observation::scene`].
    pub scene_obs: [f32; SCENE_OBS],
    /// `actions`: TCP pose of the next frame in the world (metres, radians), gripper -1 or +1.
    pub actions: [f32; N_ACT],
    /// `rel_actions`: the relative action, each entry in `[-1, 1]`, gripper -1 or +1; see [`Action`].
    pub rel_actions: [f32; N_ACT],
    /// Colour images by key.
    pub images: BTreeMap<String, Vec<u8>>,
    /// Depth images by key.
    pub depth: BTreeMap<String, Vec<f32>>,
}

impl CalvinFrame {
    /// The relative action, typed.
    pub fn action(&self) -> Action {
        Action(self.rel_actions)
    }
}

#[derive(PartialEq)]
struct ImageSize(usize, usize, usize);

impl ImageSize {
    fn of(shape: &Shape) -> Option<Self> {
        match *shape.0 {
            [height, width] => Some(Self(height, width, 1)),
            [height, width, channels] => Some(Self(height, width, channels)),
            _ => None,
        }
    }
}

/// The image arrays of a file.
pub(crate) fn cameras(npz: &mut Npz) -> Result<Vec<ImageArray>, Error> {
    let mut buffer = Vec::new();
    let mut cameras = Vec::new();
    for key in npz.keys() {
        let kind = match key.split_once('_') {
            Some(("rgb", _)) => ImageKind::Color,
            Some(("depth", _)) => ImageKind::Depth,
            _ => continue,
        };
        let ImageSize(height, width, channels) =
            npz.read(&key, &mut buffer, |path, array| match ImageSize::of(&array.shape) {
                Some(size) if !array.data.is_empty() => Ok(size),
                _ => Err(shape_error(path, &key, "(height, width) or (height, width, channels)".to_owned(), array.shape)),
            })?;
        cameras.push(ImageArray { key, kind, height, width, channels });
    }
    Ok(cameras)
}

/// Reads the vectors and these images.
pub(crate) fn read(npz: &mut Npz, images: &[ImageArray]) -> Result<CalvinFrame, Error> {
    let buffer = &mut Vec::new();
    let mut frame = CalvinFrame {
        robot_obs: vector(npz, "robot_obs", buffer)?,
        scene_obs: vector(npz, "scene_obs", buffer)?,
        actions: vector(npz, "actions", buffer)?,
        rel_actions: vector(npz, "rel_actions", buffer)?,
        ..CalvinFrame::default()
    };
    check_actions(npz.path(), &frame)?;
    for image in images {
        let key = image.key.clone();
        match image.kind {
            ImageKind::Color => drop(frame.images.insert(key, color(npz, image, buffer)?)),
            ImageKind::Depth => drop(frame.depth.insert(key, depth(npz, image, buffer)?)),
        }
    }
    Ok(frame)
}

fn vector<const N: usize>(npz: &mut Npz, key: &str, buffer: &mut Vec<u8>) -> Result<[f32; N], Error> {
    npz.read(key, buffer, |path, array| {
        if array.shape.0 != [N] {
            return Err(shape_error(path, key, Shape(vec![N]).to_string(), array.shape));
        }
        let values = array.f64s().ok_or_else(|| dtype_error(path, key, "float64 or float32", &array))?;
        let mut vector = [0.0; N];
        for (index, (to, value)) in vector.iter_mut().zip(values).enumerate() {
            *to = value as f32;
            if !to.is_finite() {
                return Err(Error::Value {
                    path: path.to_owned(),
                    key: key.to_owned(),
                    index,
                    value,
                    expected: "no finite number",
                });
            }
        }
        Ok(vector)
    })
}

fn check_actions(path: &Path, frame: &CalvinFrame) -> Result<(), Error> {
    let failed = |key: &str, index, value: f32, expected| {
        Err(Error::Value { path: path.to_owned(), key: key.to_owned(), index, value: value.into(), expected })
    };
    const GRIPPER: usize = N_ACT - 1;
    for (key, action) in [("actions", &frame.actions), ("rel_actions", &frame.rel_actions)] {
        if action[GRIPPER].abs() != 1.0 {
            return failed(key, GRIPPER, action[GRIPPER], "the gripper takes only -1 (close) and +1 (open)");
        }
    }
    match frame.rel_actions.iter().position(|value| value.abs() > 1.0) {
        Some(index) => failed("rel_actions", index, frame.rel_actions[index], "a relative action lies in [-1, 1]"),
        None => Ok(()),
    }
}

fn color(npz: &mut Npz, image: &ImageArray, buffer: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    npz.read(&image.key, buffer, |path, array| {
        check_size(path, image, &array)?;
        array.u8s().ok_or_else(|| dtype_error(path, &image.key, "uint8", &array))
    })
}

fn depth(npz: &mut Npz, image: &ImageArray, buffer: &mut Vec<u8>) -> Result<Vec<f32>, Error> {
    npz.read(&image.key, buffer, |path, array| {
        check_size(path, image, &array)?;
        let values = array.f32s().ok_or_else(|| dtype_error(path, &image.key, "float32 or float64", &array))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(Error::Value {
                path: path.to_owned(),
                key: image.key.clone(),
                index,
                value: values[index].into(),
                expected: "no finite number",
            }),
            None => Ok(values),
        }
    })
}

fn check_size(path: &Path, image: &ImageArray, array: &Array<'_>) -> Result<(), Error> {
    if image.is_of_shape(&array.shape) {
        return Ok(());
    }
    let expected = match (image.kind, image.channels) {
        (ImageKind::Depth, 1) => Shape(vec![image.height, image.width]),
        _ => Shape(vec![image.height, image.width, image.channels]),
    };
    Err(shape_error(path, &image.key, expected.to_string(), array.shape.clone()))
}

fn shape_error(path: &Path, key: &str, expected: String, got: Shape) -> Error {
    Error::Shape { path: path.to_owned(), key: key.to_owned(), expected, got }
}

fn dtype_error(path: &Path, key: &str, expected: &'static str, array: &Array<'_>) -> Error {
    Error::Dtype { path: path.to_owned(), key: key.to_owned(), expected, got: array.dtype.name().to_owned() }
}
