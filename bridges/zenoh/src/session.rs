use std::{io::ErrorKind, net::TcpListener};

use zenoh::{Session, Wait};

use crate::{Error, LinkConfig, error::reason};

/// Opens a session, and says which endpoint is taken if that is why it can't.
pub(crate) fn open(config: &LinkConfig) -> Result<Session, Error> {
    zenoh::open(config.to_zenoh()?).wait().map_err(|error| match config.listen.iter().find(|e| in_use(e)) {
        Some(endpoint) => Error::PortInUse { endpoint: endpoint.clone() },
        None => Error::Open { listen: config.listen.clone(), connect: config.connect.clone(), reason: reason(&error) },
    })
}

/// Zenoh's error is text without a kind; asking the operating system is certain.
fn in_use(endpoint: &str) -> bool {
    // PROTOCOL/ADDRESS, then optional ?metadata and #configuration.
    let Some((_, rest)) = endpoint.split_once('/') else { return false };
    let address = rest.split(['?', '#']).next().unwrap_or_default();
    matches!(TcpListener::bind(address), Err(error) if error.kind() == ErrorKind::AddrInUse)
}
