//! How a fault of the store is answered: logged once, here, where it is handled, and refused with what the client can
//! do about it.

use super::Fault;
use crate::http::reject::Reject;
use crate::log::messages;

impl Fault {
    /// The answer to a client whose request met this fault: 503 when later may do, 507 when there is no room.
    pub fn into_reject(self) -> Reject {
        match &self {
            Fault::Busy { .. } => {
                tracing::warn!(name: messages::STORE_BUSY, error = %self, "store is busy");
                Reject::Busy { retry_after_seconds: 1 }
            }
            Fault::Stopped => Reject::Draining,
            Fault::DiskFull { .. } => {
                tracing::error!(name: messages::STORE_FULL, error = %self, "store is full");
                Reject::StorageFull
            }
            Fault::Corrupt { .. } | Fault::Newer { .. } | Fault::Open { .. } | Fault::Other { .. } => {
                tracing::error!(name: messages::STORE_FAILED, error = %self, "store failed");
                Reject::Internal
            }
        }
    }
}
