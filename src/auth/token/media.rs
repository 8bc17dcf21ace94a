//! Media tokens: what stands in the URL of one film, for players that can carry nothing else.
//!
//! Signed as session tokens are, and neither passes for the other: each must have claims that the other must not have. It
//! ends with its session, and outlives its refreshes (spec/API.md, "Who is asking").

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::{LEEWAY_SECONDS, Proof, Said, Signer};
use crate::http::reject::Reject;

/// What a media token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaClaims {
    /// The user's id.
    #[serde(deserialize_with = "canonical")]
    pub sub: Uuid,
    /// The session it was made for.
    #[serde(deserialize_with = "canonical")]
    pub session: Uuid,
    /// The one film it opens.
    #[serde(deserialize_with = "canonical")]
    pub video: Uuid,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

impl Signer {
    /// Signs the claims of a media token.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn sign_media(&self, claims: &MediaClaims) -> Result<String, jsonwebtoken::errors::Error> {
        self.encode(claims)
    }

    /// The claims of a media token, if we signed it and it lives at `now` (seconds since 1970).
    ///
    /// # Errors
    /// 401, whatever is wrong with it.
    pub fn verify_media(&self, token: &str, now: u64) -> Result<MediaClaims, Reject> {
        self.decode(token, now, |claims: &MediaClaims| (claims.iat, claims.exp)).map(|(claims, _)| claims)
    }

    /// The same, with when it is good, for whoever remembers it.
    ///
    /// # Errors
    /// As [`Signer::verify_media`].
    pub fn prove_media(&self, token: &str, now: u64) -> Result<Proof, Reject> {
        let (claims, until) = self.decode(token, now, |claims: &MediaClaims| (claims.iat, claims.exp))?;
        Ok(Proof { from: claims.iat.saturating_sub(LEEWAY_SECONDS), said: Said::Media(claims), until })
    }
}

/// An id has one spelling.
fn canonical<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let id = Uuid::try_parse(&text).ok().filter(|id| id.to_string() == *text);
    id.ok_or_else(|| serde::de::Error::custom("an id is a uuid in small letters, with dashes"))
}
