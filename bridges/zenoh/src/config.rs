use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, error::reason};

/// Where a robot listens and a policy connects unless told otherwise: this machine only.
pub const DEFAULT_ENDPOINT: &str = "tcp/127.0.0.1:7447";

/// How one end of the link finds the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Name of the robot in the key expressions `reverie/<robot>/...`; no `/`, `*`, `$`, `?`, `#`. Both ends need the same.
    /// Default `panda`.
    pub robot: String,
    /// Endpoints to listen on, `tcp/ADDRESS:PORT` (port 0: any free one). Default [`DEFAULT_ENDPOINT`], because whoever can
    /// connect can move the robot.
    pub listen: Vec<String>,
    /// Endpoints to connect to; tried again and again until they answer. Default none.
    pub connect: Vec<String>,
    /// A zenoh configuration (JSON5) of the user's own, for what has no field here: certificates, access control. Mode,
    /// scouting, listen and connect endpoints in it are overruled by this struct. Default none.
    pub zenoh_config: Option<PathBuf>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { robot: "panda".to_owned(), listen: vec![DEFAULT_ENDPOINT.to_owned()], connect: Vec::new(), zenoh_config: None }
    }
}

impl LinkConfig {
    /// The other end's configuration: listens nowhere, connects to `endpoint`.
    pub fn connecting_to(endpoint: impl Into<String>) -> Self {
        Self { listen: Vec::new(), connect: vec![endpoint.into()], ..Self::default() }
    }

    /// `reverie/<robot>/<topic>`.
    pub(crate) fn key(&self, topic: &str) -> String {
        format!("reverie/{}/{topic}", self.robot)
    }

    pub(crate) fn to_zenoh(&self) -> Result<zenoh::Config, Error> {
        if self.robot.is_empty() || self.robot.contains(['/', '*', '$', '?', '#']) {
            return Err(Error::RobotName { name: self.robot.clone() });
        }
        let mut config = match &self.zenoh_config {
            Some(path) => zenoh::Config::from_file(path)
                .map_err(|error| Error::ConfigFile { path: path.clone(), reason: reason(&error) })?,
            None => zenoh::Config::default(),
        };
        // Zenoh's defaults listen on all interfaces and look for peers on the whole network.
        for (key, value) in [
            ("mode", "\"peer\"".to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
            ("scouting/gossip/enabled", "false".to_owned()),
            ("listen/endpoints", json_list(&self.listen)),
            ("connect/endpoints", json_list(&self.connect)),
        ] {
            config.insert_json5(key, &value).map_err(|error| Error::ConfigValue {
                key,
                value: value.clone(),
                reason: reason(&error),
            })?;
        }
        Ok(config)
    }
}

fn json_list(items: &[String]) -> String {
    let quoted: Vec<String> =
        items.iter().map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_name_that_would_widen_the_key_is_refused() {
        for name in ["", "a/b", "*", "panda#"] {
            let config = LinkConfig { robot: name.to_owned(), ..LinkConfig::default() };
            assert!(matches!(config.to_zenoh(), Err(Error::RobotName { name: got }) if got == name), "{name:?}");
        }
    }

    #[test]
    fn a_bad_endpoint_is_named() {
        let error = LinkConfig::connecting_to("127.0.0.1:7447").to_zenoh().unwrap_err().to_string();
        assert!(error.contains("connect/endpoints") && error.contains("127.0.0.1:7447"), "{error}");
    }

    #[test]
    fn a_missing_zenoh_config_is_named() {
        let config = LinkConfig { zenoh_config: Some("no/such.json5".into()), ..LinkConfig::default() };
        assert!(config.to_zenoh().unwrap_err().to_string().contains("no/such.json5"));
    }

    #[test]
    fn by_default_nobody_outside_this_machine_can_connect() {
        let config = LinkConfig::default().to_zenoh().unwrap();
        assert_eq!(config.get_json("listen/endpoints").unwrap(), r#"["tcp/127.0.0.1:7447"]"#);
        assert_eq!(config.get_json("scouting/multicast/enabled").unwrap(), "false");
        assert_eq!(config.get_json("scouting/gossip/enabled").unwrap(), "false");
    }
}
