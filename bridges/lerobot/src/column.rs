use crate::spec::{DatasetSpec, Dtype, Feature, FeatureKind};

/// The value of one feature in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrameValue<'a> {
    /// A vector of single-precision numbers.
    F32(&'a [f32]),
    /// A vector of double-precision numbers.
    F64(&'a [f64]),
    /// A vector of integers.
    I64(&'a [i64]),
    /// An image `[height, width, 3]`, rows from the top, red, green, blue.
    Image(&'a [u8]),
}

/// The values of one feature over some frames, frame after frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// `[frames, size]` single-precision numbers.
    F32(Vec<f32>),
    /// `[frames, size]` double-precision numbers.
    F64(Vec<f64>),
    /// `[frames, size]` integers.
    I64(Vec<i64>),
    /// `[frames, height, width, 3]` pixels.
    Image(Vec<u8>),
}

impl Column {
    /// An empty column for a feature.
    pub fn new(feature: &Feature) -> Self {
        match feature.kind {
            FeatureKind::Image { .. } => Self::Image(Vec::new()),
            FeatureKind::Vector { dtype: Dtype::Float32, .. } => Self::F32(Vec::new()),
            FeatureKind::Vector { dtype: Dtype::Float64, .. } => Self::F64(Vec::new()),
            FeatureKind::Vector { dtype: Dtype::Int64 | Dtype::Bool, .. } => Self::I64(Vec::new()),
        }
    }

    /// Number of single values, over all frames.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::Image(v) => v.len(),
        }
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of frame `frame` where each frame has `size` of them; nothing beyond the last frame.
    pub fn frame(&self, frame: usize, size: usize) -> Option<FrameValue<'_>> {
        let range = frame * size..(frame + 1) * size;
        Some(match self {
            Self::F32(v) => FrameValue::F32(v.get(range)?),
            Self::F64(v) => FrameValue::F64(v.get(range)?),
            Self::I64(v) => FrameValue::I64(v.get(range)?),
            Self::Image(v) => FrameValue::Image(v.get(range)?),
        })
    }

    /// The single-precision numbers, if they are.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Self::F32(v) = self { Some(v) } else { None }
    }

    /// The pixels, if it is an image.
    pub fn as_image(&self) -> Option<&[u8]> {
        if let Self::Image(v) = self { Some(v) } else { None }
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        match (self, other) {
            (Self::F32(a), Self::F32(b)) => a.extend_from_slice(b),
            (Self::F64(a), Self::F64(b)) => a.extend_from_slice(b),
            (Self::I64(a), Self::I64(b)) => a.extend_from_slice(b),
            (Self::Image(a), Self::Image(b)) => a.extend_from_slice(b),
            _ => unreachable!("columns of one feature have one type"),
        }
    }
}

impl Feature {
    /// Single values in a frame: entries of the vector, or `height * width * 3`.
    pub fn size(&self) -> usize {
        match self.kind {
            FeatureKind::Vector { size, .. } => size,
            FeatureKind::Image { height, width } => height * width * 3,
        }
    }

    /// Why a value can't stand for this feature, if it can't.
    pub(crate) fn objection(&self, value: &FrameValue) -> Option<String> {
        let dtype = |expected: Dtype, got: &str| {
            let FeatureKind::Vector { dtype, .. } = self.kind else {
                return Some(format!("is an image, {got} numbers were given"));
            };
            (dtype != expected).then(|| format!("holds {} numbers, {got} were given", dtype.name()))
        };
        let (objection, size, not_finite) = match value {
            FrameValue::F32(v) => (dtype(Dtype::Float32, "float32"), v.len(), v.iter().position(|x| !x.is_finite())),
            FrameValue::F64(v) => (dtype(Dtype::Float64, "float64"), v.len(), v.iter().position(|x| !x.is_finite())),
            FrameValue::I64(v) => (dtype(Dtype::Int64, "int64"), v.len(), None),
            FrameValue::Image(v) => {
                let objection = (!self.is_image()).then(|| "is a vector, an image was given".to_owned());
                (objection, v.len(), None)
            }
        };
        if objection.is_some() {
            return objection;
        }
        if size != self.size() {
            return Some(match self.kind {
                FeatureKind::Vector { size: expected, .. } => format!("has {size} entries, {expected} expected"),
                FeatureKind::Image { height, width } => {
                    format!("has {size} bytes, {height} x {width} x 3 = {} expected", self.size())
                }
            });
        }
        not_finite.map(|i| format!("entry {i} is not finite"))
    }
}

impl DatasetSpec {
    /// Empty columns, one for each feature.
    pub fn columns(&self) -> Vec<Column> {
        self.features.iter().map(Column::new).collect()
    }
}
