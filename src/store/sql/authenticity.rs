//! The statements of the log format, of the MAC keys and of the quarantine.

use super::{Sql, same};

macro_rules! quarantine_stray {
    ($no_id:literal, $no_bytes:literal) => {
        concat!(
            "INSERT INTO quarantined_events (quarantine_id, quarantined_at, engine_id, position, \
             command_id, type, schema_version, decide_version, recorded_at, clear, leaf_hash, \
             chain_hash, sealed, vector) SELECT $1, $2, c.engine_id, c.position, ",
            $no_id,
            ", '', 0, 0, 0, ",
            $no_bytes,
            ", ",
            $no_bytes,
            ", ",
            $no_bytes,
            ", c.sealed, c.vector FROM contents AS c WHERE c.engine_id = $3 AND c.position >= $4 \
             AND NOT EXISTS (SELECT 1 FROM events AS e \
             WHERE e.engine_id = c.engine_id AND e.position = c.position)"
        )
    };
}

statements! {
    /// MAC keys by id.
    MAC_KEYS = Sql {
        sqlite: "SELECT id, wrapped_key FROM mac_keys \
             WHERE id IN (SELECT value FROM json_each($1))",
        postgres: "SELECT id, wrapped_key FROM mac_keys WHERE id = ANY($1::bigint[])",
    };

    /// The newest MAC keys, newest first. An id that no event can name is skipped.
    NEWEST_MAC_KEYS = same(
        "SELECT id, wrapped_key FROM mac_keys WHERE id < 4294967296 ORDER BY id DESC LIMIT $1");

    /// Inserts a MAC key; an existing row is unchanged.
    INSERT_MAC_KEY = same(
        "INSERT INTO mac_keys (id, created_at, wrapped_key) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING");

    /// Raises the log format of an engine.
    RAISE_FORMAT = same(
        "UPDATE engines SET log_format = $2, index_key = $3 WHERE engine_id = $1");

    /// Copies the events from a position on, with their contents, into the quarantine.
    QUARANTINE = same(concat!(
        "INSERT INTO quarantined_events (quarantine_id, quarantined_at, ", event_names!(),
        ", sealed, vector) SELECT $1, $2, e.engine_id, ", event_columns!(), ", c.sealed, c.vector \
         FROM events AS e LEFT JOIN contents AS c \
         ON c.engine_id = e.engine_id AND c.position = e.position \
         WHERE e.engine_id = $3 AND e.position >= $4"));

    /// Copies the contents from a position on that have no event; their rows have an empty type.
    QUARANTINE_STRAY = Sql {
        sqlite: quarantine_stray!("zeroblob(16)", "x''"),
        postgres: quarantine_stray!("'00000000000000000000000000000000'::uuid", "''::bytea"),
    };

    /// The chain hash and the MAC of an event, of any size.
    EVIDENCE = same("SELECT chain_hash, mac FROM events WHERE engine_id = $1 AND position = $2");

    /// The trigger that refuses to delete events, if it exists.
    DELETE_TRIGGER = Sql {
        sqlite: "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'events_no_delete'",
        postgres: "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'events'::regclass \
             AND tgname = 'events_no_update_or_delete'",
    };

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
