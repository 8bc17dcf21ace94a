//! A keyed hash, for what must be recognised again and not be read from memory: HMAC-SHA256 (RFC 2104) under a key that
//! this process has made and nobody else knows.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey};

/// A key, and what it makes of texts.
pub struct KeyedHash(EncodingKey);

impl KeyedHash {
    /// With a key of its own.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> std::io::Result<KeyedHash> {
        let secret = crate::auth::keys::random()?;
        Ok(KeyedHash(EncodingKey::from_secret(&secret)))
    }

    /// With a key that everybody may know: it hides a text that nobody can guess, and is the same for ever.
    pub fn public(key: &[u8]) -> KeyedHash {
        KeyedHash(EncodingKey::from_secret(key))
    }

    /// The hash of a text, as text. When the library fails it is empty: that proves nothing.
    pub fn of(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.0, Algorithm::HS256).unwrap_or_default()
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyedHash(…)")
    }
}
