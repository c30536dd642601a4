use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use actix_web::{HttpServer, web};
use clap::{CommandFactory as _, Parser as _};
use serde_json::json;

use super::{Cli, Context, client::Client, client::Unreachable, exit, health, parse_set};
use crate::{
    config::{Config, Loaded, Sources},
    http::create_app,
    testkit::{TestDatabase, app_state},
};

fn exit_code(result: anyhow::Result<()>) -> std::process::ExitCode {
    exit::code("mlsdm", result)
}

fn loaded(port: u16) -> Loaded {
    let env = [("API_PORT".to_owned(), port.to_string())];
    let dir = PathBuf::from("/nonexistent");
    Config::load(Sources { file: None, dir, env, flags: Vec::new() }).unwrap()
}

/// A server on a free port that stops with the test.
async fn serve() -> (SocketAddr, TestDatabase) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let (state, database) = app_state(&[]).await;
    let state = web::Data::new(state);
    let server = HttpServer::new(move || create_app(state.clone())).workers(1);
    let server = server.bind(("127.0.0.1", 0)).unwrap();
    let address = server.addrs()[0];
    drop(actix_web::rt::spawn(server.run()));
    (address, database)
}

fn unused_address() -> SocketAddr {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    // bound and closed again, so that nothing listens there
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    assert_eq!(parse_set("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
    assert!(parse_set("a.b").is_err());
    assert!(Cli::try_parse_from(["mlsdm", "events", "--limit", "501"]).is_err());
    assert!(Cli::try_parse_from(["mlsdm", "engine", "create", "Bad Name"]).is_err());
    let lines = [
        "mlsdm config --json --set api.port=9000",
        "mlsdm --server http://h state --engine e1 --at-position 5",
        "mlsdm engine shutdown --reason drill",
        "mlsdm policy show --engine e1",
    ];
    for line in lines {
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
}

#[actix_web::test]
async fn error_responses_become_errors() {
    let (address, _database) = serve().await;
    let client = Client::local(format!("http://{address}"), None, None).unwrap();
    let live = client.get("/health/live", &[]).await.unwrap();
    assert_eq!(live, json!({"status": "alive"}));
    let refused = client.get("/nowhere", &[]).await.unwrap_err().to_string();
    assert!(refused.starts_with("E901 The resource does not exist: "), "{refused}");
    assert!(refused.contains("status 404"), "{refused}");
}

#[actix_web::test]
async fn a_named_server_needs_no_configuration() {
    let (address, _database) = serve().await;
    let url = format!("http://{address}/");
    let context = Context::new(Ok(loaded(8000)), true, Some(url), None);
    let live = context.client().await.unwrap().get("/health/live", &[]).await.unwrap();
    assert_eq!(live["status"], "alive");
}

#[actix_web::test]
async fn an_unreachable_server_is_reported_with_the_remediation() {
    let context = Context::new(Ok(loaded(unused_address().port())), true, None, None);
    let error = health::run(&context).await.unwrap_err();
    assert!(error.is::<Unreachable>());
    assert!(error.to_string().contains("mlsdm serve"), "{error}");
    assert_eq!(exit_code(Err(error)), 3.into());
}

#[tokio::test]
async fn a_server_must_be_a_url() {
    for bad in ["localhost:8000", "ftp://h", "http://[::1"] {
        let context = Context::new(Ok(loaded(8000)), true, Some(bad.to_owned()), None);
        assert_eq!(exit_code(context.client().await.map(drop)), 2.into(), "{bad}");
    }
}

#[test]
fn exit_codes_distinguish_usage_from_findings() {
    let broken = || {
        let (file, dir) = (Some(PathBuf::from("/nonexistent/x.toml")), PathBuf::from("/"));
        Config::load(Sources { file, dir, env: Vec::new(), flags: Vec::new() }).unwrap_err()
    };
    assert_eq!(exit_code(Ok(())), 0.into());
    assert_eq!(exit_code(Err(anyhow::anyhow!("found"))), 1.into());
    assert_eq!(exit_code(Err(broken().into())), 2.into());
    assert_eq!(exit_code(Err(Arc::new(broken()).into())), 2.into());
    let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert_eq!(exit_code(Err(closed.into())), 0.into());
}

/// The documents with commands in blocks of shell.
const DOCUMENTS: [&str; 8] = [
    include_str!("../../README.md"),
    include_str!("../../deploy/CLIENTS.md"),
    include_str!("../../deploy/EMBEDDERS.md"),
    include_str!("../../deploy/MONITORING.md"),
    include_str!("../../deploy/OIDC.md"),
    include_str!("../../deploy/RUNBOOK.md"),
    include_str!("../../deploy/SECURITY.md"),
    include_str!("../../deploy/TOUR.md"),
];

/// The words of a shell command without its variables, up to a comment, a pipe or the next command.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            '#' | '|' | ';' | '&' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words.into_iter().skip_while(|word| word.contains('=')).collect()
}

#[test]
fn every_command_in_the_documents_parses() {
    let mut seen = 0;
    for text in DOCUMENTS {
        let shell = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        for words in shell.flat_map(str::lines).map(shell_words) {
            let parser = match words.first().and_then(|word| word.rsplit('/').next()) {
                Some("mlsdm") => Cli::command(),
                #[cfg(feature = "tools")]
                Some("mlsdm-dev") => super::dev::command(),
                _ => continue,
            };
            let parsed = parser.try_get_matches_from(&words);
            parsed.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            seen += 1;
        }
    }
    assert!(seen > 45, "{seen}");
}
