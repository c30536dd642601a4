//! Events that continue the hash chain, as anyone can compute it, but were not written by a server of the
//! deployment; and the remedy of the runbook.

use mlsdm::{
    store::Record,
    testkit::{TestEnv, TestServer, eventually, on_every_database, send},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    ADMIN, ask,
    attacked::{Attacked, Mac, Role},
    keys_still_count, make, read, serve, trust, until_refused,
};

on_every_database!(
    Attacked:
    a_forged_key_is_refused_until_it_is_quarantined,
    a_forged_policy_is_refused,
    a_rewritten_log_is_refused_at_a_restart,
    a_log_rewritten_in_format_1_is_not_loaded,
    a_lost_end_is_accepted_by_command,
);

/// The secret of a key that the attacker makes up.
fn forged_secret() -> String {
    format!("mlsdm_{}_{}", "f".repeat(32), "0".repeat(64))
}

/// Turns a genuine `key.created` into one of an administrator's key of the attacker.
fn forge_key(event: &mut Record) {
    let mut created: Value = serde_json::from_slice(&event.payload).unwrap();
    created["id"] = json!("f".repeat(32));
    created["hash"] = json!(hex::encode(Sha256::digest(forged_secret())));
    created["grant"]["roles"] = json!(["admin"]);
    event.payload = serde_json::to_vec(&created).unwrap();
}

/// Turns a genuine `engine.created` into a policy that opens everybody's memory to everybody.
fn forge_policy(event: &mut Record) {
    let created: Value = serde_json::from_slice(&event.payload).unwrap();
    let mut policy = created["policy"].clone();
    policy["memory"]["scope"] = json!("engine");
    let changed = json!({
        "policy": policy, "diff": ["memory.scope"], "actor": "ops", "reason": "planned",
        "config_hash": null,
    });
    "policy.changed".clone_into(&mut event.kind);
    event.payload = serde_json::to_vec(&changed).unwrap();
}

async fn status(server: &TestServer, key: &str) -> u16 {
    send(server.get("/v1/me").header("x-api-key", key)).await.unwrap().status
}

async fn create_key(server: &TestServer, role: &str) -> Value {
    server.run(&["key", "create", "bot", "--role", role, "--json"]).await.exits(0).json()
}

/// Runs the remedy of the runbook; a SQLite file is opened by one process only.
async fn quarantine(
    (env, server): (&TestEnv, TestServer),
    attacked: &Attacked,
    (engine, from): (&str, u64),
    more: &[&str],
) -> TestServer {
    let from = from.to_string();
    let reason = "forged by a stolen database password";
    let command = ["audit", "quarantine", "--engine", engine, "--from", &from, "--reason", reason];
    let command = [&command, more].concat();
    if !attacked.database.is_sqlite() {
        env.run(&command).await.exits(0);
        return server;
    }
    server.stop().await;
    env.run(&command).await.exits(0);
    env.serve().await
}

/// Waits until the health report shows this of the server's own log.
async fn until_system_is(server: &TestServer, expected: &Value) {
    eventually(&expected.to_string(), async || {
        let system = trust(server).await["system"].clone();
        if system == *expected { Ok(()) } else { Err(system) }
    })
    .await;
}

async fn a_forged_key_is_refused_until_it_is_quarantined(attacked: Attacked) {
    let (env, mut server) = serve(&attacked).await;
    for role in attacked.writers() {
        for (mac, reason) in [(Mac::None, "mac_missing"), (Mac::Copied, "mac")] {
            let key = create_key(&server, "service").await;
            let like = attacked.last("_system", "key.created").await;
            let forgery = attacked.forged(("_system", like), mac, forge_key).await;
            attacked.execute(*role, &forgery).await;
            let position = attacked.log("_system").await.len() as u64;
            until_system_is(
                &server,
                &json!({"status": "untrusted", "position": position, "reason": reason}),
            )
            .await;
            assert_eq!(status(&server, &forged_secret()).await, 401, "{role:?}, {mac:?}");
            keys_still_count(&server, &key, position).await;
            ask(&server, "default").await.ok();
            server = quarantine((&env, server), &attacked, ("_system", position), &[]).await;
            until_system_is(&server, &json!({"status": "trusted"})).await;
            assert_eq!(attacked.last("_system", "log.recovered").await, position);
        }
    }
    let key = create_key(&server, "service").await;
    assert_eq!(status(&server, key["key"].as_str().unwrap()).await, 200);
    assert_eq!(status(&server, &forged_secret()).await, 401);
    env.run(&["audit", "verify"]).await.exits(0);
    server.stop().await;
}

async fn a_forged_policy_is_refused(attacked: Attacked) {
    let (_env, server) = serve(&attacked).await;
    let macs = [
        (Mac::None, "has no MAC"),
        (Mac::Copied, "MAC is invalid"),
        (Mac::UnknownKey, "missing from mac_keys"),
    ];
    for (number, role) in attacked.writers().iter().enumerate() {
        for (place, (mac, reason)) in macs.into_iter().enumerate() {
            let engine = format!("policy-{number}-{place}");
            make(&server, &engine).await;
            let forgery = attacked.forged((&engine, 1), mac, forge_policy).await;
            attacked.execute(*role, &forgery).await;
            until_refused(&server, &engine, 6, reason).await;
            let state = read(&server, &format!("/v1/engines/{engine}/state")).await.ok();
            assert_eq!((&state["position"], &state["policy_version"]), (&json!(5), &json!(1)));
        }
    }
    ask(&server, "default").await.ok();
    server.stop().await;
}

/// The owner edits, removes and swaps events and computes all later hashes anew.
async fn a_rewritten_log_is_refused_at_a_restart(attacked: Attacked) {
    let (env, server) = serve(&attacked).await;
    for engine in ["edited", "removed", "swapped"] {
        make(&server, engine).await;
    }
    let revoked = create_key(&server, "admin").await["id"].as_str().unwrap().to_owned();
    server.run(&["key", "revoke", &revoked]).await.exits(0);
    create_key(&server, "service").await;
    server.stop().await;

    let place =
        |engine: &str, position: u64| format!("engine_id = '{engine}' AND position = {position}");
    let remove = |engine: &str, position: u64, end: u64| {
        let delete = format!("DELETE FROM events WHERE {};", place(engine, position));
        let shift = (position + 1..=end).map(|position| {
            let at = place(engine, position);
            format!("UPDATE events SET position = position - 1 WHERE {at};")
        });
        std::iter::once(delete).chain(shift).collect::<String>()
    };
    let revocation = attacked.last("_system", "key.revoked").await;
    let end = attacked.log("_system").await.len() as u64;
    let edits = [
        ("edited", 3, format!("UPDATE events SET actor = 'x' WHERE {}", place("edited", 3))),
        ("removed", 2, remove("removed", 2, 5)),
        (
            "swapped",
            3,
            format!(
                "UPDATE events SET position = 9 WHERE {}; UPDATE events SET position = 3 WHERE {}; \
                 UPDATE events SET position = 5 WHERE {}",
                place("swapped", 3),
                place("swapped", 5),
                place("swapped", 9)
            ),
        ),
        ("_system", revocation, remove("_system", revocation, end)),
    ];
    for (engine, from, statements) in &edits {
        attacked.execute(Role::Owner, statements).await;
        attacked.rechain(engine, *from).await;
    }

    let server = env.serve().await;
    for (engine, position, _) in &edits[..3] {
        until_refused(&server, engine, *position, "MAC is invalid").await;
    }
    let expected = json!({"status": "untrusted", "position": revocation, "reason": "mac"});
    until_system_is(&server, &expected).await;
    ask(&server, "default").await.ok();
    // the engine goes on from the state before the edit
    let server = quarantine((&env, server), &attacked, ("edited", 3), &[]).await;
    eventually("an answer", async || {
        let reply = ask(&server, "edited").await;
        if reply.status == 200 { Ok(()) } else { Err(reply.body) }
    })
    .await;
    server.stop().await;
}

/// The format in the engine's row is authentic, so a log without MACs proves nothing: not even the events
/// before the first damage are folded.
async fn a_log_rewritten_in_format_1_is_not_loaded(attacked: Attacked) {
    let (env, server) = serve(&attacked).await;
    make(&server, "old").await;
    server.stop().await;
    attacked
        .execute(
            Role::Owner,
            "UPDATE events SET mac = NULL, mac_key = NULL WHERE engine_id = 'old'",
        )
        .await;
    let created = String::from_utf8(attacked.log("old").await[0].payload.clone()).unwrap();
    let lowered = created.replace("\"log_format\":2", "\"log_format\":1");
    assert_ne!(created, lowered);
    attacked.set_payload(("old", 1), lowered.as_bytes()).await;
    attacked.rechain("old", 1).await;
    let damage = "UPDATE events SET actor = 'x' WHERE engine_id = 'old' AND position = 4";
    attacked.execute(Role::Owner, damage).await;

    let server = env.serve().await;
    for reply in [ask(&server, "old").await, read(&server, "/v1/engines/old/state").await] {
        reply.is_problem(503, "E403");
        assert!(reply.body["detail"].as_str().unwrap().contains("engine old, position"));
    }
    ask(&server, "default").await.ok();
    server.stop().await;
}

/// After a quarantine of events that the server had folded, it has to be restarted.
async fn a_lost_end_is_accepted_by_command(attacked: Attacked) {
    let (env, server) = serve(&attacked).await;
    make(&server, "cut").await;
    let delete = "DELETE FROM events WHERE engine_id = 'cut' AND position >= 4";
    attacked.execute(Role::Owner, delete).await;
    until_refused(&server, "cut", 4, "were removed").await;
    let server = quarantine((&env, server), &attacked, ("cut", 4), &["--accept-loss"]).await;
    let server = if attacked.database.is_sqlite() {
        server
    } else {
        until_refused(&server, "cut", 5, "were removed").await;
        server.stop().await;
        env.serve().await
    };
    ask(&server, "cut").await.ok();
    env.run(&["audit", "verify", "--engine", "cut"]).await.exits(0);
    assert_eq!(send(server.get("/v1/me").header("x-api-key", ADMIN)).await.unwrap().status, 200);
    server.stop().await;
}
