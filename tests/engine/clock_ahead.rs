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

on_every_database!(
    TestApp:
    an_open_step_is_closed_at_its_deadline,
    a_running_step_keeps_its_time_when_the_clock_is_set_ahead,
);

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

/// The time that a step has is time that passes, not the difference of two readings of a clock.
async fn a_running_step_keeps_its_time_when_the_clock_is_set_ahead(app: TestApp) {
    let allowed = Arc::new(Notify::new());
    let held = || Reaction::SayAfter(Arc::clone(&allowed), NOTED.to_owned());
    app.model.script([held(), held()]);
    app.engines.abandon_expired().await;
    let settings = Settings::default();
    let others = async {
        app.model.asked(2).await;
        app.engines.abandon_expired().await;
        app.set_clock_ahead(DAY);
        app.pass(settings.total_timeout);
        app.engines.abandon_expired().await;
        assert_eq!(app.engine().await.view().state.open.size(), 2, "{:?}", app.kinds().await);
        allowed.notify_one();
        allowed.notify_one();
    };
    let (first, second, ()) =
        tokio::join!(app.ask("ann", "Hello there"), app.ask("bob", "Hello there"), others);
    assert_eq!(first.unwrap().answer.response, NOTED);
    assert_eq!(second.unwrap().answer.response, NOTED);
    let never = Arc::new(Notify::new());
    app.model.script([Reaction::SayAfter(never, NOTED.to_owned())]);
    let others = async {
        app.model.asked(3).await;
        app.engines.abandon_expired().await;
        app.pass(settings.total_timeout + settings.grace + Duration::from_micros(1));
        app.engines.abandon_expired().await;
        assert_eq!(app.kinds().await.last().unwrap(), "step.failed", "its time has passed");
    };
    tokio::select! {
        answer = app.ask("ann", "Hello there") => panic!("the model does not answer: {answer:?}"),
        () = others => {}
    }
}
