use thiserror::Error;

/// Why a picture could not be taken.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CameraError {
    /// A shape of the scene cannot be drawn.
    #[error("shape {shape} of body `{body}` cannot be drawn: {reason}")]
    Shape {
        /// The body's name.
        body: String,
        /// Index among the body's shapes.
        shape: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The scene and the poses do not belong together.
    #[error("got {got} poses for a scene of {expected} bodies; pass one `world_from_body` a body, in the scene's order")]
    PoseCount {
        /// Bodies in the scene.
        expected: usize,
        /// Poses passed.
        got: usize,
    },
    /// A camera is mounted on a body that the scene lacks.
    #[error("the camera is mounted on `{0}`, which is no body of the scene")]
    UnknownBody(String),
    /// A setting has a value that makes no picture.
    #[error("{quantity} is {value}; it must be {must_be}")]
    Setting {
        /// The setting.
        quantity: &'static str,
        /// Its value.
        value: f64,
        /// The valid values.
        must_be: &'static str,
    },
    /// The camera's pose, or that of the body that carries it, is not a rigid transform.
    #[error("the camera's pose is not finite, or its rotation is no unit quaternion")]
    CameraPose,
}
