use serde_json::{Value, json};
use tracing::{debug, error, info, info_span, subscriber::with_default, warn};

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

use super::{buffer::Buffer, json_layer::JsonLayer, level, subscriber};
use crate::{
    config::{Format, Level},
    telemetry::Redacted,
};

fn logged(level: Level, format: Format, act: impl FnOnce()) -> Vec<String> {
    let buffer = Buffer::default();
    with_default(subscriber(level, format, buffer.clone()), act);
    buffer.lines()
}

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_fields_of_event_and_spans_are_at_top_level() {
    let lines = logged(Level::Info, Format::Json, || {
        let outer = info_span!("request", request_id = "r1", route = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("route", "/v1/generate");
        let _inner = info_span!("step", engine = "default", request_id = "r2").entered();
        info!(step = 7_u64, accepted = true, moral_value = 0.5, "done");
    });
    assert!(lines[0].starts_with("{\"timestamp\":\""), "{}", lines[0]);
    let line = parsed(&lines).remove(0);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "done");
    assert_eq!(line["step"], json!(7));
    assert_eq!(line["accepted"], json!(true));
    assert_eq!(line["moral_value"], json!(0.5));
    assert_eq!(line["engine"], "default");
    assert_eq!(line["route"], "/v1/generate");
    assert_eq!(line["request_id"], "r2", "the inner span wins");
    assert_eq!(line["service"], "mlsdm");
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    let time = line["timestamp"].as_str().unwrap();
    assert_eq!(time.len(), 27, "{time}");
    assert!(time.ends_with('Z'));
}

#[test]
fn levels_are_spelled_as_in_the_configuration() {
    let log = || {
        debug!("d");
        info!("i");
        warn!("w");
        error!("e");
    };
    let levels = |level| {
        let lines = parsed(&logged(level, Format::Json, log));
        lines.iter().map(|l| l["level"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(levels(Level::Debug), ["DEBUG", "INFO", "WARNING", "ERROR"]);
    assert_eq!(levels(Level::Warning), ["WARNING", "ERROR"]);
    assert_eq!(levels(Level::Error), ["ERROR"]);
}

#[test]
fn events_of_other_crates_are_logged_from_warning_on() {
    let lines = logged(Level::Debug, Format::Json, || {
        info!(target: "hyper", "body: secret");
        warn!(target: "hyper", "closed");
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(parsed(&lines)[0]["message"], "closed");
}

#[test]
fn plain_text_is_one_line_and_a_redacted_text_is_its_length() {
    let lines = logged(Level::Info, Format::Text, || {
        let prompt = Redacted::new("geheim\u{e4}");
        info!(prompt = %prompt, debug = ?prompt, "two\nlines");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("INFO    two lines"), "{}", lines[0]);
    assert!(lines[0].contains("[7 characters]"), "{}", lines[0]);
    assert!(!lines[0].contains("geheim"), "{}", lines[0]);
}

#[test]
fn event_fields_cannot_replace_level_or_service() {
    let lines = logged(Level::Info, Format::Json, || {
        info!(level = "FAKE", service = "fake", "m");
    });
    let line = parsed(&lines).remove(0);
    assert_eq!((line["level"].as_str(), line["service"].as_str()), (Some("INFO"), Some("mlsdm")));
}

#[test]
fn a_change_of_level_is_logged_while_the_more_verbose_level_applies() {
    let buffer = Buffer::default();
    let layer = JsonLayer { format: Format::Json, env: "test".to_owned(), writer: buffer.clone() };
    let layer = layer.with_filter(level::changeable(Level::Warning));
    let subscriber = tracing_subscriber::registry().with(layer);
    with_default(subscriber, || {
        info!("not logged");
        assert_eq!(level::change(Level::Debug, "ann").unwrap(), Level::Warning);
        debug!("logged");
        assert_eq!(level::change(Level::Error, "bob").unwrap(), Level::Debug);
        warn!("not logged");
        assert_eq!(level::level(), Level::Error);
    });
    let lines = parsed(&buffer.lines());
    let shown: Vec<_> = lines.iter().map(|l| (&l["from"], &l["to"], &l["actor"])).collect();
    let (none, text) = (&Value::Null, |text: &str| Value::from(text));
    assert_eq!(shown[0], (&text("WARNING"), &text("DEBUG"), &text("ann")));
    assert_eq!((shown[1], &lines[1]["message"]), ((none, none, none), &text("logged")));
    assert_eq!(shown[2], (&text("DEBUG"), &text("ERROR"), &text("bob")));
    assert_eq!(lines.len(), 3);
}

#[test]
fn an_overlong_field_is_cut() {
    let lines = logged(Level::Info, Format::Json, || info!(long = "ä".repeat(10_000), "m"));
    let line = parsed(&lines).remove(0);
    assert_eq!(line["long"].as_str().unwrap().len(), 8 * 1024);
    assert_eq!(line["env"], "test");
}
