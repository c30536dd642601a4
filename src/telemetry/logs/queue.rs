//! A bounded queue of lines with a thread that writes them, for a writer that may be slow or
//! blocked.
//!
//! Logging never waits: a line that finds the queue full is dropped and counted. `tracing-appender`
//! prints to standard output at its end, which hangs if standard output is blocked, and it counts
//! neither lines that could not be written nor those left at the end.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::telemetry::delivery::{Reason, Sink};

/// Most lines that wait for a sink.
pub(super) const LINES_MAX: usize = 8_192;

/// Most bytes that wait for a sink.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of a write, unless a single line is longer.
const CHUNK_BYTES: usize = 64 * 1024;

/// The thread waits this long for further lines, so that a busy server does not wake it for each.
const LINGER: Duration = Duration::from_millis(5);

/// The queue of one sink; cheap to clone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    sink: Sink,
    state: Mutex<State>,
    /// Notified when there are lines, or when the queue is closed.
    filled: Condvar,
    /// Notified when everything is written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// Lines being written.
    writing: usize,
    closed: bool,
}

impl Queue {
    /// Starts the thread that writes to `writer`.
    pub(super) fn start(sink: Sink, writer: impl Write + Send + 'static) -> io::Result<Self> {
        sink.delivery().set_configured();
        let shared = Arc::new(Shared {
            sink,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        let name = format!("log-{}", sink.as_str());
        thread::Builder::new().name(name).spawn(move || thread.write_all(writer))?;
        Ok(Self(shared))
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: &Arc<str>) {
        self.0.sink.delivery().count_emitted();
        let mut state = self.0.state();
        let reason = if state.closed {
            Reason::Shutdown
        } else if state.lines.len() >= LINES_MAX || state.bytes + line.len() > BYTES_MAX {
            Reason::QueueFull
        } else {
            let before = state.bytes;
            state.bytes += line.len();
            state.lines.push_back(Arc::clone(line));
            let is_chunk = before < CHUNK_BYTES && state.bytes >= CHUNK_BYTES;
            drop(state);
            // otherwise the thread is awake already, and a notification would cost a system call
            if before == 0 || is_chunk {
                self.0.filled.notify_one();
            }
            return;
        };
        drop(state);
        self.0.sink.delivery().count_dropped(&reason, 1);
    }

    /// Rejects further lines and waits until all others are written, or for the timeout; the rest
    /// is dropped. Returns true if no line was dropped.
    pub(super) fn close(&self, timeout: Duration) -> bool {
        let mut state = self.0.state();
        state.closed = true;
        self.0.filled.notify_one();
        let open = |state: &mut State| !state.lines.is_empty() || state.writing > 0;
        let waited = self.0.drained.wait_timeout_while(state, timeout, open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let left = state.lines.len() + state.writing;
        state.lines.clear();
        state.writing = 0;
        drop(state);
        if left > 0 {
            self.0.sink.delivery().count_dropped(&Reason::Shutdown, left as u64);
        }
        left == 0
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut writer: impl Write) {
        let mut chunk = String::new();
        while let Some(lines) = self.next(&mut chunk) {
            let written = writer.write_all(chunk.as_bytes()).and_then(|()| writer.flush());
            // an error cannot be logged, because this is the log; it is counted
            let mut state = self.state();
            // after its timeout, `close` has counted these lines and set `writing` to 0
            if state.writing > 0 {
                match written {
                    Ok(()) => self.sink.delivery().count_delivered(lines),
                    Err(_) => self.sink.delivery().count_dropped(&Reason::Refused, lines),
                }
            }
            state.writing = 0;
            if state.lines.is_empty() {
                self.drained.notify_all();
            }
        }
    }

    /// Waits for lines, lingers for further ones and moves them to `chunk`. Returns their number;
    /// `None` once the queue is closed and empty.
    fn next(&self, chunk: &mut String) -> Option<u64> {
        chunk.clear();
        let state = self.state();
        let idle = |state: &mut State| state.lines.is_empty() && !state.closed;
        let waited = self.filled.wait_while(state, idle);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        let few = |state: &mut State| state.bytes < CHUNK_BYTES && !state.closed;
        let waited = self.filled.wait_timeout_while(state, LINGER, few);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        while chunk.len() < CHUNK_BYTES
            && let Some(line) = state.lines.pop_front()
        {
            chunk.push_str(&line);
            state.bytes -= line.len();
            state.writing += 1;
        }
        (state.writing > 0).then_some(state.writing as u64)
    }
}

#[cfg(test)]
mod tests;
