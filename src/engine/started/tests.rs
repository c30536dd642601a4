use super::*;
use crate::{domain::ids::Sha256, store::replicas::Heartbeat, testkit::app::TestApp};

const OTHER: ReplicaId = ReplicaId([7; 8]);

fn started(replica: ReplicaId) -> ServerStarted {
    ServerStarted {
        replica,
        version: "0.2.0".to_owned(),
        commit: None,
        binary_sha256: None,
        config_hash: Sha256::default(),
    }
}

/// An app with the server's own log in memory, as a server has it.
async fn app() -> TestApp {
    let app = TestApp::sqlite().await;
    app.engines.system().await.unwrap();
    app
}

async fn starts(app: &TestApp) -> usize {
    let store = &app.engines.parts().store;
    let rows = store.read(&EngineId::system(), 0, 1_000).await.unwrap();
    rows.iter().filter(|row| row.kind == "server.started").count()
}

#[tokio::test]
async fn a_start_is_recorded_once() {
    let app = app().await;
    let own = started(app.engines.parts().replica);
    for _ in 0..2 {
        assert_eq!(app.engines.record_start(&own).await.unwrap(), StartRecord::Recorded);
    }
    assert_eq!(starts(&app).await, 1);
}

#[tokio::test]
async fn a_host_records_at_most_one_start_a_minute() {
    let app = app().await;
    let (earlier, own) = (started(OTHER), started(app.engines.parts().replica));
    assert_eq!(app.engines.record_start(&earlier).await.unwrap(), StartRecord::Recorded);
    app.pass(Duration::from_secs(20));
    let after = StartRecord::After(Duration::from_secs(40));
    assert_eq!(app.engines.record_start(&own).await.unwrap(), after);
    assert_eq!(starts(&app).await, 1);
    app.pass(Duration::from_secs(40));
    assert_eq!(app.engines.record_start(&own).await.unwrap(), StartRecord::Recorded);
    assert_eq!(starts(&app).await, 2);
}

#[tokio::test]
async fn a_start_on_another_host_does_not_delay_the_record() {
    let app = app().await;
    let own = app.engines.parts().replica;
    for (replica, host) in [(OTHER, "one"), (own, "two")] {
        let (version, host) = ("0.2.0".to_owned(), host.to_owned());
        let beat = Heartbeat { replica, host, version, log_format: 2, rules: 1 };
        app.engines.parts().store.heartbeat(&beat).await.unwrap();
    }
    for replica in [OTHER, own] {
        let recorded = app.engines.record_start(&started(replica)).await.unwrap();
        assert_eq!(recorded, StartRecord::Recorded);
    }
    assert_eq!(starts(&app).await, 2);
}
