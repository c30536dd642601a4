//! The clock of the database was ahead, and was set right again.

use std::{sync::Arc, time::Duration};

use mlsdm::{
    engine::Settings,
    on_every_database,
    testkit::{
        Backend,
        app::{NOTED, Reaction, TestApp},
    },
};
use tokio::sync::Notify;

on_every_database!(TestApp: an_open_step_is_closed_at_its_deadline);

const DAY: Duration = Duration::from_hours(24);

/// Its deadline was recorded a day ahead of the clock, but the log's time goes on from there.
async fn an_open_step_is_closed_at_its_deadline(app: TestApp) {
    let never = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(Arc::clone(&never), NOTED.to_owned())]);
    app.set_clock_ahead(DAY);
    let asking = app.ask("ann", "Hello there");
    let others = async {
        app.model.asked(1).await;
        app.set_clock_back(DAY);
        // another process reads the log after the clock was set right
        let other = match app.database().backend() {
            Backend::Sqlite => None,
            Backend::Postgres | Backend::PgBouncer => Some(app.replica().await),
        };
        let closing = other.as_ref().unwrap_or(&app);
        closing.engine().await;
        let settings = Settings::default();
        app.pass(settings.total_timeout + settings.grace);
        closing.engines.abandon_expired().await;
        assert_eq!(closing.kinds().await.last().unwrap(), "step.admitted", "not before");
        app.pass(Duration::from_micros(1));
        closing.engines.abandon_expired().await;
        assert_eq!(closing.kinds().await.last().unwrap(), "step.failed");
    };
    tokio::select! {
        answer = asking => panic!("the model does not answer: {answer:?}"),
        () = others => {}
    }
}
