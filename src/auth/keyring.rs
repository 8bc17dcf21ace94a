//! The keys of this daemon: the one that signs, and those before it, whose tokens have not ended yet.
//!
//! Who replaces the key and restarts the daemon signs nobody out: what was signed with the key before is good for as long as
//! a token can live. So a key that lies in a file is noted in STATE/jwt.previous, mode 0600, while it signs, and a start that
//! finds another gives it its time. A key that systemd hands over is never written to the state; for such the one before is
//! handed over as well, as the credential `reelway.jwt-key.previous`, for as long as it is to be good.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::auth::keys::{KeyError, Keys, Origin, Places};
use crate::limits;
use crate::store::Timestamp;

/// The name of the file in the state directory.
const FILE: &str = "jwt.previous";
/// The name of the systemd credential with the key before.
const CREDENTIAL: &str = "reelway.jwt-key.previous";
/// Bytes of the file: three keys as long as a key file may be, in hexadecimal digits.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// All keys.
#[derive(Debug)]
pub struct Keyring {
    /// The one that signs.
    pub current: Keys,
    /// Those that are still good for what they have signed, the newest first.
    pub previous: Vec<Previous>,
    /// What is wrong with those, a sentence each: then nobody is let in by them, and nobody is kept from anything else.
    pub warnings: Vec<String>,
}

/// A key that does not sign any more.
#[derive(Debug)]
pub struct Previous {
    /// The key.
    pub keys: Keys,
    /// Until when its tokens are good; none for one that was handed over.
    pub until: Option<Timestamp>,
}

/// What the file says.
#[derive(Debug, Default)]
struct Noted {
    /// The key that signed when it was written, if that lay in a file.
    current: Option<Keys>,
    previous: Vec<Previous>,
}

impl Keyring {
    /// Finds the keys, or makes the first, and notes what the next start has to know.
    ///
    /// # Errors
    /// A [`KeyError`] that names the file of the key that signs.
    pub fn find(places: &Places, now: Timestamp) -> Result<Keyring, KeyError> {
        let current = Keys::find(places)?;
        let path = places.state.join(FILE);
        let mut warnings = Vec::new();
        let noted = read(&path).unwrap_or_else(|error| {
            warnings.push(format!("{} is passed over: {error}", path.display()));
            Noted::default()
        });
        let handed = Keys::credential(places, CREDENTIAL).unwrap_or_else(|error| {
            warnings.push(error.to_string());
            None
        });
        let is_other = |keys: &Keys| {
            keys.secret() != current.secret() && handed.as_ref().is_none_or(|handed| keys.secret() != handed.secret())
        };
        // Nothing that the file says gives a key more time than a token can live.
        let end = now.plus(limits::TOKEN_LIFE);
        let is_good = |previous: &Previous| previous.until.is_some_and(|until| now < until && until <= end);
        let ended = noted.current.map(|keys| Previous { keys, until: Some(end) });
        let known =
            ended.into_iter().chain(noted.previous).filter(|previous| is_other(&previous.keys) && is_good(previous));
        let mut previous: Vec<_> = known.collect();
        previous.truncate(limits::KEYS_PREVIOUS_MAX);
        if let Err(error) = write(&path, &current, &previous) {
            warnings.push(format!("{} could not be written: {error}", path.display()));
        }
        if let Some(keys) = handed {
            previous.insert(0, Previous { keys, until: None });
        }
        Ok(Keyring { current, previous, warnings })
    }
}

/// Reads the file. None is an empty one: it is the first start, or keys are handed over.
fn read(path: &Path) -> io::Result<Noted> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Noted::default()),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a line of it is no key and its time");
    let mut noted = Noted::default();
    for line in text.lines() {
        let (digits, time) = line.split_once(' ').ok_or_else(damaged)?;
        let keys = Keys::from_hexadecimal(digits).ok_or_else(damaged)?;
        match time {
            "current" => noted.current = Some(keys),
            time => {
                let seconds: i64 = time.parse().map_err(|_| damaged())?;
                let until = Some(Timestamp::from_microseconds(seconds.saturating_mul(1_000_000)));
                noted.previous.push(Previous { keys, until });
            }
        }
    }
    Ok(noted)
}

/// Writes the file anew, if it is to say anything else: whole or not at all.
fn write(path: &Path, current: &Keys, previous: &[Previous]) -> io::Result<()> {
    let mut text = String::new();
    if current.origin() == Origin::File {
        text += &format!("{} current\n", current.to_hexadecimal());
    }
    for Previous { keys, until } in previous {
        if let Some(until) = until {
            text += &format!("{} {}\n", keys.to_hexadecimal(), until.seconds());
        }
    }
    let known = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        known => known.unwrap_or_default(),
    };
    if known == text {
        return Ok(());
    }
    let draft = path.with_extension(format!("previous.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> Timestamp {
        Timestamp::from_microseconds(1_700_000_000_000_000).plus(HOUR * hours)
    }

    fn places(state: &Path) -> Places {
        Places { credentials: None, configured: None, state: state.to_owned() }
    }

    fn secrets(keyring: &Keyring) -> Vec<Vec<u8>> {
        keyring.previous.iter().map(|previous| previous.keys.secret().to_vec()).collect()
    }

    #[test]
    fn a_key_that_was_replaced_is_good_for_a_day() {
        let state = tempfile::tempdir().unwrap();
        let places = places(state.path());
        let first = Keyring::find(&places, at(0)).unwrap();
        assert!(first.previous.is_empty() && first.warnings.is_empty());
        std::fs::remove_file(state.path().join("jwt.key")).unwrap();
        let second = Keyring::find(&places, at(10)).unwrap();
        assert_ne!(second.current.secret(), first.current.secret());
        assert_eq!(secrets(&second), [first.current.secret()]);
        assert_eq!(second.previous[0].until, Some(at(34)));
        let again = Keyring::find(&places, at(33)).unwrap();
        assert_eq!(again.previous[0].until, Some(at(34)), "another start gives it no more time");
        assert!(Keyring::find(&places, at(34)).unwrap().previous.is_empty());
        let file = state.path().join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(file).unwrap().contains(&first.current.to_hexadecimal()));
    }

    #[test]
    fn two_keys_before_are_kept_and_a_third_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let places = places(state.path());
        let mut found: Vec<Vec<u8>> = Vec::new();
        for hour in 0..4 {
            let _ = std::fs::remove_file(state.path().join("jwt.key"));
            let keyring = Keyring::find(&places, at(hour)).unwrap();
            let expected: Vec<_> = found.iter().rev().take(2).cloned().collect();
            assert_eq!(secrets(&keyring), expected);
            found.push(keyring.current.secret().to_vec());
        }
        // Back to the one before: it signs again, and is not good twice.
        std::fs::write(state.path().join("jwt.key"), &found[2]).unwrap();
        let keyring = Keyring::find(&places, at(5)).unwrap();
        assert_eq!(secrets(&keyring), [found[3].clone(), found[1].clone()]);
    }

    #[test]
    fn a_key_that_was_handed_over_is_never_written_down() {
        let (state, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut places = places(state.path());
        let file = Keyring::find(&places, at(0)).unwrap();
        places.credentials = Some(credentials.path().to_owned());
        std::fs::write(credentials.path().join("reelway.jwt-key"), [b'c'; 40]).unwrap();
        let keyring = Keyring::find(&places, at(1)).unwrap();
        assert_eq!(secrets(&keyring), [file.current.secret()], "what the file's key has signed is good for a day");
        std::fs::write(credentials.path().join("reelway.jwt-key"), [b'd'; 40]).unwrap();
        std::fs::write(credentials.path().join(CREDENTIAL), [b'c'; 40]).unwrap();
        let keyring = Keyring::find(&places, at(2)).unwrap();
        assert_eq!((keyring.previous.len(), keyring.previous[0].until), (2, None));
        assert_eq!(secrets(&keyring)[0], [b'c'; 40]);
        let text = std::fs::read_to_string(state.path().join(FILE)).unwrap();
        assert!(!text.contains("63636363") && !text.contains("64646464") && !text.contains("current"), "{text}");
    }

    #[test]
    fn a_damaged_file_lets_nobody_in_and_stops_nobody() {
        let state = tempfile::tempdir().unwrap();
        let places = places(state.path());
        Keyring::find(&places, at(0)).unwrap();
        for damaged in [&b"what is this\n"[..], b"zz current\n", b"abab current\n", &[0xff; 20], b"x"] {
            std::fs::write(state.path().join(FILE), damaged).unwrap();
            let keyring = Keyring::find(&places, at(1)).unwrap();
            assert!(keyring.previous.is_empty());
            assert!(keyring.warnings.iter().any(|warning| warning.contains(FILE)));
            assert!(Keyring::find(&places, at(1)).unwrap().warnings.is_empty(), "it is written anew");
        }
    }

    #[test]
    fn no_file_gives_a_key_more_time_than_a_token_has() {
        let state = tempfile::tempdir().unwrap();
        let places = places(state.path());
        Keyring::find(&places, at(0)).unwrap();
        std::fs::write(state.path().join(FILE), format!("{} {}\n", "ab".repeat(32), at(26).seconds())).unwrap();
        assert!(Keyring::find(&places, at(1)).unwrap().previous.is_empty());
    }

    #[test]
    fn what_is_wrong_with_keys_before_keeps_nobody_from_starting() {
        let (state, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut places = places(state.path());
        places.credentials = Some(credentials.path().to_owned());
        std::fs::write(credentials.path().join(CREDENTIAL), "short").unwrap();
        std::fs::create_dir(state.path().join(FILE)).unwrap();
        let keyring = Keyring::find(&places, at(0)).unwrap();
        assert!(keyring.previous.is_empty());
        assert_eq!(keyring.warnings.len(), 3, "{:?}", keyring.warnings);
    }
}
