//! The replicas of a run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mlsdm::testkit::{TestEnv, TestServer};

use crate::{call::Call, client::Target};

/// A step may go on for this time after its call: its client has left, and the server notices it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

/// A time in which a replica did not run.
#[derive(Clone, Copy, Debug)]
struct Pause {
    replica: usize,
    from: Instant,
    to: Option<Instant>,
}

/// The server processes that share a log.
pub(crate) struct Fleet {
    envs: Vec<TestEnv>,
    servers: Vec<Option<TestServer>>,
    pub(crate) targets: Arc<Vec<Target>>,
    pauses: Vec<Pause>,
    /// The longest time from SIGTERM to the exit, of those that were stopped.
    pub(crate) slowest_stop: Option<Duration>,
}

impl Fleet {
    /// Starts one replica in each environment and waits until they are ready.
    pub(crate) async fn start(envs: Vec<TestEnv>) -> Self {
        let targets = Arc::new(envs.iter().map(|_| Target::default()).collect());
        let servers = envs.iter().map(|_| None).collect();
        let mut fleet = Self { envs, servers, targets, pauses: Vec::new(), slowest_stop: None };
        for replica in 0..fleet.envs.len() {
            fleet.restart(replica).await;
        }
        fleet
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &TestServer> {
        self.servers.iter().flatten()
    }

    pub(crate) fn server(&self, replica: usize) -> &TestServer {
        self.servers[replica].as_ref().expect("a running replica")
    }

    /// Starts a replica that does not run, and waits until it is ready.
    pub(crate) async fn restart(&mut self, replica: usize) {
        let mut server = self.envs[replica].start();
        self.targets[replica].set(server.base(), server.id());
        server.until_ready().await;
        self.servers[replica] = Some(server);
        self.returned(replica);
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self, replica: usize) {
        self.gone(replica);
        self.servers[replica].take().expect("a running replica").kill().await;
    }

    /// SIGSTOP.
    pub(crate) async fn pause(&mut self, replica: usize) {
        self.gone(replica);
        self.server(replica).signal("STOP").await;
    }

    /// SIGCONT.
    pub(crate) async fn resume(&mut self, replica: usize) {
        self.server(replica).signal("CONT").await;
        self.returned(replica);
    }

    /// SIGTERM. Waits for the exit, whatever its code.
    pub(crate) async fn terminate(&mut self, replica: usize) {
        self.gone(replica);
        let mut server = self.servers[replica].take().expect("a running replica");
        let began = Instant::now();
        server.terminate().await;
        server.exit().await;
        self.slowest_stop = self.slowest_stop.max(Some(began.elapsed()));
    }

    /// SIGTERM to all of them, one after another.
    pub(crate) async fn terminate_all(&mut self) {
        for replica in 0..self.servers.len() {
            if self.servers[replica].is_some() {
                self.terminate(replica).await;
            }
        }
    }

    fn gone(&mut self, replica: usize) {
        self.pauses.push(Pause { replica, from: Instant::now(), to: None });
    }

    fn returned(&mut self, replica: usize) {
        let open = self.pauses.iter_mut().filter(|pause| pause.replica == replica);
        for pause in open.filter(|pause| pause.to.is_none()) {
            pause.to = Some(Instant::now());
        }
    }

    /// True if the replica of a call did not run all the time that the call took.
    pub(crate) fn interrupted(&self, call: &Call) -> bool {
        let mut own = self.pauses.iter().filter(|pause| pause.replica == call.replica);
        own.any(|pause| {
            let ended = pause.to.is_some_and(|to| to < call.began);
            pause.from <= call.ended + LAST_WORDS && !ended
        })
    }
}
