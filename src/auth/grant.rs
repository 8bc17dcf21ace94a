//! What a route needs, and the proof that a caller has it.

use std::sync::Arc;

use uuid::Uuid;

use crate::auth::NO_TOKEN;
use crate::auth::guest::Guest;
use crate::auth::presence::Presence;
use crate::http::reject::Reject;
use crate::store::{Role, Session, User};

/// What a route asks of its caller. One column of the table in spec/API.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// A signed-in user.
    User,
    /// A signed-in user, or whoever may watch the one film it is about.
    UserOrGuest,
    /// An administrator.
    Admin,
    /// An administrator, or a program on this machine.
    AdminOrLoopback,
    /// Root, or who runs the daemon, at the admin socket.
    Machine,
}

/// A signed-in user, as the session that proved it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user_id: Uuid,
    /// The name the user signs in with.
    pub username: String,
    /// What the user may do, read from the user and never from the token.
    pub role: Role,
    /// The session: one login on one device.
    pub session_id: Uuid,
    /// The generation of the one token of it that lives.
    pub generation: u32,
    /// Whether the session is a login: all callers by password of one user from one address share one that is none.
    pub is_login: bool,
    /// Bits a second that each of the user's streams may take, if they said so.
    pub max_bandwidth: Option<u64>,
    /// Whether a film is being sent to it.
    pub presence: Presence,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A signed-in user.
    User(Arc<Account>),
    /// A signed-in user's player, for one film.
    Player {
        /// The user, and the session that the player was let in by.
        account: Arc<Account>,
        /// The film.
        video_id: Uuid,
    },
    /// Whoever has a share link, for one film.
    Guest(Arc<Guest>),
    /// Root, or who runs the daemon, at the admin socket: an administrator without an account.
    Machine,
}

/// The proof that the caller may take the route. Made by [`Need::judge`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    caller: Option<Caller>,
}

/// Whose objects a caller may see and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Those of this user.
    Own(Uuid),
}

impl Account {
    /// The account behind a session's row.
    pub fn new(session: &Session, user: &User) -> Account {
        Account {
            user_id: user.id,
            username: user.username.clone(),
            role: user.role,
            session_id: session.id,
            generation: session.generation,
            is_login: true,
            max_bandwidth: user.preferences.max_bandwidth,
            presence: Presence::default(),
        }
    }

    /// The account of a caller by password from this address.
    pub fn by_password(user: &User, address: &str) -> Account {
        Account {
            user_id: user.id,
            username: user.username.clone(),
            role: user.role,
            session_id: Uuid::new_v5(&user.id, address.as_bytes()),
            generation: 0,
            is_login: false,
            max_bandwidth: user.preferences.max_bandwidth,
            presence: Presence::default(),
        }
    }

    /// Whether a session's id is that of callers by password, of which the store has no row.
    pub fn is_by_password(session_id: Uuid) -> bool {
        session_id.get_version_num() == 5
    }

    /// An account, for tests of the rooms above.
    #[cfg(test)]
    pub fn for_test(user_id: Uuid, session_id: Uuid, role: Role) -> Account {
        Account {
            user_id,
            username: "ann".into(),
            role,
            session_id,
            generation: 0,
            is_login: true,
            max_bandwidth: None,
            presence: Presence::default(),
        }
    }
}

impl Need {
    /// Judges a caller, or the lack of one.
    ///
    /// # Errors
    /// 401 without a caller where one is needed, 403 when the caller's role does not suffice.
    pub fn judge(self, caller: Option<Caller>, is_loopback: bool) -> Result<Grant, Reject> {
        let allowed = match (self, &caller) {
            (Need::Public, _) | (Need::UserOrGuest, Some(_)) | (Need::User, Some(Caller::User(_))) => Ok(()),
            (_, Some(Caller::Machine)) => Ok(()),
            (Need::AdminOrLoopback, _) if is_loopback => Ok(()),
            (Need::Admin | Need::AdminOrLoopback, Some(Caller::User(account))) if account.role == Role::Admin => Ok(()),
            (Need::User | Need::Admin | Need::AdminOrLoopback | Need::Machine, Some(_)) => Err(Reject::Forbidden),
            // No token would do.
            (Need::Machine, None) => Err(Reject::Forbidden),
            (Need::User | Need::UserOrGuest | Need::Admin | Need::AdminOrLoopback, None) => Err(NO_TOKEN),
        };
        allowed.map(|()| Grant { caller })
    }
}

impl Grant {
    /// The user, on a route that needs one.
    ///
    /// # Errors
    /// 401 on a route that does not and got none, 403 for who may watch one film only, or has no account.
    pub fn account(&self) -> Result<&Arc<Account>, Reject> {
        match &self.caller {
            Some(Caller::User(account)) => Ok(account),
            Some(Caller::Player { .. } | Caller::Guest(_) | Caller::Machine) => Err(Reject::Forbidden),
            None => Err(NO_TOKEN),
        }
    }

    /// Who asks, on a route that needs somebody.
    ///
    /// # Errors
    /// 401 on a route that does not and got nobody.
    pub fn caller(&self) -> Result<&Caller, Reject> {
        self.caller.as_ref().ok_or(NO_TOKEN)
    }

    /// The one film that the caller may see, if it is only one.
    pub fn only_video(&self) -> Option<Uuid> {
        match &self.caller {
            Some(Caller::Player { video_id, .. }) => Some(*video_id),
            Some(Caller::Guest(guest)) => Some(guest.video_id),
            Some(Caller::User(_) | Caller::Machine) | None => None,
        }
    }

    /// Whose objects the caller may see: an administrator everybody's, anybody else their own.
    ///
    /// # Errors
    /// As [`Grant::account`].
    pub fn scope(&self) -> Result<Scope, Reject> {
        if self.caller == Some(Caller::Machine) {
            return Ok(Scope::All);
        }
        self.account().map(|account| match account.role {
            Role::Admin => Scope::All,
            Role::User => Scope::Own(account.user_id),
        })
    }

    /// The id of the user who acts, for the audit trail.
    pub fn actor(&self) -> Option<Uuid> {
        self.caller.as_ref().and_then(Caller::user_id)
    }
}

impl Caller {
    /// The user who asks, by themselves or by a player of theirs.
    pub fn own_account(&self) -> Option<&Arc<Account>> {
        match self {
            Caller::User(account) | Caller::Player { account, .. } => Some(account),
            Caller::Guest(_) | Caller::Machine => None,
        }
    }

    /// The user who asks, or lets somebody ask.
    pub fn user_id(&self) -> Option<Uuid> {
        match self {
            Caller::User(account) | Caller::Player { account, .. } => Some(account.user_id),
            Caller::Guest(guest) => guest.user_id,
            Caller::Machine => None,
        }
    }
}

impl Scope {
    /// Whether an object of this user lies in it, or one of nobody's.
    pub fn has(self, user_id: impl Into<Option<Uuid>>) -> bool {
        match self {
            Scope::All => true,
            Scope::Own(own) => user_id.into() == Some(own),
        }
    }

    /// The one user it is about, if it is about one.
    pub fn user(self) -> Option<Uuid> {
        match self {
            Scope::All => None,
            Scope::Own(own) => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(role: Role) -> Arc<Account> {
        Arc::new(Account::for_test(Uuid::nil(), Uuid::nil(), role))
    }

    fn user(role: Role) -> Option<Caller> {
        Some(Caller::User(account(role)))
    }

    fn guest() -> Option<Caller> {
        let id = Uuid::from_u128(7);
        let (expires_at, max_plays) = (crate::store::Timestamp::from_microseconds(0), None);
        Some(Caller::Guest(Arc::new(Guest { link_id: id, user_id: None, video_id: id, expires_at, max_plays })))
    }

    #[test]
    fn each_need_admits_exactly_whom_it_names() {
        use Need::*;
        let player = Some(Caller::Player { account: account(Role::Admin), video_id: Uuid::nil() });
        let machine = Some(Caller::Machine);
        let callers = [None, guest(), player, user(Role::User), user(Role::Admin), machine];
        for (need, is_loopback, expected) in [
            (Public, false, [200, 200, 200, 200, 200, 200]),
            (UserOrGuest, false, [401, 200, 200, 200, 200, 200]),
            (User, false, [401, 403, 403, 200, 200, 200]),
            (User, true, [401, 403, 403, 200, 200, 200]),
            (Admin, false, [401, 403, 403, 403, 200, 200]),
            (Admin, true, [401, 403, 403, 403, 200, 200]),
            (AdminOrLoopback, false, [401, 403, 403, 403, 200, 200]),
            (AdminOrLoopback, true, [200, 200, 200, 200, 200, 200]),
            (Machine, true, [403, 403, 403, 403, 403, 200]),
        ] {
            for (caller, expected) in callers.iter().zip(expected) {
                let status = need.judge(caller.clone(), is_loopback).map_or_else(|reject| reject.status(), |_| 200);
                assert_eq!(status, expected, "{need:?} {caller:?}");
            }
        }
    }

    #[test]
    fn a_user_sees_their_own_and_an_administrator_everybodys() {
        let scope = |role| Need::User.judge(user(role), false).unwrap().scope().unwrap();
        let (own, other) = (Uuid::nil(), Uuid::from_u128(1));
        assert_eq!([own, other].map(|id| scope(Role::User).has(id)), [true, false]);
        assert_eq!([own, other].map(|id| scope(Role::Admin).has(id)), [true, true]);
        assert!(scope(Role::Admin).has(None) && !scope(Role::User).has(None));
        let nobody = Need::Public.judge(None, false).unwrap();
        assert_eq!(nobody.scope(), Err(NO_TOKEN));
    }
}
