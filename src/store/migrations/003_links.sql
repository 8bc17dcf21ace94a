-- Share links: whoever has one may watch one film, for a while, and perhaps not often.
CREATE TABLE links (
    id         TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    -- What is known of the token: a hash of it, so that whoever reads this file cannot watch.
    mark       TEXT    NOT NULL UNIQUE CHECK (length(mark) = 43),
    -- Who made it; none for the command line of the machine. It goes with its maker.
    user_id    TEXT    REFERENCES users (id) ON DELETE CASCADE,
    -- No reference: a film whose disk is away for a while keeps its links.
    video_id   TEXT    NOT NULL CHECK (length(video_id) = 36),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    max_plays  INTEGER CHECK (max_plays > 0),
    plays      INTEGER NOT NULL DEFAULT 0 CHECK (plays >= 0)
) STRICT;
CREATE INDEX links_by_user ON links (user_id);

-- Who has played one lately: the same client is counted once in 24 hours.
CREATE TABLE link_plays (
    link_id TEXT    NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    -- A number made of what the client calls itself and where it is.
    client  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (link_id, client)
) STRICT, WITHOUT ROWID;
