//! Makes socket records durable before they count as accepted: one commit for all clients that wait.
//!
//! Connections hand over parsed batches and wait for the answer. While one commit is being synced to disk, the next
//! requests gather; so the number of syncs does not grow with the number of clients. When the spool is full, nothing is
//! taken until it has room again, and the clients' writes block; or its oldest records are given up, as configured.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::WhenFull;
use crate::pipeline::batch::Formed;
use crate::pipeline::intake::PipelineIntake;
use crate::source::socket::{OwnedChunk, SocketIntake};
use crate::source::{Chunk, Closed, Cursor, Loss, Stream};
use crate::state::{Change, State, StateError, blocking};
use crate::telemetry::{Counters, add};

/// Requests that are joined into one commit.
const JOINED: usize = 64;

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
    state: Arc<State>,
    requests: mpsc::Sender<Request>,
}

impl SpoolIntake {
    /// The intake, and where its requests come out.
    #[must_use]
    pub fn new(intake: Arc<PipelineIntake>, state: Arc<State>) -> (SpoolIntake, mpsc::Receiver<Request>) {
        let (requests, rx) = mpsc::channel(JOINED);
        (
            SpoolIntake {
                intake,
                state,
                requests,
            },
            rx,
        )
    }
}

impl SocketIntake for SpoolIntake {
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>, Closed>> {
        let (state, name) = (Arc::clone(&self.state), name.to_owned());
        Box::pin(async move {
            blocking(move || state.socket_stream(&name)).await.map_err(|e| {
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
            Ok(cursor)
        })
    }

    fn lost(&self, _stream: &Arc<Stream>, loss: Loss) {
        self.intake.count_loss(loss);
    }
}

/// Serves requests until all senders are gone.
///
/// # Errors
/// When the state can no longer be written.
pub async fn serve(
    mut requests: mpsc::Receiver<Request>,
    state: Arc<State>,
    intake: Arc<PipelineIntake>,
    freed: Arc<Notify>,
    when_full: WhenFull,
    counters: Arc<Counters>,
) -> Result<(), StateError> {
    let mut waiting = Vec::with_capacity(JOINED);
    while requests.recv_many(&mut waiting, JOINED).await > 0 {
        let mut change = Change::default();
        let mut answers = Vec::with_capacity(waiting.len());
        for request in waiting.drain(..) {
            if !request.formed.batch.is_empty() {
                change.spool.push(Arc::new(request.formed.batch));
            }
            if let Some(name) = request.name {
                change.socket_streams.push((name, request.cursor));
            }
            answers.push(request.done);
        }
        change.runs = intake.keep_runs();
        let bytes: u64 = change.spool.iter().map(|b| b.bytes() as u64).sum();
        make_room(&state, bytes, &freed, when_full, &counters).await?;
        let committing = Arc::clone(&state);
        blocking(move || committing.commit(&change, true).map(drop)).await?;
        for done in answers {
            // A client that is gone no longer wants to know; its records are durable all the same.
            let _ = done.send(());
        }
        intake.wake();
    }
    Ok(())
}

/// Returns once the spool takes `bytes` more.
async fn make_room(
    state: &Arc<State>,
    bytes: u64,
    freed: &Notify,
    when_full: WhenFull,
    counters: &Counters,
) -> Result<(), StateError> {
    while !state.spool_room(bytes) {
        match when_full {
            WhenFull::Block => {
                let _ = tokio::time::timeout(LOOK_AGAIN, freed.notified()).await;
            }
            WhenFull::DropOldest => {
                let dropping = Arc::clone(state);
                let dropped = blocking(move || dropping.spool_drop_oldest(bytes)).await?;
                add(&counters.dropped, dropped.records);
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
