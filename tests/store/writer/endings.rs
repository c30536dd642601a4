//! Endings of steps while the database fails: the answer of a model is not thrown away.

use std::time::Duration;

use mlsdm::{
    store::{
        StoreError,
        faults::Fault,
        writer::{Outcome, Proposal, WriteError},
    },
    testkit::on_every_database,
};
use tokio::time::Instant;

use super::fixture::{Prompt, TestLog, TestReplica};

on_every_database!(
    TestLog:
    an_ending_is_written_once_the_database_is_back,
    an_ending_waits_for_a_place_in_the_queue,
    an_ending_whose_time_is_over_gets_the_error,
    an_ending_outlasts_damage_that_is_repaired,
);

/// The completion of a new step, to be repeated for this time.
async fn ending(fixture: &TestLog, replica: &TestReplica, retry: Duration) -> Proposal {
    let admitted = replica.admit(fixture, Prompt { by: "s", text: "a prompt", key: None }).await;
    let Ok(Outcome::Committed(admitted)) = admitted else { panic!("{admitted:?}") };
    Proposal {
        retry_until: Some(Instant::now() + retry),
        ..replica.completion(&admitted, "an answer")
    }
}

async fn an_ending_is_written_once_the_database_is_back(fixture: TestLog) {
    let replica = fixture.replica().await;
    let away = || StoreError::Unavailable("injected".to_owned());
    let late = || StoreError::Timeout("injected".to_owned());
    let outages = [
        vec![Fault::Begin(away()), Fault::Begin(away()), Fault::Begin(away())],
        vec![Fault::Insert(late()), Fault::Begin(late()), Fault::Insert(away())],
        vec![Fault::CommitFails(StoreError::DiskFull("injected".to_owned()))],
        vec![Fault::CommitFails(StoreError::ReadOnly("injected".to_owned()))],
        vec![Fault::CommitLost, Fault::Begin(away()), Fault::Begin(away())],
        vec![Fault::CommitUnheard, Fault::Begin(away()), Fault::Begin(away())],
        vec![Fault::CommitUnheard, Fault::Begin(StoreError::Other("injected".to_owned()))],
    ];
    for (round, outage) in outages.into_iter().enumerate() {
        let ending = ending(&fixture, &replica, Duration::from_mins(1)).await;
        let id = ending.command_id;
        replica.faults.plan(outage);
        let outcome = replica.writer.propose(ending).await;
        assert!(replica.faults.all_happened(), "{round}");
        let Ok(Outcome::Committed(committed)) = outcome else { panic!("{round}: {outcome:?}") };
        let log = fixture.log(&replica).await;
        let mut written = log.iter().filter(|record| record.command_id == id);
        let position = written.next().map(|record| record.position);
        assert_eq!(position, Some(committed.events[0].0.position), "{round}");
        assert!(written.next().is_none(), "{round}: it is in the log once");
    }
    fixture.assert_replays(&replica).await;
}

async fn an_ending_waits_for_a_place_in_the_queue(fixture: TestLog) {
    let limits = mlsdm::store::writer::Limits { queue: 1, ..Default::default() };
    let replica = fixture.limited(limits).await;
    let ending = ending(&fixture, &replica, Duration::from_mins(1)).await;
    replica.faults.hold();
    let mut waiting = Vec::new();
    // fills the writer and its queue
    loop {
        let admission =
            replica.admission(&fixture, Prompt { by: "s", text: "a prompt", key: None }).await;
        match replica.writer.submit(admission) {
            Ok(result) => waiting.push(result),
            Err(error) => break assert!(matches!(error, WriteError::QueueFull), "{error}"),
        }
        tokio::task::yield_now().await;
    }
    let mut outcome = std::pin::pin!(replica.writer.propose(ending));
    assert!(futures_util::poll!(&mut outcome).is_pending());
    replica.faults.release();
    assert!(matches!(outcome.await, Ok(Outcome::Committed(_))));
    for result in waiting {
        assert!(result.await.unwrap().is_ok());
    }
}

async fn an_ending_whose_time_is_over_gets_the_error(fixture: TestLog) {
    let replica = fixture.replica().await;
    let ending = ending(&fixture, &replica, Duration::ZERO).await;
    replica.faults.plan([Fault::Begin(StoreError::Unavailable("injected".to_owned()))]);
    let outcome = replica.writer.propose(ending).await;
    assert!(outcome.is_err(), "{outcome:?}");
    replica.step(&fixture, "s", "later").await;
    fixture.assert_replays(&replica).await;
}

async fn an_ending_outlasts_damage_that_is_repaired(fixture: TestLog) {
    let replica = fixture.replica().await;
    let kept = ending(&fixture, &replica, Duration::from_mins(1)).await;
    let id = kept.command_id;
    fixture.database.disable_triggers().await;
    let remove = "CREATE TABLE removed AS SELECT * FROM events WHERE position > 1; \
                  DELETE FROM events WHERE position > 1";
    fixture.database.execute(remove).await.unwrap();
    let mut outcome = std::pin::pin!(replica.writer.propose(kept));
    assert!(futures_util::poll!(&mut outcome).is_pending());
    let prompt = || Prompt { by: "s", text: "another prompt", key: None };
    for _ in 0..2 {
        let refused = replica.admit(&fixture, prompt()).await;
        assert!(matches!(refused, Err(WriteError::Untrusted(_))), "{refused:?}");
        assert!(futures_util::poll!(&mut outcome).is_pending(), "it has time");
    }
    fixture.database.execute("INSERT INTO events SELECT * FROM removed").await.unwrap();
    let Ok(Outcome::Committed(_)) = outcome.await else { panic!("the log is whole again") };
    let log = fixture.log(&replica).await;
    assert_eq!(log.iter().filter(|record| record.command_id == id).count(), 1);
    replica.step(&fixture, "s", "later").await;
    fixture.assert_replays(&replica).await;
}
