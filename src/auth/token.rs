//! Session tokens: JSON Web Tokens signed with HS256 (RFC 7519, RFC 7515). The only door to jsonwebtoken.
//!
//! One algorithm, pinned by the key and never by the header; the header may have `alg`, `typ` and `kid` and nothing
//! else; `exp` and `iat` are required and at most 24 hours apart. A token proves only that we signed it: what it is
//! worth, its session's row says.

pub(crate) mod keyed;
mod media;
mod proved;

pub use keyed::KeyedHash;
pub use media::MediaClaims;
pub use proved::{Proof, Proved, Said};

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::auth::BAD_TOKEN;
use crate::auth::keyring::Keyring;
use crate::auth::keys::Keys;
use crate::http::reject::Reject;
use crate::limits;
use crate::store::{Device, Quality, Role, Timestamp};

/// Seconds that another machine's clock may be ahead or behind.
const LEEWAY_SECONDS: u64 = 5;

/// What a token says: the claims of spec/SEED.md 103, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // A token of another kind, which says more, is not one of these.
pub struct Claims {
    /// The user's id.
    pub sub: Uuid,
    /// The user's name, for whoever reads the token.
    pub username: String,
    /// The user's role when the token was made. Never trusted: the role is read from the user.
    pub role: Role,
    /// The session, and how often its token was refreshed.
    pub session_id: SessionRef,
    /// What the player may want to know.
    pub preferences: Preferences,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

/// The preferences that ride in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// The quality the user asked for.
    pub quality: Quality,
    /// The kind of device that signed in.
    pub device: Option<Device>,
}

/// `<uuid>.<n>`: a session, and the generation of its token. Refreshing raises n and so ends the older tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// The session.
    pub id: Uuid,
    /// The generation of its token.
    pub generation: u32,
}

impl fmt::Display for SessionRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.id, self.generation)
    }
}

impl FromStr for SessionRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SessionRef, Self::Err> {
        let (id, generation) = text.split_once('.').ok_or("a session_id is <uuid>.<n>")?;
        let id = Uuid::try_parse(id).map_err(|_| "a session_id begins with a uuid")?;
        let generation = generation.parse().map_err(|_| "a session_id ends with a number")?;
        let parsed = SessionRef { id, generation };
        // One session has one name: no sign, no zeros before, no other spelling of its uuid.
        if parsed.to_string() == text { Ok(parsed) } else { Err("a session_id is <uuid>.<n>") }
    }
}

impl Serialize for SessionRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SessionRef, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Signs and verifies tokens.
pub struct Signer {
    encoding: EncodingKey,
    current: Verifier,
    previous: Vec<Verifier>,
    validation: Validation,
}

/// A key that proves tokens.
struct Verifier {
    key_id: String,
    decoding: DecodingKey,
    /// Until when; none for as long as the daemon runs.
    until: Option<Timestamp>,
}

impl Signer {
    /// A signer with the key of this ring that signs; what those before it have signed is proved by them.
    ///
    /// # Errors
    /// When the cryptographic library refuses a key.
    pub fn new(keyring: &Keyring) -> Result<Signer, jsonwebtoken::errors::Error> {
        let encoding = EncodingKey::from_secret(keyring.current.secret());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        let current = Verifier::new(&keyring.current, None)?;
        let previous = keyring.previous.iter().map(|previous| Verifier::new(&previous.keys, previous.until));
        Ok(Signer { encoding, current, previous: previous.collect::<Result<_, _>>()?, validation })
    }

    /// The name of the key, which stands in every token as `kid` and says nothing about the key.
    pub fn key_id(&self) -> &str {
        &self.current.key_id
    }

    /// Signs `claims`.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        self.encode(claims)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { kid: Some(self.current.key_id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &self.encoding)
    }

    /// The claims of `token`, if we signed it and it lives at `now` (seconds since 1970).
    ///
    /// # Errors
    /// 401, whatever is wrong with it: a caller learns nothing from the reason.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Reject> {
        self.decode(token, now, |claims: &Claims| (claims.iat, claims.exp)).map(|(claims, _)| claims)
    }

    /// The same, with when it is good, for whoever remembers it.
    ///
    /// # Errors
    /// As [`Signer::verify`].
    pub fn prove(&self, token: &str, now: u64) -> Result<Proof, Reject> {
        let (claims, until) = self.decode(token, now, |claims: &Claims| (claims.iat, claims.exp))?;
        let from = claims.iat.saturating_sub(LEEWAY_SECONDS);
        Ok(Proof { said: Said::Session(Arc::new(claims)), from, until })
    }

    /// What a token says and until when that is good, if we signed it and it lives by what `times` reads of it: when it was made
    /// and when it ends.
    fn decode<Claims: DeserializeOwned + Clone>(
        &self,
        token: &str,
        now: u64,
        times: impl Fn(&Claims) -> (u64, u64),
    ) -> Result<(Claims, u64), Reject> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(BAD_TOKEN);
        }
        // The header is not proved yet: it chooses among our keys, and each proves only what it has signed itself.
        let header = jsonwebtoken::decode_header(token).map_err(|_| BAD_TOKEN)?;
        let verifier = self.verifier(header.kid.as_deref(), now).ok_or(BAD_TOKEN)?;
        let decoded =
            jsonwebtoken::decode::<Claims>(token, &verifier.decoding, &self.validation).map_err(|_| BAD_TOKEN)?;
        let (made, ends) = times(&decoded.claims);
        let lives = now <= ends.saturating_add(LEEWAY_SECONDS);
        let has_begun = made <= now.saturating_add(LEEWAY_SECONDS);
        let is_short = ends.saturating_sub(made) <= limits::TOKEN_LIFE.as_secs();
        let is_ours = has_only_known_fields(&decoded.header);
        // A key that was replaced may end before what it has signed.
        let key_ends = verifier.until.map_or(u64::MAX, |until| until.seconds().unsigned_abs().saturating_sub(1));
        let until = ends.saturating_add(LEEWAY_SECONDS).min(key_ends);
        (is_ours && lives && has_begun && is_short).then_some((decoded.claims, until)).ok_or(BAD_TOKEN)
    }

    /// The key of this name, if it is good at `now`; without a name, the one that signs.
    fn verifier(&self, key_id: Option<&str>, now: u64) -> Option<&Verifier> {
        let Some(key_id) = key_id.filter(|key_id| *key_id != self.current.key_id) else { return Some(&self.current) };
        let is_good = |verifier: &&Verifier| verifier.until.is_none_or(|until| now < until.seconds().unsigned_abs());
        self.previous.iter().filter(is_good).find(|verifier| verifier.key_id == key_id)
    }
}

impl Verifier {
    fn new(keys: &Keys, until: Option<Timestamp>) -> Result<Verifier, jsonwebtoken::errors::Error> {
        // A name for the key that says nothing about it: the start of a signature made with it.
        let encoding = EncodingKey::from_secret(keys.secret());
        let signature = jsonwebtoken::crypto::sign(b"reelway key id", &encoding, Algorithm::HS256)?;
        let key_id = signature.chars().take(8).collect();
        Ok(Verifier { key_id, decoding: DecodingKey::from_secret(keys.secret()), until })
    }
}

/// The crate parses `crit`, `jku`, `jwk`, `x5u` … and leaves them be; a token that has any is not one of ours.
fn has_only_known_fields(header: &Header) -> bool {
    let (typ, kid) = (header.typ.clone(), header.kid.clone());
    let is_a_jwt = typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
    is_a_jwt && *header == Header { typ, kid, ..Header::new(Algorithm::HS256) }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer(kid {})", self.key_id())
    }
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
