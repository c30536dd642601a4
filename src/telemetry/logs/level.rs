//! The log level, which can be changed while the process runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, reload};

use crate::{config::Level, telemetry::names::SERVICE};

/// Replaces the current filter.
type Apply = Box<dyn Fn(Targets) -> Result<(), reload::Error> + Send>;

struct Control {
    level: Level,
    apply: Option<Apply>,
}

/// One per process, like the subscriber.
static CONTROL: Mutex<Control> = Mutex::new(Control { level: Level::Info, apply: None });

fn control() -> MutexGuard<'static, Control> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The filter for a level.
pub(in crate::telemetry) fn targets(level: Level) -> Targets {
    let ours = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warning => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(SERVICE, ours)
}

/// The filter of the process, which [`change`] replaces.
pub(super) fn changeable<S: 'static>(level: Level) -> reload::Layer<Targets, S> {
    let (filter, handle) = reload::Layer::new(targets(level));
    *control() = Control { level, apply: Some(Box::new(move |next| handle.reload(next))) };
    filter
}

/// The current level.
pub fn level() -> Level {
    control().level
}

/// Changes the level of this process until it ends or is changed again, and returns the previous
/// level. The change is logged with its actor while the more verbose of both levels applies.
///
/// # Errors
/// Fails if the subscriber has been dropped, at the end of the process.
pub fn change(to: Level, actor: &str) -> Result<Level, reload::Error> {
    let from = level();
    let log = || {
        let (from, to) = (name(from), name(to));
        tracing::warn!(event_type = "log.level_changed", from, to, actor, "log level changed");
    };
    if to > from {
        log();
    }
    {
        let mut control = control();
        if let Some(apply) = &control.apply {
            apply(targets(to))?;
        }
        control.level = to;
    }
    if to <= from {
        log();
    }
    Ok(from)
}

/// The spelling of the configuration.
const fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    }
}
