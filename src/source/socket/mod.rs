//! The Unix socket: one JSON value a line, many clients, and acknowledgements for those who want certainty.
//!
//! # Protocol
//!
//! A client connects and writes lines. What it wrote is a stream: lines numbered from 0, blank ones too. If its first
//! line is a handshake, it is not part of the stream, and the agent answers:
//!
//! ```text
//! client                                      agent
//! {"logagent":"ack"}
//! …lines…                                     {"acked":N}      the first N lines are durable
//!
//! {"logagent":"ack","stream":"backup-7"}      {"acked":N}      so many lines of this stream are durable from earlier
//! …lines from number N on…                    {"acked":N}
//! ```
//!
//! A first line that is an object with the key `logagent` but no handshake is answered with `{"error":"…"}`, and is a
//! record like any other. Answers are never waited for: a client that does not read them gets the latest number when it
//! does.
//!
//! Lines of a Python traceback belong to the record that they follow, as in files, if they are written together with it.
//! They count as lines.
//!
//! # Streams
//!
//! A stream without a name lives as long as its connection, and its head is random: two clients that say the same thing
//! are two events. A named stream lives in the state, by the client's uid and the name; its head is a hash of
//! both, so that lines sent again have the same keys as before even if the state is lost. There is one connection for a
//! named stream: a newer one waits until the older one has been read to its end, and after [`TAKE_OVER`] ends it.
//!
//! The last line needs no line feed. On a named stream that is so only if the client still listens (it has shut down
//! its side for writing): if it is gone, it died in the middle of a line, does not know it was taken, and will send the
//! whole line again.
//!
//! # Certainty and back-pressure
//!
//! Lines are handed to the [`SocketIntake`] in chunks; it returns when they are durable, and only then is more read.
//! While the spool is full it does not return: the kernel's buffer fills, and the client's write blocks. Nothing is
//! thrown away.
//!
//! # Bounds
//!
//! At most [`CONNECTIONS`] clients are served, the next ones wait in the kernel's queue. Of these at most [`READING`]
//! have lines in hand at a time, in turn, [`READ`] bytes each. A longer line needs one of few places for long lines
//! (together [`LONG_BYTES`], two at least), and is cut at `files.max_line`. A connection that holds half a line keeps only that.
//!
//! # End
//!
//! When the agent stops, no one is accepted any more; what clients have written already is taken (up to [`LAST_BYTES`] each),
//! acknowledged, and the connections are closed. Half a line becomes a record, marked `unparsed` where it is torn JSON,
//! if its client asked for no answers. One that did knows that the line was not taken, and sends it again; what was
//! read of it is counted as unread. A socket that systemd passed stays open with systemd: clients wait
//! there for the next agent.

mod bind;
mod connection;
#[doc(hidden)]
pub mod handshake;
#[doc(hidden)]
pub mod lines;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::source::{Closed, Cursor, Loss, Stream};
pub use bind::{BindError, Listener, Peer, bind, group_id};
pub use lines::OwnedChunk;

/// Connections served at a time.
pub const CONNECTIONS: usize = 256;
/// Connections that have lines in hand at a time.
pub const READING: usize = 32;
/// Bytes read at a time from one connection.
pub const READ: usize = 32 << 10;
/// Bytes of all lines longer than [`READ`] together.
pub const LONG_BYTES: usize = 8 << 20;
/// How long a new connection of a named stream waits for an older one that is still open.
pub const TAKE_OVER: Duration = Duration::from_secs(2);
/// Bytes that are still taken from a client when the agent stops.
pub const LAST_BYTES: u64 = 4 << 20;
/// How long a client that does not read is waited for with the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// Bytes of a stream's name.
pub const NAME_BYTES: usize = 256;

/// The pipeline as the socket sees it.
pub trait SocketIntake: Send + Sync + 'static {
    /// The durable position of a named stream; `None` if it is not known.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>, Closed>>;

    /// Takes lines over, and returns once they are durable (spooled), with the cursor whose `seq` is that of the last
    /// record. `cursor` is the stream's cursor after the chunk with the `seq` of before it. For a named stream the
    /// cursor becomes durable in the same change. Waits as long as the spool is full. A chunk may have no items: then
    /// only the cursor moves.
    fn accept<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        name: Option<&'a str>,
        chunk: OwnedChunk,
        cursor: Cursor,
    ) -> BoxFuture<'a, Result<Cursor, Closed>>;

    /// Something was read that is no record; to be counted.
    fn lost(&self, stream: &Arc<Stream>, loss: Loss);
}

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `files.max_line`, bytes.
    pub max_line: usize,
}

/// What all connections share.
struct Shared {
    intake: Arc<dyn SocketIntake>,
    max_line: usize,
    reading: Semaphore,
    long: Semaphore,
    names: handshake::Names,
    stop: CancellationToken,
}

/// Serves clients until `cancel`, then takes what they have written, and returns when all connections are closed.
/// Needs a tokio runtime with I/O and time.
pub async fn serve(
    listener: Listener,
    intake: Arc<dyn SocketIntake>,
    limits: Limits,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let max_line = limits.max_line.max(1);
    let shared = Arc::new(Shared {
        intake,
        max_line,
        reading: Semaphore::new(READING),
        long: Semaphore::new((LONG_BYTES / max_line).max(2)),
        names: handshake::Names::default(),
        stop: cancel.clone(),
    });
    let socket = UnixListener::from_std(listener.socket.try_clone()?)?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    let mut complained = false;
    loop {
        let place = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            place = connections.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) => {
                complained = false;
                let shared = shared.clone();
                tasks.spawn(async move {
                    connection::run(client, &shared).await;
                    drop(place);
                });
            }
            Err(e) => {
                // Descriptors may be short for a while; the clients wait in the queue.
                if !complained {
                    tracing::warn!("cannot accept a client on {}: {e}; trying on", listener.path.display());
                    complained = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if !listener.activated {
        // Clients in the queue have written already, for all they know.
        while let Some(client) = accept_now(&listener) {
            let shared = shared.clone();
            tasks.spawn(async move { connection::run(client, &shared).await });
        }
    }
    drop((socket, listener));
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The next client that waits already.
fn accept_now(listener: &Listener) -> Option<UnixStream> {
    let (client, _) = listener.socket.accept().ok()?;
    client.set_nonblocking(true).ok()?;
    UnixStream::from_std(client).ok()
}
