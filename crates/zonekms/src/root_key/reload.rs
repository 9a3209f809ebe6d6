//! Where the providers of root keys are described. It is read again for each rotation, so that a change of the configuration counts
//! without a restart, and no passphrase or PIN stays in memory in between.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Environment, GivenKey, RootKeySource, RootKeys};
use crate::config;
use crate::failure::Failure;

/// Where root keys are described.
#[derive(Clone, Debug)]
pub(crate) enum RootKeysFrom {
    /// A configuration.
    Config(PathBuf),
    /// A file with the root key itself, as in the lab.
    KeyFile(PathBuf),
}

impl RootKeysFrom {
    /// Reads the description, and the secrets that the providers need.
    pub(crate) fn load(&self, environment: Environment<'_>) -> Result<RootKeys, Failure> {
        match self {
            Self::Config(file) => config::root_keys(file, environment).map_err(Failure::input),
            Self::KeyFile(path) => {
                let key = GivenKey::load(RootKeySource::File(path.clone()), environment);
                let key = key.map_err(|fault| Failure::run(format!("{}: {fault}", path.display())))?;
                Ok(RootKeys::only(Arc::new(key)))
            }
        }
    }
}
