use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

const HOUR: Micros = 3_600_000_000;

/// A store's clock with a wall clock and a monotonic clock that the test sets.
fn clocks() -> (StoreClock, Arc<AtomicI64>, Arc<AtomicI64>) {
    let (wall, monotonic) = (Arc::new(AtomicI64::new(10 * HOUR)), Arc::new(AtomicI64::new(7)));
    let read = |time: &Arc<AtomicI64>| -> Clock {
        let time = Arc::clone(time);
        Arc::new(move || time.load(Ordering::Relaxed))
    };
    let options = Options {
        clock: Some(read(&wall)),
        monotonic: Some(read(&monotonic)),
        ..Options::new("sqlite://unused")
    };
    (StoreClock::system(&options), wall, monotonic)
}

#[test]
fn a_logs_time_goes_on_after_the_wall_clock_was_set_back() {
    let (clock, wall, monotonic) = clocks();
    let engine = EngineId::default();
    clock.saw(&engine, 10 * HOUR);
    wall.store(9 * HOUR, Ordering::Relaxed);
    monotonic.fetch_add(5, Ordering::Relaxed);
    assert_eq!(clock.of_log(&engine), 10 * HOUR + 5);
    let log = clock.of_head(&engine, None, 10 * HOUR);
    monotonic.fetch_add(5, Ordering::Relaxed);
    assert_eq!(log.now(), 10 * HOUR + 10);
    wall.store(11 * HOUR, Ordering::Relaxed);
    assert_eq!(log.now(), 11 * HOUR, "the wall clock is ahead again");
}

#[test]
fn a_logs_time_goes_on_if_the_wall_clock_was_set_back_before_the_start() {
    let (clock, _wall, monotonic) = clocks();
    let engine = EngineId::default();
    let log = clock.of_head(&engine, None, 11 * HOUR);
    assert_eq!(log.now(), 11 * HOUR);
    monotonic.fetch_add(HOUR, Ordering::Relaxed);
    assert_eq!(log.now(), 12 * HOUR);
}

#[test]
fn the_time_of_one_log_does_not_move_another() {
    let (clock, _wall, _monotonic) = clocks();
    clock.saw(&EngineId::default(), 99 * HOUR);
    assert_eq!(clock.of_log(&EngineId::system()), 10 * HOUR);
}

#[test]
fn a_head_that_was_not_folded_moves_no_clock() {
    let (clock, _wall, _monotonic) = clocks();
    let engine = EngineId::default();
    assert_eq!(clock.of_head(&engine, None, Micros::MAX - 1).now(), Micros::MAX - 1);
    assert_eq!(clock.of_log(&engine), 10 * HOUR);
    assert_eq!(clock.of_head(&engine, None, 0).now(), 10 * HOUR);
}

#[test]
fn the_number_of_known_logs_is_bounded() {
    let (clock, _wall, monotonic) = clocks();
    for log in 0..=LOGS_MAX {
        monotonic.fetch_add(1, Ordering::Relaxed);
        clock.saw(&format!("e{log}").parse().unwrap(), 11 * HOUR);
    }
    assert_eq!(clock.0.seen.lock().unwrap().len(), LOGS_MAX);
    assert_eq!(clock.of_log(&"e0".parse().unwrap()), 10 * HOUR, "dropped");
    assert!(clock.of_log(&"e1".parse().unwrap()) > 11 * HOUR, "kept");
}
