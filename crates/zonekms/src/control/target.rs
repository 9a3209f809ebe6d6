//! Which server an operator's command is for, and how it is reached.

use std::path::{Path, PathBuf};

use kms_types::ZoneName;
use serde_json::Value;

use super::client::{Client, ClientFault};
use crate::cli::TargetArguments;
use crate::config;
use crate::failure::Failure;

/// The name of the socket in a directory of data.
pub(crate) const SOCKET_NAME: &str = "control.sock";

/// A server, and perhaps one of its zones.
pub(crate) struct Target {
    pub(crate) socket: PathBuf,
    zone: Option<ZoneName>,
}

impl Target {
    /// From the command line. Of a configuration only the places are read: no secret is needed to find a running server.
    pub(crate) fn find(arguments: &TargetArguments) -> Result<Self, Failure> {
        let TargetArguments { config, data_dir, zone } = arguments;
        match (config, data_dir) {
            (Some(file), _) => {
                let places = config::places(file).map_err(Failure::input)?;
                if let Some(zone) = zone.as_ref().filter(|zone| **zone != places.zone) {
                    let message = format!("{} is for zone {}, not {zone}", file.display(), places.zone);
                    return Err(Failure::input(message));
                }
                Ok(Self { socket: places.control_socket, zone: Some(places.zone) })
            }
            (None, Some(directory)) => Ok(Self { socket: socket_in(directory), zone: zone.clone() }),
            (None, None) => Err(Failure::input("give --config FILE, or --data-dir DIR for zonekms dev")),
        }
    }

    /// Connects; the string is the path of the zone's commands, such as `/zones/ch-gva-2`.
    ///
    /// Without a zone on the command line, a server with one zone is asked which it is.
    pub(crate) async fn connect(&self) -> Result<(Client, String), ClientFault> {
        let mut client = Client::connect(&self.socket).await?;
        let zone = match &self.zone {
            Some(zone) => zone.to_string(),
            None => only_zone(&client.get("/zones").await?)?,
        };
        Ok((client, format!("/zones/{zone}")))
    }
}

/// The socket of a server whose data is in `directory`.
pub(crate) fn socket_in(directory: &Path) -> PathBuf {
    directory.join(SOCKET_NAME)
}

fn only_zone(listed: &Value) -> Result<String, ClientFault> {
    let zones: Vec<&str> = listed["zones"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match zones.as_slice() {
        [zone] => Ok((*zone).to_owned()),
        several => Err(ClientFault::Refused(format!("which zone? give --zone, one of: {}", several.join(", ")))),
    }
}
