//! Progress of a long command on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::domain::ids::{EngineId, Position};

/// Interval of updates on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
/// Interval of lines if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress through the log of one engine. On a terminal, its line is cleared when dropped.
pub(super) struct Progress {
    engine: EngineId,
    head: Position,
    terminal: bool,
    reported: Instant,
    clear: bool,
}

impl Progress {
    /// At the start of a log with this head.
    pub(super) fn new(engine: &EngineId, head: Position) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { engine: engine.clone(), head, terminal, reported: Instant::now(), clear: false }
    }

    /// Reports a position if the interval has passed.
    pub(super) fn at(&mut self, position: Position) {
        let pause = if self.terminal { TERMINAL_INTERVAL } else { LINE_INTERVAL };
        if self.reported.elapsed() < pause {
            return;
        }
        self.reported = Instant::now();
        // the log may have grown
        let head = self.head.max(position);
        let text = format!("{}: position {position} of {head}", self.engine);
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
