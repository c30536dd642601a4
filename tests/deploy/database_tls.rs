//! TLS between the server and PostgreSQL: `sslmode=verify-full` accepts the certificate of the right
//! authority and name, and nothing else.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use mlsdm::testkit::{TestDatabase, TestEnv, eventually, postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Gives a private cluster a certificate for `localhost`, and refuses connections without TLS.
async fn require_tls(database: &TestDatabase, authority: &CertifiedIssuer<'static, KeyPair>) {
    let data = database.query_text("SHOW data_directory").await;
    let data = Path::new(&data);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let owner = fs::metadata(data).unwrap();
    for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = data.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    database.execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    database.execute("SELECT pg_reload_conf()").await.unwrap();
}

#[tokio::test]
async fn the_database_is_verified_by_its_certificate() {
    let cluster = postgres::private_cluster();
    let database = TestDatabase::within(&cluster).await;
    let (right, wrong) = (authority(), authority());
    require_tls(&database, &right).await;
    let folder = tempfile::tempdir().unwrap();
    let [trusted, other] =
        [("right.pem", &right), ("wrong.pem", &wrong)].map(|(name, authority)| {
            let path = folder.path().join(name);
            fs::write(&path, authority.pem()).unwrap();
            path.display().to_string()
        });
    let by_name = database.url().replace("127.0.0.1", "localhost");
    let url = |base: &str, root: &str| format!("{base}?sslmode=verify-full&sslrootcert={root}");
    let plain = format!("{by_name}?sslmode=disable");
    eventually("the refusal of connections without TLS", async || {
        let applied = TestEnv::new(&plain).run(&["policy", "apply"]).await;
        if applied.code == 0 { Err(applied.stdout) } else { Ok(()) }
    })
    .await;

    let env = TestEnv::new(&url(&by_name, &trusted));
    let server = env.serve().await;
    server.say("ann", "a prompt").await;
    let encrypted = "SELECT bool_and(ssl)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name LIKE 'mlsdm/%'";
    assert_eq!(database.query_text(encrypted).await, "true");
    server.stop().await;
    env.run(&["audit", "verify"]).await.exits(0);

    for (refused, cause) in [
        (url(&by_name, &other), "another authority"),
        // the certificate is for `localhost`
        (url(database.url(), &trusted), "another name"),
    ] {
        let failed = TestEnv::new(&refused).run(&["audit", "verify"]).await;
        assert_ne!(failed.code, 0, "{cause}");
        assert!(failed.stderr.to_lowercase().contains("certificate"), "{cause}: {failed:?}");
    }
}
