//! Given a log, when a command, then these events: the rules of the engine, checked on folded states.

mod adding;
mod budgets;
mod consolidation;
mod digests;
mod driver;
mod endings;
mod erasure;
mod facts;
mod formats;
mod golden;
mod key_budgets;
mod keys;
mod limits;
mod memory;
mod outcomes;
mod policies;
mod rhythms;
mod sequences;
mod story;

use driver::{Log, admission, answer, fold, fold_page, subject, vector};
