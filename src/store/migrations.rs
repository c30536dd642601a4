//! The migrations of both databases.
//!
//! Version 0.1 refuses to start on a database with a migration that it does not know, so the
//! migrations since then are recorded in a table of their own: until `mlsdm upgrade finish`, a
//! deployment can go back to 0.1. From then on unknown migrations are ignored; the log format tells a
//! binary what it cannot read.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// The version of the newest migration.
pub(super) const VERSION: i64 = 2;

/// The migrations of one database, in the order in which they run.
pub(super) fn migrators(event_log: &'static str, log_format_2: &'static str) -> [Migrator; 2] {
    let first = Migrator::with_migrations(vec![migration(1, "event log", event_log)]);
    let mut since = Migrator::with_migrations(vec![migration(2, "log format 2", log_format_2)]);
    since.dangerous_set_table_name("mlsdm_migrations");
    since.set_ignore_missing(true);
    [first, since]
}

fn migration(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}
