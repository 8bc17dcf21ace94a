//! The key that signs session tokens: found once at start, made at the first start.
//!
//! In order: the credential `reelway.jwt-key` that systemd passes, the file of `auth.jwt_key_file`, STATE/jwt.key. The
//! file's bytes without a trailing newline are the HS256 secret. A missing STATE/jwt.key is made, mode 0600, and
//! reaches the disk before anything is signed with it; a missing file that somebody *named* is an error. What becomes of the
//! key before it, `keyring` says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::limits;

/// Bytes of a key file that are read at most: a key is 32 bytes, and a disk image is none.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;
/// The name of the systemd credential (systemd.exec(5), LoadCredential=).
const CREDENTIAL: &str = "reelway.jwt-key";
/// The name of the file in the state directory.
const STATE_FILE: &str = "jwt.key";

/// The secret. Never printed: its `Debug` says only how long it is.
pub struct Keys {
    secret: Vec<u8>,
    origin: Origin,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// systemd handed it over: it lies on no disk that we know of.
    Credential,
    /// A file.
    File,
}

/// Where a key may be found.
#[derive(Clone, Debug)]
pub struct Places {
    /// systemd's CREDENTIALS_DIRECTORY.
    pub credentials: Option<PathBuf>,
    /// `auth.jwt_key_file`.
    pub configured: Option<PathBuf>,
    /// The state directory.
    pub state: PathBuf,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or cannot be made.
    #[error("could not {operation} the signing key {path}: {cause}", path = path.display())]
    File {
        /// `read` or `make`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file is too short to be a secret.
    #[error(
        "the signing key {path} has {length} bytes; HS256 needs at least {minimum}: \
         put the output of `head -c 32 /dev/urandom | base64` there",
        path = path.display(), minimum = limits::JWT_KEY_BYTES_MIN
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Its length in bytes, without a trailing newline.
        length: usize,
    },
}

impl Keys {
    /// Finds the key, or makes the one of the state directory.
    ///
    /// # Errors
    /// A [`KeyError`] that names the file.
    pub fn find(places: &Places) -> Result<Keys, KeyError> {
        if let Some(keys) = Keys::credential(places, CREDENTIAL)? {
            return Ok(keys);
        }
        if let Some(path) = &places.configured {
            return Keys::read(path, Origin::File);
        }
        let path = places.state.join(STATE_FILE);
        if !path.exists() {
            make(&path).map_err(|cause| KeyError::File { operation: "make", path: path.clone(), cause })?;
        }
        Keys::read(&path, Origin::File)
    }

    /// A key that systemd hands over under this name, if it does.
    pub(super) fn credential(places: &Places, name: &str) -> Result<Option<Keys>, KeyError> {
        let path = places.credentials.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
        path.map(|path| Keys::read(&path, Origin::Credential)).transpose()
    }

    fn read(path: &Path, origin: Origin) -> Result<Keys, KeyError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|cause| KeyError::File { operation: "read", path: path.to_owned(), cause })?;
        let without_newline = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = without_newline.strip_suffix(b"\r").unwrap_or(without_newline).to_vec();
        if secret.len() < limits::JWT_KEY_BYTES_MIN {
            return Err(KeyError::TooShort { path: path.to_owned(), length: secret.len() });
        }
        Ok(Keys { secret, origin })
    }

    /// Where it came from.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// As text.
    pub(super) fn to_hexadecimal(&self) -> String {
        self.secret.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key of a file, from what [`Keys::to_hexadecimal`] made of it.
    pub(super) fn from_hexadecimal(digits: &str) -> Option<Keys> {
        let pairs = digits.is_ascii().then(|| digits.as_bytes().chunks(2))?;
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok();
        let secret: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
        (secret.len() >= limits::JWT_KEY_BYTES_MIN).then_some(Keys { secret, origin: Origin::File })
    }

    /// The bytes to sign with.
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A key of this secret, for tests of the rooms above.
    #[cfg(test)]
    pub fn of(secret: &[u8]) -> Keys {
        Keys { secret: secret.to_vec(), origin: Origin::File }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys({} bytes)", self.secret.len())
    }
}

/// Writes 32 random bytes, as hexadecimal digits, to a new file. Whole or not at all: the name appears only once the
/// bytes are on the disk, and of two processes that start together one makes the key and both use it.
fn make(path: &Path) -> io::Result<()> {
    let digits: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(digits.as_bytes())?;
    file.sync_all()?;
    let linked = match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    std::fs::remove_file(&draft)?;
    linked?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// 32 bytes that nobody can guess.
pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn places(state: &Path) -> Places {
        Places { credentials: None, configured: None, state: state.to_owned() }
    }

    #[test]
    fn the_first_start_makes_a_private_key_and_the_next_one_finds_it() {
        let state = tempfile::tempdir().unwrap();
        let made = Keys::find(&places(state.path())).unwrap();
        assert_eq!(made.secret.len(), 64);
        let path = state.path().join("jwt.key");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Keys::find(&places(state.path())).unwrap().secret, made.secret);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_credential_wins_over_a_file_and_a_file_over_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let configured = folder.path().join("key");
        std::fs::write(&configured, [b'f'; 40]).unwrap();
        std::fs::write(folder.path().join(CREDENTIAL), [b'c'; 40]).unwrap();
        let mut places = places(folder.path());
        places.configured = Some(configured);
        assert_eq!(Keys::find(&places).unwrap().secret, [b'f'; 40]);
        places.credentials = Some(folder.path().to_owned());
        assert_eq!(Keys::find(&places).unwrap().secret, [b'c'; 40]);
    }

    #[test]
    fn a_short_or_missing_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let configured = folder.path().join("key");
        let mut places = places(folder.path());
        places.configured = Some(configured.clone());
        assert!(matches!(Keys::find(&places), Err(KeyError::File { .. })));
        std::fs::write(&configured, "short\n").unwrap();
        let error = Keys::find(&places).unwrap_err();
        assert!(matches!(error, KeyError::TooShort { length: 5, .. }), "{error}");
        std::fs::write(&configured, [&[b'k'; 32][..], b"\n"].concat()).unwrap();
        assert_eq!(Keys::find(&places).unwrap().secret, [b'k'; 32]);
    }
}
