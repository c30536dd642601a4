//! API keys: created, revoked and rotated in the server's own log.

use super::decision::Decision;
use crate::domain::{
    command::{CreateKey, Refusal, RevokeKey, RotateKey},
    event::{Event, KeyCreated, KeyRevoked, KeyRotated},
    ids::Micros,
    keys::{self, GRACE_SECONDS_MAX, KEYS_MAX},
    state::State,
};

/// Creates a key if fewer than [`KEYS_MAX`] valid keys exist.
pub(super) fn create(state: &State, create: &CreateKey, now: Micros) -> Result<Decision, Refusal> {
    create.grant.validate(now)?;
    if state.keys.get(create.id).is_some() {
        return Err(Refusal::KeyExists);
    }
    if state.keys.count(now) >= KEYS_MAX {
        return Err(Refusal::TooManyKeys);
    }
    Ok(Decision::of_engine(Event::KeyCreated(Box::new(KeyCreated {
        id: create.id,
        hash: create.hash,
        grant: create.grant.clone(),
        actor: create.actor.clone(),
    }))))
}

/// Revokes a key. An expired key can be revoked, which removes it from the list.
pub(super) fn revoke(state: &State, revoke: &RevokeKey) -> Result<Decision, Refusal> {
    if state.keys.get(revoke.id).is_none() {
        return Err(Refusal::NoKey { id: revoke.id });
    }
    let event = KeyRevoked { id: revoke.id, actor: revoke.actor.clone() };
    Ok(Decision::of_engine(Event::KeyRevoked(event)))
}

/// Replaces the secret of a key. The previous secret stays valid for the requested grace period;
/// the one before it becomes invalid at once.
pub(super) fn rotate(state: &State, rotate: &RotateKey, now: Micros) -> Result<Decision, Refusal> {
    let key = state.keys.get(rotate.id).filter(|key| !key.is_expired(now));
    if key.is_none() {
        return Err(Refusal::NoKey { id: rotate.id });
    }
    if rotate.grace_seconds > GRACE_SECONDS_MAX {
        let must = "at most 604800 seconds, a week";
        return Err(keys::InvalidKey { field: "grace_seconds", must }.into());
    }
    let grace = Some(rotate.grace_seconds).filter(|seconds| *seconds > 0);
    Ok(Decision::of_engine(Event::KeyRotated(KeyRotated {
        id: rotate.id,
        hash: rotate.hash,
        previous_until: grace.map(|seconds| keys::after(now, seconds)),
        actor: rotate.actor.clone(),
    })))
}
