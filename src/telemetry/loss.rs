//! What became of log lines at each sink: made, taken, lost, and when it last took some. Counted for
//! the whole process, since lines may come before anything else is there.

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    clock,
    metrics::{Counter, FloatGauge},
};

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// The file of the configuration.
    File,
    /// A Loki.
    Loki,
}

/// Why a line did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// More waited than may: the sink is slower than the log.
    QueueFull,
    /// The sink took it not: a closed pipe, a full disk, an error of Loki's.
    Refused,
    /// No answer came in time; it may have arrived.
    Unanswered,
    /// The process ended first.
    Shutdown,
}

/// All sinks with what can happen there.
const SINKS: [(Sink, &[Reason]); 3] = [
    (Sink::Stdout, &[Reason::QueueFull, Reason::Refused, Reason::Shutdown]),
    (Sink::File, &[Reason::QueueFull, Reason::Refused, Reason::Shutdown]),
    (Sink::Loki, &[Reason::QueueFull, Reason::Refused, Reason::Unanswered, Reason::Shutdown]),
];

struct Counts {
    lost: Vec<(Sink, Reason, Counter)>,
    sinks: [Counted; SINKS.len()],
}

/// What is counted of a sink beside its losses.
#[derive(Debug)]
pub struct Counted {
    /// Which.
    pub sink: Sink,
    /// Lines made for it.
    pub emitted: Counter,
    /// Lines that it took.
    pub delivered: Counter,
    wanted: AtomicBool,
    last_success: FloatGauge,
}

impl Counted {
    fn new(sink: Sink) -> Self {
        Self {
            sink,
            emitted: Counter::default(),
            delivered: Counter::default(),
            // every process has a standard output
            wanted: AtomicBool::new(sink == Sink::Stdout),
            last_success: FloatGauge::default(),
        }
    }
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| {
    let of = |(sink, reasons): (Sink, &'static [Reason])| {
        reasons.iter().map(move |reason| (sink, *reason, Counter::default()))
    };
    Counts {
        lost: SINKS.into_iter().flat_map(of).collect(),
        sinks: SINKS.map(|(sink, _)| Counted::new(sink)),
    }
});

impl Sink {
    /// The value of the label `sink`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File => "file",
            Self::Loki => "loki",
        }
    }

    /// What is counted of it.
    fn counted(self) -> &'static Counted {
        match self {
            Self::Stdout => &COUNTS.sinks[0],
            Self::File => &COUNTS.sinks[1],
            Self::Loki => &COUNTS.sinks[2],
        }
    }

    /// Counts a line made for it.
    pub(super) fn emitted(self) {
        self.counted().emitted.inc();
    }

    /// Counts lines that did not get there.
    pub fn lost(self, reason: Reason, lines: usize) {
        let mut counts = COUNTS.lost.iter();
        if let Some((_, _, count)) = counts.find(|(sink, why, _)| (*sink, *why) == (self, reason)) {
            count.inc_by(lines as u64);
        }
    }

    /// Lines lost so far, for whatever reason.
    pub fn lost_so_far(self) -> u64 {
        let own = COUNTS.lost.iter().filter(|(sink, _, _)| *sink == self);
        own.map(|(_, _, count)| count.get()).sum()
    }

    /// Says that the configuration wants this sink: from then on its last success is shown.
    pub(super) fn wanted(self) {
        self.counted().wanted.store(true, Ordering::Relaxed);
    }

    /// Says that it took so many lines now.
    pub(super) fn took(self, lines: usize) {
        let counted = self.counted();
        counted.delivered.inc_by(lines as u64);
        counted.last_success.set(clock::now_micros() as f64 / 1e6);
    }
}

impl Reason {
    /// The value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Lost lines by sink and reason.
pub fn lost() -> impl Iterator<Item = (Sink, Reason, Counter)> {
    COUNTS.lost.iter().cloned()
}

/// When the sinks that are wanted took something last, in seconds since 1970; 0: never.
pub fn successes() -> impl Iterator<Item = (Sink, FloatGauge)> {
    let wanted = COUNTS.sinks.iter().filter(|counted| counted.wanted.load(Ordering::Relaxed));
    wanted.map(|counted| (counted.sink, counted.last_success.clone()))
}

/// What is counted of each sink: emitted = delivered + lost + still waiting.
pub fn sinks() -> impl Iterator<Item = &'static Counted> {
    COUNTS.sinks.iter()
}
