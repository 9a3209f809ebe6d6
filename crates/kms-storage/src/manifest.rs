//! The account a store keeps of itself, by which loss and rollback are noticed.

/// A keyed hash that the caller provides; the store never sees the key.
pub trait ManifestKey: Send + Sync + 'static {
    /// The tag of the parts put together, such as HMAC-SHA-256.
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32];
}
