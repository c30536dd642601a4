//! The statements of the MAC keys and of the quarantine.

use super::{Sql, same};

statements! {
    /// MAC keys by id.
    MAC_KEYS = Sql {
        sqlite: "SELECT id, wrapped_key FROM mac_keys \
             WHERE id IN (SELECT value FROM json_each($1))",
        postgres: "SELECT id, wrapped_key FROM keys.mac_keys WHERE id = ANY($1::bigint[])",
    };

    /// The newest MAC keys, newest first. An id that no event can name is skipped.
    NEWEST_MAC_KEYS = Sql {
        sqlite: "SELECT id, wrapped_key FROM mac_keys WHERE id < 4294967296 \
             ORDER BY id DESC LIMIT $1",
        postgres: "SELECT id, wrapped_key FROM keys.mac_keys WHERE id < 4294967296 \
             ORDER BY id DESC LIMIT $1",
    };

    /// Inserts a MAC key; an existing row is unchanged.
    INSERT_MAC_KEY = Sql {
        sqlite: "INSERT INTO mac_keys (id, created_at, wrapped_key) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
        postgres: "INSERT INTO keys.mac_keys (id, created_at, wrapped_key) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
    };

    /// Copies the events from a position on, with their contents, into the quarantine.
    QUARANTINE = same(concat!(
        "INSERT INTO quarantined_events (quarantine_id, quarantined_at, ", event_names!(),
        ", sealed, vector) SELECT $1, $2, e.engine_id, ", event_columns!(), ", c.sealed, c.vector \
         FROM events AS e LEFT JOIN contents AS c \
         ON c.engine_id = e.engine_id AND c.position = e.position \
         WHERE e.engine_id = $3 AND e.position >= $4"));

    /// Deletes the contents from a position on.
    CUT_CONTENTS = same("DELETE FROM contents WHERE engine_id = $1 AND position >= $2");

    /// Deletes the events from a position on.
    CUT_EVENTS = same("DELETE FROM events WHERE engine_id = $1 AND position >= $2");

    /// Deletes the idempotent requests whose step began at a position or later.
    CUT_IDEMPOTENCY = same("DELETE FROM idempotency WHERE engine_id = $1 AND position >= $2");

    /// Reopens the idempotent requests whose step ended at a position or later.
    REOPEN_IDEMPOTENCY = same(
        "UPDATE idempotency SET ended_position = NULL WHERE engine_id = $1 AND ended_position >= $2");
}
