//! Attacks on the event log of a real server, by each database role: the server refuses what it cannot
//! verify, for that engine only, and says why.

mod attacked;
mod forged;

use mlsdm::testkit::{TestEnv, TestResponse, TestServer, eventually, on_every_database, send};
use serde_json::{Value, json};

use crate::metrics::{scrape, value};
use attacked::{Attacked, Role, env};

const ADMIN: &str = "geheim-admin-key-4711";

on_every_database!(
    Attacked:
    events_copied_to_the_end_are_refused_while_the_server_runs,
    a_damaged_log_is_refused_at_a_restart,
    events_removed_from_the_end_are_missed_by_a_running_server,
);

async fn serve(attacked: &Attacked) -> (TestEnv, TestServer) {
    let env = env(&attacked.database, ADMIN);
    let server = env.serve().await;
    attacked.make_roles().await;
    (env, server)
}

async fn ask(server: &TestServer, engine: &str) -> TestResponse {
    let prompt = server.ask(engine, "ann", "My dog is called Rex");
    send(prompt.header("x-api-key", ADMIN)).await.unwrap()
}

/// Makes an engine with two steps: five events.
async fn make(server: &TestServer, engine: &str) {
    let create = server.post("/v1/engines").json(&json!({"engine_id": engine}));
    send(create.header("x-api-key", ADMIN)).await.unwrap().ok();
    for _ in 0..2 {
        ask(server, engine).await.ok();
    }
}

async fn read(server: &TestServer, path: &str) -> TestResponse {
    send(server.get(path).header("x-api-key", ADMIN)).await.unwrap()
}

/// Waits until an engine refuses commands because of the event at this position.
async fn until_refused(server: &TestServer, engine: &str, position: u64, reason: &str) {
    let names = [format!("engine {engine}, position {position}:"), reason.to_owned()];
    eventually("a refusal", async || {
        let reply = ask(server, engine).await;
        let detail = reply.body["detail"].as_str().unwrap_or_default();
        let is_refused = reply.body["code"] == "E411" && reply.status == 503;
        let is_named = names.iter().all(|name| detail.contains(name));
        (is_refused && is_named).then_some(()).ok_or_else(|| format!("{names:?}: {}", reply.body))
    })
    .await;
    let state = read(server, &format!("/v1/engines/{engine}/state")).await.ok();
    assert!(state["position"].as_u64().unwrap() >= 1, "the state can be read");
}

async fn is_untrusted(server: &TestServer, engine: &str) -> bool {
    let series = format!("mlsdm_engine_untrusted{{engine=\"{engine}\"}}");
    value(&scrape(server).await, &series) > 0.5
}

async fn trust(server: &TestServer) -> Value {
    read(server, "/health/detailed").await.ok()["trust"].clone()
}

async fn events_copied_to_the_end_are_refused_while_the_server_runs(attacked: Attacked) {
    let (_env, server) = serve(&attacked).await;
    make(&server, "source").await;
    let mut count = 0;
    for (number, role) in attacked.writers().iter().enumerate() {
        let (copied, foreign) = (format!("copied-{number}"), format!("foreign-{number}"));
        for (engine, from) in [(&copied, copied.as_str()), (&foreign, "source")] {
            make(&server, engine).await;
            attacked.execute(*role, &Attacked::copy((from, 2), (engine, 6))).await;
            until_refused(&server, engine, 6, "hash chain").await;
            count += 1;
        }
    }
    if !attacked.database.is_sqlite() {
        let copy = Attacked::copy(("source", 2), ("source", 6));
        let denied = attacked.try_execute(Role::Auditor, &copy).await.unwrap_err();
        assert!(denied.to_string().contains("permission denied"), "{denied}");
        for role in [Role::Forger, Role::App] {
            let delete = "DELETE FROM events WHERE engine_id = 'source' AND position = 5";
            let denied = attacked.try_execute(role, delete).await.unwrap_err();
            assert!(denied.to_string().contains("permission denied"), "{role:?}: {denied}");
        }
    }
    ask(&server, "source").await.ok();
    ask(&server, "default").await.ok();
    assert_eq!(trust(&server).await["untrusted"], count);
    assert!(is_untrusted(&server, "other").await && !is_untrusted(&server, "default").await);
    assert!(server.log().contains("\"event_type\":\"engine.untrusted\""));
    server.stop().await;
}

async fn a_damaged_log_is_refused_at_a_restart(attacked: Attacked) {
    let (env, server) = serve(&attacked).await;
    // the default engine and the server's own log are damaged too
    for _ in 0..2 {
        ask(&server, "default").await.ok();
    }
    let create = ["key", "create", "bot", "--role", "service", "--json"];
    let key = server.run(&create).await.exits(0).json();
    server.run(&create).await.exits(0);
    let last_key = attacked.last("_system", "key.created").await;
    let damages = [
        ("edited", 3, "hash chain", "UPDATE events SET recorded_at = recorded_at + 1 WHERE $3"),
        ("removed", 3, "found position 4", "DELETE FROM events WHERE $3"),
        ("moved", 3, "found position 4", "UPDATE events SET position = 9 WHERE $3"),
        (
            "swapped",
            3,
            "hash chain",
            "UPDATE events SET position = 9 WHERE $3; UPDATE events SET position = 3 WHERE $4; \
             UPDATE events SET position = 4 WHERE $9",
        ),
        ("default", 3, "hash chain", "UPDATE events SET actor = 'somebody' WHERE $3"),
        ("_system", last_key, "hash chain", "UPDATE events SET actor = 'somebody' WHERE $K"),
    ];
    for (engine, ..) in &damages[..4] {
        make(&server, engine).await;
    }
    make(&server, "good").await;
    server.stop().await;
    for (engine, _, _, statements) in damages {
        let mut statements = statements.to_owned();
        for (name, position) in [("$3", 3), ("$4", 4), ("$9", 9), ("$K", last_key)] {
            let place = format!("engine_id = '{engine}' AND position = {position}");
            statements = statements.replace(name, &place);
        }
        attacked.execute(Role::Owner, &statements).await;
    }

    let server = env.serve().await;
    for (engine, position, reason, _) in &damages[..5] {
        until_refused(&server, engine, *position, reason).await;
    }
    ask(&server, "good").await.ok();
    keys_still_count(&server, &key, last_key).await;
    for engine in ["default", "_system"] {
        assert!(is_untrusted(&server, engine).await, "{engine}");
    }
    let trust = trust(&server).await;
    for (log, position) in [("default", 3), ("system", last_key)] {
        let expected = json!({"status": "untrusted", "position": position, "reason": "chain"});
        assert_eq!(trust[log], expected);
    }
    server.stop().await;
}

/// While the server's own log is untrusted, its keys are valid, and no act on keys is possible.
async fn keys_still_count(server: &TestServer, key: &Value, damaged: u64) {
    let (id, secret) = (key["id"].as_str().unwrap(), key["key"].as_str().unwrap());
    let me = server.get("/v1/me").header("x-api-key", secret);
    assert_eq!(send(me).await.unwrap().status, 200);
    let create = server.post("/v1/keys").json(&json!({"name": "new", "roles": ["service"]}));
    let revoke = server.request(reqwest::Method::DELETE, &format!("/v1/keys/{id}"));
    let rotate = server.post(&format!("/v1/keys/{id}/rotate"));
    for act in [create, revoke, rotate] {
        let refused = send(act.header("x-api-key", ADMIN)).await.unwrap();
        refused.is_problem(503, "E411");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("engine _system, position {damaged}:")), "{detail}");
    }
    let health = read(server, "/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")));
    assert_eq!(health.body["checks"]["log"]["status"], "untrusted");
    assert_eq!(read(server, "/health/ready").await.status, 200);
}

async fn events_removed_from_the_end_are_missed_by_a_running_server(attacked: Attacked) {
    let (_env, server) = serve(&attacked).await;
    for engine in ["cut", "emptied", "good"] {
        make(&server, engine).await;
    }
    let key = server.run(&["key", "create", "bot", "--role", "admin", "--json"]).await.exits(0);
    let (id, secret) = (&key.json()["id"], &key.json()["key"]);
    server.run(&["key", "revoke", id.as_str().unwrap()]).await.exits(0);
    let delete = |engine: &str, from: u64| {
        format!("DELETE FROM events WHERE engine_id = '{engine}' AND position >= {from}")
    };
    attacked.execute(Role::Owner, &delete("cut", 4)).await;
    attacked.execute(Role::Owner, &delete("emptied", 1)).await;
    // the revocation of an administrator's key
    let revoked = attacked.last("_system", "key.revoked").await;
    attacked.execute(Role::Owner, &delete("_system", revoked)).await;
    until_refused(&server, "cut", 4, "events up to position 5 were removed").await;
    until_refused(&server, "emptied", 1, "events up to position 5 were removed").await;
    eventually("the loss of the revocation", async || {
        let system = trust(&server).await["system"].clone();
        if system["reason"] == "removed" { Ok(()) } else { Err(system) }
    })
    .await;
    let me = server.get("/v1/me").header("x-api-key", secret.as_str().unwrap());
    assert_eq!(send(me).await.unwrap().status, 401, "the key stays revoked");
    ask(&server, "good").await.ok();
    server.stop().await;
}
