//! Every capacity and time-out of the daemon: its unit, what it costs in bytes, and why it has this value.
//!
//! The one idea: nothing in this daemon grows without a bound, and every bound is read here. What an administrator
//! may choose lives in `config` instead, with its default; what stands here is a property of the design. The
//! assertions at the end hold the numbers to one another at compile time.

use std::time::Duration;

// ---- the HTTP grammar (spec/HTTP.md, "Messages") ----

/// Bytes of a request head, from the request line to the blank line, and of the read buffer of a connection that sends one as
/// long as this.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request target. A path in the library is at most 4 KiB (PATH_MAX); the rest is percent-encoding.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Header fields of one request. Costs 3.2 KiB of stack while a head is being parsed.
pub const FIELDS_MAX: usize = 100;
/// Lines of `Forwarded` or `X-Forwarded-For` that are kept of one request, the last ones; a proxy adds one at most. Costs 16 bytes
/// a line.
pub const FORWARDED_LINES_MAX: usize = 4;
/// Proxies, one behind the other, that are believed whom they ask for: more than anybody has.
pub const FORWARDED_HOPS_MAX: usize = 16;
/// Empty lines passed over before a request line (RFC 9112 §2.2); with one more the head is refused.
pub const EMPTY_LINES_MAX: usize = 2;
/// Parts of one answer, after ranges that overlap or touch have been joined. More are answered with the whole file
/// (RFC 9110 §14.2 allows it).
pub const RANGES_MAX: usize = 16;
/// Ranges that one field may ask for before they are joined; with more it is ignored. So many cost 10 us to read and to
/// sort, about as much as the rest of the request; a head has room for thousands.
pub const RANGES_ASKED_MAX: usize = 256;
/// Hexadecimal digits of the size of a chunk: sixteen are 64 bits.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// Bytes of the extensions of all chunks of one body. No client of ours sends any; without a bound they would be a body
/// that no limit of bodies counts.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4096;
/// Seconds after which a refused client may find room: about as long as a restart, or a wave of new connections.
pub const RETRY_AFTER_SECONDS: u32 = 5;
/// Bytes of a JSON body, held in memory while it is read.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a body nobody wants which are read and thrown away so that the connection can be kept. A longer one is
/// cheaper to end with the connection.
pub const UNWANTED_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a wanted body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a closed connection lingers, once everything was acknowledged and the peer says nothing more, for the peer to
/// close its side first: a reset would take back the last bytes of a response it has not read yet (RFC 9112 §9.6).
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Without any byte acknowledged for so long a player is paused, and gives way where there are too many connections. Players
/// that fetch in bursts are silent for 30 s between them.
pub const PAUSED_AFTER: Duration = Duration::from_secs(60);
/// How long a peer is listened to after we said `Connection: close`: an upload that nobody wants must not end in a broken
/// pipe before the client has read why.
pub const LINGER_TALK_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes thrown away at once from such a peer. The kernel drops them without copying.
pub const LINGER_PIECE_BYTES: usize = 1024 * 1024;

// ---- the data path (DATAPATH.md §9) ----

/// Bytes probed, and filled by the ring, at a time. At 1 MiB a cold fill costs 0.13 CPU-s/GB against 0.17 at 256 KiB.
pub const WINDOW_BYTES: u64 = 1024 * 1024;
/// Up to this many bytes one single byte is asked for, the last, beside the count of pages: the first costs 0.4 us more.
pub const SINGLE_PROBE_BYTES_MAX: u64 = 128 * 1024;
/// Bytes of a window that are asked for, evenly spread, where cachestat(2) is not to be had: 0.4 us each.
pub const SPREAD_PROBES: u64 = 16;
/// For how long a block of a film that was found in the page cache is believed to be there: the three calls that find out cost
/// 1.2 us, a fifth of a small range.
pub const HOT_BELIEVED_FOR: Duration = Duration::from_millis(100);
/// Blocks of [`WINDOW_BYTES`] about which a shard remembers whether they are: 40 bytes each, from the first film on.
pub const HOT_BLOCKS_MAX: usize = 1024;
/// Bytes one stream may send before it lets the others run. At 256 KiB a small request waits 0.2 ms behind eight
/// bulk streams; at 1 MiB 0.9 ms.
pub const TURN_BYTES: u64 = 256 * 1024;
/// The same while nobody asks for little: each turn ends in a segment that is not full, and costs a call.
pub const LONG_TURN_BYTES: u64 = 4 * 1024 * 1024;
/// For so long after somebody asked for little, turns stay short.
pub const SHORT_TURNS_FOR: Duration = Duration::from_millis(100);
/// What one request costs of its connection's turn, whatever it is about: a client that pipelines without end must let
/// the others have theirs as well. Sixteen requests to a turn.
pub const REQUEST_TURN_BYTES: u64 = 16 * 1024;
/// A response longer than this, once cold, is not probed again: probing costs more than it finds.
pub const STICKY_COLD_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// Bytes a pipe of the cold path holds: one window. 256 page slots in the kernel (10 KiB), and the pages while full.
pub const PIPE_BYTES: usize = 1024 * 1024;
/// Pipes of the whole process, two descriptors each. The kernel lets an unprivileged user have 64 of 1 MiB
/// (`fs.pipe-user-pages-soft`, pipe(7)); the other half is left for whoever shares our user. A shard has two at least, so from
/// 17 shards on there may be more, and smaller ones.
pub const PIPES_MAX: usize = 32;
/// Cold fills of one shard that may wait for a disk at once, each a kernel worker.
pub const FILLS_PER_SHARD_MAX: usize = 16;
/// Of these, how many one library root may hold: one hung disk must leave the other half to the others.
pub const FILLS_PER_ROOT_MAX: usize = FILLS_PER_SHARD_MAX / 2;
/// Files of one library root that may be opened at once when their folder is not in memory, in the whole process. The
/// ring has eight workers for opens on two cores (io-wq's bounded ones), so one hung root leaves half to the others.
pub const OPENS_PER_ROOT_MAX: usize = 4;
/// Files of one distant library root that may wait to be closed; while there are as many none is opened there. Two descriptors
/// each, which a root that never answers keeps.
pub const CLOSES_PER_ROOT_MAX: usize = 64;
/// Films that a shard keeps open after they were asked for: up to two descriptors each.
pub const FILMS_KEPT_MAX: usize = 32;
/// For how long, without being asked for again.
pub const FILM_KEPT_FOR: Duration = Duration::from_secs(2);
/// For how long one look at the path of a kept film serves everybody who asks: 0.7 us each at a hundred thousand a second.
/// A client that hears of a new film and asks for it takes longer.
pub const FILM_LOOK_FOR: Duration = Duration::from_micros(50);
/// How long a client waits for its turn to open such a file, and how long for the file.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that has ended its side waits for a disk, or for its turn: it may be there and read, or be gone.
pub const HALF_CLOSED_PATIENCE: Duration = Duration::from_secs(10);
/// How long a cold window waits for a descriptor, when there is none left for its pipe.
pub const PIPE_RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a full pipe waits for a slow client before it is given up for somebody else's film, and how long a
/// window found hot is believed while its client does not read.
pub const PIPE_PATIENCE: Duration = Duration::from_secs(1);
/// The same where somebody waits for a pipe. A client that reads takes a window within this, at 50 MB/s; one that does not
/// has its window in memory by then and needs no pipe. A thousand that do not read pass through 32 pipes in 0.7 s.
pub const PIPE_PATIENCE_WANTED: Duration = Duration::from_millis(20);
/// Unsent bytes a socket queues in the kernel (page references), unless `net.notsent_lowat` says otherwise. Below 1 MiB loopback
/// loses 15 % of its speed.
pub const NOT_SENT_BYTES: u32 = 1024 * 1024;
/// The same where more than [`FILMS_MANY`] films of a shard are on their way: what they queue cannot be reclaimed, 256 MiB at a
/// thousand.
pub const NOT_SENT_BYTES_OF_MANY: u32 = 256 * 1024;
/// See [`NOT_SENT_BYTES_OF_MANY`] (DATAPATH.md §5).
pub const FILMS_MANY: usize = 256;
/// Entries of a shard's submission queue; the completion queue has twice as many. 64 + 32 KiB a shard.
pub const RING_ENTRIES: u32 = 1024;
/// Connections the kernel holds for us before they are accepted.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Pause after accept(2) fails for want of descriptors or memory, so that the shard does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two log lines that say that connections cannot be accepted.
pub const ACCEPT_COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// Connections to the admin socket: the command line makes one at a time.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long a daemon that starts waits for a command that uses the state.
pub const STATE_LOCK_START_PATIENCE: Duration = Duration::from_secs(5);
/// How often a start that takes long asks the service manager for more time, and for how much: should it hang there, it is
/// ended so much later.
pub const START_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// See [`START_LOOK_INTERVAL`].
pub const START_EXTENSION: Duration = Duration::from_secs(30);
/// How long it asks: a database of gigabytes on a slow disk is read, and copied, within this.
pub const START_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// How long a thread that waits for disks may be silent before the watchdog takes it for stuck: one fsync of a slow disk, behind
/// all that others write to it, takes a minute and more.
pub const DISK_SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long the log has to write why the daemon is about to be ended.
pub const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(500);
/// How long a command waits for another that uses the state.
pub const STATE_LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that a command takes: a page of a list has some 200 KiB.
pub const ADMIN_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a command waits for the daemon's answer: a password that queues up, a slow disk.
pub const ADMIN_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections over the limit, of one shard, that are told so and waited for; the others are just closed.
pub const REFUSED_LINGERING_MAX: usize = 64;
/// How long a head or a body that has begun to arrive may go on when the daemon drains.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long short responses may take before a restart hands over what there is. A request that may be asked twice and has no
/// answer by then is handed over as it came; whatever else is not over is drained for twice [`DRAIN_PATIENCE`] more, and then
/// cut.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long the service manager may take to store what it is handed: it compares each descriptor with all it has, about 1.3 s for
/// 4096. A stop asks for as much time as that and the drain that follows when it does not may take.
pub const HANDOVER_STORE_PATIENCE: Duration = Duration::from_secs(5);
/// How long both may take, the database that is asked for passwords and the service manager.
pub const HANDOVER_PATIENCE_MAX: Duration = Duration::from_secs(10);
/// What a stop may take beside all that and the drain: shards that wait for a disk, the last writes of the database.
pub const STOP_MARGIN: Duration = Duration::from_secs(15);
/// How long a start waits for the films of distant roots that are on their way, in all: their servers answer at once, or may
/// not answer for minutes, and nobody else is served meanwhile.
pub const HANDOVER_REOPEN_PATIENCE: Duration = Duration::from_secs(3);
/// How long the slot of a playback that the process before has left is kept for its connections: they ask the database first.
pub const PLAYBACK_AWAITED_FOR: Duration = Duration::from_secs(15);
/// For how long a database that fails is asked again whether a film may go on: what is wrong with it mostly passes.
pub const RESUME_PATIENCE: Duration = Duration::from_secs(5);
/// How often meanwhile.
pub const RESUME_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of the note that goes with it, at most: an idle connection takes about 60, and one with a full inbox 22 KiB.
pub const HANDOVER_NOTE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of such an answer's head and of its parts in memory, at most, where another process says that there are as many.
pub const HANDOVER_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long `/health` waits for the store before it says that it does not answer.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
/// Descriptors without which starting makes no sense: two shards, the store, the listeners and the log take thirty.
pub const DESCRIPTORS_MIN: u64 = 32;
/// Descriptors of a shard: its ring, its clocks and wake-ups, and listeners.
pub const DESCRIPTORS_PER_SHARD: usize = 8;
/// Descriptors that must be left beside these: a viewer with a cold film takes four, and a scan, the command line and the
/// database take some now and then. With fewer the daemon would be there and answer nobody.
pub const DESCRIPTORS_LEFT_MIN: usize = 12;
/// Shards of one process. Each costs a thread, a ring and a listener for every address.
pub const SHARDS_MAX: usize = 64;
/// Bytes of a connection's read buffer, which is borrowed from the shard while a request is read and answered: none for an idle
/// connection. Heads of players with a token have 600 to 1200.
pub const READ_BUFFER_BYTES: usize = 2048;
/// Read buffers a shard keeps for the next request: 128 KiB at the most.
pub const READ_BUFFERS_KEPT_MAX: usize = 64;
/// Buffers a shard keeps for heads of answers, and how many bytes of capacity one may have: a film's 206 has 600.
pub const HEAD_BUFFERS_KEPT_MAX: usize = 8;
/// See [`HEAD_BUFFERS_KEPT_MAX`].
pub const HEAD_BUFFER_BYTES: usize = 4096;

// ---- who is asking ----

/// Password hashes that may wait for the hashing thread. One takes 40 ms and 19 MiB; the last of 16 waits 0.7 s.
pub const HASH_QUEUE_MAX: usize = 16;
/// Bytes of a password. Argon2 takes any length; a megabyte of it would only be an attack.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Bytes of a token. Ours are about 450; a longer one is not ours and is not worth decoding.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// Life of a session token. A longer one is refused even if we signed it (spec/API.md).
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Signing keys that were replaced and are still good for what they have signed.
pub const KEYS_PREVIOUS_MAX: usize = 2;
/// Bytes of a signing key, at least (RFC 7518 §3.2: as long as the hash).
pub const JWT_KEY_BYTES_MIN: usize = 32;

/// Cells that count failed sign-ins by name, and by address (IPv4 /32, IPv6 /64): 8 bytes each, 160 KiB in all.
pub const LOGIN_NAME_CELLS: usize = 4096;
/// See [`LOGIN_NAME_CELLS`].
pub const LOGIN_ADDRESS_CELLS: usize = 16384;
/// How long it takes until one of the attempts that failed is forgotten: 120 guesses an hour, a million in a year.
pub const LOGIN_REFILL: Duration = Duration::from_secs(30);
/// Names with passwords that are remembered, right or wrong: about 300 bytes each.
pub const PASSWORDS_REMEMBERED_MAX: usize = 256;
/// For how long. A player sends its password with every range, and a hash takes 40 ms.
pub const PASSWORD_REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// Sessions that are looked through for a list, the last active first: about 300 bytes each while it is made.
pub const SESSIONS_LISTED_MAX: usize = 4096;
/// How often the keeper looks after sessions: what it writes behind is never more than a second old.
pub const KEEPER_INTERVAL: Duration = Duration::from_millis(500);
/// Every so many of its looks, while nobody has an account, it asks the store whether somebody has.
pub const KEEPER_LOOKS_FOR_ACCOUNTS: u32 = 4;

/// How long the machine is kept awake after the last film: zapping and seeking must not flap.
pub const AWAKE_GRACE: Duration = Duration::from_secs(3);
/// How long until the service that keeps it awake is asked again after it failed.
pub const AWAKE_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// A clock that jumped by less did not jump: clocks are not read at one moment, and slewed.
pub const CLOCK_JUMP_MIN: Duration = Duration::from_secs(1);

// ---- who is watching ----

/// Slots for playbacks, at least: so many may be allowed by a reload, without a restart. 16 bytes each.
pub const PLAYBACK_SLOTS_MIN: usize = 256;
/// How long a playback keeps its slot after its last connection left: players seek, and fetch in bursts (spec/API.md).
pub const PLAYBACK_LINGER: Duration = Duration::from_secs(30);
/// How long a request waits for a slot before it is refused: players ask for the next film before they let go of the last.
pub const PLAYBACK_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
pub const PLAYBACK_RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Playbacks that one share link may have open.
pub const PLAYBACKS_PER_LINK_MAX: usize = 2;
/// Slots that no guest is given: the people of the house come first.
pub const PLAYBACKS_KEPT_FROM_GUESTS: usize = 2;
/// Connections of one playback that send before the superseded ones are ended. Players have two or three, a storm of seeks
/// leaves more behind.
pub const CONNECTIONS_PER_PLAYER: usize = 12;
/// Without a byte acknowledged for so long a connection that has a newer beside it is superseded.
pub const SUPERSEDED_AFTER: Duration = Duration::from_secs(10);
/// How often a connection that has to wait for its pace before it sends looks whether it still has to.
pub const PACE_WAIT_MAX: Duration = Duration::from_millis(250);
/// How often a connection that plays looks at least at what its client has acknowledged.
pub const PLAYING_LOOK_INTERVAL: Duration = Duration::from_secs(4);
/// Over how long the rate of a stream is smoothed.
pub const PLAYBACK_RATE_SMOOTHING: Duration = Duration::from_secs(5);

// ---- how fast ----

/// Bytes a second of a connection that is held to a pace, at least: a packet every sixth of a second, so that it lives. Where a
/// cap is divided among so many that this is more than their part, the cap is exceeded, by no more than this for each of
/// them; what a playback was handed is reckoned at its true share all the same, and its next answer waits for that.
pub const PACE_BYTES_MIN: u64 = 8 * 1024;
/// Looks of the keeper at which nothing had come through before a connection holds no share that others could use.
pub const PACE_STILL_LOOKS: u8 = 3;
/// Looks of which the best says what a stream takes: a player that fetches in bursts takes nothing at some.
pub const PACE_DRAW_LOOKS: usize = 4;
/// What a playback may be handed ahead of its pace before its next answer has to wait: what a socket has queued, and the ten
/// packets with which each connection begins before TCP paces it (tcp_output.c, `tcp_update_skb_after_send`).
pub const PACE_AHEAD: Duration = KEEPER_INTERVAL;
/// How long an answer waits at most for what was handed before.
pub const PACE_DEBT_MAX: Duration = Duration::from_secs(30);
/// Of a second of its pace, which part a paced socket queues unsent (one in so many): a seek throws it away and waits for it,
/// and a player that reads slower than its share is seen.
pub const PACED_NOT_SENT_PART: u64 = 4;
/// And how many bytes at least.
pub const PACED_NOT_SENT_BYTES_MIN: u32 = 16 * 1024;
/// Looks of the keeper after which a connection that sends is asked how it gets on: one getsockopt(2) a second.
pub const LOOKS_A_QUESTION: u32 = 2;

/// Links that live at once. About 300 bytes each.
pub const LINKS_MAX: usize = 4096;
/// Links that are over and still known, with [`ENDED_LINKS_KEPT`]; the oldest go. A film that plays by one goes on.
pub const ENDED_LINKS_MAX: usize = 1024;
/// How long a link that is over is known: longer than any film takes, pauses included.
pub const ENDED_LINKS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a link lives, when its maker does not say, and how long at most.
pub const LINK_LIFE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// See [`LINK_LIFE_DEFAULT`].
pub const LINK_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What a client was sent by a link before it is a play: players look into a film before they play it.
pub const PLAY_BYTES: u64 = 1024 * 1024;
/// What clients that were not counted are sent by one link, together, before that is a play as well.
pub const SCATTERED_PLAY_BYTES: u64 = 4 * PLAY_BYTES;
/// How long a client that was counted may come again.
pub const PLAY_COUNTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Clients remembered for one link: 32 bytes each.
pub const PLAYERS_PER_LINK_MAX: usize = 1024;
/// Entries of one playlist that is made of the library: about 400 bytes and 5 us each.
pub const PLAYLIST_ENTRIES_MAX: usize = 10_000;
/// Entries made before others have their turn.
pub const PLAYLIST_ENTRIES_A_TURN: usize = 64;

// ---- the store ----

/// Jobs waiting for SQLite, the writer's and the reader's queue each. A job is about 200 bytes.
pub const STORE_QUEUE_MAX: usize = 1024;
/// Writes that share one transaction, and so one fsync.
pub const STORE_GROUP_MAX: usize = 128;

/// Rows of the audit trail; the oldest go. About 150 bytes each on the disk.
pub const AUDIT_ROWS_MAX: i64 = 10_000;
/// How long the row of a session that is over is kept, for whoever looks into the database.
pub const ENDED_SESSIONS_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

// ---- the library ----

/// Videos of the index. One costs about 400 bytes.
pub const VIDEOS_MAX: usize = 100_000;
/// Folders below one another in a root: a loop of mounts must end somewhere.
pub const FOLDER_DEPTH_MAX: usize = 32;
/// Files and folders that a scan left out and names, each with a path of 4 KiB at most; the others are only counted.
pub const SCAN_FAILURES_LISTED_MAX: usize = 100;
/// Entries of a folder that are looked at before it is added to the library: a second on a slow disk, and nearly all homes.
pub const ACCESS_ENTRIES_MAX: usize = 5000;
/// Files that may not be read and are named to whoever adds a folder; the others are only counted.
pub const ACCESS_NAMED_MAX: usize = 5;
/// How long a look at a folder may take: a disk that has to spin up first.
pub const ACCESS_LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Looks at a folder that is being added: the sandbox, the way, the folder, its films, a group that did not do, and one more.
pub const ACCESS_ROUNDS_MAX: usize = 6;
/// How long a reload may take until the daemon shows another library; then it is started anew.
pub const LIBRARY_RELOAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a daemon that was started anew may take until it shows its library: a database that is checked first.
pub const LIBRARY_RESTART_PATIENCE: Duration = Duration::from_secs(60);
/// How often somebody who waits for a scan is told how far it is.
pub const SCAN_TOLD_INTERVAL: Duration = Duration::from_secs(2);
/// How long a start or a reload waits for the disks of the library's roots, together. One that is local answers at once; one
/// that does not, of a server that is away perhaps, is left to the scan.
pub const ROOT_START_PATIENCE: Duration = Duration::from_secs(3);
/// How long a scan waits for them: a disk spins up in ten seconds, and some are mounted only when somebody asks for them.
pub const ROOT_SCAN_PATIENCE: Duration = Duration::from_secs(30);
/// How long the walk of a root may stand still at one file or folder until the scan does without it: as long as its disk may take
/// to begin with. How long the whole walk takes does not matter.
pub const ROOT_STALL_TIMEOUT: Duration = ROOT_SCAN_PATIENCE;
/// How often a scan tells how far it is: often enough for an eye, and a thousandth of its time.
pub const SCAN_PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Items of a list, when the client does not say.
pub const LIST_ITEMS_DEFAULT: usize = 50;
/// Items of a list, at most.
pub const LIST_ITEMS_MAX: usize = 200;

// ---- around it ----

/// Log lines that may wait for whoever reads stderr. When it is full lines are dropped, never a stream delayed.
pub const LOG_QUEUE_MAX: usize = 4096;
/// Events that may wait for the journal: 40 bytes each, and some 300 more while it waits; one whose path is as long as may be
/// takes [`EVENT_VALUE_BYTES_MAX`] for that value, and a thousand of these 8 MiB a value. What it does not read at once is little,
/// or comes without end.
pub const JOURNAL_QUEUE_MAX: usize = 1024;
/// How long the end of the daemon waits for whoever reads the log.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Fields of one event that the journal is told of, the message and its id among them. Ours have ten at most.
pub const EVENT_FIELDS_MAX: usize = 32;
/// Bytes of one value: a path in the library fits, four thousand bytes and what escapes them.
pub const EVENT_VALUE_BYTES_MAX: usize = 8 * 1024;
/// How long `reelway healthcheck` waits for an answer (the document's figure).
pub const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = {
    // Two looks at least before a connection is taken for superseded.
    assert!(2 * PLAYING_LOOK_INTERVAL.as_millis() < SUPERSEDED_AFTER.as_millis());
    assert!(LINGER_TIMEOUT.as_millis() < LINGER_TALK_TIMEOUT.as_millis());
    assert!(RANGES_MAX <= RANGES_ASKED_MAX);
    assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
    assert!(READ_BUFFER_BYTES < HEAD_BYTES_MAX);
    assert!(TOKEN_BYTES_MAX < TARGET_BYTES_MAX);
    assert!(TURN_BYTES <= WINDOW_BYTES);
    assert!(TURN_BYTES < LONG_TURN_BYTES);
    // A block is believed for less than a window that its client does not take.
    assert!(HOT_BELIEVED_FOR.as_millis() <= PIPE_PATIENCE.as_millis());
    assert!(REQUEST_TURN_BYTES < TURN_BYTES);
    assert!(SINGLE_PROBE_BYTES_MAX <= WINDOW_BYTES);
    assert!(PIPE_BYTES as u64 == WINDOW_BYTES);
    assert!(PIPE_PATIENCE_WANTED.as_millis() < PIPE_PATIENCE.as_millis());
    assert!(FILLS_PER_ROOT_MAX < FILLS_PER_SHARD_MAX);
    // Each fill is one submission; the rest of the queue is for opening files and for turns.
    assert!(FILLS_PER_SHARD_MAX < RING_ENTRIES as usize / 4);
    assert!(STORE_GROUP_MAX <= STORE_QUEUE_MAX);
    assert!(PACED_NOT_SENT_BYTES_MIN < NOT_SENT_BYTES);
    assert!(LIST_ITEMS_DEFAULT <= LIST_ITEMS_MAX);
    assert!(RESUME_PATIENCE.as_millis() + 5000 < PLAYBACK_AWAITED_FOR.as_millis());
    assert!(ENDED_LINKS_MAX <= LINKS_MAX);
};
