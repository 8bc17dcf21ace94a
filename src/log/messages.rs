//! The message ids: what happened, in 128 bits that never change (sd_journal_send(3), MESSAGE_ID).
//!
//! The one idea: an event of level info or above says which message it is by its name, and all else follows from that: the
//! journal's `MESSAGE_ID`, `message_id` in the JSON, and the page that `journalctl -x` shows.
//!
//! ```text
//! tracing::info!(name: messages::SIGNED_IN, user_id = %user.id, %client_ip, "signed in");
//! ```
//!
//! To add one: two lines here (what happened; the id, of `systemd-id128 new`) and a page of that id in
//! `systemd/reelway.catalog`. An id that was released keeps its meaning; one that is not needed any more is removed with its
//! page. `tests/messages.rs` holds events, ids and pages to each other.

use tracing::Metadata;

/// The message id of an event, where it has one: events of level debug and below, and those of other crates, have none.
pub fn id(metadata: &Metadata<'static>) -> Option<&'static str> {
    // Without a name of ours, tracing makes one of the place: "event src/log.rs:7".
    let name = metadata.name();
    (name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(name)
}

// ---- the daemon ----

/// A socket takes connections.
pub const LISTENING: &str = "2ff06b23d0264258bc604b0184e7fd85";
/// The daemon was asked to end, and lets short answers finish.
pub const DRAINING: &str = "cb010ea64bb343e5a5a09df6adec5af1";
/// The daemon has ended.
pub const STOPPED: &str = "88ffee9f0ed04f9292a5ab4370e48954";
/// The daemon ends, and the service manager keeps its connections for the next one.
pub const HANDED_OVER: &str = "02ed1eaf563a4728a89847bbafcd2af9";
/// The daemon has started, and goes on with the connections of the one before it.
pub const TAKEN_OVER: &str = "bdfadeed76724f42974fe7d07fec8a22";
/// Connections could not be handed to the next daemon: they end with this one, drained or cut.
pub const HAND_OVER_FAILED: &str = "45c73bcbbe7542659530bd3fa4eecf9c";
/// The service manager passes sockets in the place of configured ones, or something that is not for us.
pub const SOCKETS_PASSED: &str = "6edf8435c2ba456ba2041ad769381826";
/// A changed setting needs a restart.
pub const RESTART_NEEDED: &str = "639c7c4b0b2d4eeca57c0d4bf3846328";
/// The configuration is valid, and something in it is probably not meant so.
pub const CONFIGURATION_DOUBTFUL: &str = "ae191fc8343d48139d9c1842e3b1529f";
/// A changed configuration is in force.
pub const RELOADED: &str = "152533fd2e8242c685ad8b9280fedd48";
/// A changed configuration is invalid; the one before it stays in force.
pub const RELOAD_REFUSED: &str = "8ed4a9981e8b4c708810672ad3db0ede";
/// The limit of open files could not be raised.
pub const DESCRIPTOR_LIMIT_LOW: &str = "1e78158a7723492f8785f43b09ed76d7";
/// io_uring is not to be had; threads wait for the disk instead.
pub const RING_MISSING: &str = "90fb9cd6b6ae42f5bc8be0185bbc73dd";
/// The admin socket could not be opened.
pub const ADMIN_SOCKET_MISSING: &str = "b1e6060274e7473183487196ce214dc6";
/// Connections cannot be accepted.
pub const CONNECTIONS_NOT_ACCEPTED: &str = "4c67de9c06524dc59dfc05a04fb68d58";
/// A task ended by a fault of ours; the others go on.
pub const TASK_PANICKED: &str = "5fc9dd3b9ebe4d1fa9eba76a27306797";
/// A thread no longer says that it is well; the service manager is asked for a restart.
pub const THREAD_STUCK: &str = "44827f2f20b94c08ae444c700584a80a";
/// The daemon ends although a thread still waits for a disk.
pub const SHARD_LEFT_BEHIND: &str = "67381043eda04397b30e9eebe3ae044c";
/// A film plays: the machine is kept from going to sleep.
pub const AWAKE_WHILE_PLAYING: &str = "ac0c0f132cce4f99aa10ee7838ca555c";
/// No film plays any more: the machine may go to sleep.
pub const SLEEP_ALLOWED: &str = "a0b7530000d74cccb8e5b08085d49795";
/// A film plays, and the machine could not be kept from going to sleep.
pub const SLEEP_NOT_PREVENTED: &str = "f7f5e02536e24eb197b3f2a3482c59d4";
/// The machine has slept and is awake again.
pub const RESUMED_FROM_SUSPEND: &str = "ecacf2e8682a446eb879b69ab7cc160b";

// ---- the log ----

/// The reader of the log stood still, and lines were dropped.
pub const LOG_LINES_DROPPED: &str = "d0aa3d6067344f23ae439a1712de4152";
/// The journal does not take events; they are written to stderr.
pub const JOURNAL_MISSING: &str = "9ce056b23e124bcda750c82029004cbe";

// ---- films on their way ----

/// A client took nothing for too long; its connection was closed.
pub const CLIENT_STALLED: &str = "4e6641b9662d44aab419d0af6d680db7";
/// A paused client gave its connection to another.
pub const CLIENT_GAVE_WAY: &str = "a23cda0e49e9433bb24311c04eecba15";
/// A stream was cut because somebody stopped it or its session ended.
pub const STREAM_STOPPED: &str = "f079e3e1d3bf4ce7957ceb746f2246e3";
/// A paused player plays on, and all streams are taken by others.
pub const PLAYER_LOST_ITS_PLACE: &str = "538db4fa91ba4d6884d17f2d25428edd";
/// A film became shorter while it was sent.
pub const FILM_TRUNCATED: &str = "da9158a278b347bc82d60471b65ef2d4";
/// A film could not be read while it was sent.
pub const FILM_UNREADABLE: &str = "f092a06ff9404cd288804c493606e9d4";
/// A film was not resumed: the database did not say whether it may go on.
pub const FILM_NOT_RESUMED: &str = "cc24cccf12b74451a47c6727d657f80b";
/// A film could not be opened.
pub const FILM_NOT_OPENED: &str = "cb2a7e66f0cc4ee5aca00bfb320a8938";

// ---- the library ----

/// The films of the library are known.
pub const LIBRARY_SCANNED: &str = "79ab599158dd4ad7a265570962fd21e2";
/// No folder with films is configured.
pub const LIBRARY_WITHOUT_ROOTS: &str = "ce1fe82f47cd48c8b94c49f2b056f59b";
/// A root of the library is not there.
pub const ROOT_MISSING: &str = "dd9bbea9c2f04eeba54e4b67451bf398";
/// A root of the library cannot be read.
pub const ROOT_UNREADABLE: &str = "c414f0b8170642db9b19e2f6913de1f0";
/// A root of the library does not answer while it is looked through.
pub const ROOT_SILENT: &str = "8165aeaf7b4b475086b4a2da34077e2a";
/// A root was not looked through to the end, for a reason that is not its own.
pub const ROOT_UNSCANNED: &str = "aee8f355c4cd41268f71be67ef400bed";
/// The folder of a root is empty although films are known that were in it: its disk may be away.
pub const ROOT_EMPTY: &str = "a4dd401625914c1690756fd6586d0ff8";
/// A folder of the library cannot be read.
pub const FOLDER_UNREADABLE: &str = "1a6aade24f1440fd8bddc9074f20a157";
/// What a scan found could not be written to the store.
pub const LIBRARY_NOT_STORED: &str = "df4dd0894a014b0da4c765178a41550b";
/// A scan was asked for, and the system had no thread for it.
pub const SCAN_NOT_STARTED: &str = "44c72ee5d96244b79a6c6ef80d52ee40";

// ---- who may watch ----

/// Somebody signed in.
pub const SIGNED_IN: &str = "e3d5d7e35ecf4bf8b6c39ba1d0c11824";
/// Somebody tried to sign in with a wrong name or password.
pub const SIGN_IN_FAILED: &str = "748ffc6748b14b1cbe16549fe44afa02";
/// Somebody signed out.
pub const SIGNED_OUT: &str = "04cb4144d37d468291134789c3c4aabd";
/// A session was ended by its user or an administrator.
pub const SESSION_ENDED: &str = "ca722196b29a4461a463b7a58d1fdee0";
/// An account was made.
pub const USER_ADDED: &str = "a08d10a8b51642778639143e10268b2c";
/// An account was changed.
pub const USER_CHANGED: &str = "c461a5f2f16241bdbac2d67d0da3e90f";
/// An account was removed.
pub const USER_REMOVED: &str = "16f02a7a5020412b91ebf10a141b4863";
/// The password of an account was changed.
pub const PASSWORD_CHANGED: &str = "b046e9f49a9d4b11931ab72c0713169c";
/// A token was made for a player or a script.
pub const TOKEN_MADE: &str = "65b39467dd5b48e8963d4506af639939";
/// A session got a new token; the one before it is dead.
pub const TOKEN_REFRESHED: &str = "da246691cf3e416d9ec3f404bb5062df";
/// A token could not be signed.
pub const TOKEN_NOT_SIGNED: &str = "d40e6db2f34447709cdd54a3d3ce8a36";
/// A share link was made.
pub const LINK_MADE: &str = "59f994ef063f4fe4829045fd6850ceb3";
/// Somebody asked for a stream to be stopped.
pub const STREAM_STOP_ASKED: &str = "b9378497c1bb45fcb533fb8799ba0496";
/// The signing key was lost or damaged, and was replaced.
pub const SIGNING_KEY_REPLACED: &str = "34c251eff11b49699339b4cf98e9c9ad";

// ---- the store ----

/// The database has more to do than it can.
pub const STORE_BUSY: &str = "1a4d4987f4f5404bbc8106cdc84d9153";
/// There is no room left for the database.
pub const STORE_FULL: &str = "4df3c966e8454b32ab2e09cbcd84d8f1";
/// The database failed.
pub const STORE_FAILED: &str = "b3fb2871f22943eb93110d02e19f5a4b";
/// When sessions were last used could not be written.
pub const ACTIVITY_NOT_WRITTEN: &str = "906b096f1fc146d3a8e5ef1d3910288e";
