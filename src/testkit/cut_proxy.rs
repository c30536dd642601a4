//! A TCP proxy before PostgreSQL that breaks the network as a test asks.
//!
//! | command | what happens |
//! |---|---|
//! | [`pass`](CutProxy::pass) | bytes pass again, those that were held too; the plan is dropped |
//! | [`hole`](CutProxy::hole) | no byte passes, on present and new connections, until `pass` |
//! | [`silence`](CutProxy::silence) | the present connections are silent for ever; new ones work |
//! | [`at_commit`](CutProxy::at_commit) | a [`CommitFault`] for each of the next COMMITs |
//! | [`cut_after`](CutProxy::cut_after) | the connection that carries the n-th byte is reset |
//! | [`reset`](CutProxy::reset) | the present connections are reset |
//! | [`half_close`](CutProxy::half_close) | clients see the end of the stream, the server does not |
//! | [`refuse`](CutProxy::refuse) | new connections are reset until `pass` |
//! | [`latency`](CutProxy::latency) | each round trip takes this much longer |
//! | [`switch`](CutProxy::switch) | new connections go to another server |
#![expect(clippy::expect_used, reason = "test support: a panic is the report")]

mod frames;
mod link;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What happens to one COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// It passes undisturbed: the fault planned next is for a later COMMIT.
    Passes,
    /// The connection is reset before the server gets it.
    ResetBefore,
    /// The server gets it; the connection is reset when the answer arrives here.
    EatAnswer,
    /// The server never gets it, and the connection stays open.
    HoleBefore,
    /// The server gets it; its answer never arrives, and the connection stays open.
    Hole,
}

/// A proxy on a port of its own; it stops, and resets its connections, when dropped.
pub struct CutProxy {
    address: SocketAddr,
    control: Arc<Control>,
    task: JoinHandle<()>,
}

/// What the test asked for, shared with all connections.
struct Control {
    rules: Mutex<Rules>,
    flow: watch::Sender<Flow>,
    accepted: AtomicU64,
    commits: watch::Sender<u64>,
}

struct Rules {
    target: SocketAddr,
    commits: VecDeque<CommitFault>,
    /// Bytes until the connection that carries the last of them is reset.
    cut_after: Option<u64>,
}

/// The state of the network. A connection compares its number with those of the last commands.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    is_held: bool,
    is_refusing: bool,
    latency: Duration,
    /// Connections with a smaller number are silent.
    silent_below: u64,
    /// Connections with a smaller number are reset.
    reset_below: u64,
    /// Connections with a smaller number get no further byte of the server, but its end.
    half_closed_below: u64,
}

impl CutProxy {
    /// A proxy before the server on this port of 127.0.0.1.
    pub async fn before(port: u16) -> Self {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let control = Arc::new(Control {
            rules: Mutex::new(Rules { target, commits: VecDeque::new(), cut_after: None }),
            flow: watch::Sender::default(),
            accepted: AtomicU64::new(0),
            commits: watch::Sender::new(0),
        });
        let accepting = accept(listener, Arc::clone(&control));
        let task = tokio::runtime::Handle::current().spawn(accepting);
        Self { address, control, task }
    }

    /// The port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a [`TestDatabase`](super::TestDatabase) through this proxy.
    pub fn url(&self, database: &str) -> String {
        let (server, name) = database.rsplit_once('/').expect("a URL with a database");
        let (host, _) = server.rsplit_once(':').expect("a URL with a port");
        format!("{host}:{}/{name}", self.port())
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.control.accepted.load(Ordering::Relaxed)
    }

    /// COMMITs seen so far.
    pub fn commits(&self) -> u64 {
        *self.control.commits.borrow()
    }

    /// Resolves when more than `count` COMMITs have been seen.
    pub async fn commits_after(&self, count: u64) {
        // the sender lives as long as this borrow
        self.control.commits.subscribe().wait_for(|seen| *seen > count).await.ok();
    }

    /// Planned faults of COMMITs that have not happened.
    pub fn planned(&self) -> usize {
        self.control.rules().commits.len()
    }

    /// Lets bytes pass; connections that are silent stay so. Drops the plan.
    pub fn pass(&self) {
        let mut rules = self.control.rules();
        rules.commits.clear();
        rules.cut_after = None;
        drop(rules);
        self.control.flow.send_modify(|flow| {
            (flow.is_held, flow.is_refusing, flow.latency) = (false, false, Duration::ZERO);
        });
    }

    /// Holds all bytes back. New connections are accepted, as by a kernel whose process is gone.
    pub fn hole(&self) {
        self.control.flow.send_modify(|flow| flow.is_held = true);
    }

    /// Makes the present connections silent for ever.
    pub fn silence(&self) {
        let next = self.accepted();
        self.control.flow.send_modify(|flow| flow.silent_below = next);
    }

    /// Plans a fault for each of the next COMMITs, after those planned before.
    pub fn at_commit(&self, faults: impl IntoIterator<Item = CommitFault>) {
        self.control.rules().commits.extend(faults);
    }

    /// Resets the connection that carries the last of the next `bytes` bytes, counted in both
    /// directions and over all connections.
    pub fn cut_after(&self, bytes: u64) {
        self.control.rules().cut_after = Some(bytes);
    }

    /// Resets the present connections.
    pub fn reset(&self) {
        let next = self.accepted();
        self.control.flow.send_modify(|flow| flow.reset_below = next);
    }

    /// Ends the stream to the clients of the present connections; the server's side stays open.
    pub fn half_close(&self) {
        let next = self.accepted();
        self.control.flow.send_modify(|flow| flow.half_closed_below = next);
    }

    /// Resets new connections as soon as they are accepted.
    pub fn refuse(&self) {
        self.control.flow.send_modify(|flow| flow.is_refusing = true);
    }

    /// Delays bytes so that each round trip takes this much longer.
    pub fn latency(&self, round_trip: Duration) {
        self.control.flow.send_modify(|flow| flow.latency = round_trip);
    }

    /// Sends new connections to the server on this port of 127.0.0.1. The present ones stay where they
    /// are; [`Self::reset`] ends them.
    pub fn switch(&self, port: u16) {
        self.control.rules().target.set_port(port);
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of a COMMIT that a client just sent.
    fn commit(&self) -> CommitFault {
        let fault = self.rules().commits.pop_front().unwrap_or(CommitFault::Passes);
        self.commits.send_modify(|seen| *seen += 1);
        fault
    }

    /// Counts bytes; the number of them that may still pass if the connection is to be cut.
    fn carries(&self, bytes: usize) -> Option<usize> {
        let mut rules = self.rules();
        let left = rules.cut_after?;
        let bytes = bytes as u64;
        if bytes < left {
            rules.cut_after = Some(left - bytes);
            return None;
        }
        rules.cut_after = None;
        Some(left as usize)
    }
}

async fn accept(listener: TcpListener, control: Arc<Control>) {
    // dropped with this task, which resets the connections
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                let number = control.accepted.fetch_add(1, Ordering::Relaxed);
                if control.flow.borrow().is_refusing {
                    client.set_zero_linger().ok();
                    continue;
                }
                links.spawn(connect(client, number, Arc::clone(&control)));
            }
            Some(_) = links.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, number: u64, control: Arc<Control>) {
    let target = control.rules().target;
    // a server that is down refuses its clients
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    link::Link::new(control, number).run(client, server).await;
}
