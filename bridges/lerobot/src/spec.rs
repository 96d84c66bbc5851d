use crate::error::{Error, Result};

/// Columns that every LeRobot data set has beside its features, in the order of `info.json`.
pub(crate) const INDEX_COLUMNS: [&str; 5] = ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// What a data set holds: its rate, its robot and its features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSpec {
    /// Frames per second; the timestamp of a frame is its index divided by this.
    pub fps: u32,
    /// The robot's name, free text (`panda`).
    pub robot_type: String,
    /// What each frame holds, in this order.
    pub features: Vec<Feature>,
}

/// One quantity of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// LeRobot's name (`observation.state`, `observation.images.static`, `action`); no `/`.
    pub name: String,
    /// Numbers or an image.
    pub kind: FeatureKind,
}

/// The kind of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureKind {
    /// A vector of numbers.
    Vector {
        /// Type of the entries.
        dtype: Dtype,
        /// Number of entries, at least 1.
        size: usize,
        /// A name for each entry, or nothing.
        names: Option<Vec<String>>,
    },
    /// A colour image, rows from the top, stored as PNG without loss.
    Image {
        /// Rows, pixels.
        height: usize,
        /// Columns, pixels.
        width: usize,
    },
}

/// Type of the entries of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
    /// Signed 64-bit integer.
    Int64,
    /// Truth value; read as integers 0 and 1, never written.
    Bool,
}

impl Dtype {
    /// LeRobot's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Bool => "bool",
        }
    }
}

impl Feature {
    /// A vector of single-precision numbers with a name for each entry.
    pub fn floats<S: Into<String>>(name: impl Into<String>, entries: impl IntoIterator<Item = S>) -> Self {
        let names: Vec<String> = entries.into_iter().map(Into::into).collect();
        let kind = FeatureKind::Vector { dtype: Dtype::Float32, size: names.len(), names: Some(names) };
        Self { name: name.into(), kind }
    }

    /// A vector of `size` nameless numbers.
    pub fn vector(name: impl Into<String>, dtype: Dtype, size: usize) -> Self {
        Self { name: name.into(), kind: FeatureKind::Vector { dtype, size, names: None } }
    }

    /// A camera image of `height` x `width` pixels, red, green, blue.
    pub fn image(name: impl Into<String>, height: usize, width: usize) -> Self {
        Self { name: name.into(), kind: FeatureKind::Image { height, width } }
    }

    pub(crate) fn is_image(&self) -> bool {
        matches!(self.kind, FeatureKind::Image { .. })
    }
}

impl DatasetSpec {
    /// Position of a feature in [`DatasetSpec::features`].
    ///
    /// # Errors
    /// [`Error::Feature`] with the names that there are.
    pub fn position(&self, feature: &str) -> Result<usize> {
        self.features.iter().position(|f| f.name == feature).ok_or_else(|| {
            let there: Vec<&str> = self.features.iter().map(|f| f.name.as_str()).collect();
            Error::feature(feature, format!("not in the data set, which has {}", there.join(", ")))
        })
    }

    /// Whether this can be written; the rules are LeRobot's, and what its loader would fail on later.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.fps == 0 {
            return Err(Error::feature("timestamp", "fps is 0; it must be at least 1"));
        }
        if self.features.is_empty() {
            return Err(Error::feature("", "a data set needs at least one feature"));
        }
        for (i, feature) in self.features.iter().enumerate() {
            let name = feature.name.as_str();
            let refuse = |reason: &str| Err(Error::feature(name, reason));
            if name.is_empty() || name.contains('/') {
                return refuse("a name must not be empty and must not contain '/'");
            }
            if INDEX_COLUMNS.contains(&name) || name == "task" {
                return refuse("the name is taken by LeRobot itself");
            }
            if self.features[..i].iter().any(|f| f.name == name) {
                return refuse("named twice");
            }
            match &feature.kind {
                FeatureKind::Image { height, width } => {
                    if *height == 0 || *width == 0 || *height > 1 << 15 || *width > 1 << 15 {
                        return refuse("an image has between 1 and 32768 rows and columns");
                    }
                }
                FeatureKind::Vector { dtype, size, names } => {
                    // lerobot takes every statistic whose key contains "image" for one of three channels.
                    if name.contains("image") {
                        return refuse("only an image may have \"image\" in its name, lerobot would refuse the statistics");
                    }
                    if *size == 0 {
                        return refuse("a vector has at least one entry");
                    }
                    if names.as_ref().is_some_and(|names| names.len() != *size) {
                        return refuse("there must be one name for each entry");
                    }
                    if *dtype == Dtype::Bool {
                        return refuse("truth values are not written, use int64 with 0 and 1");
                    }
                }
            }
        }
        Ok(())
    }
}
