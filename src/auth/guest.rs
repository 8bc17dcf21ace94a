//! A guest: whoever has a share link. May watch one film, and nothing else.

use uuid::Uuid;

use crate::auth::token::keyed::KeyedHash;
use crate::store::Timestamp;

/// What a share link allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The link.
    pub link_id: Uuid,
    /// Who made it; none for the command line of the machine.
    pub user_id: Option<Uuid>,
    /// What may be watched.
    pub video_id: Uuid,
    /// Until when.
    pub expires_at: Timestamp,
    /// How many may watch.
    pub max_plays: Option<u32>,
}

/// A new token: 32 hexadecimal digits, of which 122 bits are random.
pub fn new_token() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Whether a text may be the token of a link, and so is none of a session.
pub fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What is kept of a token: who reads the database learns none.
pub fn mark(token: &str) -> String {
    KeyedHash::public(b"reelway share link").of(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form_and_hidden_by_its_mark() {
        let token = new_token();
        assert!(is_token(&token) && token != new_token());
        for other in ["", &token[1..], &token.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"), "é"] {
            assert!(!is_token(other), "{other}");
        }
        assert_eq!(mark(&token), mark(&token));
        assert_eq!(mark(&token).len(), 43);
        assert!(!mark(&token).contains(&token[..8]));
    }
}
