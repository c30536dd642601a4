//! A sink that works, breaks or is stuck. Counts are of the process, and each test has its own.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::*;
use crate::telemetry::loss;

const LINE: &str = "a line\n";

/// A writer that waits for a word before each write, and ends when there will be none.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every line is accounted for: taken or lost, once nothing waits.
fn assert_balanced(sink: Sink, emitted: u64) {
    let counted = loss::sinks().find(|counted| counted.sink == sink).unwrap();
    assert_eq!(counted.emitted.get(), emitted);
    assert_eq!(counted.delivered.get() + sink.lost_so_far(), emitted);
}

#[test]
fn a_burst_into_a_stuck_sink_waits_for_nothing_and_is_counted() {
    let (go, waits) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, Stuck(waits)).unwrap();
    let line: Arc<str> = LINE.into();
    let start = Instant::now();
    for _ in 0..100_000 {
        queue.push(&line);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let dropped = Sink::Stdout.lost_so_far();
    // what waits and what is in hand is not lost yet
    let held = LINES_MAX + CHUNK_BYTES / LINE.len() + 1;
    assert!(dropped >= (100_000 - held) as u64 && dropped < 100_000, "{dropped}");
    assert!(!queue.close(Duration::from_millis(10)), "it is stuck");
    assert_eq!(Sink::Stdout.lost_so_far(), 100_000);
    queue.push(&line);
    assert_eq!(Sink::Stdout.lost_so_far(), 100_001);
    assert_balanced(Sink::Stdout, 100_001);
    drop(go);
}

#[test]
fn what_waits_is_written_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let queue = Queue::start(Sink::File, std::fs::File::create(&path).unwrap()).unwrap();
    let line: Arc<str> = LINE.into();
    for _ in 0..1_000 {
        queue.push(&line);
    }
    assert!(queue.close(Duration::from_secs(10)));
    assert_eq!(std::fs::read_to_string(path).unwrap(), LINE.repeat(1_000));
    assert_eq!(Sink::File.lost_so_far(), 0);
    assert_balanced(Sink::File, 1_000);
}

#[test]
fn a_sink_that_refuses_is_counted() {
    let (_, broken) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, Stuck(broken)).unwrap();
    for _ in 0..10 {
        queue.push(&LINE.into());
    }
    assert!(queue.close(Duration::from_secs(10)));
    assert_eq!(Sink::Stdout.lost_so_far(), 10);
    assert_balanced(Sink::Stdout, 10);
}

#[test]
fn long_lines_are_bounded_together() {
    let (go, waits) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, Stuck(waits)).unwrap();
    let long: Arc<str> = "x".repeat(1024 * 1024).into();
    for _ in 0..40 {
        queue.push(&long);
    }
    // 16 wait, and one or two are in hand
    assert!((40 - 18..=40 - 16).contains(&Sink::Stdout.lost_so_far()));
    queue.close(Duration::ZERO);
    drop(go);
}
