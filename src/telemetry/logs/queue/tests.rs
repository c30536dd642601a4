//! A sink that works, fails or is blocked. Counts are per process, and nextest runs each test in
//! its own.

use std::{sync::mpsc, time::Duration};

use super::*;

const LINE: &str = "a line\n";

/// A writer that waits for a message before each write, and fails once there is no sender.
struct BlockedWriter(mpsc::Receiver<()>);

impl Write for BlockedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asserts that every line was delivered or dropped.
fn assert_balanced(sink: Sink, emitted: u64) {
    let counts = sink.delivery();
    assert_eq!(counts.emitted.get(), emitted);
    assert_eq!(counts.delivered.get() + counts.dropped_total(), emitted);
}

#[test]
fn a_burst_into_a_blocked_sink_does_not_wait_and_is_counted() {
    let (go, waits) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, BlockedWriter(waits)).unwrap();
    let line: Arc<str> = LINE.into();
    // the writer stays blocked, so a push that waited for it would hang
    for _ in 0..100_000 {
        queue.push(&line);
    }
    let dropped = Sink::Stdout.delivery().dropped_total();
    // lines that wait or are being written are not dropped yet
    let held = LINES_MAX + CHUNK_BYTES / LINE.len() + 1;
    assert!(dropped >= (100_000 - held) as u64 && dropped < 100_000, "{dropped}");
    assert!(!queue.close(Duration::from_millis(10)), "the writer is blocked");
    assert_eq!(Sink::Stdout.delivery().dropped_total(), 100_000);
    queue.push(&line);
    assert_eq!(Sink::Stdout.delivery().dropped_total(), 100_001);
    assert_balanced(Sink::Stdout, 100_001);
    drop(go);
}

#[test]
fn waiting_lines_are_written_by_the_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let queue = Queue::start(Sink::File, std::fs::File::create(&path).unwrap()).unwrap();
    let line: Arc<str> = LINE.into();
    for _ in 0..1_000 {
        queue.push(&line);
    }
    assert!(queue.close(Duration::from_secs(10)));
    assert_eq!(std::fs::read_to_string(path).unwrap(), LINE.repeat(1_000));
    assert_eq!(Sink::File.delivery().dropped_total(), 0);
    assert_balanced(Sink::File, 1_000);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let (_, broken) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, BlockedWriter(broken)).unwrap();
    for _ in 0..10 {
        queue.push(&LINE.into());
    }
    assert!(queue.close(Duration::from_secs(10)));
    assert_eq!(Sink::Stdout.delivery().dropped_total(), 10);
    assert_balanced(Sink::Stdout, 10);
}

#[test]
fn the_bytes_of_all_waiting_lines_are_bounded() {
    let (go, waits) = mpsc::channel();
    let queue = Queue::start(Sink::Stdout, BlockedWriter(waits)).unwrap();
    let long: Arc<str> = "x".repeat(1024 * 1024).into();
    for _ in 0..40 {
        queue.push(&long);
    }
    // 16 wait, and one or two are being written
    assert!((40 - 18..=40 - 16).contains(&Sink::Stdout.delivery().dropped_total()));
    queue.close(Duration::ZERO);
    drop(go);
}
