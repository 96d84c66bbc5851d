//! One message, one MessagePack map: the message's own fields by name, and `schema_version` beside them.
//!
//! ```python
//! fields = msgpack.unpackb(sample.payload.to_bytes())
//! assert fields["schema_version"] == 1
//! ```

use reverie_schema::{ActionChunk, Control, EpisodeEvent, Observation, SCHEMA_VERSION, Status, Versioned};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Error;

/// A message of ours.
pub trait Message: Serialize + DeserializeOwned {
    /// Number that its sender counts up by one each time; none where the message answers or orders something.
    fn stream_seq(&self) -> Option<u64> {
        None
    }

    /// The first entry that is NaN or infinite and would be taken for a measurement: field, index, value.
    ///
    /// A chunk is let through as it is, because it is the servo that refuses, counts and reports it.
    fn not_finite(&self) -> Option<(&'static str, usize, f64)> {
        None
    }
}

impl Message for Observation {
    fn stream_seq(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn not_finite(&self) -> Option<(&'static str, usize, f64)> {
        first_not_finite("robot", self.robot.map(f64::from)).or_else(|| first_not_finite("scene", self.scene.map(f64::from)))
    }
}

impl Message for ActionChunk {
    fn stream_seq(&self) -> Option<u64> {
        Some(self.seq)
    }
}

impl Message for Status {
    fn stream_seq(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn not_finite(&self) -> Option<(&'static str, usize, f64)> {
        first_not_finite("position_command", self.position_command)
            .or_else(|| first_not_finite("speed_command_radps", [self.speed_command_radps]))
    }
}

impl Message for EpisodeEvent {}

impl Message for Control {}

fn first_not_finite(field: &'static str, values: impl IntoIterator<Item = f64>) -> Option<(&'static str, usize, f64)> {
    values.into_iter().enumerate().find(|(_, value)| !value.is_finite()).map(|(index, value)| (field, index, value))
}

/// The payload of `message`; `key` is only for the error.
///
/// # Errors
/// [`Error::Encode`].
pub fn encode<T: Message>(key: &str, message: &T) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(&Versioned::new(message))
        .map_err(|error| Error::Encode { key: key.to_owned(), reason: error.to_string() })
}

/// The message in `payload`, which came on `key`.
///
/// # Errors
/// [`Error::Decode`] if it is no such message, [`Error::SchemaVersion`] if it is of another version, [`Error::NotFinite`] if
/// it holds NaN or infinity in place of a measurement.
pub fn decode<T: Message>(key: &str, payload: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Header {
        schema_version: u32,
    }
    let no_message =
        |error: rmp_serde::decode::Error| Error::Decode { key: key.to_owned(), bytes: payload.len(), reason: error.to_string() };
    // The version stands alone first: a newer sender's fields may not parse, and "wrong version" is what its reader must hear.
    let header: Header = rmp_serde::from_slice(payload).map_err(no_message)?;
    if header.schema_version != SCHEMA_VERSION {
        return Err(Error::SchemaVersion { key: key.to_owned(), expected: SCHEMA_VERSION, got: header.schema_version });
    }
    let message: T = rmp_serde::from_slice(payload).map_err(no_message)?;
    match message.not_finite() {
        None => Ok(message),
        Some((field, index, value)) => {
            let seq = message.stream_seq().unwrap_or_default();
            Err(Error::NotFinite { key: key.to_owned(), seq, field, index, value })
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_schema::{Action, GripperCommand, HoldReason, ROBOT_OBS, SCENE_OBS, ServoState, Stamp};

    use super::*;

    fn observation() -> Observation {
        Observation {
            seq: 3,
            stamp: Stamp(-5),
            robot: std::array::from_fn(|i| i as f32 * 0.1),
            scene: std::array::from_fn(|i| -(i as f32)),
        }
    }

    #[test]
    fn every_message_survives_the_wire() {
        fn through<T: Message + PartialEq + std::fmt::Debug>(message: T) {
            assert_eq!(decode::<T>("k", &encode("k", &message).unwrap()).unwrap(), message);
        }
        through(observation());
        let mut chunk =
            ActionChunk::from_rows(Stamp(i64::MAX - 7), &[Action([0.25; 7]), Action::hold(GripperCommand::Close)]).unwrap();
        chunk.seq = u64::MAX;
        through(chunk);
        through(Status { hold_reason: HoldReason::ChunkStale, servo: ServoState::Decelerating, ..Status::default() });
        through(Control::Reset { seq: 1, task: "open_drawer".to_owned(), seed: 2, max_steps: 3 });
        through(Control::Stop { seq: 9 });
        through(EpisodeEvent::Started { seq: 1, task: "t".to_owned(), stamp: Stamp(1) });
        through(EpisodeEvent::Ended { seq: 1, task: "t".to_owned(), stamp: Stamp(2), success: true, steps: 3 });
        through(EpisodeEvent::Refused { seq: 1, reason: "no such task".to_owned() });
    }

    /// What a Python reader relies on: a map, fields by name, the version among them.
    #[test]
    fn fields_are_named_and_the_version_stands_beside_them() {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct AsPythonSeesIt {
            schema_version: u32,
            seq: u64,
            stamp: i64,
            robot: Vec<f32>,
            scene: Vec<f32>,
        }
        let seen: AsPythonSeesIt = rmp_serde::from_slice(&encode("k", &observation()).unwrap()).unwrap();
        assert_eq!((seen.schema_version, seen.seq, seen.stamp), (SCHEMA_VERSION, 3, -5));
        assert_eq!((seen.robot.len(), seen.scene.len()), (ROBOT_OBS, SCENE_OBS));
    }

    #[test]
    fn another_version_is_told_from_garbage() {
        let payload = rmp_serde::to_vec_named(&Versioned { schema_version: 2, body: Control::Stop { seq: 0 } }).unwrap();
        assert!(matches!(decode::<Control>("k", &payload), Err(Error::SchemaVersion { expected: 1, got: 2, .. })));
        assert!(matches!(decode::<Control>("k", b"\xc1 nonsense"), Err(Error::Decode { bytes: 10, .. })));
    }

    #[test]
    fn no_truncation_of_a_message_decodes_or_panics() {
        let payload = encode("k", &observation()).unwrap();
        for end in 0..payload.len() {
            assert!(decode::<Observation>("k", &payload[..end]).is_err(), "{end} of {} bytes decoded", payload.len());
        }
    }

    #[test]
    fn nan_is_no_measurement_but_a_chunk_goes_to_the_servo_that_reports_it() {
        let mut bad = observation();
        bad.scene[4] = f32::NAN;
        let error = decode::<Observation>("k", &encode("k", &bad).unwrap()).unwrap_err();
        assert!(matches!(error, Error::NotFinite { seq: 3, field: "scene", index: 4, .. }));
        let chunk = ActionChunk::from_rows(Stamp(0), &[Action([f32::NAN; 7])]).unwrap();
        assert!(decode::<ActionChunk>("k", &encode("k", &chunk).unwrap()).unwrap().validate().is_err());
    }
}
