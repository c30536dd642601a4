//! The background audit: verifies the hash chains of all logs, from their first event, in rounds.
//!
//! It finds edits in the database without a request. The rate is limited, so that a long log does not
//! slow the server down. Every round logs and counts its findings again. A loaded engine becomes
//! untrusted if an event was edited or removed, because it could not be loaded again either, and trusted
//! when a later round finds its log intact.

use std::time::{Duration, Instant};

use super::{Engines, Pace, background::stays, metrics::EngineMetrics};
use crate::{
    domain::ids::EngineId,
    store::{
        StoreError,
        audit::{AUDIT_PAGE, Audit, Finding, Inconsistency, Progress, Report},
        state_fold::{DamageCause, LogDamage},
    },
};

impl Engines {
    /// Verifies all logs in rounds until the server stops.
    pub(super) async fn audit(&self, pace: Pace) {
        loop {
            let began = Instant::now();
            if let Err(error) = self.audit_round(pace).await {
                report_interruption(&error);
            }
            let rest = pace.round.saturating_sub(began.elapsed()).max(pause(pace));
            if !stays(self.tasks(), rest).await {
                return;
            }
        }
    }

    async fn audit_round(&self, pace: Pace) -> Result<(), StoreError> {
        let (store, metrics) = (&self.parts().store, &self.parts().metrics);
        for stray in store.unknown_engines().await? {
            let bad = Inconsistency { position: 0, what: Finding::NoEngine };
            report_finding(&stray, bad, metrics.of(&EngineId::system()));
        }
        for row in store.engine_rows().await? {
            let engine = match row {
                Ok(row) => row.engine_id,
                Err(name) => {
                    let what = Finding::Unreadable("the row of the engine");
                    let bad = Inconsistency { position: 0, what };
                    report_finding(&name, bad, metrics.of(&EngineId::system()));
                    continue;
                }
            };
            let report = match self.audit_one(&engine, pace).await {
                Ok(Some(report)) => report,
                Ok(None) => return Ok(()),
                Err(error) => {
                    report_interruption(&error);
                    continue;
                }
            };
            metrics.of(&engine).audited(report.verified);
            self.report_trust(&engine, report.first_bad.as_ref());
            if let Some(bad) = report.first_bad {
                report_finding(engine.as_str(), bad, metrics.of(&engine));
            }
        }
        Ok(())
    }

    /// Tells a loaded engine whether the events that it has folded are intact. It finds damage after them by
    /// itself, and the repair of it too.
    fn report_trust(&self, id: &EngineId, bad: Option<&Inconsistency>) {
        let loaded = self.in_memory();
        let Some(engine) = loaded.iter().find(|engine| engine.id() == id) else { return };
        let folded = engine.view().state.position;
        let bad = bad.filter(|bad| bad.what.concerns_event() && bad.position <= folded);
        engine.writer.audited(bad.map(|bad| {
            let cause = DamageCause::Audit(bad.what.to_string());
            Box::new(LogDamage { engine: id.clone(), position: bad.position, cause })
        }));
    }

    /// Verifies one log. Returns `None` if the server stops.
    async fn audit_one(&self, engine: &EngineId, pace: Pace) -> Result<Option<Report>, StoreError> {
        let mut audit = Audit::new(&self.parts().store, engine, Some(&self.parts().content_key));
        loop {
            match audit.page().await? {
                Progress::Ended(report) => return Ok(Some(report)),
                Progress::At(_) if stays(self.tasks(), pause(pace)).await => {}
                Progress::At(_) => return Ok(None),
            }
        }
    }
}

/// The time that a page takes at the configured rate.
fn pause(pace: Pace) -> Duration {
    Duration::from_secs_f64(f64::from(AUDIT_PAGE) / f64::from(pace.events_per_second.max(1)))
}

fn report_interruption(error: &StoreError) {
    tracing::warn!(event_type = "audit.interrupted", %error, "could not read the logs for the background audit");
}

fn report_finding(
    engine: &str,
    Inconsistency { position, what }: Inconsistency,
    metrics: &EngineMetrics,
) {
    tracing::error!(
        event_type = "audit.failed",
        engine,
        position,
        "the audit of the log failed: {what}; run `mlsdm audit verify`"
    );
    metrics.audit_failures.inc();
}
