//! The statements of heartbeats, and of the database's clock.

use super::{Sql, same};

macro_rules! replica_columns {
    () => {
        "replica, host, version, log_format, rules, started_at, seen_at"
    };
}

/// The time of heartbeats, given a clock that replaces the database's or NULL, and a least time.
macro_rules! heartbeat_time {
    (sqlite, $wall:literal, $least:literal) => {
        concat!(
            "max(coalesce(",
            $wall,
            ", 0), ",
            $least,
            ", coalesce((SELECT max(seen_at) FROM replicas), 0))"
        )
    };
    (postgres, $wall:literal, $least:literal) => {
        concat!(
            "greatest(coalesce(",
            $wall,
            "::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), ",
            $least,
            "::bigint, (SELECT max(seen_at) FROM replicas))"
        )
    };
}

statements! {
    /// The database's clock in microseconds; SQLite has none.
    DATABASE_TIME = Sql {
        sqlite: "SELECT NULL",
        postgres: "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    };

    /// Writes the heartbeat of a process, and returns its time: that of this process's clock or the
    /// database's, but at least that of every stored heartbeat and the given one.
    HEARTBEAT = Sql {
        sqlite: concat!("INSERT INTO replicas (", replica_columns!(), ") \
             SELECT $1, $2, $3, $4, $5, t.now, t.now FROM (SELECT ", heartbeat_time!(sqlite, "$6", "$7"),
             " AS now) AS t WHERE true ON CONFLICT (replica) DO UPDATE SET \
             log_format = excluded.log_format, rules = excluded.rules, seen_at = excluded.seen_at \
             RETURNING seen_at"),
        postgres: concat!("INSERT INTO replicas (", replica_columns!(), ") \
             SELECT $1, $2, $3, $4, $5, t.now, t.now FROM (SELECT ",
             heartbeat_time!(postgres, "$6", "$7"),
             " AS now) AS t ON CONFLICT (replica) DO UPDATE SET \
             log_format = excluded.log_format, rules = excluded.rules, seen_at = excluded.seen_at \
             RETURNING seen_at"),
    };

    /// The present time of heartbeats.
    HEARTBEAT_TIME = Sql {
        sqlite: concat!("SELECT ", heartbeat_time!(sqlite, "$1", "$2")),
        postgres: concat!("SELECT ", heartbeat_time!(postgres, "$1", "$2")),
    };

    /// The heartbeats of all processes.
    REPLICAS = same(concat!(
        "SELECT ", replica_columns!(), " FROM replicas ORDER BY started_at, replica LIMIT $1"));

    /// Deletes a limited number of old heartbeats.
    PURGE_REPLICAS = same(
        "DELETE FROM replicas WHERE replica IN \
         (SELECT replica FROM replicas WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)");

    /// Deletes the heartbeat of a process.
    REMOVE_REPLICA = same("DELETE FROM replicas WHERE replica = $1");

    /// The number of connections to this database with an application name; SQLite has none.
    CONNECTIONS = Sql {
        sqlite: "SELECT 0 WHERE $1 IS NOT NULL",
        postgres: "SELECT count(*) FROM pg_stat_activity \
             WHERE application_name = $1 AND datname = current_database()",
    };
}
