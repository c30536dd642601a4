//! How an event becomes a line.

use std::{fmt, io::Write as _};

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::Context, registry::LookupSpan};

use super::{LEVELS, SERVICE};
use crate::{clock, config};

/// RFC 3339 in UTC with microseconds, always 27 characters, so that lines sort as text.
const TIMESTAMP: &[BorrowedFormatItem<'_>] = format_description!(
    version = 2,
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
);

/// Longest text of one field, in bytes; the rest is cut off.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// Room for a line that is not long, in bytes.
const LINE_BYTES: usize = 768;

/// The layer that writes lines.
pub(super) struct Lines<W> {
    pub(super) format: config::Format,
    /// Where the process runs.
    pub(super) env: String,
    pub(super) writer: W,
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
            config::Format::Json => self.json(event.metadata(), message, fields),
            config::Format::Text => text(event.metadata(), &message, &fields),
        };
        let level = level(*event.metadata().level());
        if let Some((_, count)) = LEVELS.iter().find(|(name, _)| *name == level) {
            count.inc();
        }
        // a queue takes it or counts it
        drop(self.writer.make_writer_for(event.metadata()).write_all(&line));
    }
}

impl<W> Lines<W> {
    fn json(
        &self,
        metadata: &Metadata<'_>,
        message: Value,
        mut fields: Map<String, Value>,
    ) -> Vec<u8> {
        let fixed = [
            ("timestamp", Value::from(timestamp())),
            ("level", Value::from(level(*metadata.level()))),
            ("message", message),
            ("target", Value::from(metadata.target())),
            ("service", Value::from(SERVICE)),
            ("version", Value::from(env!("CARGO_PKG_VERSION"))),
            ("env", Value::from(&*self.env)),
        ];
        let mut line = Vec::with_capacity(LINE_BYTES);
        for (name, value) in fixed {
            fields.remove(name);
            put(&mut line, name, &value);
        }
        for (name, value) in &fields {
            put(&mut line, name, value);
        }
        line.extend_from_slice(b"}\n");
        line
    }
}

/// Appends a member; a map would lose the order that makes lines easy to read.
fn put(line: &mut Vec<u8>, name: &str, value: &Value) {
    line.push(if line.is_empty() { b'{' } else { b',' });
    // a value has a JSON form, and a vector takes everything
    drop(serde_json::to_writer(&mut *line, name));
    line.push(b':');
    drop(serde_json::to_writer(line, value));
}

fn text(metadata: &Metadata<'_>, message: &Value, fields: &Map<String, Value>) -> Vec<u8> {
    let message = message.as_str().unwrap_or_default().replace(['\n', '\r'], " ");
    let line = format!("{} {:7} {message}", timestamp(), level(*metadata.level()));
    let mut line = line.into_bytes();
    for (name, value) in fields {
        line.push(b' ');
        line.extend_from_slice(name.as_bytes());
        line.push(b'=');
        drop(serde_json::to_writer(&mut line, value));
    }
    line.push(b'\n');
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
        self.put(field, &value[..value.floor_char_boundary(FIELD_BYTES_MAX)]);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
