//! The rows of one append, and the head that the database answers with.

use crate::{
    domain::ids::{Micros, Position, Sha256},
    store::{
        Content, Head, Record, StoreError,
        error::classify,
        records::{self, Columns},
    },
};

/// Events with their contents, and the event that they must follow.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Position and chain hash of the log's newest event as the writer knows it.
    pub expected: (Position, Sha256),
    /// Their positions and hashes are filled in.
    pub events: &'a [Record],
    /// Contents of these events.
    pub contents: &'a [(Position, Content)],
}

/// The database's time, if its clock is the log's, and the log's head, if the engine exists.
pub(super) type TimeAndHead = (Option<Micros>, Option<Head>);

pub(super) fn now_and_head(row: &impl Columns) -> Result<TimeAndHead, StoreError> {
    let now = row.maybe_int(0).map_err(classify)?;
    let position = row.maybe_int(1).map_err(classify)?;
    Ok((now, position.map(|_| records::head(row, 1)).transpose()?))
}
