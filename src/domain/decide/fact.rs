//! Facts and the log's format: what is recorded without rules.

use std::collections::BTreeMap;

use super::decision::{Decision, Retention};
use crate::domain::{
    command::{RaiseFormat, Refusal},
    event::{
        CODES_MAX, Event, Fact, LOG_FORMAT, LogFormatRaised, NOTE_MAX, POSITIONS_MAX, TEXT_MAX,
    },
    ids::Position,
    state::{HOLDS_MAX, State},
};

/// The maximum length of all texts of a map in characters.
const TEXTS_MAX: usize = 5_000;

/// Raises the format of the log. No effect if the log has that format or a newer one.
pub(super) fn raise_format(state: &State, raise: &RaiseFormat) -> Result<Vec<Decision>, Refusal> {
    if raise.to > LOG_FORMAT {
        return Err(Refusal::UnknownFormat { to: raise.to });
    }
    if raise.to <= state.log_format {
        return Ok(Vec::new());
    }
    let event =
        LogFormatRaised { from: state.log_format, to: raise.to, actor: raise.actor.clone() };
    Ok(vec![Decision::of_engine(Event::LogFormatRaised(event))])
}

/// Records a fact. Nothing is recorded if it changes nothing: a second hold, an unknown hold.
pub(super) fn record(state: &State, fact: &Fact) -> Result<Vec<Decision>, Refusal> {
    bounds(fact)?;
    match fact {
        Fact::HoldPlaced(hold) => {
            if state.holds.contains(&hold.subject_ref) {
                return Ok(Vec::new());
            }
            if state.holds.size() >= HOLDS_MAX {
                return Err(Refusal::TooManyHolds);
            }
        }
        Fact::HoldReleased(hold) => {
            if !state.holds.contains(&hold.subject_ref) {
                return Ok(Vec::new());
            }
        }
        Fact::MemoryShared(shared) => {
            let missing = shared.positions.iter().find(|item| state.lattice.get(**item).is_none());
            if let Some(position) = missing.copied() {
                return Err(Refusal::NoItem { position });
            }
        }
        Fact::MemoryForgotten(forgotten) => in_log(state, forgotten.positions.iter().copied())?,
        Fact::ContentRead(read) => in_log(state, read.positions.iter().copied())?,
        Fact::ContentsExpired(expired) => in_log(state, [expired.through])?,
        Fact::SubjectExported(_)
        | Fact::StepAnnotated(_)
        | Fact::RequestsRefused(_)
        | Fact::Recovered(_)
        | Fact::ServerStarted(_)
        | Fact::AccessDenied(_)
        | Fact::MacKeyChanged(_)
        | Fact::AuditKeyChanged(_)
        | Fact::SettingsChanged(_)
        | Fact::EngineRetired(_) => {}
    }
    Ok(vec![decision(fact)])
}

fn decision(fact: &Fact) -> Decision {
    let event = Event::Fact(Box::new(fact.clone()));
    if let Fact::StepAnnotated(annotated) = fact {
        return Decision {
            event,
            step: Some(annotated.step),
            subject: Some(annotated.subject_ref),
            retention: Retention::Text,
        };
    }
    Decision::of_engine(event)
}

fn in_log(state: &State, positions: impl IntoIterator<Item = Position>) -> Result<(), Refusal> {
    let head = state.position;
    match positions.into_iter().find(|position| !(1..=head).contains(position)) {
        Some(position) => Err(Refusal::NoPosition { position, head }),
        None => Ok(()),
    }
}

/// Checks the size of a fact, so that its entry stays small.
fn bounds(fact: &Fact) -> Result<(), Refusal> {
    let bound = Bound { kind: fact.kind() };
    match fact {
        Fact::MemoryForgotten(e) => {
            bound.positions(&e.positions)?;
            bound.texts(&[("actor", &e.actor), ("reason", &e.reason)])
        }
        Fact::MemoryShared(e) => {
            bound.positions(&e.positions)?;
            bound.texts(&[("actor", &e.actor)])
        }
        Fact::ContentRead(e) => {
            bound.positions(&e.positions)?;
            bound.texts(&[("actor", &e.actor), ("reason", &e.reason)])
        }
        Fact::HoldPlaced(e) | Fact::HoldReleased(e) => {
            bound.texts(&[("actor", &e.actor), ("reason", &e.reason)])
        }
        Fact::SubjectExported(e) => bound.texts(&[("actor", &e.actor), ("reason", &e.reason)]),
        Fact::RequestsRefused(e) => bound.counts(&e.counts),
        Fact::AccessDenied(e) => bound.counts(&e.counts),
        Fact::Recovered(e) => {
            let note = e.checkpoint.as_ref().map_or(0, String::len);
            bound.check(note <= NOTE_MAX, "checkpoint", "at most 8,192 bytes")?;
            bound.texts(&[("actor", &e.actor), ("reason", &e.reason)])
        }
        Fact::ServerStarted(e) => {
            let commit = e.commit.as_deref().unwrap_or_default();
            bound.texts(&[("version", &e.version), ("commit", commit)])
        }
        Fact::MacKeyChanged(e) => bound.texts(&[("actor", &e.actor)]),
        Fact::AuditKeyChanged(e) => {
            bound.texts(&[("origin", &e.origin), ("key", &e.key), ("actor", &e.actor)])
        }
        Fact::SettingsChanged(e) => {
            bound.entries(e.values.len(), "values")?;
            bound.length(e.values.iter().flat_map(|(name, value)| [name, value]), "values")?;
            bound.texts(&[("actor", &e.actor), ("reason", &e.reason)])
        }
        Fact::EngineRetired(e) => bound.texts(&[("actor", &e.actor), ("reason", &e.reason)]),
        Fact::ContentsExpired(_) | Fact::StepAnnotated(_) => Ok(()),
    }
}

/// The bounds of one event type.
struct Bound {
    kind: &'static str,
}

impl Bound {
    fn check(&self, ok: bool, field: &'static str, must: &'static str) -> Result<(), Refusal> {
        if ok { Ok(()) } else { Err(Refusal::FactBound { kind: self.kind, field, must }) }
    }

    fn text(&self, (field, text): (&'static str, &str)) -> Result<(), Refusal> {
        self.check(text.chars().count() <= TEXT_MAX, field, "at most 1,000 characters")
    }

    fn texts(&self, texts: &[(&'static str, &str)]) -> Result<(), Refusal> {
        texts.iter().try_for_each(|text| self.text(*text))
    }

    fn positions(&self, positions: &[Position]) -> Result<(), Refusal> {
        let fits = (1..=POSITIONS_MAX).contains(&positions.len());
        self.check(fits, "positions", "1 to 1,000 entries")
    }

    fn entries(&self, count: usize, field: &'static str) -> Result<(), Refusal> {
        self.check((1..=CODES_MAX).contains(&count), field, "1 to 64 entries")
    }

    fn counts(&self, counts: &BTreeMap<String, u64>) -> Result<(), Refusal> {
        self.entries(counts.len(), "counts")?;
        self.length(counts.keys(), "counts")
    }

    fn length<'t>(
        &self,
        texts: impl Iterator<Item = &'t String>,
        field: &'static str,
    ) -> Result<(), Refusal> {
        let chars: usize = texts.map(|text| text.chars().count()).sum();
        self.check(chars <= TEXTS_MAX, field, "at most 5,000 characters")
    }
}
