//! The documented PostgreSQL roles suffice to serve and to audit, and cannot rewrite the log.

use std::sync::Arc;

use mlsdm::{
    domain::ids::SubjectRef,
    store::{
        Options, Store, SubjectRow,
        audit::verify,
        keys::ContentKey,
        quarantine::{Order, QuarantineError, quarantine},
        replicas::Heartbeat,
    },
    testkit::{CONTENT_KEY, TestDatabase, postgres},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    events::{append, content, create, engine, event},
    writer::create_engine,
};

/// The statements of migrations/README.md.
fn documented() -> &'static str {
    let text = include_str!("../../migrations/README.md");
    text.split_once("```sql").and_then(|(_, rest)| rest.split_once("```")).unwrap().0
}

async fn run(url: &str, statements: &'static str) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut conn).await.map(drop)
}

/// Statements that a role must not be allowed.
const REFUSED: [(&str, &str); 12] = [
    ("mlsdm_app", "UPDATE events SET actor = 'x'"),
    ("mlsdm_app", "DELETE FROM events"),
    ("mlsdm_app", "TRUNCATE events"),
    ("mlsdm_app", "DROP TRIGGER events_no_truncate ON events"),
    ("mlsdm_app", "UPDATE contents SET sealed = ''"),
    ("mlsdm_app", "DELETE FROM engines"),
    ("mlsdm_app", "UPDATE mac_keys SET wrapped_key = ''"),
    ("mlsdm_app", "DELETE FROM mac_keys"),
    ("mlsdm_app", "INSERT INTO quarantined_events SELECT * FROM quarantined_events"),
    ("mlsdm_auditor", "INSERT INTO engines VALUES ('f', 0, 1, '')"),
    ("mlsdm_auditor", "SELECT * FROM keys.subject_keys"),
    ("mlsdm_auditor", "SELECT * FROM idempotency"),
];

#[tokio::test]
async fn the_documented_roles_suffice_and_grant_no_more() {
    // roles belong to a whole cluster, so this test starts its own
    let cluster = postgres::private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let owner = Store::open(&Options::new(database.url())).await.unwrap();
    owner.migrate().await.unwrap();
    run(database.url(), documented()).await.unwrap();
    let url = |role: &str| database.url().replace("postgres@", &format!("{role}@"));

    let app = Store::open(&Options::new(url("mlsdm_app"))).await.unwrap();
    app.migrate().await.expect("there is nothing to migrate");
    let key = Arc::new(ContentKey::from_text(CONTENT_KEY).unwrap());
    let real = engine("real");
    create_engine(&app, &key, &real).await;
    let name = engine("e");
    create(&app, &name).await;
    append(&app, &name, vec![(event("x", "{}"), content("c", None))]).await;
    let subject = SubjectRow {
        subject_ref: SubjectRef::new(1),
        name_hmac: [1; 32],
        wrapped_key: vec![],
        sealed_name: vec![],
    };
    let mut transaction = app.begin(&name).await.unwrap();
    transaction.insert_subjects(std::slice::from_ref(&subject)).await.unwrap();
    transaction.end_idempotency(&[(1, 1)]).await.unwrap();
    transaction.free_idempotency(&[1]).await.unwrap();
    assert!(transaction.delete_subject(subject.subject_ref).await.unwrap());
    transaction.delete_contents(&[9]).await.unwrap();
    transaction.commit().await.unwrap();
    app.purge_idempotency(0).await.unwrap();
    let own = Heartbeat {
        replica: app.replica(),
        host: String::new(),
        version: String::new(),
        log_format: 1,
        rules: 1,
    };
    app.heartbeat(&own).await.unwrap();
    app.remove_replica(own.replica).await.unwrap();
    assert_eq!(app.old_connections().await.unwrap(), 0);

    let auditor = Store::open_read_only(&Options::new(url("mlsdm_auditor"))).await.unwrap();
    let report = verify(&auditor, &name, None, |_| {}).await.unwrap();
    assert_eq!((report.verified, report.first_bad), (2, None));
    assert_eq!(auditor.unknown_engines().await.unwrap(), Vec::<String>::new());

    // the application makes and reads MAC keys, an auditor with the content key reads them
    let report = verify(&auditor, &real, Some(&key), |_| {}).await.unwrap();
    assert_eq!((report.verified, report.first_bad), (1, None), "with its MAC");
    append(&app, &real, vec![(event("x", "{}"), None)]).await;
    let order = Order {
        engine: real,
        from: 2,
        accept_loss: false,
        actor: "root".to_owned(),
        reason: "forged".to_owned(),
    };
    let error = quarantine(&app, &key, &order).await.unwrap_err();
    assert!(matches!(error, QuarantineError::NotOwner), "{error}");
    assert_eq!(quarantine(&owner, &key, &order).await.unwrap().events, 1);

    for (role, statement) in REFUSED {
        let error = run(&url(role), statement).await.unwrap_err().to_string();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{statement}: {error}"
        );
    }
}
