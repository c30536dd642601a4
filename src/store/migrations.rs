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

/// A migration as compiled into the binary: version, name, text.
pub(super) type Source = (i64, &'static str, &'static str);

/// The migrations of one database, in the order in which they run.
pub(super) fn migrators(first: Source, since: &[Source]) -> [Migrator; 2] {
    let of = |sources: &[Source]| {
        Migrator::with_migrations(sources.iter().copied().map(migration).collect())
    };
    let (first, mut since) = (of(&[first]), of(since));
    since.dangerous_set_table_name("mlsdm_migrations");
    since.set_ignore_missing(true);
    [first, since]
}

/// Advice on a migration that this version does not know.
pub(super) fn newer(version: i64) -> String {
    format!(
        "the database has migration {version}, which this version of mlsdm does not know; run the newer \
         version that made it"
    )
}

/// Advice on a migration with another text than this version's.
pub(super) fn other(version: i64) -> String {
    format!(
        "migration {version} of the database differs from that of this version of mlsdm; run the version \
         that made the database, or restore a backup"
    )
}

/// A migration that was applied: its version and the hash of its text.
pub(super) type Applied = (i64, Vec<u8>);

/// The reason for which [`migrators`] refuse a database, given what was applied of each.
pub(super) fn refusal(migrators: &[Migrator; 2], applied: [&[Applied]; 2]) -> Option<String> {
    let [first, since] = migrators;
    let unknown = |(version, _): &&Applied| !first.iter().any(|one| one.version == *version);
    if let Some((version, _)) = applied[0].iter().find(unknown) {
        return Some(newer(*version));
    }
    let pairs = [first, since].into_iter().zip(applied);
    let mut known = pairs.flat_map(|(migrator, applied)| {
        applied.iter().filter_map(|(version, checksum)| {
            let known = migrator.iter().find(|one| one.version == *version)?;
            Some((*version, *known.checksum == **checksum))
        })
    });
    known.find(|(_, is_same)| !is_same).map(|(version, _)| other(version))
}

fn migration((version, name, sql): Source) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}
