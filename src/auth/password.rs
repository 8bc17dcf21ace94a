//! Passwords: argon2id on one thread of its own, behind a short queue. The only door to argon2.
//!
//! A hash takes about 40 ms and 19 MiB. One at a time bounds both; a queue that is full is answered at once. An unknown
//! user is verified against a hash that nobody has the password of, so that it takes the same time as a wrong password.

use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{mpsc, oneshot};

use crate::limits;

/// A password hash as text, in the PHC format: `$argon2id$v=19$m=19456,t=2,p=1$…`.
pub type HashText = String;

/// Why a hash was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many are waiting already.
    #[error("too many passwords are being checked; try again in a moment")]
    Busy,
    /// The password is empty or too long.
    #[error("a password has 1 to {} bytes", limits::PASSWORD_BYTES_MAX)]
    Length,
    /// The hashing thread is gone, or the machine had no memory or no randomness.
    #[error("the password could not be hashed")]
    Failed,
}

/// The hashing thread. Cloning it makes another handle of the same thread, which ends with the last one.
#[derive(Clone, Debug)]
pub struct Hasher {
    queue: mpsc::Sender<Job>,
}

enum Job {
    /// Is it this one?
    Verify {
        password: String,
        /// The hash to compare with, or `None` for "some user that does not exist".
        known: Option<HashText>,
        answer: oneshot::Sender<bool>,
    },
    /// A new one.
    Hash { password: String, answer: oneshot::Sender<Result<HashText, HashError>> },
}

impl Hasher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread for us, or no randomness.
    pub fn start() -> std::io::Result<Hasher> {
        let nobody = hash("a password that nobody has").map_err(std::io::Error::other)?;
        let (queue, mut jobs) = mpsc::channel::<Job>(limits::HASH_QUEUE_MAX);
        thread::Builder::new().name("hasher".into()).spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                // Nobody waits any more when the client has gone.
                match job {
                    Job::Verify { answer, .. } if answer.is_closed() => {}
                    Job::Hash { answer, .. } if answer.is_closed() => {}
                    Job::Verify { password, known, answer } => {
                        let matches = verify(&password, known.as_deref().unwrap_or(&nobody));
                        let _ = answer.send(matches && known.is_some());
                    }
                    Job::Hash { password, answer } => _ = answer.send(hash(&password)),
                }
            }
        })?;
        Ok(Hasher { queue })
    }

    /// Whether `password` is the one that `known` was made from. Without a `known` hash it is not, after the same time.
    ///
    /// # Errors
    /// [`HashError::Busy`] when the queue is full, [`HashError::Failed`] when the thread is gone.
    pub async fn verify(&self, password: String, known: Option<HashText>) -> Result<bool, HashError> {
        let (answer, wait) = oneshot::channel();
        self.send(Job::Verify { password, known, answer })?;
        wait.await.map_err(|_| HashError::Failed)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`HashError::Length`] for one that cannot be, and what [`Hasher::verify`] says.
    pub async fn hash(&self, password: String) -> Result<HashText, HashError> {
        let (answer, wait) = oneshot::channel();
        self.send(Job::Hash { password, answer })?;
        wait.await.map_err(|_| HashError::Failed)?
    }

    fn send(&self, job: Job) -> Result<(), HashError> {
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => HashError::Busy,
            mpsc::error::TrySendError::Closed(_) => HashError::Failed,
        })
    }
}

/// Hashes a new password, on the calling thread: for the command line.
///
/// # Errors
/// [`HashError::Length`], or [`HashError::Failed`] without memory or randomness.
pub fn hash(password: &str) -> Result<HashText, HashError> {
    if password.is_empty() || password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(HashError::Length);
    }
    argon2id()
        .and_then(|argon2| argon2.hash_password(password.as_bytes()).ok())
        .map(|hash| hash.to_string())
        .ok_or(HashError::Failed)
}

fn verify(password: &str, known: &str) -> bool {
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return false;
    }
    let Ok(known) = PasswordHash::new(known) else { return false };
    argon2id().is_some_and(|argon2| argon2.verify_password(password.as_bytes(), &known).is_ok())
}

/// 19 MiB, two passes, one lane: the OWASP minimum, and 40 ms on this class of machine (DEPENDENCIES.md).
fn argon2id() -> Option<Argon2<'static>> {
    let parameters = Params::new(19 * 1024, 2, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_a_known_user_is_verified() {
        let known = hash("correct horse").unwrap();
        assert!(known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{known}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hasher = Hasher::start().unwrap();
        let verify = |password: &str, known: Option<&str>| {
            runtime.block_on(hasher.verify(password.to_owned(), known.map(str::to_owned))).unwrap()
        };
        assert!(verify("correct horse", Some(&known)));
        assert!(!verify("wrong horse", Some(&known)));
        assert!(!verify("correct horse", None));
        assert!(!verify("a password that nobody has", None), "not even the password of the decoy");
        assert!(!verify("correct horse", Some("not a hash")));
        assert!(!verify(&"x".repeat(limits::PASSWORD_BYTES_MAX + 1), Some(&known)));
    }

    #[test]
    fn a_full_queue_is_refused_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hasher = Hasher::start().unwrap();
        let answers = runtime.block_on(async {
            let tasks: Vec<_> = (0..limits::HASH_QUEUE_MAX + 8)
                .map(|_| {
                    let hasher = hasher.clone();
                    async move { hasher.verify("x".into(), None).await }
                })
                .map(Box::pin)
                .collect();
            let mut answers = Vec::new();
            let mut waiting = Vec::new();
            for mut task in tasks {
                // Polled once: the job is queued, or refused.
                match std::future::poll_fn(|context| {
                    std::task::Poll::Ready(match task.as_mut().poll(context) {
                        std::task::Poll::Ready(answer) => Some(answer),
                        std::task::Poll::Pending => None,
                    })
                })
                .await
                {
                    Some(answer) => answers.push(answer),
                    None => waiting.push(task),
                }
            }
            answers
        });
        assert!(answers.contains(&Err(HashError::Busy)), "{answers:?}");
    }

    #[test]
    fn an_empty_password_is_refused() {
        assert_eq!(hash(""), Err(HashError::Length));
    }
}
