use std::sync::Arc;

use tokio::sync::oneshot;

use super::*;
use crate::{
    domain::{
        command::{Admit, Intervene},
        event::{EngineCreated, LOG_FORMAT},
        ids::{CommandId, SubjectRef},
        policy::Policy,
    },
    store::{
        Content,
        keys::{Column, ContentKey, IndexKey},
        mac::MacRing,
        writer::{
            proposal::{Claim, Sealed, prompt_hmac},
            queue::Depth,
        },
    },
};

const NOW: i64 = 1_700_000_000_000_000;

type Result_ = Result<Outcome, WriteError>;

/// A decider on a log of one event, without a database.
fn decider() -> Decider {
    let engine = EngineId::default();
    let key = Arc::new(ContentKey::from_text(&"42".repeat(32)).unwrap());
    let directory = Directory::new(engine.clone(), Arc::clone(&key), IndexKey::generate().unwrap());
    let mac_ring = Arc::new(MacRing::default());
    mac_ring.add(key.make_mac_key(1).unwrap().0);
    let mac_key = mac_ring.current();
    let mut fold = StateFold::new(engine.clone(), key, mac_ring);
    let created =
        EngineCreated { policy: Policy::default(), log_format: LOG_FORMAT, config_hash: None };
    let encoded = codec::encode(&Event::EngineCreated(Box::new(created))).unwrap();
    let mut record = Record {
        position: 1,
        command_id: CommandId::new(1),
        kind: encoded.kind.to_owned(),
        schema_version: encoded.schema_version,
        decide_version: Rules::NEWEST.version(),
        recorded_at: NOW,
        step: None,
        request_id: None,
        actor: None,
        subject_ref: None,
        trace_id: None,
        payload: encoded.payload,
        content_hash: None,
        leaf_hash: Sha256::default(),
        chain_hash: Sha256::default(),
        mac: None,
    };
    chain::extend(&engine, fold.chain_hash, mac_key.as_deref(), &mut record);
    fold.apply(vec![(record, None)], 1).unwrap();
    Decider::new(engine, fold, Arc::new(directory), SharedFleet::default())
}

fn queued(proposal: Proposal) -> (QueuedCommand, oneshot::Receiver<Result_>) {
    QueuedCommand::new(proposal, &Depth::default())
}

/// A command that has one event, whenever it is decided on an engine in the other condition.
fn switch(command: fn(Intervene) -> Command, id: u128) -> Proposal {
    let act = Intervene { actor: "test".to_owned(), reason: "none".to_owned() };
    Proposal::of_engine(CommandId::new(id), command(act), Actor::Server)
}

/// The admission of a step of a subject that is new to the log.
fn admission(decider: &Decider, name: &str, subject: u128, key: Option<&str>) -> Proposal {
    let subject = decider.directory.make(name, SubjectRef::new(subject)).unwrap();
    let command_id = CommandId::new(subject.subject_ref.get());
    let digest = [7; 32];
    let admit = Admit {
        caller_score: Some(0.9),
        route: "/v1/generate".to_owned(),
        prompt_chars: 6,
        prompt_tokens: Some(3),
        prompt_hmac: prompt_hmac(&subject.key, &digest),
        timeout: 1,
        grace: 1,
        ..Admit::of(subject.subject_ref)
    };
    let sealed = subject.key.seal(command_id, Column::Text, b"prompt").unwrap();
    let claim = key.map(|key| Claim {
        route: "/v1/generate".to_owned(),
        key: key.to_owned(),
        body_digest: digest,
    });
    Proposal {
        content: Some(Sealed::new(Content { sealed, vector: None })),
        subject: Some(Arc::new(subject)),
        prompt_digest: Some(digest),
        claim,
        ..Proposal::of_engine(command_id, Command::Admit(Box::new(admit)), Actor::Server)
    }
}

fn decide_all(decider: &mut Decider, proposals: Vec<Proposal>) -> Batch {
    let mut batch = Batch::new(decider.checkpoint(), NOW);
    for proposal in proposals {
        decider.decide(queued(proposal).0, &mut batch).unwrap();
    }
    batch
}

fn events(outcome: &Result_) -> usize {
    match outcome {
        Ok(Outcome::Committed(committed)) => committed.events.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_command_is_decided_on_the_state_that_the_one_before_left() {
    let mut decider = decider();
    let before = decider.head();
    let batch = decide_all(
        &mut decider,
        vec![
            switch(Command::Shutdown, 1),
            switch(Command::Shutdown, 2),
            switch(Command::Resume, 3),
        ],
    );
    let counts: Vec<usize> = batch.outcomes.iter().map(events).collect();
    assert_eq!(counts, [1, 0, 1], "the second shutdown has no effect");
    assert_eq!(batch.rows().expected, before);
    let mut chain_hash = before.1;
    for (record, position) in batch.records.iter().zip(before.0 + 1..) {
        chain_hash = chain::link(chain_hash, position, record.leaf_hash);
        assert_eq!((record.position, record.chain_hash), (position, chain_hash));
        let mac = record.mac.unwrap();
        let key = decider.fold.mac_ring().get(mac.key).unwrap();
        assert!(key.verify(&EngineId::default(), position, chain_hash, &mac));
        assert_eq!(record.recorded_at, NOW);
    }
    assert_eq!(decider.head(), (before.0 + 2, chain_hash));
}

#[test]
fn a_rollback_undoes_a_batch_and_the_same_commands_are_decided_again() {
    let mut decider = decider();
    let (before, head) = (decider.checkpoint(), decider.head());
    let commands = || vec![switch(Command::Shutdown, 1), switch(Command::Resume, 2)];
    let first = decide_all(&mut decider, commands());
    decider.rollback(before);
    assert_eq!(decider.head(), head);
    let second = decide_all(&mut decider, commands());
    assert_eq!(first.records, second.records);
}

#[test]
fn a_refusal_is_an_outcome_and_writes_nothing() {
    let mut decider = decider();
    let proposals = vec![switch(Command::Shutdown, 1), admission(&decider, "ann", 5, Some("key"))];
    let batch = decide_all(&mut decider, proposals);
    assert!(matches!(batch.outcomes[1], Err(WriteError::Refused(_))));
    assert_eq!(batch.records.len(), 1);
    assert!(!batch.shows_conflicts(), "the log may know the key or the name");
}

#[test]
fn subjects_of_one_name_made_twice_become_one() {
    let mut decider = decider();
    let proposals = vec![admission(&decider, "ann", 5, None), admission(&decider, "ann", 6, None)];
    let batch = decide_all(&mut decider, proposals);
    let [first, second] = &batch.records[..] else { panic!("{:?}", batch.outcomes) };
    assert_eq!(first.subject_ref, Some(SubjectRef::new(5)));
    assert_eq!(second.subject_ref, first.subject_ref);
    assert_eq!(batch.subjects.len(), 1);
    assert!(batch.shows_conflicts(), "an insert of the name would fail");
}

#[test]
fn a_second_command_with_the_same_key_is_a_duplicate_of_the_first() {
    let mut decider = decider();
    let proposals = vec![
        admission(&decider, "ann", 5, Some("key")),
        admission(&decider, "ann", 6, Some("key")),
    ];
    let batch = decide_all(&mut decider, proposals);
    let Ok(Outcome::Duplicate(earlier)) = &batch.outcomes[1] else {
        panic!("{:?}", batch.outcomes)
    };
    assert_eq!((earlier.step, earlier.position), (1, batch.records[0].position));
    assert_eq!(batch.claims.claimed().len(), 1);
}

#[test]
fn the_subjects_of_a_committed_batch_are_known_afterwards() {
    let mut decider = decider();
    let proposals = vec![admission(&decider, "ann", 5, None)];
    let mut batch = decide_all(&mut decider, proposals);
    decider.learn_subjects(&mut batch);
    let Ok(Outcome::Committed(committed)) = &batch.outcomes[0] else { panic!("a refusal") };
    let subject = committed.subject.as_ref().unwrap();
    assert!(subject.fresh.is_none());
    let known = decider.directory.get(&subject.name_hmac).unwrap();
    assert_eq!(known.subject_ref, SubjectRef::new(5));
}

#[test]
fn a_command_counts_as_waiting_until_it_is_dispatched_or_dropped() {
    let depth = Depth::default();
    let (mut command, _result) = QueuedCommand::new(switch(Command::Shutdown, 1), &depth);
    assert_eq!(depth.get(), 1);
    command.leave_queue();
    assert_eq!(depth.get(), 0);
    command.enter_queue(&depth);
    command.enter_queue(&depth);
    assert_eq!(depth.get(), 1);
    drop(command);
    assert_eq!(depth.get(), 0);
}
