//! TLS: handshakes, certificates that change under load, and client certificates.

mod http_2;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use mlsdm::{
    testkit::{
        DEADLINE, TestDatabase, TestEnv, TestResponse, TestServer, http_client,
        http_client_builder, mutate::mutations, send,
    },
    tls::ClientCertificate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use reqwest::{Certificate, Identity, Version, tls};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::timeout,
};

/// A certificate authority and the folder of the certificates that it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a server certificate and its key.
    fn serve(&self, common_name: &str) {
        let (cert, key) = self.sign(common_name, false, false);
        fs::write(self.path("key.pem"), key).unwrap();
        fs::write(self.path("cert.pem"), cert).unwrap();
    }

    fn sign(&self, common_name: &str, for_client: bool, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let usage = if for_client {
            params.subject_alt_names =
                vec![SanType::URI("spiffe://example/ann".try_into().unwrap())];
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        };
        params.extended_key_usages = vec![usage];
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority and opens a connection per request.
    fn client(&self, identity: Option<(String, String)>) -> reqwest::ClientBuilder {
        let root = Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap();
        let builder =
            http_client_builder().tls_built_in_root_certs(false).add_root_certificate(root);
        let builder = builder.pool_max_idle_per_host(0).tls_info(true);
        match identity {
            None => builder,
            Some((cert, key)) => {
                builder.identity(Identity::from_pem((cert + &key).as_bytes()).unwrap())
            }
        }
    }

    fn env(&self, database: &TestDatabase) -> TestEnv {
        TestEnv::new(database.url())
            .with("MLSDM__TLS__CERT", self.path("cert.pem").display())
            .with("MLSDM__TLS__KEY", self.path("key.pem").display())
            .with("MLSDM__TLS__RELOAD_SECONDS", 1)
            .over_tls(self.client(None).build().unwrap())
    }
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// The common name in the certificate that a server presents on a new connection.
async fn shown(authority: &Authority, server: &TestServer) -> String {
    let client = authority.client(None).build().unwrap();
    let response = client.get(format!("{}/health/live", server.base())).send().await.unwrap();
    let info = response.extensions().get::<tls::TlsInfo>().unwrap();
    let der = info.peer_certificate().unwrap().to_vec();
    ClientCertificate::read(&der.into()).unwrap().name
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_connections_support_http_2_and_set_hsts() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("first");
    let server = authority.env(&database).with("MLSDM__TLS__MIN_VERSION", "1.3").serve().await;
    let response = server.get("/v1/state").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    assert!(!response.headers().contains_key("server"));
    let old = authority.client(None).http1_only().build().unwrap();
    let response = old.get(format!("{}/nowhere", server.base())).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (404, Version::HTTP_11));
    assert!(response.headers().contains_key("strict-transport-security"));

    let late = authority.client(None).max_tls_version(tls::Version::TLS_1_2).build().unwrap();
    late.get(server.base()).send().await.expect_err("1.2 is too old here");
    http_client().get(server.base()).send().await.expect_err("nobody else trusts this authority");

    let mut plain = server.connect().await;
    plain.write_all(b"GET /v1/state HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut received = Vec::new();
    // the server sends a TLS alert or only closes the connection
    drop(
        timeout(DEADLINE, plain.read_to_end(&mut received))
            .await
            .expect("the server closes the connection"),
    );
    assert!(received.is_empty() || received[0] == 21, "{received:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_certificate_is_reloaded_under_load_and_an_invalid_one_is_not() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("first");
    let server = Arc::new(authority.env(&database).serve().await);
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut traffic = JoinSet::new();
    {
        let (server, done, answered) = (server.clone(), done.clone(), answered.clone());
        traffic.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(send(server.get("/v1/state")).await.unwrap().status, 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    assert_eq!(shown(&authority, &server).await, "first");
    authority.serve("second");
    server.signal("HUP").await;
    server.until_logged("tls.reloaded", 1).await;
    assert_eq!(shown(&authority, &server).await, "second");

    authority.serve("third");
    server.until_logged("tls.reloaded", 2).await;
    assert_eq!(shown(&authority, &server).await, "third", "the reload needs no signal");

    let failed = server.log().matches("tls.reload_failed").count();
    for bad in [&b"not a certificate"[..], b"", authority.sign("other", false, false).0.as_bytes()]
    {
        fs::write(authority.path("cert.pem"), bad).unwrap();
        let before = server.log().matches("tls.reload_failed").count();
        server.signal("HUP").await;
        server.until_logged("tls.reload_failed", before + 1).await;
        assert_eq!(shown(&authority, &server).await, "third");
    }
    assert!(server.log().matches("tls.reload_failed").count() >= failed + 3);
    assert!(!server.log().contains("PRIVATE KEY"));
    done.store(true, Ordering::Relaxed);
    traffic.join_next().await.unwrap().unwrap();
    assert!(answered.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_valid_client_certificates_are_accepted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.serve("server");
    let identity = |by: &Authority, expired| Some(by.sign("ann", true, expired));
    for required in [false, true] {
        let database = TestDatabase::sqlite();
        let mut env = authority
            .env(&database)
            .with("MLSDM__TLS__CLIENT_CA", authority.path("ca.pem").display())
            .with("LOG_LEVEL", "DEBUG");
        if required {
            env = env.with("MLSDM__TLS__CLIENT_AUTH", "required");
        }
        let good = authority.client(identity(&authority, false)).build().unwrap();
        let server = env.over_tls(good).serve().await;
        assert_eq!(send(server.get("/v1/state")).await.unwrap().status, 200);
        server.until_logged("tls.client", 1).await;
        assert!(server.log().contains("\"name\":\"ann\""), "the name is logged");

        let ask = async |identity| {
            let client = authority.client(identity).build().unwrap();
            client.get(format!("{}/v1/state", server.base())).send().await
        };
        ask(identity(&authority, true)).await.expect_err("expired");
        ask(identity(&stranger, false)).await.expect_err("of an unknown authority");
        ask(Some(authority.sign("server", false, false))).await.expect_err("a server's");
        assert_eq!(ask(None).await.is_ok(), !required, "without a certificate");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_named_in_the_configuration_authenticates_its_client() {
    let authority = Authority::new();
    authority.serve("server");
    let database = TestDatabase::sqlite();
    let env = authority
        .env(&database)
        .with("MLSDM__TLS__CLIENT_CA", authority.path("ca.pem").display())
        .with("MLSDM__AUTH__MODE", "keys")
        .with("MLSDM__AUTH__CERTIFICATES", "ann=operator,bot=service")
        .with("ADMIN_API_KEY", "admin-key-0123456789");
    let ann = authority.client(Some(authority.sign("ann", true, false))).build().unwrap();
    let server = env.over_tls(ann).serve().await;
    let me = send(server.get("/v1/me")).await.unwrap();
    assert_eq!((me.status, &me.body["subject"]), (200, &"cert:ann".into()));
    assert_eq!(me.body["method"], "certificate");
    assert_eq!(send(server.get("/v1/state")).await.unwrap().status, 200);
    let body = serde_json::json!({"prompt": "hello"});
    assert_eq!(send(server.post("/v1/generate").json(&body)).await.unwrap().status, 403);
    let keyed = server.get("/v1/me").header("x-api-key", "admin-key-0123456789");
    assert_eq!(send(keyed).await.unwrap().body["subject"], "key:admin", "a key takes precedence");
    let wrong = server.get("/v1/me").header("x-api-key", "admin-key-012345678x");
    assert_eq!(
        send(wrong).await.unwrap().status,
        401,
        "a certificate does not make up for an invalid key"
    );
    let stranger = authority.client(Some(authority.sign("eve", true, false))).build().unwrap();
    let eve = stranger.get(format!("{}/v1/me", server.base())).send().await.unwrap();
    assert_eq!(eve.status().as_u16(), 401, "signed but not in the configuration");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_the_same_host_trust_the_certificate_file() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.serve("server");
    other.serve("server");
    let database = TestDatabase::sqlite();
    let server = authority.env(&database).serve().await;
    let port = server.base().rsplit(':').next().unwrap().to_owned();
    let here = authority.env(&database).with("API_PORT", port);
    let health = here.run(&["health", "--json"]).await.exits(0);
    assert!(health.stdout.contains("\"healthy\""), "{health:?}");
    let wrong = here.with("MLSDM__TLS__CERT", other.path("cert.pem").display());
    let wrong = wrong.run(&["health"]).await.exits(3);
    assert!(wrong.stderr.contains("certificate"), "a different certificate: {wrong:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_certificate_or_key_fails_the_start() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("server");
    let env = authority.env(&database);
    let missing = Path::new("/nonexistent/cert.pem").display();
    let run = env.clone().with("MLSDM__TLS__CERT", missing).run(&["serve"]).await.exits(2);
    assert!(run.stderr.contains("/nonexistent/cert.pem"), "{run:?}");
    fs::write(authority.path("key.pem"), authority.sign("other", false, false).1).unwrap();
    let run = env.run(&["serve"]).await.exits(2);
    assert!(run.stderr.contains("tls.cert and tls.key"), "{run:?}");
}

#[test]
fn a_certificate_names_its_client() {
    let authority = Authority::new();
    let (pem, _) = authority.sign("ann", true, false);
    let read = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        ClientCertificate::read(params.signed_by(&key, &authority.issuer).unwrap().der())
    };
    let bare = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    };
    assert!(pem.starts_with("-----BEGIN CERTIFICATE"));
    let mut named = bare();
    named.distinguished_name.push(DnType::OrganizationName, "Example");
    named.distinguished_name.push(DnType::CommonName, "ann");
    let named = read(named).unwrap();
    assert_eq!((named.name.as_str(), named.subject.as_str()), ("ann", "O=Example, CN=ann"));
    let mut workload = bare();
    workload.subject_alt_names = vec![SanType::URI("spiffe://example/ann".try_into().unwrap())];
    let workload = read(workload).unwrap();
    assert_eq!(workload.name, "spiffe://example/ann");
    assert_eq!(workload.alternatives, ["spiffe://example/ann"]);
    assert_eq!(read(bare()), None, "a certificate without a name");
    let der = pem_to_der(&pem);
    assert_eq!(ClientCertificate::read(&der.clone().into()).unwrap().name, "ann");
    for damaged in mutations(&der, 5_000) {
        // it must not panic; the result is irrelevant, since the handshake verifies certificates
        drop(ClientCertificate::read(&damaged.into()));
    }
}

/// Asks a server whose model provider has a certificate of this authority; gives its response, and waits
/// for a text in its log.
async fn through(provider: &TestServer, env: TestEnv, logged: &str) -> TestResponse {
    let server = env
        .with("LLM_BACKEND", "openai")
        .with("MLSDM__LLM__OPENAI__BASE_URL", format!("{}/v1", provider.base()))
        .with("MLSDM__LLM__MODEL", "default")
        .with("MLSDM__LLM__RETRY__ATTEMPTS", 1)
        .serve()
        .await;
    let reply = send(server.ask("default", "ann", "Hello")).await.unwrap();
    server.until_log_has(logged, 1).await;
    server.stop().await;
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_behind_a_private_authority_is_reached_if_it_is_configured() {
    let (authority, database) = (Authority::new(), TestDatabase::sqlite());
    authority.serve("provider");
    let provider = authority.env(&database).serve().await;
    let ca = authority.path("ca.pem");
    let env = |database: &TestDatabase| TestEnv::new(database.url());

    let plain = TestDatabase::sqlite();
    let refused = through(&provider, env(&plain), r#""unreachable_cause":"tls""#).await;
    let cause = &refused.body["provider_error"]["cause"];
    assert_eq!((refused.status, cause), (502, &serde_json::json!("tls")), "{refused:?}");
    for variable in ["MLSDM__TLS__EXTRA_CA", "SSL_CERT_FILE"] {
        let database = TestDatabase::sqlite();
        let reply =
            through(&provider, env(&database).with(variable, ca.display()), r#""status":200"#)
                .await;
        assert_eq!(reply.status, 200, "{variable}: {reply:?}");
    }
    provider.stop().await;
}
