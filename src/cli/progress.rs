//! How far a long command has come, on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::domain::ids::{EngineId, Position};

/// Pause between two updates of the line on a terminal.
const TERMINAL_EVERY: Duration = Duration::from_millis(200);
/// Pause between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress through one engine's log. The line on a terminal is wiped when it ends.
pub(super) struct Progress {
    engine: EngineId,
    head: Position,
    terminal: bool,
    said: Instant,
    wipe: bool,
}

impl Progress {
    /// At the beginning of a log with this head.
    pub(super) fn new(engine: &EngineId, head: Position) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { engine: engine.clone(), head, terminal, said: Instant::now(), wipe: false }
    }

    /// At a position; says so if the last time is long enough ago.
    pub(super) fn at(&mut self, position: Position) {
        let pause = if self.terminal { TERMINAL_EVERY } else { LINE_EVERY };
        if self.said.elapsed() < pause {
            return;
        }
        self.said = Instant::now();
        // the log may have grown meanwhile
        let head = self.head.max(position);
        let text = format!("{}: position {position} of {head}", self.engine);
        let mut stderr = io::stderr().lock();
        // progress that cannot be shown is no reason to stop
        if self.terminal {
            self.wipe = write!(stderr, "\r\x1b[K{text}").is_ok();
            stderr.flush().ok();
        } else {
            writeln!(stderr, "{text}").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.wipe {
            write!(io::stderr().lock(), "\r\x1b[K").ok();
        }
    }
}
