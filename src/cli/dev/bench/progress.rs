//! Progress of the benchmark.

use std::io::{self, Write as _};

/// Reports progress on standard error.
pub(super) fn say(what: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "measuring {what} …")
}
