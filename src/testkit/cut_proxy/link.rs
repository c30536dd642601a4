//! One connection through the proxy.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{CommitFault, Control, Flow, frames::Frames};

const BUFFER_BYTES: usize = 16 * 1024;

/// A connection with its number, in the order in which connections were accepted.
pub(super) struct Link {
    control: Arc<Control>,
    number: u64,
    own: watch::Sender<Own>,
}

/// What a [`CommitFault`] did to this connection alone.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Own {
    #[default]
    Open,
    /// The next byte of the server resets the connection.
    Eating,
    /// No byte of the server passes.
    Deaf,
    /// No byte passes.
    Silent,
    Reset,
}

impl Link {
    pub(super) fn new(control: Arc<Control>, number: u64) -> Self {
        Self { control, number, own: watch::Sender::default() }
    }

    /// Carries bytes until both sides have ended, or the connection is reset.
    pub(super) async fn run(self, mut client: TcpStream, mut server: TcpStream) {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let number = self.number;
        let mut flow = self.control.flow.subscribe();
        let mut own = self.own.subscribe();
        let is_ended = tokio::select! {
            ended = async {
                tokio::try_join!(
                    self.carry_up(from_client, to_server),
                    self.carry_down(from_server, to_client),
                )
            } => ended.is_ok(),
            _ = flow.wait_for(|flow| number < flow.reset_below) => false,
            _ = own.wait_for(|own| *own == Own::Reset) => false,
        };
        if !is_ended {
            client.set_zero_linger().ok();
            server.set_zero_linger().ok();
        }
    }

    async fn carry_up(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let (mut buffer, mut frames) = (vec![0; BUFFER_BYTES], Frames::default());
        let closed_by = [Own::Silent, Own::Reset];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                self.passes(&closed_by).await;
                return to.shutdown().await;
            }
            frames.push(&buffer[..count]);
            while let Some(frame) = frames.next() {
                if frame.is_commit {
                    self.disturb(self.control.commit());
                }
                self.forward(&mut to, &frame.bytes, &closed_by).await?;
            }
        }
    }

    fn disturb(&self, fault: CommitFault) {
        let own = match fault {
            CommitFault::Passes => return,
            CommitFault::ResetBefore => Own::Reset,
            CommitFault::EatAnswer => Own::Eating,
            CommitFault::HoleBefore => Own::Silent,
            CommitFault::Hole => Own::Deaf,
        };
        self.own.send_replace(own);
    }

    async fn carry_down(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut flow = self.control.flow.subscribe();
        let number = self.number;
        let closed_by = [Own::Silent, Own::Deaf, Own::Reset];
        loop {
            let count = tokio::select! {
                count = from.read(&mut buffer) => count?,
                _ = flow.wait_for(|flow| number < flow.half_closed_below) => 0,
            };
            if *self.own.borrow() == Own::Eating {
                self.own.send_replace(Own::Reset);
            }
            if count == 0 {
                self.passes(&closed_by).await;
                // the client's side goes on
                return to.shutdown().await;
            }
            self.forward(&mut to, &buffer[..count], &closed_by).await?;
        }
    }

    async fn forward(
        &self,
        to: &mut WriteHalf<'_>,
        bytes: &[u8],
        closed_by: &[Own],
    ) -> io::Result<()> {
        let latency = self.control.flow.borrow().latency;
        if !latency.is_zero() {
            // half of the round trip in each direction
            sleep(latency / 2).await;
        }
        self.passes(closed_by).await;
        let Some(last) = self.control.carries(bytes.len()) else {
            return to.write_all(bytes).await;
        };
        to.write_all(&bytes[..last]).await?;
        self.own.send_replace(Own::Reset);
        Ok(())
    }

    /// Waits until bytes may pass, which on a silent connection is never.
    async fn passes(&self, closed_by: &[Own]) {
        let number = self.number;
        let is_open = |flow: &Flow| !flow.is_held && number >= flow.silent_below;
        // the senders live as long as this borrow
        self.own.subscribe().wait_for(|own| !closed_by.contains(own)).await.ok();
        self.control.flow.subscribe().wait_for(is_open).await.ok();
    }
}
