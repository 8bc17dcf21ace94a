//! Who is asking: passwords, tokens, the key that signs them, and what a caller may do.
//!
//! A request carries a token in one of the [`carriers`]; [`token`] proves that we signed it and that it still lives;
//! [`grant`] says what its bearer may do. Whether its session was revoked is the `session` room's to say. Passwords are
//! hashed on one thread of their own ([`password`]), never on a shard, and how often they may be tried is limited before
//! that ([`limiter`]); what was checked lately is [`remembered`].

pub mod carriers;
pub mod grant;
pub mod guest;
pub mod keyring;
pub mod keys;
pub mod limiter;
pub mod password;
pub mod presence;
pub mod remembered;
pub mod token;

use crate::http::reject::{Challenge, Credential, Reject};

pub use grant::{Account, Caller, Grant, Need};
pub use keys::Keys;
pub use password::Hasher;

/// 401 for a request without a token.
pub const NO_TOKEN: Reject = Reject::Unauthorized { credential: Credential::Missing, challenge: Challenge::Bearer };
/// 401 for a name and a password that prove nobody, in whatever field they came.
pub const BAD_PASSWORD: Reject =
    Reject::Unauthorized { credential: Credential::Password, challenge: Challenge::Bearer };
/// 401 for a share link that is none, or is over.
pub const BAD_LINK: Reject = Reject::Unauthorized { credential: Credential::Link, challenge: Challenge::Bearer };
/// 401 for a token that is not worth anything, whatever the reason: its bearer learns none.
pub const BAD_TOKEN: Reject = Reject::Unauthorized { credential: Credential::Invalid, challenge: Challenge::Bearer };
