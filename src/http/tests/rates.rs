//! Rate limits of the API. The window of a day ensures that no token is refilled during a test.

use std::net::SocketAddr;

use super::*;

const DAILY: [(&str, &str); 4] = [
    ("RATE_LIMIT_REQUESTS", "1"),
    ("RATE_LIMIT_WINDOW", "86400"),
    ("MLSDM__LIMITS__RATE__BURST", "2"),
    ("MLSDM__API__TRUSTED_PROXIES", "10.0.0.0/8"),
];

fn from(peer: &str, uri: &str) -> test::TestRequest {
    let peer: SocketAddr = format!("{peer}:4711").parse().unwrap();
    get(uri).peer_addr(peer)
}

#[actix_web::test]
async fn responses_have_rate_limit_headers_and_a_request_above_the_limit_gets_429() {
    let (state, _database) = app_state(&DAILY).await;
    let app = test::init_service(create_app(web::Data::new(state))).await;
    for (uri, status, remaining) in [("/v1/state", 200, "1"), ("/nowhere", 404, "0")] {
        let answer = answer(&app, from("192.0.2.1", uri).to_request()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("ratelimit-limit"), "2");
        assert_eq!(answer.header("ratelimit-remaining"), remaining);
        assert_eq!(answer.header("ratelimit-policy"), "1;w=86400;burst=2");
        let reset: u64 = answer.header("ratelimit-reset").parse().unwrap();
        assert!((1..=2 * 86_400).contains(&reset), "{reset}");
    }
    let refused = answer(&app, from("192.0.2.1", "/v1/state").to_request()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "E907".to_owned()));
    assert_eq!(refused.header("ratelimit-remaining"), "0");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{seconds}");
    let other = answer(&app, from("192.0.2.2", "/v1/state").to_request()).await;
    assert_eq!(other.status, 200, "another address has a bucket of its own");

    for (uri, kind) in [("/v1/models", "rate_limit_error"), ("/v1/messages", "rate_limit_error")] {
        let refused = answer(&app, from("192.0.2.1", uri).to_request()).await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json()["error"]["type"], kind, "{uri}");
        assert_eq!(refused.json()["error"]["code"], "E907", "{uri}");
        assert!(!refused.header("retry-after").is_empty(), "{uri}");
    }
    for uri in ["/health", "/health/live", "/health/ready", "/health/detailed", "/status"] {
        let probe = answer(&app, from("192.0.2.1", uri).to_request()).await;
        assert_eq!((probe.status.as_u16(), probe.header("ratelimit-limit")), (200, ""), "{uri}");
    }
}

#[actix_web::test]
async fn only_trusted_proxies_may_forward_a_client_address() {
    let (state, _database) = app_state(&DAILY).await;
    let state = web::Data::new(state);
    let app = test::init_service(create_app(state.clone())).await;
    let forwarded = |peer: &str, client: &str| {
        let request = from(peer, "/v1/state").insert_header(("x-forwarded-for", client.to_owned()));
        request.insert_header(("forwarded", format!("for={client}"))).to_request()
    };
    let mut refused = 0;
    for n in 0..10_000_u32 {
        let client = std::net::Ipv4Addr::from(0x0100_0000 + n).to_string();
        refused += u32::from(answer(&app, forwarded("203.0.113.9", &client)).await.status == 429);
    }
    assert_eq!(refused, 9_998, "an untrusted peer has one bucket, whatever it forwards");
    assert_eq!(state.rates.as_ref().unwrap().buckets(), 1);
    for n in 1..5 {
        let answer = answer(&app, forwarded("10.0.0.1", &format!("192.0.2.{n}"))).await;
        assert_eq!(
            answer.header("ratelimit-remaining"),
            "1",
            "the address that the proxy forwards is used"
        );
    }
    assert_eq!(state.rates.as_ref().unwrap().buckets(), 5);
}
