//! One client, from its first line to its last answer.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::bind::{Peer, peer_of};
use super::handshake::{self, Handshake, Turn};
use super::lines::{Lines, Losses, OwnedChunk};
use super::{LAST_ANSWER, LAST_BYTES, READ, Shared, TAKE_OVER};
use crate::source::{Closed, Cursor, Loss, Stream, StreamKind};

/// A first line longer than this is no handshake.
const HANDSHAKE_BYTES: usize = 4096;

/// What the client is to be told; of numbers only the newest counts, but for the first of a named stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    error: Option<&'static str>,
    resumed: Option<u64>,
    acked: Option<u64>,
}

impl Answers {
    /// The lines that say what is new since `said`.
    fn news(&self, said: &Answers) -> String {
        let mut text = String::new();
        if let Some(error) = self.error.filter(|_| said.error != self.error) {
            text = format!("{}\n", serde_json::json!({ "error": error }));
        }
        for (now, before) in [(self.resumed, said.resumed), (self.acked, said.acked)] {
            if let Some(n) = now.filter(|_| now != before) {
                text.push_str(&format!("{{\"acked\":{n}}}\n"));
            }
        }
        text
    }
}

/// Serves one client until it has said everything, or the agent stops.
pub(super) async fn run(client: UnixStream, shared: &Shared) {
    let (tell, answers) = watch::channel(Answers::default());
    let reading = read(&client, shared, tell);
    let writing = write(&client, answers);
    tokio::pin!(reading, writing);
    // Closed means that the agent stops: the connection ends without an answer for what was not taken.
    tokio::select! {
        _ = &mut reading => {
            // The last answer may still be on its way to a client that is slow to read.
            let _ = tokio::time::timeout(LAST_ANSWER, writing).await;
        }
        () = &mut writing => {
            let _ = reading.await;
        }
    }
}

/// Tells the client what is new, until there is nothing more to tell or nobody to hear it.
async fn write(client: &UnixStream, mut answers: watch::Receiver<Answers>) {
    let mut said = Answers::default();
    while answers.changed().await.is_ok() {
        let now = answers.borrow_and_update().clone();
        let text = now.news(&said);
        said = now;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if client.writable().await.is_err() {
                return;
            }
            match client.try_write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or(&[]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// How the bytes of a connection go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There were bytes, and there may be more.
    Bytes,
    /// The client has ended its side.
    End,
    /// Nothing more is read, by our own decision.
    Stop,
}

/// Reads a client to its end.
async fn read(client: &UnixStream, shared: &Shared, tell: watch::Sender<Answers>) -> Result<(), Closed> {
    let peer = peer_of(client).unwrap_or(Peer { pid: 0, uid: u32::MAX });
    let mut reader = Reader {
        client,
        shared,
        lines: Lines::after(0, 0, shared.max_line),
        ending: CancellationToken::new(),
        place: None,
        drained: 0,
    };
    let (handshake, next) = reader.first_line().await;
    let mut turn = None;
    let mut name = None;
    let mut cursor = Cursor::default();
    let mut answer = true;
    match handshake {
        Handshake::None => answer = false,
        Handshake::Ack => {}
        Handshake::Invalid(error) => {
            answer = false;
            tell.send_modify(|a| a.error = Some(error));
        }
        Handshake::Stream(given) => {
            let key = format!("{}:{given}", peer.uid);
            let Some(taken) = shared.names.take(&key, TAKE_OVER).await else {
                return Ok(());
            };
            reader.ending = taken.superseded.clone();
            cursor = shared.intake.resume(&key).await?.unwrap_or_default();
            reader.resume(cursor);
            tell.send_modify(|a| a.resumed = Some(cursor.offset));
            (turn, name) = (Some(taken), Some((key, given)));
        }
    }
    let mut session = Session {
        stream: stream(peer, name.as_ref()),
        shared,
        name: name.map(|(key, _)| key),
        cursor,
        tell: answer.then_some(tell),
        _turn: turn,
    };
    reader.rest(&mut session, next).await
}

/// Names are told apart by uid, so that nobody can take up another's stream.
fn stream(peer: Peer, name: Option<&(String, String)>) -> Arc<Stream> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (head, name) = match name {
        Some((key, given)) => (xxhash_rust::xxh3::xxh3_64(key.as_bytes()), given.clone()),
        None => {
            // Two clients that say the same thing are two events.
            let head = RandomState::new().hash_one((std::process::id(), number, peer.pid));
            (head, format!("{head:016x}"))
        }
    };
    Arc::new(Stream {
        // Far from the numbers of file streams; it is never kept.
        id: 1 << 63 | number,
        head,
        name,
        script: String::new(),
        kind: StreamKind::Socket {
            uid: peer.uid,
            pid: peer.pid,
        },
    })
}

/// Where the lines of a connection go.
struct Session<'a> {
    stream: Arc<Stream>,
    shared: &'a Shared,
    name: Option<String>,
    cursor: Cursor,
    tell: Option<watch::Sender<Answers>>,
    _turn: Option<Turn<'a>>,
}

impl Session<'_> {
    /// Hands lines over, waits until they are durable, and says so.
    async fn take(&mut self, (chunk, losses): (OwnedChunk, Losses), lines: &Lines) -> Result<(), Closed> {
        losses
            .each()
            .for_each(|loss| self.shared.intake.lost(&self.stream, loss));
        if lines.number == self.cursor.offset {
            return Ok(());
        }
        let after = Cursor {
            offset: lines.number,
            chain: lines.chain,
            ..self.cursor
        };
        self.cursor = if chunk.items.is_empty() && self.name.is_none() {
            after
        } else {
            let intake = &self.shared.intake;
            let bytes = chunk.data.len() as u64;
            let accepted = intake.accept(&self.stream, self.name.as_deref(), chunk, after).await;
            accepted.inspect_err(|Closed| intake.lost(&self.stream, Loss::Unread { bytes }))?
        };
        if let Some(tell) = &self.tell {
            tell.send_modify(|a| a.acked = Some(lines.number));
        }
        Ok(())
    }
}

/// The bytes of a connection.
struct Reader<'a> {
    client: &'a UnixStream,
    shared: &'a Shared,
    lines: Lines,
    /// A newer connection wants the stream.
    ending: CancellationToken,
    /// The right to have lines in hand, from reading them until they are durable.
    place: Option<SemaphorePermit<'a>>,
    /// Bytes taken since the agent stops.
    drained: u64,
}

impl<'a> Reader<'a> {
    /// Goes on where a named stream ended. What was read already stays.
    fn resume(&mut self, cursor: Cursor) {
        (self.lines.number, self.lines.chain) = (cursor.offset, cursor.chain);
    }

    /// Reads until the first line is known, and takes it off if it is a handshake.
    async fn first_line(&mut self) -> (Handshake, Next) {
        let mut next = Next::Bytes;
        while matches!(next, Next::Bytes) && self.lines.held() < HANDSHAKE_BYTES {
            next = self.more().await;
            let Some(line) = self.lines.first_line() else { continue };
            let handshake = handshake::read(&line);
            if matches!(handshake, Handshake::None | Handshake::Invalid(_)) {
                self.lines.put_back(&line);
            }
            return (handshake, next);
        }
        (Handshake::None, next)
    }

    /// Everything after the handshake; `next` is what was seen last.
    async fn rest(&mut self, session: &mut Session<'a>, mut next: Next) -> Result<(), Closed> {
        let mut long: Option<SemaphorePermit<'a>> = None;
        loop {
            session.take(self.lines.take(false), &self.lines).await?;
            match next {
                Next::Bytes => {}
                Next::End => return self.end(session).await,
                // Nobody will send this half of a line again, so it is kept, marked as what it is.
                Next::Stop if session.tell.is_none() => return session.take(self.lines.take(true), &self.lines).await,
                Next::Stop => {
                    self.unread(session);
                    return Ok(());
                }
            }
            if self.lines.held() <= READ {
                long = None;
            } else if long.is_none() {
                long = self.shared.long.acquire().await.ok();
            }
            next = self.more().await;
        }
    }

    /// The last line, which has no line feed.
    async fn end(&mut self, session: &mut Session<'a>) -> Result<(), Closed> {
        if session.name.is_some() && !self.client_listens() {
            self.unread(session);
            return Ok(());
        }
        session.take(self.lines.take(true), &self.lines).await
    }

    /// Half a line that is not taken: the client knows by the answers that it has to be sent again.
    fn unread(&mut self, session: &Session<'_>) {
        let bytes = self.lines.held() as u64;
        if bytes > 0 {
            session.shared.intake.lost(&session.stream, Loss::Unread { bytes });
        }
    }

    /// Whether the client, which has ended its side, still waits for answers.
    fn client_listens(&self) -> bool {
        let mut fds = [PollFd::new(self.client, PollFlags::empty())];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&none)) {
            Ok(_) => fds
                .iter()
                .all(|fd| !fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)),
            Err(_) => false,
        }
    }

    /// Waits for bytes, and for its turn, and reads once. When the agent stops, only what is there already is read.
    async fn more(&mut self) -> Next {
        self.place = None;
        self.lines.release();
        loop {
            let stopping = self.shared.stop.is_cancelled();
            if !stopping {
                tokio::select! {
                    biased;
                    () = self.ending.cancelled() => return Next::Stop,
                    () = self.shared.stop.cancelled() => continue,
                    ready = self.client.readable() => if ready.is_err() { return Next::End },
                }
            }
            self.place = self.shared.reading.acquire().await.ok();
            let received = if stopping {
                // What tokio knows of the socket may be older than what the client wrote.
                receive(self.client, self.lines.space())
            } else {
                let (client, space) = (self.client, self.lines.space());
                client.try_io(Interest::READABLE, || receive(client, space))
            };
            match received {
                Ok(0) => return Next::End,
                Ok(n) => {
                    self.drained += if stopping { n as u64 } else { 0 };
                    return if self.drained > LAST_BYTES {
                        Next::Stop
                    } else {
                        Next::Bytes
                    };
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && stopping => return Next::Stop,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    self.place = None
                }
                Err(_) => return Next::End,
            }
        }
    }
}

/// Reads once what is there, to the end of `space`.
fn receive(client: &UnixStream, space: &mut Vec<u8>) -> io::Result<usize> {
    let held = space.len();
    space.resize(held + READ, 0);
    let received = match space.get_mut(held..) {
        Some(free) => recv(client, free, RecvFlags::DONTWAIT),
        None => Ok((0, 0)),
    };
    space.truncate(held + received.as_ref().map_or(0, |(n, _)| *n));
    Ok(received?.0)
}
