//! What a zone proves itself with to other zones, and what they seal its keys to: one directory of files.
//!
//! `certificate.pem` and `certificate.key` are for the connection, `hpke.key` for the records that come over it, and `peer.toml` is the
//! part that other zones need. Only the files that end in `.key` are secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kms_crypto::{Entropy, EntropyError, SecretBytes, ZonePrivateKey, ZonePublicKey};
use kms_link::{IdentityError, TlsIdentity, generate_identity};
use kms_types::ZoneName;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::private_files::{
    Guard, UnreadableSecret, create_private_directory, read_secret, rename_durably, write_new_private_file,
};

/// Why there is no identity. Messages name files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum ZoneIdentityFault {
    /// The directory is there already.
    #[error("{0} exists; an identity is never overwritten: other zones know it")]
    Exists(PathBuf),
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A file is missing, readable by others, or not what it should be.
    #[error("{0}")]
    Unusable(String),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// What one zone is to the others.
pub struct ZoneIdentity {
    /// The certificate it shows, and that certificate's key.
    pub(crate) tls: TlsIdentity,
    /// What opens the records that other zones send.
    pub(crate) private_key: ZonePrivateKey,
    /// What opened them before, and still does while other zones are told of the new one.
    pub(crate) previous_private_key: Option<ZonePrivateKey>,
}

/// What other zones need to know of a zone.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    /// The certificates that are this zone: one, and a second while one is being replaced.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What to seal to.
    pub hpke_public_key: ZonePublicKey,
}

const CERTIFICATE: &str = "certificate.pem";
const CERTIFICATE_KEY: &str = "certificate.key";
const HPKE_KEY: &str = "hpke.key";
const PEER: &str = "peer.toml";

/// The longest file with a certificate's key, in bytes.
const PEM_FILE_LIMIT: usize = 65_536;

/// The longest file with an HPKE key: 64 digits and a line break of either kind.
const HPKE_KEY_FILE_LIMIT: usize = 66;

impl ZoneIdentity {
    /// Makes the identity of `zone` in the new directory `directory`: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// When the directory is there, a file cannot be written, or there is no randomness.
    pub(crate) fn create(directory: &Path, zone: &ZoneName, entropy: &dyn Entropy) -> Result<Self, ZoneIdentityFault> {
        if directory.symlink_metadata().is_ok() {
            return Err(ZoneIdentityFault::Exists(directory.to_owned()));
        }
        let tls = generate_identity(zone).map_err(|error| ZoneIdentityFault::Unusable(error.to_string()))?;
        let private_key = ZonePrivateKey::generate(entropy)?;
        let identity = Self { tls, private_key, previous_private_key: None };
        let mut part = directory.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What a crash left of an earlier attempt was never in use.
        match fs::remove_dir_all(&part) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ZoneIdentityFault::Io { path: part, source }),
        }
        create_private_directory(&part).map_err(|source| ZoneIdentityFault::Io { path: part.clone(), source })?;
        identity.write(&part, zone)?;
        rename_durably(&part, directory)
            .map_err(|source| ZoneIdentityFault::Io { path: directory.to_owned(), source })?;
        Ok(identity)
    }

    /// Reads the identity in `directory`. The HPKE key in `previous` opens what other zones still seal to it.
    ///
    /// # Errors
    ///
    /// When a file is missing, not what it should be, or a secret that others can read.
    pub(crate) fn load(directory: &Path, previous: Option<&Path>) -> Result<Self, ZoneIdentityFault> {
        let (certificate, key) = (directory.join(CERTIFICATE), directory.join(CERTIFICATE_KEY));
        let certificates =
            fs::read(&certificate).map_err(|source| ZoneIdentityFault::Io { path: certificate.clone(), source })?;
        let key_pem = read_key_file(&key, PEM_FILE_LIMIT)?;
        let tls = TlsIdentity::from_pem(&certificates, key_pem.expose()).map_err(|error| {
            let file = match error {
                IdentityError::Key => &key,
                IdentityError::NotMade(_)
                | IdentityError::Certificates(_)
                | IdentityError::NoCertificate
                | IdentityError::Mismatch(_) => &certificate,
            };
            ZoneIdentityFault::Unusable(format!("{}: {error}", file.display()))
        })?;
        let private_key = read_hpke_key(directory)?;
        let previous_private_key = previous.map(read_hpke_key).transpose()?;
        Ok(Self { tls, private_key, previous_private_key })
    }

    /// What other zones need to know.
    pub(crate) fn for_peers(&self) -> PeerIdentity {
        let certificates = vec![self.tls.certificate().clone()];
        PeerIdentity { certificates, hpke_public_key: self.private_key.public_key() }
    }

    fn write(&self, directory: &Path, zone: &ZoneName) -> Result<(), ZoneIdentityFault> {
        let write = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            write_new_private_file(&path, content).map_err(|source| ZoneIdentityFault::Io { path, source })
        };
        write(CERTIFICATE, self.tls.certificates_pem().as_bytes())?;
        write(CERTIFICATE_KEY, self.tls.expose_key_pem().as_bytes())?;
        let mut digits = Zeroizing::new([b'\n'; 2 * ZonePrivateKey::LEN + 1]);
        hex::encode_to_slice(self.private_key.expose_bytes(), &mut digits[..2 * ZonePrivateKey::LEN])
            .map_err(|error| ZoneIdentityFault::Unusable(error.to_string()))?;
        write(HPKE_KEY, &digits[..])?;
        write(PEER, self.peer_block(zone).as_bytes())
    }

    /// The `[[peer]]` that other zones have in their configuration, but for the address.
    pub(crate) fn peer_block(&self, zone: &ZoneName) -> String {
        let mut block = format!("[[peer]]\nzone = \"{zone}\"\naddress = \"HOST:PORT\"\n");
        let certificate = self.tls.certificates_pem();
        block.push_str(&format!("certificates = [\"\"\"\n{}\n\"\"\"]\n", certificate.trim_end()));
        block.push_str("hpke-public-key = \"\"\"\n");
        // 48 bytes are 64 characters, without padding in between.
        for line in self.private_key.public_key().to_bytes().chunks(48) {
            block.push_str(&BASE64_STANDARD.encode(line));
            block.push('\n');
        }
        block.push_str("\"\"\"\n");
        block
    }
}

/// The public key in the base64 text of a `[[peer]]`, in which line breaks and blanks do not count.
pub(crate) fn read_hpke_public_key(text: &str) -> Option<ZonePublicKey> {
    let compact: String = text.split_ascii_whitespace().collect();
    ZonePublicKey::from_bytes(&BASE64_STANDARD.decode(compact).ok()?).ok()
}

/// What `zonekms zone-identity new` prints: the block, ready to be redirected into a file.
pub(crate) fn describe_new_identity(directory: &Path, zone: &ZoneName, identity: &ZoneIdentity) -> String {
    format!(
        "# The identity of zone {zone} is in {}. In that zone's own configuration:\n#\n#   [identity]\n#   directory = \
         \"{}\"\n#\n# In the configuration of every other zone, with the address at which this zone's [peers] is \
         reached:\n\n{}",
        directory.display(),
        directory.display(),
        identity.peer_block(zone)
    )
}

fn read_hpke_key(directory: &Path) -> Result<ZonePrivateKey, ZoneIdentityFault> {
    let path = directory.join(HPKE_KEY);
    let content = read_key_file(&path, HPKE_KEY_FILE_LIMIT)?;
    let mut bytes = Zeroizing::new([0_u8; ZonePrivateKey::LEN]);
    hex::decode_to_slice(content.expose().trim_ascii(), &mut bytes[..]).map_err(|_| {
        let length = 2 * ZonePrivateKey::LEN;
        ZoneIdentityFault::Unusable(format!("{} is not {length} hexadecimal digits", path.display()))
    })?;
    Ok(ZonePrivateKey::from_bytes(&bytes))
}

fn read_key_file(path: &Path, limit: usize) -> Result<SecretBytes, ZoneIdentityFault> {
    read_secret(path, limit, Guard::Owner).map_err(|fault| match fault {
        UnreadableSecret::NotOpened(source) => ZoneIdentityFault::Io { path: path.to_owned(), source },
        UnreadableSecret::Unfit(unfit) => ZoneIdentityFault::Unusable(unfit.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use std::os::unix::fs::PermissionsExt;

    fn zone() -> ZoneName {
        "ch-gva-2".parse().unwrap()
    }

    #[test]
    fn what_was_made_is_loaded_and_private() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("identity");
        let made = ZoneIdentity::create(&directory, &zone(), &OsEntropy).unwrap();
        let loaded = ZoneIdentity::load(&directory, None).unwrap();
        let (made, loaded) = (made.for_peers(), loaded.for_peers());
        assert_eq!(made.certificates, loaded.certificates);
        assert_eq!(made.hpke_public_key.to_bytes(), loaded.hpke_public_key.to_bytes());
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, [CERTIFICATE_KEY, CERTIFICATE, HPKE_KEY, PEER]);
        assert!(matches!(ZoneIdentity::create(&directory, &zone(), &OsEntropy), Err(ZoneIdentityFault::Exists(_))));
    }

    #[test]
    fn the_block_for_peers_holds_no_secret_and_is_read_back() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("identity");
        let made = ZoneIdentity::create(&directory, &zone(), &OsEntropy).unwrap();
        let block = fs::read_to_string(directory.join(PEER)).unwrap();
        let read: toml::Table = block.parse().unwrap();
        let peer = &read["peer"][0];
        let key = read_hpke_public_key(peer["hpke-public-key"].as_str().unwrap()).unwrap();
        assert_eq!(key.to_bytes(), made.private_key.public_key().to_bytes());
        assert!(!block.contains("PRIVATE"), "{block}");
        assert!(!block.contains(fs::read_to_string(directory.join(HPKE_KEY)).unwrap().trim()));
    }

    #[test]
    fn a_damaged_or_open_identity_is_refused_by_name() {
        let scratch = tempfile::tempdir().unwrap();
        for (name, mode, content) in [
            (HPKE_KEY, 0o600, "00"),
            (HPKE_KEY, 0o600, "zz"),
            (HPKE_KEY, 0o640, ""),
            (CERTIFICATE_KEY, 0o604, ""),
            (CERTIFICATE_KEY, 0o600, "x"),
            (CERTIFICATE, 0o600, "x"),
        ] {
            let directory = scratch.path().join("identity");
            ZoneIdentity::create(&directory, &zone(), &OsEntropy).unwrap();
            let file = directory.join(name);
            if !content.is_empty() {
                fs::write(&file, content).unwrap();
            }
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let Err(error) = ZoneIdentity::load(&directory, None) else { panic!("accepted {name} {content}") };
            assert!(error.to_string().contains(name), "{error}");
            fs::remove_dir_all(&directory).unwrap();
        }
    }

    #[test]
    fn the_previous_key_comes_second_and_a_crash_leaves_no_half_identity() {
        let scratch = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| scratch.path().join(name));
        create_private_directory(&scratch.path().join("new.part")).unwrap();
        fs::write(scratch.path().join("new.part").join(HPKE_KEY), "half").unwrap();
        for directory in [&old, &new] {
            ZoneIdentity::create(directory, &zone(), &OsEntropy).unwrap();
        }
        assert!(!scratch.path().join("new.part").exists());
        let fingerprints = |new: &Path, old: Option<&Path>| {
            let loaded = ZoneIdentity::load(new, old).unwrap();
            let keys = [Some(loaded.private_key), loaded.previous_private_key];
            keys.iter().flatten().map(|key| key.fingerprint().to_string()).collect::<Vec<_>>()
        };
        let both = fingerprints(&new, Some(&old));
        assert_eq!(both, [fingerprints(&new, None), fingerprints(&old, None)].concat());
        assert_ne!(both[0], both[1]);
    }
}
