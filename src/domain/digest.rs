//! The canonical digest of a state: two states have the same digest iff they are equal.
//!
//! The input of the hash has a fixed order: integers big-endian, floats as their bits, texts and
//! lists with their length first, maps sorted by key. It excludes data that an erasure may remove
//! (the vectors of memory and trace levels; the latter have a digest of their own) and data that
//! differs between processes.

use sha2::Digest as _;

use super::{
    budget::{Accounts, Amount, Price, Reservation},
    event::FOLD_VERSION,
    ids::{Micros, Sha256, StepNumber},
    keys::KeyGrant,
    state::State,
    synaptic::SynapticTraces,
};

/// The SHA-256 digest of a state.
pub fn state(state: &State) -> Sha256 {
    let mut out = DigestWriter::new();
    out.int(u64::from(FOLD_VERSION));
    out.int(state.position);
    out.bytes(&state.policy_hash.0);
    out.int(state.policy_version);
    out.int(state.step);
    let counts = state.counts;
    for count in [counts.accepted, counts.rejected, counts.failed, counts.completed] {
        out.int(count);
    }
    out.text(state.rhythm.phase.as_str());
    out.int(u64::from(state.rhythm.counter));
    out.float(state.threshold(None));
    out.float(state.filter.ema());
    out.int(state.filter.subject_count() as u64);
    for (subject, ema, position) in state.filter.subjects() {
        out.bytes(&subject.get().to_be_bytes());
        out.float(ema);
        out.int(position);
    }
    shutdown(&mut out, state);
    out.int(state.stored);
    for norm in state.trace_norms {
        out.bytes(&norm.to_bits().to_be_bytes());
    }
    open_steps(&mut out, state);
    items(&mut out, state);
    budgets(&mut out, state);
    copied(&mut out, state);
    key_budgets(&mut out, state);
    keys(&mut out, state);
    format_2(&mut out, state);
    out.finish()
}

/// The SHA-256 digest of the trace levels; `None` if they were erased.
pub fn traces(traces: Option<&SynapticTraces>) -> Option<Sha256> {
    traces.map(|traces| {
        let mut out = DigestWriter::new();
        for level in traces.levels() {
            out.int(level.len() as u64);
            for x in level {
                out.bytes(&x.to_bits().to_be_bytes());
            }
        }
        out.finish()
    })
}

fn shutdown(out: &mut DigestWriter, state: &State) {
    match &state.shutdown {
        None => out.int(0),
        Some(shutdown) => {
            out.int(1);
            out.int(shutdown.since as u64);
            out.text(&shutdown.reason);
        }
    }
}

fn open_steps(out: &mut DigestWriter, state: &State) {
    out.int(state.open.size() as u64);
    for (step, open) in &state.open {
        out.int(*step);
        out.int(open.position);
        out.bytes(&open.subject.get().to_be_bytes());
        out.int(open.deadline as u64);
        out.text(open.phase.as_str());
        out.int(u64::from(open.erased));
    }
}

fn items(out: &mut DigestWriter, state: &State) {
    out.int(state.lattice.len() as u64);
    for item in state.lattice.items() {
        out.int(item.position);
        out.int(item.number);
        out.bytes(&item.subject.get().to_be_bytes());
        out.bytes(&item.content_hash.0);
        out.bytes(&item.phase.to_bits().to_be_bytes());
        out.float(item.confidence);
        out.int(u64::from(item.consolidated));
        out.int(u64::from(item.shared));
    }
}

/// Writes nothing if no account and no reservation exists: logs from before budgets existed keep
/// their digests, and no new fold version was needed.
fn budgets(out: &mut DigestWriter, state: &State) {
    let accounts = &state.accounts;
    let reservations: Vec<_> = state
        .open
        .iter()
        .filter_map(|(step, open)| Some((*step, open.budget?, open.price)))
        .collect();
    if accounts.iter().len() == 0 && reservations.is_empty() {
        return;
    }
    accounts_and_reservations(out, accounts, reservations);
}

fn accounts_and_reservations(
    out: &mut DigestWriter,
    accounts: &Accounts,
    reservations: Vec<(StepNumber, Reservation, Option<Price>)>,
) {
    out.int(accounts.window() as u64);
    out.int(accounts.iter().len() as u64);
    for (holder, account) in accounts.iter() {
        out.bytes(&holder.get().to_be_bytes());
        out.amount(account.spent);
        out.amount(account.reserved);
    }
    out.int(reservations.len() as u64);
    for (step, reservation, price) in reservations {
        out.int(step);
        out.bytes(&reservation.holder.get().to_be_bytes());
        out.int(reservation.window as u64);
        out.amount(reservation.reserved);
        // without a price of cached tokens as before that price existed
        out.int(price.map_or(0, |price| 1 + u64::from(price.cached_input.is_some())));
        let parts =
            |price: Price| [price.input, price.output].into_iter().chain(price.cached_input);
        for part in price.into_iter().flat_map(parts) {
            out.int(part);
        }
    }
}

/// Writes nothing if no item was copied from another engine, so that older logs keep their digests.
fn copied(out: &mut DigestWriter, state: &State) {
    let Some(copied) = &state.copied else { return };
    out.text("copied");
    out.text(copied.engine.as_str());
    out.int(copied.position);
}

/// Writes nothing if no API key has a limit, so that older logs keep their digests.
fn key_budgets(out: &mut DigestWriter, state: &State) {
    let accounts = &state.key_accounts;
    let reservations: Vec<_> = state
        .open
        .iter()
        .filter_map(|(step, open)| Some((*step, open.key_budget?, open.price)))
        .collect();
    if accounts.iter().len() == 0 && reservations.is_empty() {
        return;
    }
    out.text("key budgets");
    accounts_and_reservations(out, accounts, reservations);
}

/// Writes nothing without API keys, which exist only in the server's own log.
fn keys(out: &mut DigestWriter, state: &State) {
    if state.keys.iter().len() == 0 {
        return;
    }
    out.text("keys");
    out.int(state.keys.iter().len() as u64);
    for (id, key) in state.keys.iter() {
        out.bytes(&id.get().to_be_bytes());
        out.bytes(&key.hash.0);
        out.int(key.created_at as u64);
        out.text(&key.created_by);
        out.option(key.rotated_at);
        out.option(key.previous.map(|previous| previous.until));
        out.bytes(&key.previous.map_or([0; 32], |previous| previous.hash.0));
        key_grant(out, &key.grant);
    }
}

/// Writes nothing for a log of format 1, so that such logs keep their digests.
fn format_2(out: &mut DigestWriter, state: &State) {
    if state.log_format < 2 {
        return;
    }
    out.text("log format");
    out.int(u64::from(state.log_format));
    out.int(u64::from(state.mac_key.is_some()));
    out.int(u64::from(state.mac_key.unwrap_or_default()));
    out.int(state.holds.size() as u64);
    for subject in &state.holds {
        out.bytes(&subject.get().to_be_bytes());
    }
    for (_, open) in &state.open {
        out.int(u64::from(open.replica.is_some()));
        out.bytes(&open.replica.map_or([0; 8], |replica| replica.0));
    }
}

fn key_grant(out: &mut DigestWriter, grant: &KeyGrant) {
    out.text(&grant.name);
    for names in [&grant.roles, &grant.engines] {
        out.int(names.len() as u64);
        for name in names {
            out.text(name);
        }
    }
    out.option(grant.expires_at);
    let rate = grant.rate.map_or((0, 0), |rate| (rate.requests, rate.window_seconds));
    out.int(u64::from(rate.0));
    out.int(u64::from(rate.1));
    out.amount(grant.budget.unwrap_or_default());
}

/// Hashes incrementally, so that a digest needs no copy of the state.
struct DigestWriter(sha2::Sha256);

impl DigestWriter {
    fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn int(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    fn float(&mut self, value: f64) {
        self.int(value.to_bits());
    }

    fn option(&mut self, time: Option<Micros>) {
        self.int(u64::from(time.is_some()));
        self.int(time.unwrap_or_default() as u64);
    }

    fn amount(&mut self, amount: Amount) {
        self.int(amount.tokens);
        self.int(amount.cost_micro_usd);
    }

    fn text(&mut self, text: &str) {
        self.int(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}
