//! The processes whose heartbeats this one reads, and for how long each has been silent.
//!
//! A heartbeat that is old by the clock is not enough to call a process gone: after an outage of the
//! database all heartbeats are old, and a clock that is set forward makes them old. So this process also
//! counts the silence that it observes, from one read to the next and at most one interval at a time.

use std::collections::HashMap;

use crate::{
    domain::ids::{Micros, ReplicaId},
    store::replicas::{HEARTBEAT, Replicas},
};

/// The known processes. At most as many as one read of the heartbeats returns, and those that run open
/// steps of loaded engines.
#[derive(Default)]
pub(super) struct Peers {
    known: HashMap<ReplicaId, Peer>,
    /// The moment of the previous read.
    read_at: Option<Micros>,
}

struct Peer {
    /// `None` for a process without a row.
    seen_at: Option<Micros>,
    /// The time without a new heartbeat, counted only while this process was able to read heartbeats.
    silence: Micros,
    /// The time since the newest heartbeat.
    age: Micros,
}

impl Peers {
    /// Notes the stored heartbeats. `named` are the processes of open steps, which may have no row;
    /// `moment` is a time of the monotonic clock.
    pub(super) fn observe(
        &mut self,
        replicas: &Replicas,
        named: impl Iterator<Item = ReplicaId>,
        moment: Micros,
    ) {
        let since = self.read_at.map_or(0, |before| moment.saturating_sub(before));
        let step = since.clamp(0, HEARTBEAT.as_micros() as Micros);
        self.read_at = Some(moment);
        let before = std::mem::take(&mut self.known);
        let silence = |id: ReplicaId, seen_at: Option<Micros>| {
            let same = before.get(&id).filter(|peer| peer.seen_at == seen_at);
            same.map_or(0, |peer| peer.silence.saturating_add(step))
        };
        for row in &replicas.rows {
            let (id, seen_at) = (row.heartbeat.replica, Some(row.seen_at));
            let peer = Peer { seen_at, silence: silence(id, seen_at), age: replicas.age(row) };
            self.known.insert(id, peer);
        }
        for id in named {
            self.known.entry(id).or_insert_with(|| {
                let silence = silence(id, None);
                Peer { seen_at: None, silence, age: silence }
            });
        }
    }

    /// The time since the newest sign of life of a process, if it is certainly longer than `limit`.
    pub(super) fn silent_for(&self, id: ReplicaId, limit: Micros) -> Option<Micros> {
        let peer = self.known.get(&id)?;
        (peer.silence >= limit && peer.age > limit).then_some(peer.age)
    }
}

#[cfg(test)]
mod tests;
