//! A queue of lines in front of a writer that may be slow or stuck, with a thread of its own.
//!
//! Whoever logs never waits: what the queue does not hold is dropped and counted. Not
//! `tracing-appender`: its end prints to standard output, which hangs if that is what is stuck, and
//! neither lines that could not be written nor those left at the end are counted.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::telemetry::loss::{Reason, Sink};

/// Most lines that wait for a sink.
pub(super) const LINES_MAX: usize = 8_192;

/// Most bytes that wait for a sink.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Lines are written together up to so many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A line waits this long for others, so that a busy server does not wake the thread for each.
const LINGER: Duration = Duration::from_millis(5);

/// The queue of one sink; cheap to clone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    sink: Sink,
    state: Mutex<State>,
    /// There is a line, or the end.
    filled: Condvar,
    /// Everything is written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    /// Lines that are being written.
    in_hand: usize,
    closed: bool,
}

impl Queue {
    /// Starts the thread that writes to `writer`.
    pub(super) fn start(sink: Sink, writer: impl Write + Send + 'static) -> io::Result<Self> {
        sink.wanted();
        let shared = Arc::new(Shared {
            sink,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        let name = format!("log-{}", sink.as_str());
        thread::Builder::new().name(name).spawn(move || writing.write_all(writer))?;
        Ok(Self(shared))
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: &Arc<str>) {
        self.0.sink.emitted();
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
            // else the thread knows of lines already, and to wake it costs a call of the system
            if before == 0 || is_chunk {
                self.0.filled.notify_one();
            }
            return;
        };
        drop(state);
        self.0.sink.lost(reason, 1);
    }

    /// Takes no more lines, and waits until all are written, but no longer than `most`; what is left
    /// then is lost. Gives whether nothing was.
    pub(super) fn close(&self, most: Duration) -> bool {
        let mut state = self.0.state();
        state.closed = true;
        self.0.filled.notify_one();
        let open = |state: &mut State| !state.lines.is_empty() || state.in_hand > 0;
        let waited = self.0.drained.wait_timeout_while(state, most, open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let left = state.lines.len() + state.in_hand;
        state.lines.clear();
        state.in_hand = 0;
        drop(state);
        if left > 0 {
            self.0.sink.lost(Reason::Shutdown, left);
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
            // an error has nowhere to be said but here, and must not fail a request
            let mut state = self.state();
            // who closed and did not wait has counted them already
            if state.in_hand > 0 {
                match written {
                    Ok(()) => self.sink.took(lines),
                    Err(_) => self.sink.lost(Reason::Refused, lines),
                }
            }
            state.in_hand = 0;
            if state.lines.is_empty() {
                self.drained.notify_all();
            }
        }
    }

    /// Waits for lines, and a little for more of them, and takes some; none at the end.
    fn next(&self, chunk: &mut String) -> Option<usize> {
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
            state.in_hand += 1;
        }
        (state.in_hand > 0).then_some(state.in_hand)
    }
}

#[cfg(test)]
mod tests;
