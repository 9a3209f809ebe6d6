//! Text that must not be shown: API secrets and tokens.

use zeroize::Zeroizing;

/// An API secret or token. Wiped when dropped; it has no `Debug`, so it cannot end up in a report.
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes over `text`, and wipes what is left of it.
    #[must_use]
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text);
        Self(Zeroizing::new(text.as_str().into()))
    }

    /// The text itself: for signing only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}
