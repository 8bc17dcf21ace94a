-- Who may watch: what a session did, and what was done to accounts and sessions.

-- Bytes of films that the session was sent; written behind, within a second.
ALTER TABLE user_sessions ADD COLUMN bytes_streamed INTEGER NOT NULL DEFAULT 0 CHECK (bytes_streamed >= 0);
-- The address that the login came from.
ALTER TABLE user_sessions ADD COLUMN client TEXT CHECK (length(client) BETWEEN 2 AND 45);

-- One row for each thing that an administrator may want to look up. The oldest rows go when there are too many.
CREATE TABLE audit (
    id      INTEGER NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL,
    action  TEXT    NOT NULL CHECK (length(action) > 0),
    -- The user who did it; none for the command line of the machine, and for who is not known.
    actor   TEXT    CHECK (length(actor) = 36),
    -- What it was done to: the id of a user, a session or a stream, or the name that was tried.
    subject TEXT    CHECK (length(subject) BETWEEN 1 AND 200),
    client  TEXT    CHECK (length(client) BETWEEN 2 AND 45)
) STRICT;
