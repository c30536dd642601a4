//! The result of a decision.

use crate::domain::{
    event::{Event, POSITIONS_MAX, Positions},
    ids::{Position, StepNumber, SubjectRef},
};

/// The part of a command's content that is stored with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// No content.
    Nothing,
    /// The text (prompt or answer).
    Text,
    /// The text and its vector.
    TextAndVector,
}

/// An event to be appended, with the fields of its envelope that the decision determines.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The event.
    pub event: Event,
    /// The step that the event belongs to.
    pub step: Option<StepNumber>,
    /// The data subject of the step.
    pub subject: Option<SubjectRef>,
    /// The part of the command's content that is stored with the event.
    pub retention: Retention,
}

impl Decision {
    pub(super) const fn of_engine(event: Event) -> Self {
        Self { event, step: None, subject: None, retention: Retention::Nothing }
    }
}

/// A command that leads to one event.
pub(super) fn one(decision: Decision) -> Vec<Decision> {
    vec![decision]
}

/// Events for any number of items.
pub(super) fn in_pages(positions: &[Position], event: fn(Positions) -> Event) -> Vec<Decision> {
    positions
        .chunks(POSITIONS_MAX)
        .map(|page| Decision::of_engine(event(Positions { positions: page.to_vec() })))
        .collect()
}
