//! Progress of a long command on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::domain::ids::{EngineId, Position};

/// Interval of updates on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
/// Interval of lines if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress through a log or a file. On a terminal, its line is cleared when dropped.
pub(super) struct Progress {
    name: String,
    unit: &'static str,
    end: u64,
    terminal: bool,
    reported: Instant,
    clear: bool,
}

impl Progress {
    /// At the start of a log with this head.
    pub(super) fn new(engine: &EngineId, head: Position) -> Self {
        Self::of(engine.to_string(), "position", head)
    }

    /// At the start of a file that will have about this size.
    pub(super) fn of_file(path: &Path, bytes: u64) -> Self {
        Self::of(path.display().to_string(), "byte", bytes)
    }

    fn of(name: String, unit: &'static str, end: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { name, unit, end, terminal, reported: Instant::now(), clear: false }
    }

    /// Reports a position or a size if the interval has passed.
    pub(super) fn at(&mut self, position: u64) {
        let pause = if self.terminal { TERMINAL_INTERVAL } else { LINE_INTERVAL };
        if self.reported.elapsed() < pause {
            return;
        }
        self.reported = Instant::now();
        // the log may have grown
        let end = self.end.max(position);
        let text = format!("{}: {} {position} of {end}", self.name, self.unit);
        let mut stderr = io::stderr().lock();
        // an unwritable standard error must not stop the command
        if self.terminal {
            self.clear = write!(stderr, "\r\x1b[K{text}").is_ok();
            stderr.flush().ok();
        } else {
            writeln!(stderr, "{text}").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.clear {
            write!(io::stderr().lock(), "\r\x1b[K").ok();
        }
    }
}
