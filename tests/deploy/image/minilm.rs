//! The image with the weights of the sentence transformer.

use super::{KEY, start};
use crate::{
    containers::{Sandbox, images, podman},
    path,
};

#[tokio::test]
async fn the_plain_image_names_the_one_with_the_weights() {
    let sandbox = Sandbox::new();
    let options = ["--env=MLSDM__EMBEDDINGS__PROVIDER=minilm"];
    let server = start(&sandbox, images::server(), &options);
    assert_eq!(server.exit_code().await, 2, "{}", server.logs());
    assert!(server.logs().contains("the image whose tag ends in -minilm"), "{}", server.logs());
}

/// It embeds in the process and writes the log file.
#[tokio::test]
async fn the_image_with_the_weights_starts_with_the_configuration_of_the_guide() {
    let sandbox = Sandbox::new();
    let config = path("tests/deploy/guide/config.yaml");
    let config = format!("--volume={}:/var/lib/mlsdm/config.yaml:ro", config.display());
    let logs = format!("--volume={}:/var/log/mlsdm", sandbox.volume("logs"));
    let key = "--env=OPENAI_API_KEY=a-key-of-a-provider";
    let server = start(&sandbox, images::minilm(), &[&config, &logs, key]);
    server.until_ready().await;
    let shown = server.exec(&["mlsdm", "config", "--json"]).exits(0);
    assert!(shown.stdout.contains("minilm"), "{}", shown.stdout);
    let folder =
        podman(&["volume", "inspect", "--format", "{{.Mountpoint}}", &sandbox.named("logs")]);
    let log = std::fs::read_to_string(format!("{}/app.log", folder.trim())).unwrap();
    assert!(log.contains("\"event_type\":\"server.started\""), "{log}");
    let bad = crate::containers::generate(&server.url(8000), KEY, "").await;
    assert_eq!(bad.status, 400, "{bad:?}");
}
