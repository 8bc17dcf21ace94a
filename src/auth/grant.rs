//! What a route needs, and the proof that a caller has it.

use uuid::Uuid;

use crate::auth::NO_TOKEN;
use crate::http::reject::Reject;
use crate::store::Role;

/// What a route asks of its caller. One column of the table in spec/API.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// A signed-in user.
    User,
    /// An administrator, or a program on this machine.
    AdminOrLoopback,
}

/// A signed-in user, as the session that proved it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: Uuid,
    /// The name the user signs in with.
    pub username: String,
    /// What the user may do, read from the user and never from the token.
    pub role: Role,
    /// The session: one login on one device.
    pub session_id: Uuid,
}

/// The proof that the caller may take the route. Made by [`Need::judge`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    caller: Option<Caller>,
}

impl Need {
    /// Judges a caller, or the lack of one.
    ///
    /// # Errors
    /// 401 without a caller where one is needed, 403 when the caller's role does not suffice.
    pub fn judge(self, caller: Option<Caller>, is_loopback: bool) -> Result<Grant, Reject> {
        let allowed = match (self, &caller) {
            (Need::Public, _) => Ok(()),
            (Need::User, Some(_)) => Ok(()),
            (Need::AdminOrLoopback, _) if is_loopback => Ok(()),
            (Need::AdminOrLoopback, Some(caller)) if caller.role == Role::Admin => Ok(()),
            (Need::AdminOrLoopback, Some(_)) => Err(Reject::Forbidden),
            (Need::User | Need::AdminOrLoopback, None) => Err(NO_TOKEN),
        };
        allowed.map(|()| Grant { caller })
    }
}

impl Grant {
    /// The caller, on a route that needs one.
    ///
    /// # Errors
    /// 401 on a route that does not and got none.
    pub fn caller(&self) -> Result<&Caller, Reject> {
        self.caller.as_ref().ok_or(NO_TOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_need_admits_exactly_whom_it_names() {
        let caller =
            |role| Some(Caller { user_id: Uuid::nil(), username: "ann".into(), role, session_id: Uuid::nil() });
        let (user, admin) = (caller(Role::User), caller(Role::Admin));
        for (need, caller, is_loopback, expected) in [
            (Need::Public, None, false, Ok(())),
            (Need::User, None, true, Err(NO_TOKEN)),
            (Need::User, user.clone(), false, Ok(())),
            (Need::User, admin.clone(), false, Ok(())),
            (Need::AdminOrLoopback, None, false, Err(NO_TOKEN)),
            (Need::AdminOrLoopback, None, true, Ok(())),
            (Need::AdminOrLoopback, user, false, Err(Reject::Forbidden)),
            (Need::AdminOrLoopback, admin, false, Ok(())),
        ] {
            assert_eq!(need.judge(caller.clone(), is_loopback).map(|_| ()), expected, "{need:?} {caller:?}");
        }
    }
}
