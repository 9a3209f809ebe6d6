//! A zone's certificate and private key.

use crate::pem;
use kms_types::ZoneName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::ring::sign::any_supported_type;
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

/// A certificate and its private key, which are known to belong together.
#[derive(Clone)]
pub struct TlsIdentity {
    certificate: CertificateDer<'static>,
    certified: Arc<CertifiedKey>,
    key_pem: Arc<Zeroizing<String>>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making one failed; most likely there was no randomness.
    #[error("making a certificate failed: {0}")]
    NotMade(#[from] rcgen::Error),
    /// The certificate file is none.
    #[error("not a PEM file of certificates: {0}")]
    Certificates(rustls_pki_types::pem::Error),
    /// The certificate file is empty.
    #[error("there is no PEM section CERTIFICATE")]
    NoCertificate,
    /// The key file is none.
    #[error("there is no PEM section with a private key")]
    Key,
    /// The key cannot be used, or is another certificate's.
    #[error("certificate and private key do not work together: {0}")]
    Mismatch(#[from] rustls::Error),
}

/// A new identity for `zone`: a key for ECDSA over P-256, and a certificate signed by itself. The certificate names the zone for
/// people to read; it counts because peers list it, not because of what it says, and it does not end.
///
/// # Errors
///
/// [`IdentityError::NotMade`].
pub fn generate_identity(zone: &ZoneName) -> Result<TlsIdentity, IdentityError> {
    let mut key = KeyPair::generate()?;
    let mut params = CertificateParams::new([zone.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("ZoneKMS zone {zone}"));
    let certificate = params.self_signed(&key)?;
    let key_der = Zeroizing::new(key.serialize_der());
    key.zeroize();
    let key_pem = pem::encode("PRIVATE KEY", &key_der);
    TlsIdentity::new(vec![certificate.der().clone()], key_pem)
}

/// The certificates in a PEM file, in their order.
///
/// # Errors
///
/// [`IdentityError::Certificates`] or [`IdentityError::NoCertificate`].
pub fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(IdentityError::Certificates)?;
    if certificates.is_empty() {
        return Err(IdentityError::NoCertificate);
    }
    Ok(certificates)
}

/// The SHA-256 of a certificate in hexadecimal, as `openssl x509 -fingerprint -sha256` has it but without colons.
#[must_use]
pub fn certificate_fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate.as_ref()))
}

impl TlsIdentity {
    /// The identity of two PEM files: certificates, the zone's own first, and a private key (PKCS#8, PKCS#1 or SEC1). The
    /// caller's copy of the key is the caller's to wipe.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let key_pem = std::str::from_utf8(key).map_err(|_| IdentityError::Key)?;
        Self::new(parse_certificates(certificates)?, Zeroizing::new(key_pem.to_owned()))
    }

    fn new(chain: Vec<CertificateDer<'static>>, key_pem: Zeroizing<String>) -> Result<Self, IdentityError> {
        let certificate = chain.first().ok_or(IdentityError::NoCertificate)?.clone();
        let mut key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| IdentityError::Key)?;
        let signing = any_supported_type(&key);
        key.zeroize();
        let certified = CertifiedKey::new(chain, signing?);
        certified.keys_match()?;
        Ok(Self { certificate, certified: Arc::new(certified), key_pem: Arc::new(key_pem) })
    }

    /// The zone's own certificate: the one that peers list.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificates as a PEM file.
    #[must_use]
    pub fn certificates_pem(&self) -> String {
        self.certified.cert.iter().map(|certificate| pem::encode("CERTIFICATE", certificate).to_string()).collect()
    }

    /// The private key as a PEM file, for that file and for nothing else.
    #[must_use]
    pub fn expose_key_pem(&self) -> &str {
        &self.key_pem
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({})", certificate_fingerprint(self.certificate()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> TlsIdentity {
        generate_identity(&"zone-a".parse().unwrap()).unwrap()
    }

    #[test]
    fn an_identity_survives_its_files() {
        let made = identity();
        let read = TlsIdentity::from_pem(made.certificates_pem().as_bytes(), made.expose_key_pem().as_bytes()).unwrap();
        assert_eq!(read.certificate(), made.certificate());
        assert_eq!(read.expose_key_pem(), made.expose_key_pem());
        assert_eq!(parse_certificates(made.certificates_pem().as_bytes()).unwrap(), [made.certificate().clone()]);
        assert!(made.certificates_pem().lines().all(|line| line.len() <= 64));
        assert_ne!(identity().certificate(), made.certificate());
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (one, other) = (identity(), identity());
        let (certificate, key) = (one.certificates_pem(), one.expose_key_pem());
        let refused =
            |certificate: &str, key: &str| TlsIdentity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(refused(&certificate, other.expose_key_pem()), IdentityError::Mismatch(_)));
        assert!(matches!(refused("", key), IdentityError::NoCertificate));
        assert!(matches!(refused(key, key), IdentityError::NoCertificate));
        assert!(matches!(refused(&certificate, &certificate), IdentityError::Key));
        assert!(matches!(refused(&certificate.replace('M', "*"), key), IdentityError::Certificates(_)));
    }

    #[test]
    fn the_key_is_mute() {
        let identity = identity();
        let key: String = identity.expose_key_pem().lines().nth(1).unwrap().to_owned();
        let printed = format!("{identity:?}");
        assert_eq!(printed, format!("TlsIdentity({})", certificate_fingerprint(identity.certificate())));
        assert!(!printed.contains(&key));
    }
}
