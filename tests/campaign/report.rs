//! The result of a run, as a row of the table in `deploy/RELIABILITY.md`.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use time::OffsetDateTime;

use crate::{
    call::Call,
    check::{Violation, Wasted},
    extended,
    liveness::Liveness,
};

/// Violations that are printed.
const SHOWN: usize = 10;
/// The settings that bound memory: `limits.inflight_bytes` and `embeddings.cache_mb`, plus 100 MiB.
const MEMORY_MIB_MAX: u64 = 256 + 64 + 100;
/// From SIGTERM to the exit: the limit of a request and the time in which tasks may end.
const STOP_MAX: Duration = Duration::from_secs(6 + 8);

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) faults: usize,
    pub(crate) calls: usize,
    /// The numbers of calls by outcome.
    pub(crate) outcomes: BTreeMap<String, usize>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) wasted: Wasted,
    /// Calls without a byte one second after their limit.
    pub(crate) overdue: Vec<String>,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) slowest_stop: Option<Duration>,
    pub(crate) memory_mib: u64,
    pub(crate) seed: u64,
}

/// What holds after each fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// From the end of a fault to the time after which all calls are answered.
    pub(crate) serving: Duration,
    /// From the begin of a fault to a readiness of 503, for faults in which nothing is served.
    pub(crate) unready: Option<Duration>,
    /// From the end of a fault to a readiness of 200.
    pub(crate) ready: Duration,
    /// Answers of the model that are lost.
    pub(crate) wasted: u64,
}

impl Promise {
    /// Served and ready again within two seconds, without a lost answer.
    pub(crate) const STANDARD: Self = Self {
        serving: Duration::from_secs(2),
        unready: None,
        ready: Duration::from_secs(2),
        wasted: 0,
    };

    /// The same, and the replicas are not ready within two seconds after the begin.
    pub(crate) const TOLD: Self = Self { unready: Some(Duration::from_secs(2)), ..Self::STANDARD };
}

impl Report {
    pub(crate) fn outcomes(calls: &[Call]) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for call in calls {
            *outcomes.entry(call.outcome_name()).or_default() += 1;
        }
        outcomes
    }

    /// Prints and keeps the row, and asserts the promises.
    #[track_caller]
    pub(crate) fn keeps(&self, promise: Promise) {
        let row = self.row();
        // a closed stderr has no reader
        drop(writeln!(std::io::stderr(), "MLSDM_TEST_SEED={}\n{HEADER}{row}", self.seed));
        keep(self.name, &row);
        let shown = &self.violations[..self.violations.len().min(SHOWN)];
        let count = self.violations.len();
        assert!(self.violations.is_empty(), "{count} violations: {shown:#?}\n{self:#?}");
        let broken = self.broken(promise);
        assert!(broken.is_empty(), "{}\n{self:#?}", broken.join("\n"));
    }

    /// The promises about liveness that do not hold.
    fn broken(&self, promise: Promise) -> Vec<String> {
        // a fast run shares the machine with other tests
        let scale = |limit: Duration| limit * if extended() { 1 } else { 5 };
        let mut broken = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                broken.push(what);
            }
        };
        let (wasted, overdue) = (self.wasted.answers, self.overdue.len());
        expect(wasted <= promise.wasted, format!("{wasted} answers of the model are lost"));
        expect(overdue == 0, format!("{overdue} calls without an answer after their limit"));
        expect(self.memory_mib <= MEMORY_MIB_MAX, format!("{} MiB", self.memory_mib));
        let stop = self.slowest_stop.unwrap_or_default();
        expect(stop <= STOP_MAX, format!("exit {stop:?} after SIGTERM"));
        let Some(live) = self.liveness else { return broken };
        let first = live.first.unwrap_or(Duration::MAX);
        expect(first <= scale(promise.serving), format!("first answer after {:?}", live.first));
        expect(live.steady <= scale(promise.serving), format!("failures for {:?}", live.steady));
        let (ready, healthy) = (live.ready, live.healthy);
        expect(ready.max(healthy) <= scale(promise.ready), format!("ready after {ready:?}"));
        if let Some(limit) = promise.unready.map(scale) {
            let told = live.unready.zip(live.unhealthy);
            let soon = told.is_some_and(|(ready, healthy)| ready.max(healthy) <= limit);
            expect(soon, format!("not ready after {:?}, {:?}", live.unready, live.unhealthy));
        }
        broken
    }

    fn row(&self) -> String {
        let count = |pick: fn(&Violation) -> bool| {
            self.violations.iter().filter(|violation| pick(violation)).count()
        };
        let lost = count(|v| matches!(v, Violation::Lost { .. } | Violation::Gap { .. }));
        let doubled = count(|v| matches!(v, Violation::Doubled { .. } | Violation::Unequal { .. }));
        let order = self.violations.len() - lost - doubled;
        let saw = self.outcomes.iter().map(|(outcome, times)| format!("{times} × {outcome}"));
        let saw: Vec<String> = saw.collect();
        let live = self.liveness.unwrap_or_default();
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let maybe = |time: Option<Duration>| time.map_or_else(|| "–".to_owned(), seconds);
        format!(
            "| {} | {} | {} | {lost} / {doubled} / {order} | {} | {} / {} | {} / {} | {} | {} | {} MiB | {} |",
            self.name,
            self.calls,
            self.faults,
            self.wasted.answers,
            maybe(live.first),
            seconds(live.steady),
            maybe(live.unready),
            seconds(live.ready),
            self.overdue.len(),
            maybe(self.slowest_stop),
            self.memory_mib,
            saw.join(", "),
        )
    }
}

/// The head of the table.
const HEADER: &str = "\
| Fault | Calls | Faults | Lost / doubled / out of order | Model answers lost | First / last failure after the fault | Not ready / ready again after | No answer in time | Exit after SIGTERM | Memory | Callers saw |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// The line after which the document has the table.
const BEGIN: &str = "<!-- results of tests/campaign -->\n";

/// With `MLSDM_RELIABILITY` set, replaces or adds a row of `deploy/RELIABILITY.md`.
fn keep(name: &str, row: &str) {
    if std::env::var_os("MLSDM_RELIABILITY").is_none() {
        return;
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/RELIABILITY.md");
    let text = fs::read_to_string(&file).expect("deploy/RELIABILITY.md");
    let (document, table) = text.split_once(BEGIN).expect("the place of the results");
    let start = format!("| {name} |");
    let old = table.lines().filter(|line| line.starts_with("| ") && !HEADER.contains(*line));
    let mut rows: Vec<&str> = old.filter(|line| !line.starts_with(&start)).collect();
    rows.push(row);
    rows.sort_unstable();
    let run = format!("Last run: {}, commit {}.", OffsetDateTime::now_utc().date(), commit());
    let text = format!("{document}{BEGIN}{run}\n\n{HEADER}{}\n", rows.join("\n"));
    fs::write(file, text).expect("deploy/RELIABILITY.md");
}

fn commit() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git =
        Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(folder).output();
    git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
