//! Makes socket records durable before they count as accepted: one commit for all clients that wait.
//!
//! Connections hand over parsed batches and wait for the answer. While one commit is being synced to disk, the next
//! requests gather; so the number of syncs does not grow with the number of clients. When the spool is full, nothing is
//! taken until it has room again, and the clients' writes block; or its oldest records are given up, as configured. An
//! empty spool takes any request, also one that is larger than the whole of it. A disk that is full is waited for in the
//! same way. Only the end of the agent is not: see [`Spooling::hurry`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config::WhenFull;
use crate::pipeline::batch::Formed;
use crate::pipeline::committer::Committer;
use crate::pipeline::intake::PipelineIntake;
use crate::source::socket::{OwnedChunk, SocketIntake};
use crate::source::{Chunk, Closed, Cursor, Loss, Stream};
use crate::state::{Change, StateError};
use crate::telemetry::{Counters, add};

/// Requests that are joined into one commit.
const JOINED: usize = 64;

/// Bytes of requests that are joined into one commit; a quarter of the spool where that is less. One request may be
/// larger.
const JOINED_BYTES: u64 = 4 << 20;

/// How long to wait for word of room before looking again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One connection's lines, waiting to become durable.
pub struct Request {
    formed: Formed,
    name: Option<String>,
    cursor: Cursor,
    done: oneshot::Sender<()>,
}

/// The socket's way into the pipeline.
pub struct SpoolIntake {
    intake: Arc<PipelineIntake>,
    committer: Committer,
    counters: Arc<Counters>,
    requests: mpsc::Sender<Request>,
}

impl SpoolIntake {
    /// The intake, and where its requests come out.
    #[must_use]
    pub fn new(
        intake: Arc<PipelineIntake>,
        committer: Committer,
        counters: Arc<Counters>,
    ) -> (SpoolIntake, mpsc::Receiver<Request>) {
        let (requests, rx) = mpsc::channel(JOINED);
        (
            SpoolIntake {
                intake,
                committer,
                counters,
                requests,
            },
            rx,
        )
    }
}

impl SocketIntake for SpoolIntake {
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>, Closed>> {
        Box::pin(async move {
            self.committer.socket_stream(name.to_owned()).await.map_err(|e| {
                tracing::error!("a client's stream cannot be resumed: {e}");
                Closed
            })
        })
    }

    fn accept<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        name: Option<&'a str>,
        chunk: OwnedChunk,
        mut cursor: Cursor,
    ) -> BoxFuture<'a, Result<Cursor, Closed>> {
        Box::pin(async move {
            let OwnedChunk { data, items } = chunk;
            let lines = Chunk {
                stream,
                data: &data,
                items: &items,
                fragile: true,
            };
            let formed = self.intake.parse_apart(&lines, &mut cursor)?;
            let (done, settled) = oneshot::channel();
            let request = Request {
                formed,
                name: name.map(str::to_owned),
                cursor,
                done,
            };
            self.requests.send(request).await.map_err(|_| Closed)?;
            settled.await.map_err(|_| Closed)?;
            add(&self.counters.socket_lines, items.len() as u64);
            Ok(cursor)
        })
    }

    fn lost(&self, _stream: &Arc<Stream>, loss: Loss) {
        self.intake.count_loss(loss);
    }
}

/// What the spooling task works with.
pub struct Spooling {
    pub committer: Committer,
    pub intake: Arc<PipelineIntake>,
    /// Told when the spool has room again.
    pub freed: Arc<Notify>,
    pub when_full: WhenFull,
    pub counters: Arc<Counters>,
    /// The agent's time to stop is up: nothing is waited for any more.
    pub hurry: CancellationToken,
}

/// Serves requests until all senders are gone, or until nothing may be waited for any more. What is in hand then is
/// spooled even if the spool is full (it is little: what the connections have read), and what cannot be written is
/// refused, so that no client is told of it.
pub async fn serve(mut requests: mpsc::Receiver<Request>, spooling: Spooling) {
    let most = (spooling.committer.spool_usage().max_bytes / 4).min(JOINED_BYTES);
    let mut waiting = Vec::with_capacity(JOINED);
    while requests.recv_many(&mut waiting, JOINED).await > 0 {
        while !waiting.is_empty() {
            let rest = waiting.split_off(fitting(&waiting, most));
            spooling.settle(std::mem::replace(&mut waiting, rest)).await;
        }
        if spooling.hurry.is_cancelled() {
            requests.close();
        }
    }
}

/// How many of these go into one commit of about `most` bytes: one at least.
fn fitting(requests: &[Request], most: u64) -> usize {
    let mut bytes = 0;
    let fits = requests.iter().take_while(|request| {
        bytes += request.formed.batch.bytes() as u64;
        bytes <= most
    });
    fits.count().max(1)
}

impl Spooling {
    /// Makes requests durable with one commit, and answers them. Those that are not are refused.
    async fn settle(&self, requests: Vec<Request>) {
        let mut change = Change::default();
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            if !request.formed.batch.is_empty() {
                change.spool.push(Arc::new(request.formed.batch));
            }
            if let Some(name) = request.name {
                change.socket_streams.push((name, request.cursor));
            }
            answers.push(request.done);
        }
        if self.commit(change).await {
            for done in answers {
                // A client that is gone no longer wants to know; its records are durable all the same.
                let _ = done.send(());
            }
            self.intake.wake();
        }
    }

    /// Makes a change once there is room for it, and again until it is made: a disk that is full is full for a while.
    /// `false`: there was no time for that.
    async fn commit(&self, mut change: Change) -> bool {
        let bytes: u64 = change.spool.iter().map(|b| b.bytes() as u64).sum();
        let mut said = false;
        loop {
            let made = match self.make_room(bytes).await {
                Ok(()) => {
                    let (back, made) = self.committer.commit(change, true).await;
                    change = back;
                    made
                }
                Err(e) => Err(e),
            };
            let error = match made {
                Ok(_) if said => {
                    tracing::info!("the spool can be written again; the socket goes on");
                    return true;
                }
                Ok(_) => return true,
                Err(StateError::Ended) => return false,
                Err(e) => e,
            };
            if std::mem::replace(&mut said, true) {
                tracing::debug!("the spool still cannot be written: {error}");
            } else {
                tracing::error!("the spool cannot be written; the socket waits until it can: {error}");
            }
            if self.hurry.is_cancelled() {
                return false;
            }
            tokio::select! { () = tokio::time::sleep(LOOK_AGAIN) => {}, () = self.hurry.cancelled() => {} }
        }
    }

    /// Returns once the spool takes `bytes` more, or nothing is waited for any more.
    async fn make_room(&self, bytes: u64) -> Result<(), StateError> {
        while !self.committer.spool_room(bytes) && !self.hurry.is_cancelled() {
            match self.when_full {
                WhenFull::Block => tokio::select! {
                    _ = tokio::time::timeout(LOOK_AGAIN, self.freed.notified()) => {}
                    () = self.hurry.cancelled() => {}
                },
                WhenFull::DropOldest => {
                    let dropped = self.committer.drop_oldest(bytes).await?;
                    add(&self.counters.dropped, dropped.records);
                    tracing::error!(
                        records = dropped.records,
                        "the spool is full and spool.when_full is \"drop_oldest\": its oldest records are lost"
                    );
                    if dropped.records == 0 {
                        // Nothing can be dropped: a request larger than the whole spool is taken all the same.
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
