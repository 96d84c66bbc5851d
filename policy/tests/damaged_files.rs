//! Whatever stands in a checkpoint's files, reading them ends with a policy that is whole or with an error that names the file,
//! never with a panic. The hash is renewed after each change of the weights: without that it would refuse them all.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;
use reverie_policy::checkpoint::{INFO_FILE, TENSORS_FILE};
use reverie_policy::engine::{Engine, EngineConfig};
use reverie_policy::{Checkpoint, DraftConfig, NetworkConfig};
use sha2::{Digest as _, Sha256};

/// A change of a file: at a place given as a share of its length.
#[derive(Clone, Debug)]
enum Change {
    Flip {
        at: f64,
        bit: u8,
    },
    Set {
        at: f64,
        byte: u8,
    },
    Cut {
        at: f64,
    },
    Insert {
        at: f64,
        bytes: Vec<u8>,
    },
    Remove {
        at: f64,
        count: usize,
    },
    /// Digits of numbers are where lengths, shapes and offsets are.
    Digit {
        nth: usize,
        digit: u8,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0_f64;
    // Most of a safetensors file is numbers; its first part is the header, where mistakes are more interesting.
    let early = prop_oneof![at(), at().prop_map(|a| a * 0.1)];
    prop_oneof![
        (early.clone(), 0..8_u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (early.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        at().prop_map(|at| Change::Cut { at }),
        (early.clone(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        (early, 1..40_usize).prop_map(|(at, count)| Change::Remove { at, count }),
        (0..400_usize, b'0'..=b'9').prop_map(|(nth, digit)| Change::Digit { nth, digit }),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |at: f64| ((at * bytes.len() as f64) as usize).min(bytes.len().saturating_sub(1));
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Flip { at, bit } => {
            let at = place(*at);
            bytes[at] ^= 1 << bit;
        }
        Change::Set { at, byte } => {
            let at = place(*at);
            bytes[at] = *byte;
        }
        Change::Cut { at } => {
            let at = place(*at);
            bytes.truncate(at);
        }
        Change::Insert { at, bytes: new } => {
            let at = place(*at);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove { at, count } => {
            let at = place(*at);
            let end = (at + count).min(bytes.len());
            bytes.drain(at..end);
        }
        Change::Digit { nth, digit } => {
            let digits: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).take(400).collect();
            if let Some(&at) = digits.get(*nth) {
                bytes[at] = *digit;
            }
        }
    }
}

/// Reads `folder`; a policy that is accepted must also run.
fn read(folder: &Path) {
    let outcome = catch_unwind(AssertUnwindSafe(|| match Checkpoint::load(folder) {
        Ok(checkpoint) => {
            let engine = Engine::new(&checkpoint, &EngineConfig::default(), 1).unwrap();
            drop(engine.denoiser().unwrap());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }));
    assert!(outcome.is_ok(), "reading {} panicked", folder.display());
}

fn files() -> (tempfile::TempDir, Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let network = NetworkConfig::ResidualMlp { hidden: 4, blocks: 1, step_embed: 4 };
    let draft = Some(DraftConfig { hidden: 3, blocks: 0 });
    Checkpoint::untrained(network, draft, &["open_drawer"], 1).unwrap().save(folder.path()).unwrap();
    let [info, tensors] = [INFO_FILE, TENSORS_FILE].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    (folder, info, tensors)
}

fn write(folder: &Path, info: &[u8], tensors: &[u8]) {
    std::fs::write(folder.join(INFO_FILE), info).unwrap();
    std::fs::write(folder.join(TENSORS_FILE), tensors).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_weights_are_refused_or_whole(changes in prop::collection::vec(change(), 1..4)) {
        let (folder, info, mut tensors) = files();
        let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let before = hash(&tensors);
        changes.iter().for_each(|change| apply(&mut tensors, change));
        let info = String::from_utf8(info).unwrap().replace(&before, &hash(&tensors));
        write(folder.path(), info.as_bytes(), &tensors);
        read(folder.path());
    }

    #[test]
    fn changed_descriptions_are_refused_or_whole(changes in prop::collection::vec(change(), 1..4)) {
        let (folder, mut info, tensors) = files();
        changes.iter().for_each(|change| apply(&mut info, change));
        write(folder.path(), &info, &tensors);
        read(folder.path());
    }
}

/// Cut after every byte, or with any one byte inverted, the weights' file is never taken for whole.
#[test]
fn every_cut_and_every_inverted_header_byte_is_refused_by_name() {
    let (folder, info, tensors) = files();
    for cut in (0..tensors.len()).step_by(7) {
        write(folder.path(), &info, &tensors[..cut]);
        let error = Checkpoint::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(TENSORS_FILE), "{error}");
    }
    for at in 0..tensors.len().min(600) {
        let mut damaged = tensors.clone();
        damaged[at] = !damaged[at];
        write(folder.path(), &info, &damaged);
        let error = Checkpoint::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(TENSORS_FILE), "{error}");
    }
}
