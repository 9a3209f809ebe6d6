//! What `check-config` says about a good configuration. Secrets are not in it.

use std::fmt;

use kms_audit::CryptoCalls;

use super::{Config, Transport};
use crate::duration::show_duration;
use crate::root_key::ConfiguredKey;

fn write_root_key(f: &mut fmt::Formatter<'_>, name: &str, key: &ConfiguredKey) -> fmt::Result {
    match key.provider.fingerprint() {
        Some(fingerprint) => writeln!(f, "{name}  {} (fingerprint {fingerprint})", key.provider.place()),
        None => writeln!(f, "{name}  {}", key.provider.place()),
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.listen.transport {
            Transport::Tls(_) => "TLS",
            Transport::Plain => "plain HTTP",
        };
        writeln!(f, "zone           {}", self.zone)?;
        for zone in &self.zones {
            writeln!(f, "listed zone    {} at {}", zone.name, zone.api_endpoint)?;
        }
        writeln!(f, "API            {} ({transport})", self.listen.address)?;
        match self.operations {
            Some(address) => writeln!(f, "operations     {address}")?,
            None => writeln!(f, "operations     none")?,
        }
        writeln!(f, "control        {}", self.control_socket.display())?;
        writeln!(f, "store          {}", self.store.directory.display())?;
        writeln!(f, "manifest       {}", self.store.manifest.display())?;
        writeln!(f, "keyring        {}", self.store.keyring.display())?;
        write_root_key(f, "root key     ", &self.root_keys.current)?;
        if let Some(next) = &self.root_keys.next {
            write_root_key(f, "next root key", next)?;
        }
        match &self.replication {
            Some(replication) => {
                writeln!(f, "zones' door    {}", replication.listen)?;
                let own = replication.identity.for_peers().hpke_public_key.fingerprint();
                writeln!(f, "identity       HPKE key {own}")?;
                for peer in &replication.peers {
                    let fingerprint = peer.identity.hpke_public_key.fingerprint();
                    let count = peer.identity.certificates.len();
                    let certificates = if count == 1 { "certificate" } else { "certificates" };
                    let (zone, address) = (&peer.zone, &peer.address);
                    writeln!(f, "peer           {zone} at {address}, {count} {certificates}, HPKE key {fingerprint}")?;
                }
            }
            None => writeln!(f, "replication    none")?,
        }
        for organisation in &self.organisations {
            let count = organisation.api_keys.len();
            let keys = if count == 1 { "API key" } else { "API keys" };
            write!(f, "organisation   {}, {count} {keys}", organisation.name)?;
            match &organisation.default_key {
                Some(name) => writeln!(f, ", default key {name}")?,
                None => writeln!(f)?,
            }
        }
        let limits = &self.limits;
        writeln!(f, "plaintext      up to {} bytes", limits.requests.plaintext)?;
        writeln!(f, "context        up to {} bytes", limits.requests.context)?;
        writeln!(f, "keys           up to {} per organisation", limits.keys_per_organisation)?;
        writeln!(f, "connections    up to {}", limits.connections.connections)?;
        let [header, request, idle] =
            [limits.connections.header_timeout, limits.requests.request_timeout, limits.connections.idle_timeout]
                .map(show_duration);
        writeln!(f, "deadlines      header {header}, request {request}, idle {idle}")?;
        writeln!(f, "log            {}, {}", self.log.format, self.log.level)?;
        let calls = match self.audit.crypto_calls {
            CryptoCalls::On => "all crypto calls".to_owned(),
            CryptoCalls::Sampled(every) => format!("one crypto call in {every}"),
            CryptoCalls::Off => "no crypto calls".to_owned(),
        };
        writeln!(f, "audit log      {}, {calls}", self.audit.directory.display())?;
        writeln!(f, "shredding      {} after the first final deletion", show_duration(self.shred_after))
    }
}
