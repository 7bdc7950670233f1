//! Text that must not be seen: the client secret, the refresh token, the form and the header built from them.
//!
//! A secret is wiped from memory when its last owner goes. It has no `Display`, its `Debug` says that something is
//! there and nothing else. It is exposed to the form, to the header, and to the search that keeps it out of errors.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

/// A secret text, redacted and wiped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Hands a secret to the wire as shared bytes that are wiped when their last clone goes.
pub(crate) fn wiped_bytes(text: String) -> Bytes {
    struct Owner(Zeroizing<Vec<u8>>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Owner(Zeroizing::new(text.into_bytes())))
}
