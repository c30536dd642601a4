//! How long callers and probes notice a fault.

use std::time::{Duration, Instant};

use crate::{call::Call, probe::Probe};

/// The time in which a fault lasted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// What followed a fault. Of several faults, the worst, but the first one that probes told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Liveness {
    /// From the end of the fault to the first answer of a call that began after it. `None` if
    /// there was no answer.
    pub(crate) first: Option<Duration>,
    /// From the end of the fault to the last failure of a call that began after it.
    pub(crate) steady: Duration,
    /// From the begin of the fault to the first probe that tells it. `None` if none did.
    pub(crate) unready: Option<Duration>,
    pub(crate) unhealthy: Option<Duration>,
    /// From the end of the fault to the last probe that tells it.
    pub(crate) ready: Duration,
    pub(crate) healthy: Duration,
}

impl Liveness {
    fn worst(self, other: Self) -> Self {
        Self {
            first: self.first.zip(other.first).map(|(one, two)| one.max(two)),
            steady: self.steady.max(other.steady),
            unready: self.unready.or(other.unready),
            unhealthy: self.unhealthy.or(other.unhealthy),
            ready: self.ready.max(other.ready),
            healthy: self.healthy.max(other.healthy),
        }
    }
}

/// Measures each fault up to the begin of the next one.
pub(crate) fn measure(faults: &[Fault], calls: &[Call], probes: &[Probe]) -> Option<Liveness> {
    let nexts = faults.iter().skip(1).map(|fault| Some(fault.began)).chain([None]);
    let each = faults.iter().zip(nexts).map(|(fault, next)| after(*fault, next, calls, probes));
    each.reduce(Liveness::worst)
}

fn after(fault: Fault, next: Option<Instant>, calls: &[Call], probes: &[Probe]) -> Liveness {
    let within = |at: Instant| at >= fault.ended && next.is_none_or(|next| at < next);
    let later = || calls.iter().filter(|call| within(call.began) && within(call.ended));
    let since = |at: Instant| at - fault.ended;
    let last = |bad: fn(&Probe) -> bool| {
        let bad = probes.iter().filter(|p| within(p.began) && within(p.ended) && bad(p));
        bad.map(|probe| since(probe.began)).max().unwrap_or_default()
    };
    let told = |bad: fn(&Probe) -> bool| {
        let during = |probe: &&Probe| probe.ended >= fault.began && probe.began < fault.ended;
        let bad = probes.iter().filter(during).filter(|probe| bad(probe));
        bad.map(|probe| probe.ended - fault.began).min()
    };
    Liveness {
        first: later().filter(|c| c.receipt().is_some()).map(|c| since(c.ended)).min(),
        steady: later().filter(|c| c.failed()).map(|c| since(c.ended)).max().unwrap_or_default(),
        unready: told(|probe| !probe.ready),
        unhealthy: told(|probe| !probe.healthy),
        ready: last(|probe| !probe.ready),
        healthy: last(|probe| !probe.healthy),
    }
}
