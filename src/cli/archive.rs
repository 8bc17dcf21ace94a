//! What a backup is on paper: a tar that any administrator can open, whose first member says what the others are.
//!
//! ```text
//!   manifest.json            format, release, schema, time; name, size and SHA-256 of each of the following
//!   reelway.db               the database, without a log
//!   jwt.key  jwt.previous    the signing keys, as far as they lie in files
//!   config/reelway.toml      the configuration
//!   config/conf.d/NAME.toml
//! ```
//!
//! The one idea: a name is one of these, and anything else ends the reading; so nothing in an archive can say where on the
//! disk it goes. pax(1), "ustar Interchange Format".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use anyhow::{Context, bail, ensure};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

/// The word by which a manifest is known.
const FORMAT: &str = "reelway-backup";
/// Raised when an older release could not read a backup.
const FORMAT_VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// The name of the database's member.
pub(super) const DATABASE: &str = "reelway.db";
/// The name of the signing key's member.
pub(super) const KEY: &str = "jwt.key";
/// The name of the member with the keys before.
pub(super) const PREVIOUS_KEYS: &str = "jwt.previous";
/// Where the members of the configuration are.
pub(super) const CONFIGURATION: &str = "config/";
/// Bytes of any member but the database: a configuration is some kilobytes.
pub(super) const SMALL_BYTES_MAX: u64 = 1024 * 1024;
/// Members of an archive.
const MEMBERS_MAX: usize = 1000;

/// What the first member says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    format: String,
    format_version: u32,
    /// The release that made it.
    pub version: String,
    /// The steps of the schema that the database has behind it.
    pub schema: i64,
    /// RFC 3339.
    pub created_at: String,
    /// Accounts in the database.
    pub users: i64,
    files: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    name: String,
    size: u64,
    sha256: String,
}

/// A member to be written.
pub(super) struct Member<R> {
    /// One of the names above.
    pub name: String,
    /// Mode of the file that it was.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    sha256: String,
    content: R,
}

impl<R: Read + io::Seek> Member<R> {
    /// Reads `content` once, for its size and checksum.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(name: impl Into<String>, mode: u32, mut content: R) -> io::Result<Member<R>> {
        let (size, sha256) = copy_hashing(&mut content, &mut io::sink())?;
        content.rewind()?;
        Ok(Member { name: name.into(), mode, size, sha256, content })
    }
}

/// Writes an archive; seconds since 1970 are the time of its members.
///
/// # Errors
/// When it cannot be written, or a member cannot be read again.
pub(super) fn write<R: Read>(
    to: impl Write,
    (version, schema, users): (&str, i64, i64),
    (created_at, seconds): (String, u64),
    members: Vec<Member<R>>,
) -> anyhow::Result<Manifest> {
    let listed =
        |member: &Member<R>| Listed { name: member.name.clone(), size: member.size, sha256: member.sha256.clone() };
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        version: version.to_owned(),
        schema,
        created_at,
        users,
        files: members.iter().map(listed).collect(),
    };
    let text = format!("{:#}\n", serde_json::to_value(&manifest)?);
    let mut tar = Builder::new(to);
    append(&mut tar, MANIFEST, 0o600, text.len() as u64, seconds, text.as_bytes())?;
    for member in members {
        append(&mut tar, &member.name, member.mode, member.size, seconds, member.content.take(member.size))?;
    }
    tar.into_inner()?.flush()?;
    Ok(manifest)
}

fn append(
    tar: &mut Builder<impl Write>,
    name: &str,
    mode: u32,
    size: u64,
    seconds: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode & 0o777);
    header.set_size(size);
    header.set_mtime(seconds);
    tar.append_data(&mut header, name, content)
}

/// An archive that was read to its end and is whole.
pub(super) struct Contents {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The members but the database, by name: their modes and bytes.
    pub small: BTreeMap<String, (u32, Vec<u8>)>,
}

/// Reads an archive, whose database goes to `database` as it comes. Only once this returns it is known to be whole.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn read(from: impl Read, mut database: impl Write) -> anyhow::Result<Contents> {
    let mut archive = Archive::new(from);
    let mut entries = archive.entries().context(NO_BACKUP)?;
    let first = entries.next().context("the file is empty")?.context(NO_BACKUP)?;
    let manifest = read_manifest(first)?;
    let mut missing: BTreeMap<&str, &Listed> = manifest.files.iter().map(|file| (file.name.as_str(), file)).collect();
    ensure!(missing.len() == manifest.files.len() && missing.len() <= MEMBERS_MAX, "its manifest lists a file twice");
    ensure!(missing.contains_key(DATABASE), "its manifest lists no database");
    let mut small = BTreeMap::new();
    for entry in entries {
        let mut entry = entry.context(CUT_OFF)?;
        let name = name_of(&entry)?;
        let Some(listed) = missing.remove(name.as_str()) else {
            let name = name.escape_debug();
            bail!("'{name}' in it is not what a backup holds, or is there twice; nothing was restored");
        };
        let (size, sha256) = if name == DATABASE {
            copy_hashing(&mut entry, &mut database)
        } else {
            ensure!(entry.size() <= SMALL_BYTES_MAX, "'{name}' in it is larger than {SMALL_BYTES_MAX} bytes");
            let mut bytes = Vec::new();
            let copied = copy_hashing(&mut entry, &mut bytes);
            small.insert(name.clone(), (entry.header().mode().unwrap_or(0o600), bytes));
            copied
        }
        .with_context(|| format!("'{name}' in it could not be read or kept"))?;
        ensure!(
            (size, &sha256) == (listed.size, &listed.sha256),
            "'{name}' in it is damaged: its checksum is not the one of the manifest"
        );
    }
    if let Some(name) = missing.keys().next() {
        bail!("it ends before '{name}': it was cut off");
    }
    Ok(Contents { manifest, small })
}

const NO_BACKUP: &str = "it is no backup that `reelway backup` has made";
const CUT_OFF: &str = "it is damaged, or was cut off";

fn read_manifest(mut entry: tar::Entry<'_, impl Read>) -> anyhow::Result<Manifest> {
    ensure!(entry.path_bytes().as_ref() == MANIFEST.as_bytes() && entry.size() <= SMALL_BYTES_MAX, NO_BACKUP);
    let mut text = String::new();
    entry.read_to_string(&mut text).context(CUT_OFF)?;
    let value: serde_json::Value = serde_json::from_str(&text).context(NO_BACKUP)?;
    ensure!(value["format"] == FORMAT, NO_BACKUP);
    let version = value["formatVersion"].as_u64().context(NO_BACKUP)?;
    ensure!(
        version <= u64::from(FORMAT_VERSION),
        "it has format {version}, and this reelway reads formats up to {FORMAT_VERSION}: install the release that made it ({})",
        value["version"].as_str().unwrap_or("unknown").escape_debug()
    );
    let mut manifest: Manifest = serde_json::from_value(value).context(NO_BACKUP)?;
    // They are printed, to root's terminal as a rule, and may come from anybody.
    manifest.version = manifest.version.escape_debug().to_string();
    manifest.created_at = manifest.created_at.escape_debug().to_string();
    for file in &manifest.files {
        let name = file.name.escape_debug();
        ensure!(is_known(&file.name), "'{name}' in it is not what a backup holds; nothing was restored");
    }
    Ok(manifest)
}

fn name_of(entry: &tar::Entry<'_, impl Read>) -> anyhow::Result<String> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    ensure!(
        entry.header().entry_type() == EntryType::Regular && is_known(&name),
        "'{}' in it is not what a backup holds; nothing was restored",
        name.escape_debug()
    );
    Ok(name)
}

/// Whether a member may have this name.
fn is_known(name: &str) -> bool {
    if [DATABASE, KEY, PREVIOUS_KEYS].contains(&name) {
        return true;
    }
    match name.strip_prefix(CONFIGURATION) {
        Some("reelway.toml") => true,
        Some(rest) => rest.strip_prefix("conf.d/").is_some_and(is_drop_in),
        None => false,
    }
}

/// Whether a file of conf.d is read: as `config` has it.
fn is_drop_in(name: &str) -> bool {
    name.ends_with(".toml") && !name.starts_with('.') && !name.contains('/') && !name.contains(char::is_control)
}

/// Copies all of it: how many bytes, and their SHA-256 in hexadecimal digits.
fn copy_hashing(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
    let mut text = String::new();
    for byte in hash.finish().as_ref() {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    Ok((size, text))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn archive(names: &[&str]) -> Vec<u8> {
        let members = names
            .iter()
            .map(|name| Member::new(*name, 0o600, Cursor::new(format!("content of {name}").into_bytes())).unwrap());
        let mut bytes = Vec::new();
        write(&mut bytes, ("0.1.0", 3, 2), ("2026-01-01T00:00:00Z".into(), 1), members.collect()).unwrap();
        bytes
    }

    fn complaint(bytes: &[u8]) -> String {
        format!("{:#}", read(bytes, io::sink()).err().expect("it was believed"))
    }

    #[test]
    fn what_was_written_is_read() {
        let mut database = Vec::new();
        let bytes = archive(&[DATABASE, KEY, "config/reelway.toml", "config/conf.d/10-films.toml"]);
        let contents = read(bytes.as_slice(), &mut database).unwrap();
        assert_eq!(database, b"content of reelway.db");
        assert_eq!((contents.manifest.schema, contents.manifest.users), (3, 2));
        assert_eq!(contents.small[KEY], (0o600, b"content of jwt.key".to_vec()));
        assert_eq!(contents.small.len(), 3);
    }

    #[test]
    fn the_digest_is_the_one_that_sha256sum_prints() {
        let (size, text) = copy_hashing(&mut "abc".as_bytes(), &mut io::sink()).unwrap();
        assert_eq!((size, text.as_str()), (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }

    #[test]
    fn an_archive_that_was_cut_off_anywhere_is_refused() {
        let whole = archive(&[DATABASE, KEY]);
        // The two blocks of zeroes at the end say nothing, and neither does what fills the last member's block.
        let needed = whole.len() - 1024 - 512 + "content of jwt.key".len();
        for length in (0..needed).step_by(97).chain([needed - 1]) {
            assert!(read(&whole[..length], io::sink()).is_err(), "{length} of {} bytes were believed", whole.len());
        }
        assert!(read(whole.as_slice(), io::sink()).is_ok());
    }

    #[test]
    fn a_changed_byte_of_any_member_is_found() {
        let whole = archive(&[DATABASE, KEY]);
        let at = |text: &str| whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        for text in ["content of reelway.db", "content of jwt.key"] {
            let mut damaged = whole.clone();
            damaged[at(text)] ^= 1;
            assert!(complaint(&damaged).contains("checksum"), "{}", complaint(&damaged));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "../etc/passwd",
            "/etc/passwd",
            "config/../jwt.key",
            "config/conf.d/../../x.toml",
            "config/conf.d/a/b.toml",
            "config/conf.d/.toml",
            "config/conf.d/x.conf",
            "config/conf.d/\u{1b}[2Jx.toml",
            "reelway.db-wal",
            "other",
        ] {
            assert!(!is_known(name), "{name}");
            let mut tar = Builder::new(Vec::new());
            let text = format!(
                r#"{{"format":"{FORMAT}","formatVersion":1,"version":"0","schema":1,"createdAt":"","users":0,
                    "files":[{{"name":"reelway.db","size":1,"sha256":""}}]}}"#
            );
            append(&mut tar, MANIFEST, 0o600, text.len() as u64, 0, text.as_bytes()).unwrap();
            // The builder refuses such names itself, so they are put in by hand.
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(1);
            header.set_entry_type(EntryType::Regular);
            header.set_cksum();
            tar.append(&header, &b"x"[..]).unwrap();
            let complaint = complaint(&tar.into_inner().unwrap());
            assert!(complaint.contains("not what a backup holds"), "{name}: {complaint}");
        }
    }

    #[test]
    fn a_link_is_not_followed_and_a_manifest_does_not_name_other_files() {
        let mut tar = Builder::new(Vec::new());
        let text = format!(
            r#"{{"format":"{FORMAT}","formatVersion":1,"version":"0","schema":1,"createdAt":"","users":0,
                "files":[{{"name":"reelway.db","size":0,"sha256":""}}]}}"#
        );
        append(&mut tar, MANIFEST, 0o600, text.len() as u64, 0, text.as_bytes()).unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, DATABASE, "/etc/shadow").unwrap();
        assert!(complaint(&tar.into_inner().unwrap()).contains("not what a backup holds"));
        let listing = text.replace("reelway.db", "../x");
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, MANIFEST, 0o600, listing.len() as u64, 0, listing.as_bytes()).unwrap();
        assert!(complaint(&tar.into_inner().unwrap()).contains("not what a backup holds"));
    }

    #[test]
    fn no_text_of_a_manifest_reaches_a_terminal_as_it_is() {
        let manifest = |version: u32, name: &str| {
            let text = serde_json::json!({"format": FORMAT, "formatVersion": version, "version": "\u{1b}]0;x\u{7}", "schema": 1,
                "createdAt": "\u{1b}[2J", "users": 0, "files": [{"name": name, "size": 0, "sha256": ""}]})
            .to_string();
            let mut tar = Builder::new(Vec::new());
            append(&mut tar, MANIFEST, 0o600, text.len() as u64, 0, text.as_bytes()).unwrap();
            tar.into_inner().unwrap()
        };
        for bytes in [manifest(2, DATABASE), manifest(1, "\u{1b}[2J"), manifest(1, "config/conf.d/\u{1b}[2J.toml")] {
            let complaint = complaint(&bytes);
            assert!(complaint.contains("\\u{1b}") && !complaint.contains(char::is_control), "{complaint:?}");
        }
        let bytes = manifest(1, DATABASE);
        let mut archive = Archive::new(bytes.as_slice());
        let first = archive.entries().unwrap().next().unwrap().unwrap();
        let read = read_manifest(first).unwrap();
        assert!(!format!("{}{}", read.version, read.created_at).contains(char::is_control), "{read:?}");
    }

    #[test]
    fn what_is_no_backup_or_of_a_later_release_is_said_to_be() {
        assert!(complaint(&[0x5a; 5000]).contains("no backup"));
        assert!(complaint(b"").contains("empty"));
        let mut tar = Builder::new(Vec::new());
        let text = format!(r#"{{"format":"{FORMAT}","formatVersion":2,"version":"9.1.0"}}"#);
        append(&mut tar, MANIFEST, 0o600, text.len() as u64, 0, text.as_bytes()).unwrap();
        let complaint = complaint(&tar.into_inner().unwrap());
        assert!(complaint.contains("format 2") && complaint.contains("9.1.0"), "{complaint}");
    }
}
