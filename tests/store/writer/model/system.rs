//! The state of the modelled system: the log, its lock, the two processes.

/// Commands of each of the two processes.
pub(super) const COMMANDS: u8 = 3;
/// As in the writer, but fewer.
pub(super) const ATTEMPTS_MAX: u8 = 3;
pub(super) const IN_FLIGHT_MAX: usize = 2;

/// A command; the process that received it is its parity.
pub(super) type Command = u8;

/// The newest event of a log: in place of the chain hash, the command that caused it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Head {
    pub(super) position: u8,
    pub(super) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Event {
    pub(super) after: Head,
    pub(super) position: u8,
    pub(super) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Committed(u8),
    /// Certainly not in the log.
    Failed,
    /// In the log or not.
    Unknown,
}

/// The ending of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Committed,
    Retryable,
    Fatal,
    /// Nothing is written, and the process cannot know.
    Lost,
    /// Everything is written, and the process cannot know.
    Unheard,
    /// The process cannot know, and the database has not decided yet.
    Late,
}

pub(super) const FAULTS: [Outcome; 5] =
    [Outcome::Retryable, Outcome::Fatal, Outcome::Lost, Outcome::Unheard, Outcome::Late];

/// The outcome of a batch as its process learns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    Committed,
    WrongExpectedVersion,
    Retryable,
    Fatal,
    InDoubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Waiting,
    Inserted,
    Ended(Ended),
}

/// A batch ahead of the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    pub(super) event: Event,
    pub(super) phase: Phase,
}

/// The path under the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Locked {
    pub(super) batches: Vec<Vec<Command>>,
    pub(super) attempts: u8,
    pub(super) in_doubt: bool,
    /// Events of the tail, collected while in doubt.
    pub(super) found: Vec<Event>,
    /// The events of the attempt that holds the lock.
    pub(super) inserted: Option<Vec<Event>>,
    pub(super) is_alone: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) queue: Vec<Command>,
    pub(super) is_alone: bool,
    pub(super) decided: Head,
    pub(super) view: Head,
    pub(super) in_flight: Vec<Batch>,
    pub(super) locked: Option<Locked>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct System {
    pub(super) log: Vec<Event>,
    pub(super) is_locked: bool,
    /// The events of a commit that the database has not decided yet; it holds the lock.
    pub(super) late: Option<Vec<Event>>,
    pub(super) processes: [Process; 2],
    pub(super) answers: Vec<Option<Answer>>,
    pub(super) faults: u8,
}

impl System {
    pub(super) fn head(&self) -> Head {
        self.log.last().map_or_else(Head::default, |event| event.head())
    }

    pub(super) fn append(&mut self, events: &[Event]) {
        self.log.extend_from_slice(events);
    }

    pub(super) fn answer(&mut self, command: Command, answer: Answer) {
        self.answers[usize::from(command) - 1] = Some(answer);
    }

    /// Ends a commit in the database; returns what the process learns.
    pub(super) fn commit(&mut self, events: Vec<Event>, outcome: Outcome) -> Ended {
        self.faults += u8::from(outcome != Outcome::Committed);
        self.is_locked = outcome == Outcome::Late;
        match outcome {
            Outcome::Committed | Outcome::Unheard => self.append(&events),
            Outcome::Late => self.late = Some(events),
            Outcome::Retryable | Outcome::Fatal | Outcome::Lost => {}
        }
        match outcome {
            Outcome::Committed => Ended::Committed,
            Outcome::Retryable => Ended::Retryable,
            Outcome::Fatal => Ended::Fatal,
            Outcome::Lost | Outcome::Unheard | Outcome::Late => Ended::InDoubt,
        }
    }

    /// Answers the callers of a batch ahead of the lock that is in the log.
    pub(super) fn settle(&mut self, process: usize) {
        let batch = self.processes[process].in_flight.remove(0);
        self.answer(batch.event.command, Answer::Committed(batch.event.position));
        self.processes[process].view = batch.event.head();
        self.processes[process].is_alone = true;
    }

    /// Goes on with the batches ahead of the lock, all of which have ended, the first without success.
    pub(super) fn recover(&mut self, process: usize) {
        let flights = &self.processes[process].in_flight;
        if flights.last().is_some_and(|last| last.phase == Phase::Ended(Ended::Committed)) {
            // it follows the batch before it, which is in the log after all
            while !self.processes[process].in_flight.is_empty() {
                self.settle(process);
            }
            return;
        }
        let flights = std::mem::take(&mut self.processes[process].in_flight);
        let mut locked = Locked::default();
        self.processes[process].decided = flights[0].event.after;
        for Batch { event, phase } in flights {
            if phase == Phase::Ended(Ended::Fatal) {
                self.answer(event.command, Answer::Failed);
            } else {
                locked.in_doubt |= phase == Phase::Ended(Ended::InDoubt);
                locked.batches.push(vec![event.command]);
            }
        }
        self.processes[process].is_alone = false;
        self.processes[process].locked = Some(locked).filter(|locked| !locked.batches.is_empty());
    }

    /// Takes the lock, folds the tail, decides, inserts.
    pub(super) fn lock(&mut self, process: usize, searches_tail: bool) {
        let head = self.head();
        let Process { decided, locked, .. } = &mut self.processes[process];
        let Some(locked) = locked else { return };
        locked.is_alone = *decided == head;
        if locked.in_doubt && searches_tail {
            locked.found.extend(self.log.iter().skip(usize::from(decided.position)));
        }
        *decided = head;
        let mut events: Vec<Event> = Vec::new();
        for command in &locked.batches[0] {
            if locked.found.iter().all(|event| event.command != *command) {
                events.push(Event::after(*decided, *command));
                *decided = events[events.len() - 1].head();
            }
        }
        locked.inserted = Some(events);
        self.is_locked = true;
    }

    /// Ends an attempt under the lock.
    pub(super) fn end_attempt(&mut self, process: usize, outcome: Outcome) {
        let head = self.head();
        let Some(mut locked) = self.processes[process].locked.take() else { return };
        let events = locked.inserted.take().unwrap_or_default();
        let ended = self.commit(events.clone(), outcome);
        locked.in_doubt |= ended == Ended::InDoubt;
        locked.attempts += 1;
        let is_over = match ended {
            Ended::Committed | Ended::Fatal => true,
            Ended::Retryable | Ended::InDoubt => locked.attempts == ATTEMPTS_MAX,
            Ended::WrongExpectedVersion => false,
        };
        if ended != Ended::Committed {
            self.processes[process].decided = head;
        }
        if is_over {
            let error = if locked.in_doubt { Answer::Unknown } else { Answer::Failed };
            for command in locked.batches.remove(0) {
                let position = |event: &&Event| event.command == command;
                let written = events.iter().chain(&locked.found).find(position);
                let answer = match (ended, written) {
                    (Ended::Committed, Some(event)) => Answer::Committed(event.position),
                    _ => error,
                };
                self.answer(command, answer);
            }
            self.processes[process].view = self.processes[process].decided;
            self.processes[process].is_alone = ended == Ended::Committed && locked.is_alone;
            locked.attempts = 0;
        }
        self.processes[process].locked = Some(locked).filter(|locked| !locked.batches.is_empty());
    }
}

impl Event {
    pub(super) const fn after(after: Head, command: Command) -> Self {
        Self { after, position: after.position + 1, command }
    }

    pub(super) const fn head(self) -> Head {
        Head { position: self.position, command: self.command }
    }
}

impl Process {
    /// True if a batch may ask for the lock: the one before it is inserted.
    pub(super) fn may_begin(&self, index: usize) -> bool {
        self.in_flight[index].phase == Phase::Waiting
            && (index == 0 || self.in_flight[index - 1].phase != Phase::Waiting)
    }

    /// True if the oldest batch in flight has ended and, after a failure, all batches behind it too.
    pub(super) fn may_settle(&self) -> bool {
        let has_ended = |batch: &Batch| matches!(batch.phase, Phase::Ended(_));
        match self.in_flight.first() {
            None => false,
            Some(first) if first.phase == Phase::Ended(Ended::Committed) => true,
            Some(_) => self.in_flight.iter().all(has_ended),
        }
    }
}
