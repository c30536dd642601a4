//! The fact that this process has begun to serve: the binary and the configuration that decide.

use std::{fs::File, io, path::Path};

use sha2::{Digest as _, Sha256};

use crate::{
    config::Setting,
    domain::{
        event::ServerStarted,
        ids::{self, ReplicaId},
    },
    engine::Engines,
    lifecycle::Tasks,
};

/// The commit from which the binary was built, if the build names it.
const COMMIT: Option<&str> = option_env!("MLSDM_COMMIT");

/// The running binary on Linux, also after its file was replaced.
const OWN_BINARY: &str = "/proc/self/exe";

/// Records in the background that this process has begun to serve.
pub fn record_start(settings: &[Setting], engines: &Engines, tasks: &Tasks) {
    let (engines, config_hash) = (engines.clone(), config_hash(settings));
    let (replica, stop) = (engines.parts().replica, tasks.stop().clone());
    let record = async move {
        let binary = tokio::task::spawn_blocking(binary_hash).await.ok().and_then(Result::ok);
        engines.keep_recording_start(started(replica, binary, config_hash)).await;
    };
    tasks.spawn("start", async move {
        tokio::select! {
            // a stop does not wait for the hash of the binary
            () = stop.soft() => {}
            () = record => {}
        }
    });
}

fn started(
    replica: ReplicaId,
    binary_sha256: Option<ids::Sha256>,
    config_hash: ids::Sha256,
) -> ServerStarted {
    ServerStarted {
        replica,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: COMMIT.map(str::to_owned),
        binary_sha256,
        config_hash,
    }
}

fn binary_hash() -> io::Result<ids::Sha256> {
    let path = if Path::new(OWN_BINARY).exists() {
        Path::new(OWN_BINARY).to_owned()
    } else {
        std::env::current_exe()?
    };
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(ids::Sha256(hash.finalize().into()))
}

/// The hash of all settings by name. A secret contributes only whether it is set.
fn config_hash(settings: &[Setting]) -> ids::Sha256 {
    let mut hash = Sha256::new();
    for setting in settings {
        let line = serde_json::json!([setting.key, setting.shown()]).to_string();
        hash.update((line.len() as u64).to_be_bytes());
        hash.update(line);
    }
    ids::Sha256(hash.finalize().into())
}
