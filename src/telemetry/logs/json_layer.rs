//! The layer that formats an event as a line, and the count of lines by level.

use std::{fmt, io::Write as _, sync::LazyLock};

use serde::Serialize;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::Context, registry::LookupSpan};

use crate::{
    clock, config,
    metrics::{Counter, Family},
    telemetry::names::SERVICE,
};

/// RFC 3339 in UTC with microseconds, always 27 characters, so that lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
);

/// Most bytes of a text field; the rest is cut off.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// The field with the event's message.
const MESSAGE: &str = "message";

/// Capacity for the names of a line's fields.
const FIELDS: usize = 32;

/// Capacity for a line of ordinary length, in bytes.
const LINE_BYTES: usize = 768;

/// Lines so far, by level, for the whole process.
static LEVELS: LazyLock<Family<&str, Counter>> =
    LazyLock::new(|| Family::new(["DEBUG", "INFO", "WARNING", "ERROR"]));

/// Lines of this process so far, by level.
pub fn levels() -> &'static Family<&'static str, Counter> {
    &LEVELS
}

/// The layer that writes an event as a line.
pub(super) struct JsonLayer<W> {
    pub(super) format: config::Format,
    /// The environment of the process, such as `production`.
    pub(super) env: String,
    pub(super) writer: W,
}

/// Fields with their values in JSON, concatenated.
#[derive(Default)]
struct Fields {
    values: Vec<u8>,
    /// The name of each field and the end of its value.
    ends: Vec<(&'static str, usize)>,
}

/// A line under construction.
struct Line {
    format: config::Format,
    text: Vec<u8>,
    /// Names of the fields that are present, or that events must not set.
    names: Vec<&'static str>,
}

impl<S, W> Layer<S> for JsonLayer<W>
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
        let message = fields.iter().find(|(name, _)| *name == MESSAGE);
        let message = message.map_or(&b"\"\""[..], |(_, message)| message);
        let mut line = match self.format {
            config::Format::Json => self.json(event.metadata(), message),
            config::Format::Text => text(event.metadata(), message),
        };
        line.add(&fields);
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                line.add(outer);
            }
        }
        LEVELS.inc(&level(*event.metadata().level()));
        // never fails: the queues count what they drop
        drop(self.writer.make_writer_for(event.metadata()).write_all(&line.end()));
    }
}

impl<W> JsonLayer<W> {
    /// The start of a JSON line.
    fn json(&self, metadata: &Metadata<'_>, message: &[u8]) -> Line {
        let mut line = Line::new(config::Format::Json);
        line.text.extend_from_slice(b"{\"timestamp\":\"");
        line.text.extend_from_slice(timestamp().as_bytes());
        line.text.push(b'"');
        line.names.push("timestamp");
        line.put("level", level(*metadata.level()));
        line.member(MESSAGE, message);
        line.put("target", metadata.target());
        line.put("service", SERVICE);
        line.put("version", env!("CARGO_PKG_VERSION"));
        line.put("env", &self.env);
        line
    }
}

/// The start of a plain text line.
fn text(metadata: &Metadata<'_>, message: &[u8]) -> Line {
    let mut line = Line::new(config::Format::Text);
    let message: String = serde_json::from_slice(message).unwrap_or_default();
    let message = message.replace(['\n', '\r'], " ");
    let level = level(*metadata.level());
    line.text.extend_from_slice(format!("{} {level:7} {message}", timestamp()).as_bytes());
    line.names.push(MESSAGE);
    line
}

impl Line {
    fn new(format: config::Format) -> Self {
        Self { format, text: Vec::with_capacity(LINE_BYTES), names: Vec::with_capacity(FIELDS) }
    }

    /// Adds the fields that the line does not have yet.
    fn add(&mut self, fields: &Fields) {
        for (name, value) in fields.iter() {
            if !self.names.contains(&name) {
                self.member(name, value);
            }
        }
    }

    fn put(&mut self, name: &'static str, value: &str) {
        self.begin(name);
        // cannot fail: a string has a JSON form, and writing to a vector succeeds
        drop(serde_json::to_writer(&mut self.text, value));
    }

    fn member(&mut self, name: &'static str, value: &[u8]) {
        self.begin(name);
        self.text.extend_from_slice(value);
    }

    fn begin(&mut self, name: &'static str) {
        self.names.push(name);
        match self.format {
            config::Format::Json => {
                self.text.push(b',');
                drop(serde_json::to_writer(&mut self.text, name));
                self.text.push(b':');
            }
            config::Format::Text => {
                self.text.push(b' ');
                self.text.extend_from_slice(name.as_bytes());
                self.text.push(b'=');
            }
        }
    }

    fn end(mut self) -> Vec<u8> {
        if self.format == config::Format::Json {
            self.text.push(b'}');
        }
        self.text.push(b'\n');
        self.text
    }
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
    fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.ends.iter().scan(0, |begin, (name, end)| {
            let value = self.values.get(*begin..*end)?;
            *begin = *end;
            Some((*name, value))
        })
    }

    fn put(&mut self, field: &Field, value: impl Serialize) {
        let name = field.name();
        // events of the `log` crate repeat their file and line in `log.*`
        if name.starts_with("log.") {
            return;
        }
        if self.ends.iter().any(|(known, _)| *known == name) {
            self.remove(name);
        }
        // cannot fail: the values have a JSON form, and writing to a vector succeeds
        drop(serde_json::to_writer(&mut self.values, &value));
        self.ends.push((name, self.values.len()));
    }

    /// Removes a field: a value recorded later replaces an earlier one.
    fn remove(&mut self, name: &str) {
        let mut others = Self::default();
        for (other, value) in self.iter().filter(|(other, _)| *other != name) {
            others.values.extend_from_slice(value);
            others.ends.push((other, others.values.len()));
        }
        *self = others;
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
        self.put(field, &value[..value.floor_char_boundary(FIELD_BYTES_MAX)]);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
