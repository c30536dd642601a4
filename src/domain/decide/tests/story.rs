//! The commands that led to `tests/golden/log-v2.json`: every event type and every fact.

use super::{
    Log, admission,
    driver::{Row, small_policy},
    facts::{REPLICA, full_answer, full_failure, full_request},
    formats::{add_without_source, forgotten, hold, raise, record, shared},
    subject, vector,
};
use crate::domain::{
    command::{
        AbandonCause, Add, Admit, ChangePolicy, Command, Complete, CreateKey, RevokeKey, RotateKey,
    },
    event::{
        AccessDenied, Annotation, AuditKeyChanged, ContentRead, ContentsExpired, EngineRetired,
        Fact, ItemOrigin, LogRecovered, MacKeyChanged, PolicyEvidence, RequestsRefused,
        ServerStarted, SettingsChanged, StepAnnotated, SubjectExported,
    },
    ids::{EngineId, KeyId, QuarantineId, Sha256},
    keys::KeyGrant,
    policy::{Policy, Rhythm},
};

const MINUTE: i64 = 1_700_000_040_000_000;

/// The rows of the log, the same at each call.
pub(super) fn rows() -> Vec<Row> {
    let rhythm = Rhythm { wake_duration: 3, sleep_duration: 2, ..Rhythm::default() };
    let mut log = Log::of_format(1, Policy { capacity: 6, rhythm, ..small_policy() });
    step(&mut log, admission(1));
    step(&mut log, full_request(2));
    raise(&mut log, 2).unwrap();
    step(&mut log, full_request(1));
    step(&mut log, admission(2));
    log.admit(Admit { caller_score: Some(0.1), ..full_request(3) }).unwrap();
    log.admit(full_request(3)).unwrap();
    log.when(&Command::Fail(Box::new(full_failure(log.state.step)))).unwrap();
    endings_without_an_answer(&mut log);
    let seed = log.state.position + 1;
    add_without_source(&mut log, seed).unwrap();
    copy(&mut log);
    for by in [1, 2, 1, 2] {
        step(&mut log, full_request(by));
    }
    shrink(&mut log);
    memory(&mut log);
    facts(&mut log);
    server(&mut log);
    keys(&mut log);
    log.shutdown();
    log.resume();
    log.erase(subject(3));
    step(&mut log, full_request(2));
    log.when(&Command::Attest).unwrap();
    log.assert_replays();
    log.rows
}

/// Runs a step, which the requested model answers. The seed of its vector is the position of its ending.
fn step(log: &mut Log, request: Admit) {
    let price = request.price;
    log.admit(request).unwrap();
    let answer = full_answer(log.state.step, log.state.position + 1);
    log.complete(Complete { price, ..answer }).unwrap();
}

fn endings_without_an_answer(log: &mut Log) {
    log.admit(full_request(3)).unwrap();
    let last_seen = log.now;
    log.now += 31_000_000;
    log.abandon(log.state.step, AbandonCause::ReplicaGone { last_seen }).unwrap();
    log.admitted(1);
    log.abandon(log.state.step, AbandonCause::SoleOwner).unwrap();
}

fn copy(log: &mut Log) {
    let seed = log.state.position + 1;
    let engine: EngineId = "source".parse().unwrap();
    log.when(&Command::Add(Box::new(Add {
        subject: subject(2),
        source: Some(ItemOrigin { engine, position: 12 }),
        after: 0,
        actor: "operator".to_owned(),
        phase: 0.9,
        confidence: 0.5,
        consolidated: true,
        vector: Some(vector(seed)),
    })))
    .unwrap();
}

fn shrink(log: &mut Log) {
    let policy = Policy { capacity: 4, ..(*log.state.policy).clone() };
    let evidence = PolicyEvidence {
        report: Sha256([1; 32]),
        from: 1,
        through: log.state.position,
        root: Sha256([2; 32]),
        direct_flips: 3,
        cascade_flips: 1,
    };
    let (actor, reason) = text();
    let (config, evidence) = (None, Some(evidence));
    let change = ChangePolicy { policy, actor, reason, config, evidence };
    log.when(&Command::ChangePolicy(Box::new(change))).unwrap();
}

fn text() -> (String, String) {
    ("operator".to_owned(), "a test".to_owned())
}

fn memory(log: &mut Log) {
    let items: Vec<_> = log.state.lattice.items().map(|item| item.position).collect();
    record(log, shared(&items[2..])).unwrap();
    record(log, Fact::HoldPlaced(hold(2))).unwrap();
    record(log, Fact::HoldPlaced(hold(1))).unwrap();
    record(log, Fact::HoldReleased(hold(1))).unwrap();
    let (actor, reason) = text();
    let positions = items.clone();
    record(log, Fact::ContentRead(ContentRead { positions, actor, reason })).unwrap();
    record(log, Fact::ContentsExpired(ContentsExpired { through: items[1] })).unwrap();
    record(log, forgotten(&items[3..])).unwrap();
}

fn facts(log: &mut Log) {
    let (actor, reason) = text();
    let exported = SubjectExported { subject_ref: subject(1), actor, reason };
    let (actor, reason) = text();
    let recovered = LogRecovered {
        from: log.state.position + 3,
        through: log.state.position + 4,
        quarantine_id: Some(QuarantineId::new(7)),
        last_chain_hash: Some(Sha256([3; 32])),
        checkpoint: Some("a note\n".to_owned()),
        actor,
        reason,
    };
    let label = Annotation::Right;
    let annotated = StepAnnotated { step: 1, subject_ref: subject(1), label };
    let counts = [("BUDGET_SPENT".to_owned(), 2)].into();
    for fact in [
        Fact::SubjectExported(exported),
        Fact::StepAnnotated(annotated),
        Fact::Recovered(recovered),
        Fact::RequestsRefused(RequestsRefused { minute: MINUTE, counts }),
    ] {
        record(log, fact).unwrap();
    }
}

fn server(log: &mut Log) {
    let started = ServerStarted {
        replica: REPLICA,
        version: "0.2.0".to_owned(),
        commit: Some("18f0e10".to_owned()),
        binary_sha256: Some(Sha256([4; 32])),
        config_hash: Sha256([5; 32]),
    };
    let (actor, reason) = text();
    let audit_key = AuditKeyChanged {
        origin: "mlsdm.invalid/00".to_owned(),
        key: "mlsdm.invalid/00+c4ffee00+AQID".to_owned(),
        previous_until: Some(MINUTE),
        actor: actor.clone(),
    };
    let values = [("logging.level".to_owned(), "DEBUG".to_owned())].into();
    let settings = SettingsChanged { values, actor: actor.clone(), reason: reason.clone() };
    let engine = "support".parse().unwrap();
    let counts = [("expired".to_owned(), 4)].into();
    for fact in [
        Fact::ServerStarted(started),
        Fact::AccessDenied(AccessDenied { minute: MINUTE, counts }),
        Fact::MacKeyChanged(MacKeyChanged { id: 2, actor: actor.clone() }),
        Fact::AuditKeyChanged(audit_key),
        Fact::SettingsChanged(settings),
        Fact::EngineRetired(EngineRetired { engine, actor, reason }),
    ] {
        record(log, fact).unwrap();
    }
}

fn keys(log: &mut Log) {
    let id = KeyId::new(9);
    let actor = || "operator".to_owned();
    let grant = KeyGrant {
        name: "a robot".to_owned(),
        roles: vec!["service".to_owned()],
        engines: vec!["*".to_owned()],
        expires_at: None,
        rate: None,
        budget: None,
    };
    let create = CreateKey { id, hash: Sha256([6; 32]), grant, actor: actor() };
    let rotate = RotateKey { id, hash: Sha256([7; 32]), grace_seconds: 60, actor: actor() };
    for command in [
        Command::CreateKey(Box::new(create)),
        Command::RotateKey(rotate),
        Command::RevokeKey(RevokeKey { id, actor: actor() }),
    ] {
        log.when(&command).unwrap();
    }
}
