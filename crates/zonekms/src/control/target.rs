//! Which server an operator's command is for, and how it is reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_service::ServiceClock;
use kms_types::ZoneName;
use serde_json::Value;

use super::client::{Client, ClientFault};
use crate::cli::TargetArguments;
use crate::config::{self, Places, StoreLocation};
use crate::dev::clock_of;
use crate::dev::directory::zone_files;
use crate::failure::Failure;
use crate::root_key::RootKeysFrom;

/// The name of the socket in a directory of data.
pub(crate) const SOCKET_NAME: &str = "control.sock";

/// A server, and perhaps one of its zones.
pub(crate) struct Target {
    socket: PathBuf,
    zone: Option<ZoneName>,
    files: Files,
}

/// Where its files are, for commands that can do without a server.
enum Files {
    Config { file: PathBuf, store: StoreLocation, audit: PathBuf },
    Lab { data_dir: PathBuf },
}

/// One zone's files, while nobody serves it.
pub(crate) struct ZoneFiles {
    pub(crate) zone: ZoneName,
    pub(crate) store: StoreLocation,
    /// The directory of the audit log.
    pub(crate) audit: PathBuf,
    pub(crate) root_keys: RootKeysFrom,
}

impl Target {
    /// From the command line. Of a configuration only the places are read: no secret is needed to find a running server.
    pub(crate) fn find(arguments: &TargetArguments) -> Result<Self, Failure> {
        let TargetArguments { config, data_dir, zone } = arguments;
        match (config, data_dir) {
            (Some(file), _) => {
                let Places { zone: configured, store, audit, control_socket } =
                    config::places(file).map_err(Failure::input)?;
                if let Some(zone) = zone.as_ref().filter(|zone| **zone != configured) {
                    return Err(Failure::input(format!("{} is for zone {configured}, not {zone}", file.display())));
                }
                let files = Files::Config { file: file.clone(), store, audit };
                Ok(Self { socket: control_socket, zone: Some(configured), files })
            }
            (None, Some(directory)) => {
                let files = Files::Lab { data_dir: directory.clone() };
                Ok(Self { socket: socket_in(directory), zone: zone.clone(), files })
            }
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

    /// The zone's files, to be worked on under the zone's lock.
    pub(crate) fn files(&self) -> Result<ZoneFiles, Failure> {
        let zone = self.zone.clone().ok_or_else(|| Failure::input("which zone? give --zone"))?;
        let (root_keys, store, audit) = match &self.files {
            Files::Config { file, store, audit } => (RootKeysFrom::Config(file.clone()), store.clone(), audit.clone()),
            Files::Lab { data_dir } => {
                let (root_key, store) = zone_files(data_dir, &zone);
                let audit = store.beside("audit");
                (RootKeysFrom::KeyFile(root_key), store, audit)
            }
        };
        Ok(ZoneFiles { zone, store, audit, root_keys })
    }

    /// The clock that its server goes by: a lab's may have been moved.
    pub(crate) fn clock(&self) -> Result<Arc<ServiceClock>, Failure> {
        match &self.files {
            Files::Config { .. } => Ok(Arc::new(ServiceClock::system())),
            Files::Lab { data_dir } => clock_of(data_dir),
        }
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
