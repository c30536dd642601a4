//! Third-party identity providers: tokens, key rotation and outage.

use std::sync::Arc;

use futures_util::future::{join, join_all};
use mlsdm::testkit::oidc::{CLIENTS, Provider, RESOURCE};
use tokio::sync::watch;

use crate::fixture::{TestApi, get, post, prompt};

/// Number of rotations under load.
const ROTATIONS: usize = 3;
/// Number of requests between two rotations.
const BETWEEN: usize = 20;

async fn app_of(provider: &Provider, audience: &str) -> TestApi {
    let issuer = provider.issuer();
    let algorithms = ("MLSDM_OIDC_ALGORITHMS", "RS256,ES256,PS256,EdDSA");
    let env =
        [("MLSDM_OIDC_ISSUER", issuer.as_str()), ("MLSDM_OIDC_AUDIENCE", audience), algorithms];
    // the provider uses the system clock
    TestApi::at(mlsdm::clock::now_micros() / 1_000_000, &env).await
}

#[actix_web::test]
async fn tokens_of_every_algorithm_are_accepted() {
    let provider = Provider::node().await;
    let rig = app_of(&provider, RESOURCE).await;
    for client in CLIENTS {
        let me = rig.me(&provider.token(client).await).await;
        assert_eq!(me.status, 200, "{client}: {me:?}");
        assert_eq!(me.json()["subject"], client);
        assert_eq!(me.json()["roles"], serde_json::json!(["user", "admin"]));
    }
    let other = app_of(&provider, "https://other.example").await;
    assert_eq!(other.me(&provider.token("rs256").await).await.status, 401);
}

#[actix_web::test]
async fn tokens_of_a_second_implementation_are_accepted() {
    let provider = Provider::python().await;
    let rig = app_of(&provider, "mlsdm").await;
    let me = rig.me(&provider.id_token("mlsdm", "ann").await).await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!(me.json()["subject"], "ann");
    assert_eq!(me.json()["roles"], serde_json::json!(["user"]));
    let other = provider.id_token("another", "ann").await;
    assert_eq!(rig.me(&other).await.status, 401, "for another client");
}

/// Four callers use a new token for each request while all keys are rotated.
#[actix_web::test]
async fn no_request_fails_while_keys_are_rotated() {
    let provider = Provider::node().await;
    let rig = app_of(&provider, RESOURCE).await;
    let served = Arc::new(watch::Sender::new(0));
    let until = |count: usize| {
        let mut progress = served.subscribe();
        async move { progress.wait_for(|served| *served >= count).await.map(drop).unwrap() }
    };
    let end = (ROTATIONS + 1) * BETWEEN;
    let (provider, rig) = (&provider, &rig);
    let asking = CLIENTS.map(|client| {
        let served = Arc::clone(&served);
        async move {
            while *served.borrow() < end {
                let token = provider.token(client).await;
                let answer = rig.ask(post("/v1/generate", &token, &prompt())).await;
                assert_eq!(answer.status, 200, "{client}: {answer:?}");
                served.send_modify(|served| *served += 1);
            }
        }
    });
    let rotating = async {
        for rotation in 1..=ROTATIONS {
            until(rotation * BETWEEN).await;
            // fetches the unknown key
            rig.pass(10);
            provider.rotate().await;
        }
    };
    join(join_all(asking), rotating).await;
    // there may be no request between the last rotation and the end
    rig.pass(10);
    for client in CLIENTS {
        assert_eq!(rig.me(&provider.token(client).await).await.status, 200, "{client}");
    }
    let keys = rig.ask(get("/health/detailed", "")).await.json();
    assert_eq!(keys["auth"]["provider_keys"]["keys"], 2 * CLIENTS.len());
}

#[actix_web::test]
async fn known_keys_are_used_after_the_provider_is_killed() {
    let mut provider = Provider::node().await;
    let rig = app_of(&provider, RESOURCE).await;
    let tokens = async |provider: &Provider| {
        join_all(CLIENTS.iter().map(|client| provider.token(client))).await
    };
    let mut known = tokens(&provider).await;
    known.extend(tokens(&provider).await);
    provider.rotate().await;
    let unknown = tokens(&provider).await;
    provider.kill().await;
    // one hour, with new tokens every quarter of an hour
    for quarter in known.chunks(2) {
        rig.pass(900);
        for token in quarter {
            assert_eq!(rig.me(token).await.status, 200);
        }
        for token in &unknown {
            assert_eq!(rig.me(token).await.status, 401);
        }
    }
    provider.restart().await;
    rig.pass(10);
    let answers = join_all(unknown.iter().map(|token| rig.me(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(rig.me(&known[0]).await.status, 200, "still published");
}
