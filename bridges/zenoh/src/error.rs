use std::path::PathBuf;

use thiserror::Error as ThisError;

/// What can go wrong on the link.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The robot's name can't stand in a key expression.
    #[error("robot name {name:?} must be non-empty and without / * $ ? #")]
    RobotName {
        /// The name.
        name: String,
    },
    /// The user's zenoh configuration can't be read.
    #[error("zenoh configuration {}: {reason}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What zenoh said.
        reason: String,
    },
    /// Zenoh refused a value of the configuration.
    #[error("zenoh refuses {key} = {value}: {reason} (an endpoint is written tcp/ADDRESS:PORT)")]
    ConfigValue {
        /// Zenoh's name of the setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What zenoh said.
        reason: String,
    },
    /// Somebody listens on the endpoint already.
    #[error(
        "{endpoint} is already in use: stop the process that listens there, or give both ends another port (link.listen, link.connect)"
    )]
    PortInUse {
        /// The endpoint.
        endpoint: String,
    },
    /// The session could not be opened.
    #[error("cannot open the link (listen {listen:?}, connect {connect:?}): {reason}")]
    Open {
        /// Endpoints to listen on.
        listen: Vec<String>,
        /// Endpoints to connect to.
        connect: Vec<String>,
        /// What zenoh said.
        reason: String,
    },
    /// A publisher, subscriber or token could not be declared.
    #[error("cannot declare {key}: {reason}")]
    Declare {
        /// The key.
        key: String,
        /// What zenoh said.
        reason: String,
    },
    /// A message could not be sent.
    #[error("cannot send on {key}: {reason}")]
    Send {
        /// The key.
        key: String,
        /// What zenoh said.
        reason: String,
    },
    /// The session is closed; nothing more will come.
    #[error("cannot receive on {key}: {reason}")]
    Receive {
        /// The key.
        key: String,
        /// What zenoh said.
        reason: String,
    },
    /// A message can't be written as MessagePack.
    #[error("cannot encode a message for {key}: {reason}")]
    Encode {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A payload is not the message that belongs to the key.
    #[error("{key}: payload of {bytes} bytes is no message of ours: {reason}")]
    Decode {
        /// The key.
        key: String,
        /// Length of the payload.
        bytes: usize,
        /// Why.
        reason: String,
    },
    /// The sender speaks another version.
    #[error("{key}: the sender uses schema version {got}, this program {expected}; run the same release at both ends")]
    SchemaVersion {
        /// The key.
        key: String,
        /// Ours.
        expected: u32,
        /// The sender's.
        got: u32,
    },
    /// NaN or infinity where a measurement belongs.
    #[error("{key}: message {seq} has {value} in {field}[{index}]")]
    NotFinite {
        /// The key.
        key: String,
        /// Number of the message.
        seq: u64,
        /// The field.
        field: &'static str,
        /// Index in the field.
        index: usize,
        /// What was there.
        value: f64,
    },
}

/// Zenoh's words, without the places in its source that it puts between them (`at .../orchestrator.rs:447.`).
pub(crate) fn reason(error: &zenoh::Error) -> String {
    let text = error.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_place = |word: &str| word.rsplit_once(".rs:").is_some_and(|(_, line)| line.starts_with(|c: char| c.is_ascii_digit()));
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        if *word == "at" && rest.next_if(|next| is_place(next)).is_some() {
            continue;
        }
        kept.push(*word);
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_source_are_left_out_and_words_stay() {
        let error: zenoh::Error =
            "Unable to connect at 10.0.0.1! at /x/net/orchestrator.rs:447. - Caused by no route at /x/y.rs:3.".into();
        assert_eq!(reason(&error), "Unable to connect at 10.0.0.1! - Caused by no route");
    }
}
