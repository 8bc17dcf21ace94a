-- The six tables of the project's document (spec/SEED.md E, items 59-64), as SQLite keeps them.
-- Ids are UUIDs as text, times are microseconds since 1970 UTC, flags are 0 or 1, JSON is checked text.

-- "reel" in ASCII. A database without it belongs to another program, and we do not write into it.
PRAGMA application_id = 0x7265656c;

CREATE TABLE users (
    id                    TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    username              TEXT    NOT NULL COLLATE NOCASE UNIQUE CHECK (length(username) BETWEEN 1 AND 50),
    email                 TEXT    COLLATE NOCASE UNIQUE CHECK (length(email) BETWEEN 1 AND 100),
    password_hash         TEXT    NOT NULL CHECK (length(password_hash) > 0),
    role                  TEXT    NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
    streaming_preferences TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(streaming_preferences)),
    created_at            INTEGER NOT NULL,
    last_login            INTEGER,
    is_active             INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    -- Raised by every change of password, role or state, so that what was proved before proves nothing any more.
    credential_version    INTEGER NOT NULL DEFAULT 1 CHECK (credential_version BETWEEN 1 AND 4294967295)
) STRICT;

CREATE TABLE videos (
    id             TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    filename       TEXT    NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    title          TEXT    NOT NULL,
    description    TEXT,
    -- For people to read. What opens the file is path_bytes: a Linux path need not be UTF-8.
    file_path      TEXT    NOT NULL CHECK (length(file_path) > 0),
    file_size      INTEGER NOT NULL CHECK (file_size >= 0),
    duration       REAL    CHECK (duration >= 0),
    resolution     TEXT,
    format         TEXT    NOT NULL,
    thumbnail_path TEXT,
    metadata       TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    root           TEXT    NOT NULL CHECK (length(root) > 0),
    path_bytes     BLOB    NOT NULL CHECK (length(path_bytes) > 0),
    modified_at    INTEGER NOT NULL,
    view_count     INTEGER NOT NULL DEFAULT 0 CHECK (view_count >= 0),
    available      INTEGER NOT NULL DEFAULT 1 CHECK (available IN (0, 1)),
    UNIQUE (root, path_bytes)
) STRICT;

CREATE TABLE user_sessions (
    session_id    TEXT    NOT NULL PRIMARY KEY CHECK (length(session_id) = 36),
    user_id       TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device        TEXT    CHECK (device IN ('desktop', 'mobile', 'tv')),
    -- How often the token was refreshed: the n of `<uuid>.<n>`. An older n is a dead token.
    generation    INTEGER NOT NULL DEFAULT 0 CHECK (generation BETWEEN 0 AND 4294967295),
    session_data  TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(session_data)),
    expires_at    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX user_sessions_of_user ON user_sessions (user_id);
CREATE INDEX user_sessions_by_activity ON user_sessions (last_activity DESC) WHERE revoked_at IS NULL;

CREATE TABLE user_videos (
    user_id        TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    video_id       TEXT    NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    watch_time     REAL    NOT NULL DEFAULT 0 CHECK (watch_time >= 0),
    watch_progress REAL    NOT NULL DEFAULT 0 CHECK (watch_progress BETWEEN 0 AND 100),
    rating         INTEGER CHECK (rating BETWEEN 1 AND 5),
    last_watched   INTEGER,
    watch_metadata TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(watch_metadata)),
    UNIQUE (user_id, video_id)
) STRICT;
CREATE INDEX user_videos_recent ON user_videos (user_id, last_watched DESC);
CREATE INDEX user_videos_of_video ON user_videos (video_id);

CREATE TABLE playlists (
    id          TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    user_id     TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    description TEXT,
    is_public   INTEGER NOT NULL DEFAULT 0 CHECK (is_public IN (0, 1)),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX playlists_of_user ON playlists (user_id);

CREATE TABLE playlist_videos (
    playlist_id TEXT    NOT NULL REFERENCES playlists (id) ON DELETE CASCADE,
    video_id    TEXT    NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL CHECK (position >= 0),
    added_at    INTEGER NOT NULL,
    UNIQUE (playlist_id, video_id)
) STRICT;
CREATE INDEX playlist_videos_in_order ON playlist_videos (playlist_id, position);
CREATE INDEX playlist_videos_of_video ON playlist_videos (video_id);
