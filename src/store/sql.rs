//! All statements of the store, in both dialects.
//!
//! PostgreSQL receives lists as arrays, SQLite as one JSON text joined by CROSS JOIN, which fixes
//! the join order: SQLite's planner would otherwise scan a whole log instead of a short list.
//!
//! On PostgreSQL every statement restricts each table by the engine's name itself, not by a join, so that
//! a distributed database sends it to one node. What cannot be written so calls a function of
//! `migrations/postgres`.
//!
//! A test lets each database plan all its statements, in place of compile-time checking.

/// One statement in both dialects.
#[derive(Clone, Copy)]
pub(super) struct Sql {
    /// The text for SQLite.
    pub(super) sqlite: &'static str,
    /// The text for PostgreSQL.
    pub(super) postgres: &'static str,
}

/// A statement with the same text in both dialects.
const fn same(text: &'static str) -> Sql {
    Sql { sqlite: text, postgres: text }
}

macro_rules! event_columns {
    () => {
        "e.position, e.command_id, e.type, e.schema_version, e.decide_version, e.recorded_at, \
         e.step, e.request_id, e.actor, e.subject_ref, e.trace_id, e.clear, e.content_hash, \
         e.leaf_hash, e.chain_hash, e.mac_key, e.mac"
    };
}

macro_rules! idempotency_columns {
    () => {
        "i.name_hmac, i.route, i.key, i.body_hmac, i.step, i.position, i.ended_position, \
         i.expires_at"
    };
}

macro_rules! event_names {
    () => {
        "engine_id, position, command_id, type, schema_version, decide_version, recorded_at, \
         step, request_id, actor, subject_ref, trace_id, clear, content_hash, leaf_hash, \
         chain_hash, mac_key, mac"
    };
}

/// The contents of each event of a log. `OFFSET 0` makes PostgreSQL look up each row by its
/// position: statistics older than an engine count it as empty, and the planner would then scan all
/// its contents for every event.
macro_rules! contents_of_events {
    (sqlite) => {
        "LEFT JOIN contents AS c ON c.engine_id = e.engine_id AND c.position = e.position "
    };
    (postgres) => {
        "LEFT JOIN LATERAL (SELECT sealed, vector FROM contents WHERE engine_id = $1 \
         AND position = e.position OFFSET 0) AS c ON true "
    };
}

/// A page of events with columns of their contents.
macro_rules! with_contents {
    ($columns:literal) => {
        Sql {
            sqlite: with_contents!($columns, sqlite),
            postgres: with_contents!($columns, postgres),
        }
    };
    ($columns:literal, $dialect:ident) => {
        concat!(
            "SELECT ",
            event_columns!(),
            $columns,
            " FROM events AS e ",
            contents_of_events!($dialect),
            "WHERE e.engine_id = $1 AND e.position > $2 ORDER BY e.position LIMIT $3"
        )
    };
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(in crate::store) const $name: Sql = $sql;)+

        /// All statements, for the test that plans them.
        #[cfg(test)]
        pub(in crate::store) const ALL: &[(&str, Sql)] = &[$((stringify!($name), $name)),+];
    };
}

statements! {
    /// All engines.
    ENGINES = same(
        "SELECT engine_id, created_at, log_format, index_key FROM engines ORDER BY engine_id");

    /// One engine.
    ENGINE = same(
        "SELECT engine_id, created_at, log_format, index_key FROM engines WHERE engine_id = $1");

    /// Creates an engine.
    INSERT_ENGINE = same(
        "INSERT INTO engines (engine_id, created_at, log_format, index_key) \
         VALUES ($1, $2, $3, $4)");

    /// Locks a log for the writer (on SQLite, BEGIN IMMEDIATE has done so), and reads the
    /// database's clock in microseconds (NULL on SQLite, whose clock is coarser) and the head of
    /// the log.
    LOCKED_HEAD = Sql {
        sqlite: "SELECT NULL, h.position, h.chain_hash, h.recorded_at FROM (SELECT 1) LEFT JOIN \
             (SELECT position, chain_hash, recorded_at FROM events WHERE engine_id = $1 \
             ORDER BY position DESC LIMIT 1) AS h",
        postgres: "SELECT now, head, chain, recorded FROM locked_head($1)",
    };

    /// The head of one log.
    HEAD = same(
        "SELECT position, chain_hash, recorded_at FROM events WHERE engine_id = $1 \
         ORDER BY position DESC LIMIT 1");

    /// The heads of several logs.
    HEADS = Sql {
        sqlite: "SELECT e.engine_id, e.position, e.chain_hash, e.recorded_at \
             FROM json_each($1) AS name CROSS JOIN events AS e ON e.engine_id = name.value \
             AND e.position = (SELECT max(m.position) FROM events AS m \
             WHERE m.engine_id = name.value)",
        postgres: "SELECT engine_id, head, chain, recorded FROM log_heads($1::text[])",
    };

    /// A page of events.
    READ = same(concat!(
        "SELECT ", event_columns!(), " FROM events AS e \
         WHERE e.engine_id = $1 AND e.position > $2 ORDER BY e.position LIMIT $3"));

    /// A page of events with their sealed vectors.
    READ_FOR_FOLD = with_contents!(", c.vector");

    /// A page of events with their contents.
    READ_FOR_AUDIT = with_contents!(", c.sealed, c.vector");

    /// The erasures within a range of positions; they explain missing contents.
    READ_ERASURES = same(concat!(
        "SELECT ", event_columns!(), " FROM events AS e \
         WHERE e.engine_id = $1 AND e.position > $2 AND e.position <= $3 \
         AND e.type = 'subject.erased' ORDER BY e.position"));

    /// One event.
    RECORD = same(concat!(
        "SELECT ", event_columns!(), " FROM events AS e WHERE e.engine_id = $1 AND e.position = $2"));

    /// The time of one event.
    RECORDED_AT = same(
        "SELECT recorded_at FROM events WHERE engine_id = $1 AND position = $2");

    /// The first ending of a step after a position.
    ENDING = same(concat!(
        "SELECT ", event_columns!(), " FROM events AS e \
         WHERE e.engine_id = $1 AND e.step = $2 AND e.position > $3 \
         AND e.type IN ('step.completed', 'step.failed', 'step.rejected') \
         ORDER BY e.position LIMIT 1"));

    /// The admission or rejection that a request caused, in a range of positions.
    ADMISSION_OF = same(concat!(
        "SELECT ", event_columns!(), " FROM events AS e \
         WHERE e.engine_id = $1 AND e.position > $2 AND e.position <= $3 AND e.request_id = $4 \
         AND e.type IN ('step.admitted', 'step.rejected') \
         ORDER BY e.position LIMIT 1"));

    /// Sealed texts by position, with the columns in their associated data.
    SEALED_CONTENTS = Sql {
        sqlite: "SELECT e.position, e.command_id, e.subject_ref, c.sealed \
             FROM json_each($2) AS wanted \
             CROSS JOIN events AS e ON e.engine_id = $1 AND e.position = wanted.value \
             CROSS JOIN contents AS c ON c.engine_id = e.engine_id AND c.position = e.position",
        postgres: "SELECT e.position, e.command_id, e.subject_ref, c.sealed \
             FROM unnest($2::bigint[]) AS wanted(position) \
             CROSS JOIN LATERAL (SELECT position, command_id, subject_ref FROM events \
             WHERE engine_id = $1 AND position = wanted.position OFFSET 0) AS e \
             CROSS JOIN LATERAL (SELECT sealed FROM contents WHERE engine_id = $1 \
             AND position = e.position OFFSET 0) AS c",
    };

    /// Contents by position.
    CONTENTS = Sql {
        sqlite: "SELECT position, sealed, vector FROM contents WHERE engine_id = $1 \
             AND position IN (SELECT value FROM json_each($2)) ORDER BY position",
        postgres: "SELECT position, sealed, vector FROM contents WHERE engine_id = $1 \
             AND position = ANY($2::bigint[]) ORDER BY position",
    };

    /// The first contents row without an event.
    STRAY_CONTENT = same(
        "SELECT c.position FROM contents AS c WHERE c.engine_id = $1 AND NOT EXISTS \
         (SELECT 1 FROM events AS e WHERE e.engine_id = c.engine_id AND e.position = c.position) \
         ORDER BY c.position LIMIT 1");

    /// The engine names of events or contents without an engine: one index step per name.
    UNKNOWN_ENGINES = Sql {
        sqlite: "WITH RECURSIVE \
         logs(name) AS (SELECT min(engine_id) FROM events UNION ALL SELECT \
         (SELECT min(e.engine_id) FROM events AS e WHERE e.engine_id > logs.name) \
         FROM logs WHERE logs.name IS NOT NULL), \
         texts(name) AS (SELECT min(engine_id) FROM contents UNION ALL SELECT \
         (SELECT min(c.engine_id) FROM contents AS c WHERE c.engine_id > texts.name) \
         FROM texts WHERE texts.name IS NOT NULL) \
         SELECT known.name FROM (SELECT name FROM logs UNION SELECT name FROM texts) AS known \
         WHERE known.name IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM engines WHERE engine_id = known.name) ORDER BY known.name",
        postgres: "SELECT name FROM unknown_engines() AS name",
    };

    /// Data subjects by pseudonym.
    SUBJECTS_BY_REF = Sql {
        sqlite: "SELECT subject_ref, name_hmac, wrapped_key, sealed_name FROM subject_keys \
             WHERE engine_id = $1 AND subject_ref IN (SELECT unhex(value) FROM json_each($2))",
        postgres: "SELECT subject_ref, name_hmac, wrapped_key, sealed_name FROM keys.subject_keys \
             WHERE engine_id = $1 AND subject_ref = ANY($2::uuid[])",
    };

    /// Data subjects by name.
    SUBJECTS_BY_NAME = Sql {
        sqlite: "SELECT subject_ref, name_hmac, wrapped_key, sealed_name FROM subject_keys \
             WHERE engine_id = $1 AND name_hmac IN (SELECT unhex(value) FROM json_each($2))",
        postgres: "SELECT subject_ref, name_hmac, wrapped_key, sealed_name FROM keys.subject_keys \
             WHERE engine_id = $1 AND name_hmac = ANY($2::bytea[])",
    };

    /// Inserts one data subject (SQLite) or many (PostgreSQL); existing rows are unchanged.
    INSERT_SUBJECTS = Sql {
        sqlite: "INSERT INTO subject_keys \
             (engine_id, subject_ref, name_hmac, wrapped_key, sealed_name) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        postgres: "INSERT INTO keys.subject_keys \
             (engine_id, subject_ref, name_hmac, wrapped_key, sealed_name) \
             SELECT $1, u.* FROM unnest($2::uuid[], $3::bytea[], $4::bytea[], $5::bytea[]) AS u \
             ON CONFLICT DO NOTHING",
    };

    /// Deletes the key of a data subject.
    DELETE_SUBJECT = Sql {
        sqlite: "DELETE FROM subject_keys WHERE engine_id = $1 AND subject_ref = $2",
        postgres: "DELETE FROM keys.subject_keys WHERE engine_id = $1 AND subject_ref = $2",
    };

    /// Idempotent requests by key.
    IDEMPOTENCY = Sql {
        sqlite: concat!("SELECT ", idempotency_columns!(), " FROM json_each($2) AS k \
             CROSS JOIN idempotency AS i ON i.engine_id = $1 AND i.name_hmac = unhex(k.value ->> 0) \
             AND i.route = k.value ->> 1 AND i.key = k.value ->> 2"),
        postgres: concat!("SELECT ", idempotency_columns!(), " \
             FROM unnest($2::bytea[], $3::text[], $4::text[]) AS k(name_hmac, route, key) \
             CROSS JOIN LATERAL (SELECT * FROM idempotency WHERE engine_id = $1 \
             AND name_hmac = k.name_hmac AND route = k.route AND key = k.key OFFSET 0) AS i"),
    };

    /// Inserts one idempotent request (SQLite) or many (PostgreSQL); existing rows are unchanged.
    INSERT_IDEMPOTENCY = Sql {
        sqlite: "INSERT INTO idempotency (engine_id, name_hmac, route, key, body_hmac, step, \
             position, ended_position, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT DO NOTHING",
        postgres: "INSERT INTO idempotency (engine_id, name_hmac, route, key, body_hmac, step, \
             position, ended_position, expires_at) SELECT $1, u.* FROM unnest($2::bytea[], \
             $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bigint[], \
             $9::bigint[]) AS u ON CONFLICT DO NOTHING",
    };

    /// Records the endings of steps.
    END_IDEMPOTENCY = Sql {
        sqlite: "UPDATE idempotency SET ended_position = u.value ->> 1 FROM json_each($2) AS u \
             WHERE engine_id = $1 AND step = u.value ->> 0",
        postgres: "UPDATE idempotency SET ended_position = u.position \
             FROM unnest($2::bigint[], $3::bigint[]) AS u(step, position) \
             WHERE engine_id = $1 AND idempotency.step = u.step",
    };

    /// Releases the idempotency keys of steps, so that they can be retried.
    FREE_IDEMPOTENCY = Sql {
        sqlite: "DELETE FROM idempotency WHERE engine_id = $1 \
             AND step IN (SELECT value FROM json_each($2))",
        postgres: "DELETE FROM idempotency WHERE engine_id = $1 AND step = ANY($2::bigint[])",
    };

    /// The engines and steps of a limited number of expired idempotent requests.
    EXPIRED_IDEMPOTENCY = same(
        "SELECT engine_id, step FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");

    /// Deletes the expired idempotent requests of steps.
    PURGE_IDEMPOTENCY = Sql {
        sqlite: "DELETE FROM idempotency WHERE engine_id = $1 \
             AND step IN (SELECT value FROM json_each($2)) AND expires_at <= $3",
        postgres: "DELETE FROM idempotency WHERE engine_id = $1 \
             AND step = ANY($2::bigint[]) AND expires_at <= $3",
    };

    /// Inserts events: the start of SQLite's VALUES list, PostgreSQL's complete statement.
    INSERT_EVENTS = Sql {
        sqlite: concat!("INSERT INTO events (", event_names!(), ") "),
        postgres: concat!("INSERT INTO events (", event_names!(), ") SELECT $1, u.* \
             FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], \
             $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::uuid[], $12::bytea[], \
             $13::bytea[], $14::bytea[], $15::bytea[], $16::bytea[], $17::bigint[], \
             $18::bytea[]) AS u"),
    };

    /// Inserts contents: the start of SQLite's VALUES list, PostgreSQL's complete statement.
    INSERT_CONTENTS = Sql {
        sqlite: "INSERT INTO contents (engine_id, position, sealed, vector) ",
        postgres: "INSERT INTO contents (engine_id, position, sealed, vector) SELECT $1, u.* \
             FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS u",
    };

    /// PostgreSQL's [`LOCKED_HEAD`], [`INSERT_CONTENTS`] and [`INSERT_EVENTS`] in one call; it
    /// inserts only if the head is the expected one. A batch decided in advance waits for the lock
    /// inside the database, without a further round trip. SQLite has no round trips to save and
    /// runs the statements one by one.
    APPEND = Sql {
        sqlite: LOCKED_HEAD.sqlite,
        postgres: "SELECT now, head, chain, recorded FROM append_after($1, $2, $3, \
             $4::bigint[], $5::bytea[], $6::bytea[], $7::bigint[], $8::uuid[], $9::text[], \
             $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], \
             $16::uuid[], $17::bytea[], $18::bytea[], $19::bytea[], $20::bytea[], $21::bytea[], \
             $22::bigint[], $23::bytea[])",
    };

    /// Deletes contents by position.
    DELETE_CONTENTS = Sql {
        sqlite: "DELETE FROM contents WHERE engine_id = $1 \
             AND position IN (SELECT value FROM json_each($2))",
        postgres: "DELETE FROM contents WHERE engine_id = $1 AND position = ANY($2::bigint[])",
    };
}

mod authenticity;
mod replicas;
#[cfg(test)]
mod tests;

pub(super) use authenticity::{
    CUT_CONTENTS, CUT_EVENTS, CUT_IDEMPOTENCY, DELETE_TRIGGER, EVIDENCE, INSERT_MAC_KEY, MAC_KEYS,
    NEWEST_MAC_KEYS, QUARANTINE, QUARANTINE_STRAY, RAISE_FORMAT, REOPEN_IDEMPOTENCY,
};
pub(super) use replicas::{
    CONNECTIONS, DATABASE_TIME, HEARTBEAT, HEARTBEAT_TIME, PURGE_REPLICAS, REMOVE_REPLICA, REPLICAS,
};
