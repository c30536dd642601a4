//! Log lines: one JSON object a line, or text for people.
//!
//! A line has `timestamp`, `level`, `message`, `target`, `service`, `version` and `env`, then the
//! fields of the event and of the spans around it (the innermost wins), all at top level, so that a
//! query can name them. Other crates are heard from WARNING on only, at every level: their finer lines
//! may quote what they carry.
//!
//! Standard output, a file and Loki each have a bounded queue; whoever logs waits for none of them,
//! and what does not get there is counted ([`loss`](super::loss)).

#[cfg(test)]
pub(crate) mod buffer;
mod file;
pub mod level;
mod lines;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing::{Subscriber, error};
use tracing_subscriber::{
    Layer as _,
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{
    loki::{self, Loki},
    loss::Sink,
    traces::Traces,
};
use crate::config;
use lines::Lines;
use queue::Queue;

/// The name of the program in lines and labels, and of its own targets.
pub(super) const SERVICE: &str = "mlsdm";

/// How long the end of the process waits for standard output and the file, each.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Lines by level, for the whole process.
static LEVELS: LazyLock<[(&str, Counter); 4]> = LazyLock::new(|| {
    ["DEBUG", "INFO", "WARNING", "ERROR"].map(|level| (level, Counter::default()))
});

/// Lines so far, by level.
pub fn levels() -> &'static [(&'static str, Counter); 4] {
    &LEVELS
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error(
        "cannot log to {}: {source}; make the file writable for this user, or change logging.file",
        path.display()
    )]
    File {
        /// Its name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A thread that writes.
    #[error("cannot start a thread for the log: {0}")]
    Thread(#[source] io::Error),
    /// The labels or the URL.
    #[error("cannot push to Loki: {0}; change logging.loki_url or monitoring.env")]
    Loki(#[from] tracing_loki::Error),
    /// There is a subscriber already.
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// The log of the process, to be closed last of all.
#[must_use]
pub struct Log {
    queues: Queues,
    loki: Option<Loki>,
}

/// Sends the log lines of the whole process where the configuration says, with `out` for standard
/// output. Once per process, on the runtime that lives longest.
///
/// A panic becomes a line with its place; its message may quote data, and is not logged.
///
/// # Errors
/// When a sink cannot be had.
pub fn init(
    logging: &config::Logging,
    env: &str,
    out: impl io::Write + Send + 'static,
    traces: Option<&Traces>,
) -> Result<Log, LogError> {
    let queues = Queues::start(logging, out)?;
    let lines = Lines { format: logging.format, env: env.to_owned(), writer: queues.clone() };
    let loki = logging.loki().map(|url| loki::open(&url, env)).transpose()?;
    let (pushing, loki) = loki.unzip();
    let lines = lines.and_then(pushing).with_filter(level::changeable(logging.level));
    tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(event_type = "panic", location, "a task panicked");
    }));
    Ok(Log { queues, loki: loki.map(loki::Supervisor::start) })
}

/// A subscriber that writes log lines to `writer`, and nowhere else.
pub fn subscriber<W>(
    level: config::Level,
    format: config::Format,
    writer: W,
) -> impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = Lines { format, env: "test".to_owned(), writer };
    tracing_subscriber::registry().with(lines.with_filter(level::targets(level)))
}

impl Log {
    /// Sends what waits, as far as it goes within a few seconds; lines after that are lost.
    pub async fn close(self) {
        if let Some(loki) = self.loki {
            loki.close().await;
        }
        // two threads that have a second each, and nothing else runs any more
        for queue in self.queues.0.iter() {
            queue.close(CLOSE_WITHIN);
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
            let file = file::Rotating::open(path, bytes_max, count)
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
    /// Takes whole lines only.
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
