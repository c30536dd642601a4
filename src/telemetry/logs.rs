//! Log lines: one JSON object a line, or text for people.
//!
//! A line has `timestamp`, `level`, `message`, `target`, `service` and `version`, then the fields of
//! the event and of the spans around it (the innermost wins), all at top level, so that a query can
//! name them. Other crates are heard from WARNING on only, at every level: their finer lines may
//! quote what they carry.

#[cfg(test)]
pub(crate) mod buffer;
#[cfg(test)]
mod tests;

use std::{fmt, io::Write as _, sync::LazyLock};

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Metadata, Subscriber, error,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::MakeWriter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::traces::Traces;
use crate::{clock, config};

const SERVICE: &str = "mlsdm";

/// RFC 3339 in UTC with microseconds, always 27 characters, so that lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
);

/// Sends the log lines of the whole process to standard output. Once per process.
///
/// A panic becomes a line with its place; its message may quote data, and is not logged.
pub fn init(logging: &config::Logging, traces: Option<&Traces>) -> Result<(), TryInitError> {
    subscriber(logging, std::io::stdout).with(traces.map(Traces::layer)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        error!(event_type = "panic", location, "a task panicked");
    }));
    Ok(())
}

/// A subscriber that writes log lines to `writer`.
pub fn subscriber<W>(
    logging: &config::Logging,
    writer: W,
) -> impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours = match logging.level {
        config::Level::Debug => LevelFilter::DEBUG,
        config::Level::Info => LevelFilter::INFO,
        config::Level::Warning => LevelFilter::WARN,
        config::Level::Error => LevelFilter::ERROR,
    };
    let filter =
        Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(SERVICE, ours);
    let lines = Lines { format: logging.format, writer };
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

/// What the log counts of itself, for the whole process: lines may come before anything else is
/// there.
#[derive(Debug)]
pub struct Counts {
    /// Lines by level.
    pub levels: [(&'static str, Counter); 4],
    /// Lines that could not be written.
    pub unwritten: Counter,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| Counts {
    levels: ["DEBUG", "INFO", "WARNING", "ERROR"].map(|level| (level, Counter::default())),
    unwritten: Counter::default(),
});

/// What was logged so far.
pub fn counts() -> &'static Counts {
    &COUNTS
}

/// The layer that writes lines.
struct Lines<W> {
    format: config::Format,
    writer: W,
}

/// The fields of a span, kept with it.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut fields = fields.0;
        let message = fields.remove("message").unwrap_or_else(|| Value::from(""));
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.0 {
                    fields.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
        let line = match self.format {
            config::Format::Json => json(event.metadata(), message, fields),
            config::Format::Text => text(event.metadata(), &message, &fields),
        };
        let level = level(*event.metadata().level());
        if let Some((_, count)) = COUNTS.levels.iter().find(|(name, _)| *name == level) {
            count.inc();
        }
        // a log that cannot be written has nowhere to say so but here, and must not fail a request
        if self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes()).is_err() {
            COUNTS.unwritten.inc();
        }
    }
}

fn json(metadata: &Metadata<'_>, message: Value, mut fields: Map<String, Value>) -> String {
    let fixed = [
        ("timestamp", Value::from(timestamp())),
        ("level", Value::from(level(*metadata.level()))),
        ("message", message),
        ("target", Value::from(metadata.target())),
        ("service", Value::from(SERVICE)),
        ("version", Value::from(env!("CARGO_PKG_VERSION"))),
    ];
    let mut line = String::from("{");
    for (name, value) in fixed {
        fields.remove(name);
        put(&mut line, name, &value);
    }
    for (name, value) in &fields {
        put(&mut line, name, value);
    }
    line.push_str("}\n");
    line
}

/// Appends a member; a map would lose the order that makes lines easy to read.
fn put(line: &mut String, name: &str, value: &Value) {
    if !line.ends_with('{') {
        line.push(',');
    }
    line.push_str(&Value::from(name).to_string());
    line.push(':');
    line.push_str(&value.to_string());
}

fn text(metadata: &Metadata<'_>, message: &Value, fields: &Map<String, Value>) -> String {
    let message = message.as_str().unwrap_or_default().replace(['\n', '\r'], " ");
    let mut line = format!("{} {:7} {message}", timestamp(), level(*metadata.level()));
    for (name, value) in fields {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        line.push_str(&value.to_string());
    }
    line.push('\n');
    line
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

fn timestamp() -> String {
    let nanos = i128::from(clock::now_micros()) * 1000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    time.ok().and_then(|time| time.format(TIMESTAMP).ok()).unwrap_or_default()
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        // `log.*` repeats file and line of lines that come through the `log` crate
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().to_owned(), value.into());
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
