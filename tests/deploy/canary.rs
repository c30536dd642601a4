//! `deploy/canary`: the verdict about a canary, from a live Prometheus that scrapes two tracks, and the
//! commands that follow it.

mod exporter;
mod prometheus;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use mlsdm::testkit::{
    CommandOutput, TestDatabase, TestEnv, TestServer, eventually, free_port, send,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use self::{exporter::Exporter, prometheus::Prometheus};
use crate::{
    kubernetes::{list, objects},
    path,
};

/// Times of observation in seconds: one after which a canary may be promoted, and one in which nothing that
/// happens in a test is forgotten.
const SHORT: &str = "5";
const LONG: &str = "3600";
/// The minimum of traffic in the tests.
const REQUESTS: &str = "20";

/// Runs `deploy/canary/verify` with these arguments.
async fn verify(arguments: &[&str]) -> CommandOutput {
    let script = path("deploy/canary/verify");
    Command::new("python3").arg(script).args(arguments).output().await.unwrap().into()
}

/// The verdict on the canary of a Prometheus: the exit code, and the criteria that are not met.
async fn judged(prometheus: &Prometheus, seconds: &str) -> (i32, BTreeSet<String>) {
    let limits = ["--seconds", seconds, "--requests", REQUESTS, "--json"];
    let output = verify(&[&["--prometheus", prometheus.base()], &limits[..]].concat()).await;
    assert!([0, 1, 4].contains(&output.code), "{output:?}");
    let report = output.json();
    let failed = list(&report["criteria"]).iter().filter(|one| one["met"] == false);
    (output.code, failed.map(|one| one["name"].as_str().unwrap().to_owned()).collect())
}

/// Acts until the verdict has this exit code.
async fn until_verdict(prometheus: &Prometheus, code: i32, act: impl AsyncFn()) {
    eventually(&format!("the verdict {code}"), async || {
        act().await;
        let (found, failed) = judged(prometheus, SHORT).await;
        if found == code { Ok(()) } else { Err(format!("{found}: {failed:?}")) }
    })
    .await;
}

/// Acts until a criterion that is met is not met any more.
async fn until_unmet(prometheus: &Prometheus, criterion: &str, act: impl AsyncFn()) {
    let (_, failed) = judged(prometheus, LONG).await;
    assert!(!failed.contains(criterion), "{failed:?} before anything happens");
    eventually(&format!("the failure of {criterion}"), async || {
        act().await;
        let (code, failed) = judged(prometheus, LONG).await;
        let is_unmet = code == 1 && failed.contains(criterion);
        if is_unmet { Ok(()) } else { Err(format!("{code}: {failed:?}")) }
    })
    .await;
}

/// A server with metrics, on a database of its own.
struct Track {
    server: TestServer,
    _database: TestDatabase,
}

impl Track {
    async fn start(track: &str, latency_ms: u32) -> Self {
        let database = TestDatabase::sqlite();
        let env = TestEnv::new(database.url()).with("MLSDM_TRACK", track);
        let env = env.with("MLSDM__LLM__STUB__LATENCY_MS", latency_ms);
        // an engine whose provider cannot be reached
        let env = env.with("MLSDM__LLM__ENGINES", "broken=openai:m-1");
        let nowhere = format!("http://127.0.0.1:{}/v1", free_port());
        let env = env.with("MLSDM__LLM__OPENAI__BASE_URL", nowhere);
        let env = env.with("MLSDM__LLM__RETRY__ATTEMPTS", 1);
        let server = env.serve().await;
        let create = server.post("/v1/engines").json(&json!({"engine_id": "broken"}));
        assert_eq!(send(create).await.unwrap().status, 201);
        Self { server, _database: database }
    }

    /// The address of its metrics.
    fn metrics(&self) -> String {
        let log = self.server.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut addresses = lines.filter_map(|line| Some(line["metrics"].as_str()?.to_owned()));
        addresses.next().unwrap_or_else(|| panic!("no address of metrics in {log}"))
    }

    async fn ask(&self, engine: &str, times: usize) {
        for number in 0..times {
            let prompt = format!("Good morning, number {number}");
            send(self.server.ask(engine, "ann", &prompt)).await.unwrap();
        }
    }

    async fn shut_down(&self, engine: &str) {
        for act in ["shutdown", "resume"] {
            let request = self.server.post(&format!("/v1/engines/{engine}/admin/{act}"));
            let request = request.json(&json!({"reason": "drill"}));
            assert_eq!(send(request).await.unwrap().status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_criterion_of_a_canary_fails_by_itself_and_little_traffic_is_an_answer_of_its_own() {
    let tracks = [("stable", 0), ("canary", 0), ("canary", 700)];
    let mut started = Vec::new();
    for (track, latency) in tracks {
        started.push(Track::start(track, latency).await);
    }
    let targets: Vec<String> = started.iter().map(Track::metrics).collect();
    let [stable, canary, slow]: [Track; 3] = started.try_into().unwrap_or_else(|_| panic!());
    let prometheus = Prometheus::start(&targets).await;
    until_verdict(&prometheus, 4, async || {}).await;
    the_analysis_waits_for_traffic(&prometheus).await;
    until_verdict(&prometheus, 0, async || {
        tokio::join!(canary.ask("default", 15), stable.ask("default", 15));
    })
    .await;
    the_analysis_agrees(&prometheus).await;
    let (code, failed) = judged(&prometheus, LONG).await;
    assert_eq!((code, failed), (1, ["age".to_owned()].into()), "it has run for a few seconds");
    until_unmet(&prometheus, "shutdowns", async || canary.shut_down("default").await).await;
    until_unmet(&prometheus, "latency", async || {
        tokio::join!(slow.ask("default", 4), slow.ask("default", 4), slow.ask("default", 4));
    })
    .await;
    until_unmet(&prometheus, "errors", async || canary.ask("broken", 4).await).await;
    // an instance that is gone has no current values
    until_unmet(&prometheus, "health", async || {
        slow.server.signal("STOP").await;
        prometheus.until("min(up)", |up| up < 0.5).await;
    })
    .await;
    slow.server.signal("CONT").await;
}

/// The metrics of the `AnalysisTemplate`: its queries for a short window and little traffic.
fn analysis() -> Vec<(Value, String)> {
    let file = path("deploy/k8s/components/argo-rollouts/analysis-template.yaml");
    let template = objects(&fs::read_to_string(file).unwrap()).remove(0);
    let query = |metric: &Value| {
        let query = metric["provider"]["prometheus"]["query"].as_str().unwrap();
        let query = query.replace("{{args.window}}", &format!("{SHORT}s"));
        query.replace("{{args.seconds}}", SHORT).replace(" >= 100)", &format!(" >= {REQUESTS})"))
    };
    let metrics = list(&template["spec"]["metrics"]).iter();
    metrics.map(|metric| (metric.clone(), query(metric))).collect()
}

/// With too little traffic its metrics neither succeed nor fail, where those of `verify` are not judged.
async fn the_analysis_waits_for_traffic(prometheus: &Prometheus) {
    let mut inconclusive = Vec::new();
    for (metric, query) in analysis() {
        let failure = metric["failureCondition"].as_str();
        if failure.is_some_and(|failure| failure != "false") {
            assert!(failure.unwrap().starts_with("len(result) > 0 && "), "{metric}");
            assert_eq!(prometheus.number(&query).await, None, "{metric}");
            inconclusive.push(metric["name"].clone());
        }
    }
    assert_eq!(inconclusive, ["errors", "errors-than-stable", "latency", "error-logs"]);
}

/// The queries of the `AnalysisTemplate` of Argo Rollouts accept a canary that `verify` accepts.
async fn the_analysis_agrees(prometheus: &Prometheus) {
    for (metric, query) in analysis() {
        let (name, condition) = (&metric["name"], metric["successCondition"].as_str().unwrap());
        let condition = condition.replace("{{args.seconds}}", SHORT);
        let found = prometheus.number(&query).await.unwrap_or_else(|| panic!("{name}: no data"));
        let (_, compared) = condition.rsplit_once("result[0] ").unwrap();
        let (sign, limit) = compared.split_once(' ').unwrap();
        let limit: f64 = limit.parse().unwrap();
        let limit = if name == "traffic" { REQUESTS.parse().unwrap() } else { limit };
        let is_met = if sign == "<=" { found <= limit } else { found >= limit };
        assert!(is_met, "{name}: {found} {compared}");
    }
}

/// What a server cannot be driven to in a test: few errors in much traffic, and internal errors.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_or_logs_errors_more_often_than_stable_is_not_promoted() {
    let stable = Exporter { track: "stable", failed: 0, error_lines: 0 };
    let canary = Exporter { track: "canary", failed: 1, error_lines: 5 };
    let (stable, canary) = (stable.start().await, canary.start().await);
    let targets = [stable.address().to_string(), canary.address().to_string()];
    let prometheus = Prometheus::start(&targets).await;
    // the ratio of errors itself is within the limit of a release
    let expected = ["errors-than-stable", "error-logs"].map(str::to_owned).into();
    eventually("a verdict by the comparison with stable alone", async || {
        let verdict = judged(&prometheus, LONG).await;
        if verdict == (1, BTreeSet::clone(&expected)) {
            Ok(())
        } else {
            Err(format!("{verdict:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_verdict_without_prometheus_is_neither_yes_nor_no() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let output = verify(&["--prometheus", &nowhere]).await.exits(3);
    assert!(output.stderr.contains("cannot be reached"), "{output:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 another protocol\r\n").await.unwrap();
        let mut request = Vec::new();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut request).await.unwrap();
    };
    let arguments = ["--prometheus", &other];
    let (output, ()) = tokio::join!(verify(&arguments), answer);
    assert!(output.exits(3).stderr.contains("is not a Prometheus"));
    verify(&["--minutes", "15"]).await.exits(2);
}

/// Runs a script of `deploy/canary` with a kubectl that records its arguments and succeeds; gives the exit
/// code and the calls.
async fn with_recorded_kubectl(
    script: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (i32, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (kubectl, calls) = (folder.path().join("kubectl"), folder.path().join("calls"));
    let program = "#!/bin/sh\necho \"$*\" | tr '\\n' ' ' >> \"$CALLS\"; echo >> \"$CALLS\"\n\
                   case \"$*\" in\n\
                   get\\ deployment*) printf registry/image:9.9.9 ;;\n\
                   get\\ virtualservice*) eval \"${ISTIO:-echo virtualservice/mlsdm-vs}\" ;;\n\
                   esac\n";
    fs::write(&kubectl, program).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    let search = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(path("deploy/canary").join(script));
    command
        .args(arguments)
        .env("PATH", search)
        .env("CALLS", &calls)
        .envs(variables.iter().copied());
    let status = command.output().await.unwrap().status;
    let calls = fs::read_to_string(calls).unwrap_or_default();
    (status.code().unwrap(), calls.lines().map(|line| line.trim().to_owned()).collect())
}

#[tokio::test]
async fn a_promotion_sets_the_image_of_the_canary_and_then_removes_its_traffic_before_its_pods() {
    let (code, calls) = with_recorded_kubectl("promote", &[], &[("PROMOTE_UNVERIFIED", "1")]).await;
    assert_eq!(code, 0, "{calls:?}");
    let place = |start: &str| calls.iter().position(|call| call.starts_with(start)).unwrap();
    let image =
        place("set image deployment/mlsdm-api -n mlsdm-production mlsdm-api=registry/image:9.9.9");
    let ready = place("rollout status deployment/mlsdm-api -n mlsdm-production");
    let weight = place("patch virtualservice/mlsdm-vs -n mlsdm-production");
    let delete = place("delete -f ");
    assert!(image < ready && ready < weight && weight < delete, "{calls:#?}");
}

#[tokio::test]
async fn the_traffic_of_a_canary_starts_when_it_is_ready_and_ends_before_it_is_deleted() {
    let (code, calls) = with_recorded_kubectl("route", &["10"], &[]).await;
    assert_eq!(code, 0, "{calls:?}");
    let ready =
        calls.iter().position(|call| call.contains("status deployment/mlsdm-api -n mlsdm-canary"));
    let patch = calls.iter().position(|call| call.starts_with("patch ")).unwrap();
    assert!(ready.unwrap() < patch, "{calls:#?}");
    let canary = "mlsdm-api-service.mlsdm-canary.svc.cluster.local";
    for part in [canary, "\"value\": 90", "\"value\": 10"] {
        assert!(calls[patch].contains(part), "{part} in {}", calls[patch]);
    }

    let (code, calls) = with_recorded_kubectl("rollback", &[], &[]).await;
    assert_eq!(code, 0, "{calls:?}");
    let patch = calls.iter().position(|call| call.starts_with("patch ")).unwrap();
    let delete = calls.iter().position(|call| call.starts_with("delete ")).unwrap();
    assert!(patch < delete, "{calls:#?}");
    let stable = "mlsdm-api-service.mlsdm-production.svc.cluster.local";
    for part in [stable, "\"value\": 100", "\"value\": 0"] {
        assert!(calls[patch].contains(part), "{part} in {}", calls[patch]);
    }
    for wrong in ["", "101", "-1", "ten"] {
        assert_eq!(with_recorded_kubectl("route", &[wrong], &[]).await, (2, Vec::new()), "{wrong}");
    }
}

/// A canary is not deleted while it may still have traffic.
#[tokio::test]
async fn without_istio_a_rollback_changes_no_traffic_and_with_an_unknown_state_it_stops() {
    let no_kind = "echo 'error: the server doesn'\"'\"'t have a resource type \"virtualservice\"' >&2; exit 1";
    for (istio, wanted) in [("true", 0), (no_kind, 0), ("echo 'connection refused' >&2; exit 1", 1)]
    {
        let (code, calls) = with_recorded_kubectl("rollback", &[], &[("ISTIO", istio)]).await;
        assert_eq!(code, wanted, "{istio}: {calls:?}");
        assert!(!calls.iter().any(|call| call.starts_with("patch ")), "{istio}: {calls:?}");
        let is_deleted = calls.iter().any(|call| call.starts_with("delete "));
        assert_eq!(is_deleted, wanted == 0, "{istio}: {calls:?}");
    }
}

#[tokio::test]
async fn a_canary_without_a_verdict_is_not_promoted() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let (code, calls) =
        with_recorded_kubectl("promote", &[], &[("PROMETHEUS_URL", &nowhere)]).await;
    assert_eq!((code, calls), (3, Vec::new()));
}
