//! Log lines, as one JSON object per line or as plain text.
//!
//! A line has `timestamp`, `level`, `message`, `target`, `service`, `version` and `env`, then the
//! fields of the event and of the enclosing spans (the innermost wins), all at top level, so that a
//! query can name them. Events of other crates are logged from WARNING on, whatever the configured
//! level, because their more detailed events may quote the data they process.
//!
//! Standard output, the file and Loki have a bounded queue each. Logging waits for none of them,
//! and a line that does not reach a sink is counted ([`delivery`](super::delivery)).

#[cfg(test)]
pub(crate) mod buffer;
mod file;
mod json_layer;
pub mod level;
mod queue;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tracing::{Subscriber, error};
use tracing_subscriber::{
    Layer as _,
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{
    delivery::Sink,
    loki::{self, Loki},
    traces::Traces,
};
use crate::config;
use json_layer::JsonLayer;
use queue::Queue;

pub use json_layer::levels;

/// Time to write the waiting lines of each queue when the process ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened.
    #[error(
        "cannot log to {}: {source}; make the file writable for this user, or change logging.file",
        path.display()
    )]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The thread of a queue cannot be started.
    #[error("cannot start a thread for the log: {0}")]
    Thread(#[source] io::Error),
    /// The URL or a label is not valid.
    #[error("cannot push to Loki: {0}; change logging.loki_url or monitoring.env")]
    Loki(#[from] tracing_loki::Error),
    /// The process has a subscriber already.
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// The log of the process. It must be closed last.
#[must_use]
pub struct Log {
    queues: Queues,
    loki: Option<Loki>,
}

/// Installs the log of the process, with `out` as standard output. Call it once per process, on the
/// runtime that lives longest.
///
/// A panic is logged with its location only, because its message may quote data.
///
/// # Errors
/// Fails if a sink cannot be opened.
pub fn init(
    logging: &config::Logging,
    env: &str,
    out: impl io::Write + Send + 'static,
    traces: Option<&Traces>,
) -> Result<Log, LogError> {
    let queues = Queues::start(logging, out)?;
    let layer = JsonLayer { format: logging.format, env: env.to_owned(), writer: queues.clone() };
    let loki = logging.loki().map(|url| loki::open(&url, env)).transpose()?;
    let (pushing, loki) = loki.unzip();
    let layer = layer.and_then(pushing).with_filter(level::changeable(logging.level));
    tracing_subscriber::registry().with(layer).with(traces.map(Traces::layer)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(event_type = "panic", location, "a task panicked");
    }));
    Ok(Log { queues, loki: loki.map(loki::Supervisor::start) })
}

/// A subscriber that writes log lines to `writer` only.
pub fn subscriber<W>(
    level: config::Level,
    format: config::Format,
    writer: W,
) -> impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = JsonLayer { format, env: "test".to_owned(), writer };
    tracing_subscriber::registry().with(layer.with_filter(level::targets(level)))
}

impl Log {
    /// Writes the waiting lines for a few seconds at most; later lines are dropped.
    pub async fn close(self) {
        if let Some(loki) = self.loki {
            loki.close().await;
        }
        // blocks for up to a second per queue, when nothing else runs any more
        for queue in self.queues.0.iter() {
            queue.close(CLOSE_TIMEOUT);
        }
    }
}

/// The queues of standard output and of the file.
#[derive(Clone)]
struct Queues(Arc<[Queue]>);

impl Queues {
    fn start(
        logging: &config::Logging,
        out: impl io::Write + Send + 'static,
    ) -> Result<Self, LogError> {
        let mut queues = Vec::new();
        queues.push(Queue::start(Sink::Stdout, out).map_err(LogError::Thread)?);
        if let Some(path) = logging.file() {
            let (bytes_max, count) = (logging.file_bytes_max(), logging.file_count);
            let file = file::RotatingFile::open(path, bytes_max, count)
                .map_err(|source| LogError::File { path: path.to_owned(), source })?;
            queues.push(Queue::start(Sink::File, file).map_err(LogError::Thread)?);
        }
        Ok(Self(queues.into()))
    }
}

impl<'w> MakeWriter<'w> for Queues {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl io::Write for &Queues {
    /// Accepts whole lines only.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text: Arc<str> = String::from_utf8_lossy(line).into();
        for queue in self.0.iter() {
            queue.push(&text);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
