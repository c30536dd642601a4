//! No token or key is logged, at the most detailed level, by any crate.

use std::{
    io,
    sync::{Arc, Mutex},
};

use actix_web::test::TestRequest;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{TestIssuer, get, post, prompt};

const KEY: &str = "geheim-user-key-4711";

/// The log output.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[actix_web::test]
async fn credentials_are_not_logged_at_trace_level() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = TestIssuer::with(Algorithm::ES256, &[("API_KEY", KEY)]).await;
    let good = app.token(&json!({"name": "Ann"}));
    let expired = app.token(&json!({"exp": 1}));
    let unknown = app.key.sign_text(r#"{"alg":"ES256","kid":"other"}"#, &app.claims().to_string());
    let plain = || TestRequest::get().uri("/v1/me");
    for token in [&good, &good, &expired, &unknown, &KEY.to_owned(), &format!("{KEY}-wrong")] {
        app.rig.ask(get("/v1/me", token)).await;
        app.rig.ask(post("/v1/generate", token, &prompt())).await;
        app.rig.ask(get("/v1/engines", token)).await;
        app.rig.ask(plain().insert_header(("x-api-key", token.as_str()))).await;
        app.rig.ask(plain().insert_header(("authorization", format!("Basic {token}")))).await;
        app.rig.ask(plain().insert_header(("cookie", format!("token={token}")))).await;
        app.rig.ask(TestRequest::get().uri(&format!("/v1/me?access_token={token}"))).await;
    }
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("auth.refused") && logged.contains("TRACE"), "{logged}");
    assert!(!logged.contains("geheim"));
    for token in [&good, &expired, &unknown] {
        // neither complete nor in part
        for part in token.split('.') {
            assert!(!logged.contains(part), "{part}");
        }
    }
}
