//! `meta/info.json`.

use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::{CHUNK_SIZE, Layout};
use crate::spec::{DatasetSpec, Dtype, Feature, FeatureKind, INDEX_COLUMNS};

const VERSION: &str = "v3.0";
const DATA_PATH: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";

/// `meta/info.json`; keys that are not known are dropped when the file is rewritten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Info {
    codebase_version: String,
    robot_type: Option<String>,
    pub total_episodes: usize,
    pub total_frames: usize,
    pub total_tasks: usize,
    pub chunks_size: usize,
    data_files_size_in_mb: u64,
    video_files_size_in_mb: u64,
    /// lerobot wants an integer, some tools write `30.0`.
    fps: serde_json::Number,
    #[serde(default)]
    splits: Value,
    data_path: String,
    video_path: Option<String>,
    features: Features,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RawFeature {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
}

/// A JSON object in the order of the file, which is the order of the frame's values.
#[derive(Clone, Debug)]
struct Features(Vec<(String, RawFeature)>);

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, feature) in &self.0 {
            map.serialize_entry(name, feature)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Features;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of features")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Features, A::Error> {
                let mut features = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    features.push(entry);
                }
                Ok(Features(features))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Info {
    /// The file of a data set without episodes.
    pub(crate) fn new(spec: &DatasetSpec) -> Self {
        let mut features: Vec<(String, RawFeature)> =
            spec.features.iter().map(|f| (f.name.clone(), RawFeature::new(f))).collect();
        for name in INDEX_COLUMNS {
            let dtype = if name == "timestamp" { "float32" } else { "int64" };
            features.push((name.into(), RawFeature { dtype: dtype.into(), shape: vec![1], names: Value::Null }));
        }
        Self {
            codebase_version: VERSION.into(),
            robot_type: Some(spec.robot_type.clone()),
            total_episodes: 0,
            total_frames: 0,
            total_tasks: 0,
            chunks_size: CHUNK_SIZE,
            data_files_size_in_mb: 100,
            video_files_size_in_mb: 200,
            fps: spec.fps.into(),
            splits: Value::Object(Default::default()),
            data_path: DATA_PATH.into(),
            video_path: None,
            features: Features(features),
        }
    }

    /// Counts one more episode.
    pub(crate) fn with_episode(&self, frames: usize, tasks: usize) -> Self {
        let mut info = self.clone();
        info.total_episodes += 1;
        info.total_frames += frames;
        info.total_tasks = tasks;
        info.splits = serde_json::json!({ "train": format!("0:{}", info.total_episodes) });
        info
    }

    pub(crate) fn read(layout: &Layout) -> Result<(Self, DatasetSpec)> {
        let path = layout.info();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotADataset { folder: layout.folder.clone() });
            }
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        // The version first: other versions lack keys, and that message would mislead.
        #[derive(Deserialize)]
        struct Version {
            codebase_version: String,
        }
        let json = |e: serde_json::Error| Error::Json { path: path.clone(), reason: e.to_string() };
        let version: Version = serde_json::from_slice(&text).map_err(json)?;
        if version.codebase_version != VERSION {
            return Err(Error::Version { path, got: version.codebase_version });
        }
        let info: Self = serde_json::from_slice(&text).map_err(json)?;
        let spec = info.spec(&path)?;
        Ok((info, spec))
    }

    fn spec(&self, path: &Path) -> Result<DatasetSpec> {
        let wrong = |reason: String| Error::Json { path: path.to_owned(), reason };
        if self.data_path != DATA_PATH {
            return Err(wrong(format!("data_path is {:?}, only {DATA_PATH:?} is read", self.data_path)));
        }
        let fps = self.fps.as_f64().unwrap_or(f64::NAN);
        if !(1.0..=1e6).contains(&fps) || fps.fract() != 0.0 {
            return Err(wrong(format!("fps is {}, a whole number of at least 1 expected", self.fps)));
        }
        if self.chunks_size == 0 {
            return Err(wrong("chunks_size is 0, at least 1 expected".into()));
        }
        for name in INDEX_COLUMNS {
            if !self.features.0.iter().any(|(n, _)| n == name) {
                return Err(wrong(format!("feature {name:?} is missing, which every data set has")));
            }
        }
        let own = self.features.0.iter().filter(|(name, _)| !INDEX_COLUMNS.contains(&name.as_str()));
        Ok(DatasetSpec {
            fps: fps as u32,
            robot_type: self.robot_type.clone().unwrap_or_default(),
            features: own.map(|(name, raw)| raw.feature(name)).collect::<Result<_>>()?,
        })
    }

    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        write_json(&layout.info(), self)
    }
}

/// Writes a JSON file as Python's `json.dump(..., indent=4)` does.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_err(|e| Error::Json { path: path.to_owned(), reason: e.to_string() })?;
    durable::replace(path, &text)
}

impl RawFeature {
    fn new(feature: &Feature) -> Self {
        match &feature.kind {
            FeatureKind::Vector { dtype, size, names } => {
                let names = names.as_ref().map_or(Value::Null, |names| names.clone().into());
                Self { dtype: dtype.name().into(), shape: vec![*size], names }
            }
            FeatureKind::Image { height, width } => {
                Self { dtype: "image".into(), shape: vec![*height, *width, 3], names: vec!["height", "width", "channels"].into() }
            }
        }
    }

    fn feature(&self, name: &str) -> Result<Feature> {
        let dtype = match self.dtype.as_str() {
            "float32" => Dtype::Float32,
            "float64" => Dtype::Float64,
            "int64" => Dtype::Int64,
            "bool" => Dtype::Bool,
            "image" => return self.image(name),
            "video" => {
                return Err(Error::feature(
                    name,
                    "is a video, which is not read here; record it with images (use_videos=False) or convert it",
                ));
            }
            other => return Err(Error::feature(name, format!("has the dtype {other:?}, which is not read here"))),
        };
        let [size] = self.shape[..] else {
            return Err(Error::feature(name, format!("has the shape {:?}, only vectors are read here", self.shape)));
        };
        Ok(Feature { name: name.into(), kind: FeatureKind::Vector { dtype, size, names: self.entry_names(size) } })
    }

    fn image(&self, name: &str) -> Result<Feature> {
        // lerobot takes images with the channels first or last, as `names` says.
        let channels_first = self.names.get(0).is_some_and(|n| n == "channels" || n == "channel");
        match (&self.shape[..], channels_first) {
            (&[height, width, 3], false) | (&[3, height, width], true) => Ok(Feature::image(name, height, width)),
            _ => Err(Error::feature(name, format!("has the shape {:?}, an image with 3 channels expected", self.shape))),
        }
    }

    /// A list, or an object with one list in it.
    fn entry_names(&self, size: usize) -> Option<Vec<String>> {
        let list = match &self.names {
            Value::Object(map) if map.len() == 1 => map.values().next()?,
            other => other,
        };
        let names: Option<Vec<String>> = list.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect();
        names.filter(|names| names.len() == size)
    }
}
