//! How much is logged, and changing that while the process runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, reload};

use super::SERVICE;
use crate::config::Level;

/// Puts another filter in place of the present one.
type Apply = Box<dyn Fn(Targets) -> Result<(), reload::Error> + Send>;

struct Control {
    level: Level,
    apply: Option<Apply>,
}

/// Of the whole process, as its subscriber is.
static CONTROL: Mutex<Control> = Mutex::new(Control { level: Level::Info, apply: None });

fn control() -> MutexGuard<'static, Control> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is logged at a level.
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

/// The filter of the process, which [`change`] exchanges.
pub(super) fn changeable<S: 'static>(level: Level) -> reload::Layer<Targets, S> {
    let (filter, handle) = reload::Layer::new(targets(level));
    *control() = Control { level, apply: Some(Box::new(move |next| handle.reload(next))) };
    filter
}

/// The present level.
pub fn level() -> Level {
    control().level
}

/// Changes the level of this process, until it ends or is told otherwise; says who wanted it, in a
/// line that is logged at the louder of both levels. Gives the level before.
///
/// # Errors
/// When the subscriber is gone, at the very end of the process.
pub fn change(to: Level, actor: &str) -> Result<Level, reload::Error> {
    let from = level();
    let say = || {
        let (from, to) = (name(from), name(to));
        tracing::warn!(event_type = "log.level_changed", from, to, actor, "the log level changes");
    };
    if to > from {
        say();
    }
    {
        let mut control = control();
        if let Some(apply) = &control.apply {
            apply(targets(to))?;
        }
        control.level = to;
    }
    if to <= from {
        say();
    }
    Ok(from)
}

/// As configuration spells it.
const fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    }
}
