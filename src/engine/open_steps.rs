//! What this process knows of the open steps of an engine: their deadlines by its monotonic clock.

use std::{
    collections::HashMap,
    sync::{Mutex, atomic::AtomicBool},
};

use crate::domain::ids::{Micros, StepNumber};

/// The open steps of one engine.
#[derive(Debug, Default)]
pub(super) struct OpenSteps {
    pub(super) deadlines: Mutex<Deadlines>,
    /// True once it was logged that steps wait until the engine is trusted.
    pub(super) is_reported: AtomicBool,
}

/// The deadlines of the open steps of one engine.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// The moment of the monotonic clock from which a step has had its time.
    of_steps: HashMap<StepNumber, Micros>,
    /// True once the open steps were observed: steps that are new then have just been admitted.
    has_observed: bool,
}

impl Deadlines {
    /// Notes the open steps with their recorded deadlines. `allowed` is the time of a step. A step that is
    /// open when the log is loaded has the time until its deadline; a new one has all of its time, because
    /// the log's clock may have been set ahead after its admission.
    pub(super) fn observe(
        &mut self,
        open: impl Iterator<Item = (StepNumber, Micros)>,
        log_time: Micros,
        now: Micros,
        allowed: Micros,
    ) {
        let has_observed = std::mem::replace(&mut self.has_observed, true);
        let known = std::mem::take(&mut self.of_steps);
        let deadline = |(step, recorded): (StepNumber, Micros)| {
            let left = if has_observed {
                allowed
            } else {
                recorded.saturating_sub(log_time).clamp(0, allowed)
            };
            (step, known.get(&step).copied().unwrap_or_else(|| now.saturating_add(left)))
        };
        self.of_steps = open.map(deadline).collect();
    }

    /// True if an observed step has had its time.
    pub(super) fn is_over(&self, step: StepNumber, now: Micros) -> bool {
        self.of_steps.get(&step).is_some_and(|deadline| *deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Micros = 100;
    const DAY: Micros = 1_000_000;

    #[test]
    fn a_step_keeps_its_time_when_the_clock_is_set_ahead() {
        let mut deadlines = Deadlines::default();
        deadlines.observe([].into_iter(), 0, 0, ALLOWED);
        deadlines.observe([(1, ALLOWED)].into_iter(), 0, 0, ALLOWED);
        deadlines.observe([(1, ALLOWED), (2, ALLOWED)].into_iter(), DAY, 50, ALLOWED);
        assert!(!deadlines.is_over(1, 99));
        assert!(deadlines.is_over(1, 100));
        assert!(!deadlines.is_over(2, 149), "it was admitted before the clock was set");
        assert!(deadlines.is_over(2, 150));
        deadlines.observe([(2, ALLOWED)].into_iter(), DAY, 200, ALLOWED);
        assert!(!deadlines.is_over(1, 200), "it has ended");
    }

    #[test]
    fn a_step_of_an_earlier_process_has_the_time_until_its_deadline() {
        let mut deadlines = Deadlines::default();
        let open = [(1, 30), (2, -DAY), (3, DAY)];
        deadlines.observe(open.into_iter(), 0, 0, ALLOWED);
        let over = |now| [1, 2, 3].map(|step| deadlines.is_over(step, now));
        assert_eq!(over(0), [false, true, false]);
        assert_eq!(over(30), [true, true, false]);
        assert_eq!(over(100), [true, true, true], "no step has more time");
    }
}
