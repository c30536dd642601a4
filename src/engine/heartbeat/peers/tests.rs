use super::*;
use crate::store::replicas::{Heartbeat, ReplicaRow};

const SECOND: Micros = 1_000_000;
const LIMIT: Micros = 30 * SECOND;
const PEER: ReplicaId = ReplicaId([1; 8]);

fn heartbeats(now: Micros, seen_at: Option<Micros>) -> Replicas {
    let heartbeat = Heartbeat {
        replica: PEER,
        host: String::new(),
        version: String::new(),
        log_format: 2,
        rules: 1,
    };
    let row = seen_at.map(|seen_at| ReplicaRow { heartbeat, started_at: 0, seen_at });
    Replicas { now, rows: row.into_iter().collect() }
}

#[test]
fn a_process_without_new_heartbeats_is_silent() {
    let mut peers = Peers::default();
    for second in [0, 10, 20, 30] {
        peers.observe(&heartbeats(second * SECOND, Some(0)), std::iter::empty(), second * SECOND);
        assert_eq!(peers.silent_for(PEER, LIMIT), None, "{second}");
    }
    peers.observe(&heartbeats(31 * SECOND, Some(0)), std::iter::empty(), 31 * SECOND);
    assert_eq!(peers.silent_for(PEER, LIMIT), Some(31 * SECOND));
    peers.observe(&heartbeats(32 * SECOND, Some(32 * SECOND)), std::iter::empty(), 32 * SECOND);
    assert_eq!(peers.silent_for(PEER, LIMIT), None, "it is back");
}

#[test]
fn nobody_is_silent_after_an_outage_of_the_database() {
    let mut peers = Peers::default();
    peers.observe(&heartbeats(0, Some(0)), std::iter::empty(), 0);
    let hour = 3_600 * SECOND;
    peers.observe(&heartbeats(hour, Some(0)), std::iter::empty(), hour);
    assert_eq!(peers.silent_for(PEER, LIMIT), None);
}

#[test]
fn nobody_is_silent_after_a_clock_was_set_forward() {
    let mut peers = Peers::default();
    peers.observe(&heartbeats(0, Some(0)), std::iter::empty(), 0);
    peers.observe(&heartbeats(3_600 * SECOND, Some(0)), std::iter::empty(), 10 * SECOND);
    assert_eq!(peers.silent_for(PEER, LIMIT), None);
}

#[test]
fn a_process_of_an_open_step_without_a_row_is_silent_after_a_while() {
    let mut peers = Peers::default();
    for second in [0, 10, 20, 30] {
        peers.observe(&heartbeats(0, None), [PEER].into_iter(), second * SECOND);
        assert_eq!(peers.silent_for(PEER, LIMIT), None, "{second}");
    }
    peers.observe(&heartbeats(0, None), [PEER].into_iter(), 40 * SECOND);
    assert_eq!(peers.silent_for(PEER, LIMIT), Some(40 * SECOND));
}
