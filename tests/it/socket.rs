//! The Unix socket from the client's side: who may come in, what is acknowledged, and that nothing is lost or doubled.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use logagent::config;
use logagent::record::Key;
use logagent::source::socket::{BindError, Limits, Listener, OwnedChunk, SocketIntake, bind, serve};
use logagent::source::{Closed, Cursor, Loss, Stream, StreamKind};
use tokio_util::sync::CancellationToken;

use crate::harness::eventually;

/// A pipeline that keeps what it gets by key, as the stores do.
#[derive(Default)]
struct Memory {
    /// (key, text, stream), in order of arrival; a key once.
    lines: Mutex<Vec<(Key, String, Arc<Stream>)>>,
    positions: Mutex<HashMap<String, Cursor>>,
    losses: Mutex<Vec<Loss>>,
    /// Full: nothing is taken.
    full: AtomicBool,
    closed: AtomicBool,
}

impl SocketIntake for Memory {
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Cursor>, Closed>> {
        let position = self.positions.lock().unwrap().get(name).copied();
        async move { Ok(position) }.boxed()
    }

    fn accept<'a>(
        &'a self,
        stream: &'a Arc<Stream>,
        name: Option<&'a str>,
        chunk: OwnedChunk,
        cursor: Cursor,
    ) -> BoxFuture<'a, Result<Cursor, Closed>> {
        async move {
            while self.full.load(Ordering::SeqCst) {
                if self.closed.load(Ordering::SeqCst) {
                    return Err(Closed);
                }
                tokio::task::yield_now().await;
            }
            let mut lines = self.lines.lock().unwrap();
            for item in &chunk.items {
                let key = Key::new(stream.head, item.offset, item.chain, item.number);
                let text = &chunk.data[item.start as usize..item.line_end as usize];
                if !lines.iter().any(|l| l.0 == key) {
                    lines.push((key, String::from_utf8_lossy(text).into_owned(), stream.clone()));
                }
            }
            if let Some(name) = name {
                self.positions.lock().unwrap().insert(name.to_owned(), cursor);
            }
            Ok(cursor)
        }
        .boxed()
    }

    fn lost(&self, _: &Arc<Stream>, loss: Loss) {
        self.losses.lock().unwrap().push(loss);
    }
}

impl Memory {
    fn texts(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().map(|l| l.1.clone()).collect()
    }

    fn wait_for(&self, expected: &[&str]) {
        eventually(&format!("{expected:?}"), || (self.texts() == expected).then_some(()));
    }
}

/// A served socket in a directory of its own.
struct Server {
    dir: tempfile::TempDir,
    memory: Arc<Memory>,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn settings(path: &Path) -> config::Socket {
    config::Socket {
        path: Some(path.to_owned()),
        mode: 0o660,
        group: String::new(),
    }
}

fn bound(path: &Path, data_dir: &Path) -> Result<Listener, BindError> {
    bind(&settings(path), data_dir).map(Option::unwrap)
}

impl Server {
    fn start(max_line: usize) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let listener = bound(&dir.path().join("s.sock"), dir.path()).unwrap();
        let (memory, cancel) = (Arc::new(Memory::default()), CancellationToken::new());
        let thread = std::thread::spawn({
            let (memory, cancel) = (memory.clone(), cancel.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build();
                runtime
                    .unwrap()
                    .block_on(serve(listener, memory, Limits { max_line }, cancel))
                    .unwrap();
            }
        });
        Server {
            dir,
            memory,
            cancel,
            thread: Some(thread),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s.sock")
    }

    fn client(&self) -> Client {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client {
            answers: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    /// Stops it and waits until it has.
    fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.memory.closed.store(true, Ordering::SeqCst);
        self.stop();
    }
}

struct Client {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Client {
    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads answers until so many lines are acknowledged.
    fn wait_acked(&mut self, n: u64) {
        let wanted = format!("{{\"acked\":{n}}}");
        let mut before = 0;
        loop {
            let answer = self.answer();
            let value: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let acked = value["acked"].as_u64().unwrap();
            assert!(
                acked >= before && acked <= n,
                "{answer} after {before}, waiting for {n}"
            );
            before = acked;
            if answer == wanted {
                return;
            }
        }
    }
}

#[test]
fn lines_of_many_clients_arrive_whole_and_in_the_order_of_each() {
    const CLIENTS: usize = 300;
    const LINES: usize = 40;
    let server = Server::start(1 << 20);
    std::thread::scope(|scope| {
        for c in 0..CLIENTS {
            let mut client = server.client();
            scope.spawn(move || (0..LINES).for_each(|i| client.say(&format!("{{\"c\":{c},\"i\":{i}}}\n"))));
        }
    });
    eventually("all lines", || {
        (server.memory.lines.lock().unwrap().len() == CLIENTS * LINES).then_some(())
    });
    let mut next = HashMap::new();
    for text in server.memory.texts() {
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = next.entry(line["c"].as_u64().unwrap()).or_insert(0);
        assert_eq!(line["i"].as_u64().unwrap(), *expected);
        *expected += 1;
    }
}

#[test]
fn the_last_line_needs_no_line_feed_and_who_wrote_it_is_known() {
    let server = Server::start(1 << 20);
    let mut client = server.client();
    client.say("first\nsecond");
    drop(client);
    server.memory.wait_for(&["first", "second"]);
    let stream = server.memory.lines.lock().unwrap()[0].2.clone();
    let (uid, pid) = (rustix::process::getuid().as_raw(), std::process::id() as i32);
    assert_eq!(stream.kind, StreamKind::Socket { uid, pid });
}

#[test]
fn two_clients_that_say_the_same_are_two_events() {
    let server = Server::start(1 << 20);
    server.client().say("{\"message\":\"done\"}\n");
    server.client().say("{\"message\":\"done\"}\n");
    eventually("both", || {
        (server.memory.lines.lock().unwrap().len() == 2).then_some(())
    });
}

#[test]
fn a_client_that_asks_is_told_how_many_lines_are_durable() {
    let server = Server::start(1 << 20);
    let mut client = server.client();
    client.say("{\"logagent\":\"ack\"}\n");
    server.memory.full.store(true, Ordering::SeqCst);
    client.say("a\n\nb\n");
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(
        client.answers.fill_buf().is_err(),
        "nothing is acknowledged before it is durable"
    );
    client.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    server.memory.full.store(false, Ordering::SeqCst);
    client.wait_acked(3);
    client.say("c\nd");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.wait_acked(5);
    assert_eq!(client.answer(), "", "the connection ends after the last answer");
    server.memory.wait_for(&["a", "b", "c", "d"]);
    assert_eq!(*server.memory.losses.lock().unwrap(), [Loss::Blank { lines: 1 }]);
}

#[test]
fn a_client_that_never_reads_its_answers_is_not_held_up() {
    let server = Server::start(1 << 20);
    let mut client = server.client();
    client.say("{\"logagent\":\"ack\"}\n");
    for i in 0..100_000 {
        client.say(&format!("line number {i}\n"));
        if i % 100 == 0 {
            // What is kept for comparing would make this slow.
            server.memory.lines.lock().unwrap().clear();
        }
    }
    client.wait_acked(100_000);
}

#[test]
fn a_named_stream_goes_on_after_a_broken_connection_and_doubles_nothing() {
    let server = Server::start(1 << 20);
    let hello = "{\"logagent\":\"ack\",\"stream\":\"job 7\"}\n";
    let mut client = server.client();
    client.say(hello);
    assert_eq!(client.answer(), "{\"acked\":0}");
    client.say("one\ntwo\nthr");
    client.wait_acked(2);
    drop(client);

    let mut client = server.client();
    client.say(hello);
    assert_eq!(
        client.answer(),
        "{\"acked\":2}",
        "half a line of a client that died is not taken"
    );
    client.say("three\n");
    client.wait_acked(3);
    drop(client);

    // The agent's state is lost: the client is told to begin anew, and its lines have the keys they had.
    server.memory.positions.lock().unwrap().clear();
    let mut client = server.client();
    client.say(hello);
    assert_eq!(client.answer(), "{\"acked\":0}");
    client.say("one\ntwo\nthree\nfour");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.wait_acked(4);
    server.memory.wait_for(&["one", "two", "three", "four"]);
}

#[test]
fn a_second_connection_of_a_named_stream_takes_over_from_one_that_hangs() {
    let server = Server::start(1 << 20);
    let hello = "{\"logagent\":\"ack\",\"stream\":\"s\"}\n";
    let mut first = server.client();
    first.say(hello);
    first.say("one\n");
    assert_eq!(first.answer(), "{\"acked\":0}");
    first.wait_acked(1);
    let mut second = server.client();
    second.say(hello);
    assert_eq!(second.answer(), "{\"acked\":1}");
    assert_eq!(first.answer(), "", "the first connection is closed");
    second.say("two\n");
    second.wait_acked(2);
    server.memory.wait_for(&["one", "two"]);
}

#[test]
fn a_faulty_handshake_is_answered_in_json_and_kept_as_a_record() {
    let server = Server::start(1 << 20);
    let mut client = server.client();
    client.say("{\"logagent\":\"hello\"}\nnext\n");
    let answer: serde_json::Value = serde_json::from_str(&client.answer()).unwrap();
    assert!(answer["error"].as_str().unwrap().contains("\"ack\""), "{answer}");
    server.memory.wait_for(&["{\"logagent\":\"hello\"}", "next"]);
    // Only the first line can be one.
    let mut client = server.client();
    client.say("x\n{\"logagent\":\"ack\"}\n");
    drop(client);
    eventually("both", || {
        (server.memory.lines.lock().unwrap().len() == 4).then_some(())
    });
}

#[test]
fn a_line_beyond_the_limit_is_cut_and_its_neighbours_are_not() {
    let server = Server::start(100_000);
    let mut client = server.client();
    client.say("before\n");
    for _ in 0..64 {
        client.say(&"x".repeat(1 << 20));
    }
    client.say("\nafter\n");
    eventually("three lines", || {
        (server.memory.lines.lock().unwrap().len() == 3).then_some(())
    });
    let texts = server.memory.texts();
    assert_eq!(
        (texts[0].as_str(), texts[1].len(), texts[2].as_str()),
        ("before", 100_000, "after")
    );
    let losses = server.memory.losses.lock().unwrap();
    assert_eq!(
        *losses,
        [Loss::Cut {
            bytes: (64 << 20) - 100_000
        }]
    );
}

#[test]
fn while_nothing_can_be_taken_the_clients_write_blocks_and_nothing_is_lost() {
    let server = Server::start(1 << 20);
    server.memory.full.store(true, Ordering::SeqCst);
    let client = server.client();
    client.stream.set_nonblocking(true).unwrap();
    let line = format!("{}\n", "y".repeat(999));
    let (mut written, mut quiet) = (0, Instant::now());
    while quiet.elapsed() < Duration::from_millis(300) {
        match (&client.stream).write(&line.as_bytes()[written % 1000..]) {
            Ok(n) => (written, quiet) = (written + n, Instant::now()),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(written < 8 << 20, "the client should have been stopped long ago");
    }
    assert!(server.memory.texts().is_empty());
    server.memory.full.store(false, Ordering::SeqCst);
    drop(client);
    eventually("all of it", || {
        let bytes: usize = server.memory.texts().iter().map(String::len).sum();
        (bytes == written - written / 1000).then_some(())
    });
}

#[test]
fn one_client_that_is_stuck_does_not_stop_another() {
    let server = Server::start(1 << 20);
    let mut half: Vec<Client> = (0..40).map(|_| server.client()).collect();
    half.iter_mut().for_each(|c| c.say("{\"half\":"));
    server.client().say("whole\n");
    server.memory.wait_for(&["whole"]);
}

#[test]
fn stopping_takes_what_was_written_and_closes_the_door() {
    let mut server = Server::start(1 << 20);
    let mut clients: Vec<Client> = (0..50).map(|_| server.client()).collect();
    let last = server.client();
    for (i, client) in clients.iter_mut().enumerate() {
        client.say(&format!("{{\"logagent\":\"ack\"}}\nlast words {i}\n"));
    }
    (&last.stream).write_all(b"of an unknown").unwrap();
    server.stop();
    assert_eq!(server.memory.lines.lock().unwrap().len(), 51);
    clients[0].wait_acked(1);
    assert!(!server.path().exists(), "our socket file is removed");
    assert!(UnixStream::connect(server.path()).is_err());
}

#[test]
fn half_a_line_at_the_stop_is_kept_unless_its_client_knows_to_send_it_again() {
    let mut server = Server::start(1 << 20);
    let (mut plain, mut asking) = (server.client(), server.client());
    plain.say("{\"message\": \"plain\"}\n{\"message\": \"hal");
    asking.say("{\"logagent\":\"ack\",\"stream\":\"s\"}\nwhole\n{\"message\": \"hal");
    asking.wait_acked(1);
    server.stop();
    let mut texts = server.memory.texts();
    texts.sort();
    assert_eq!(texts, ["whole", "{\"message\": \"hal", "{\"message\": \"plain\"}"]);
    let losses = server.memory.losses.lock().unwrap();
    assert!(matches!(losses[..], [Loss::Unread { bytes: 16 }]), "{losses:?}");
}

#[test]
fn a_socket_file_left_by_a_kill_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bound(&path, dir.path()).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_socket_on_which_somebody_listens_is_refused_with_the_pid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let other = UnixListener::bind(&path).unwrap();
    let error = bound(&path, dir.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BindError::Live { .. }), "{text}");
    assert!(
        text.contains(&format!("pid {}", std::process::id())) && text.contains("s.sock"),
        "{text}"
    );
    drop(other);
    assert!(path.exists(), "the other's file is left alone");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        bound(&path, dir.path()).unwrap_err(),
        BindError::NotASocket(_)
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_that_no_client_could_connect_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(108));
    let error = bound(&long, dir.path()).unwrap_err().to_string();
    assert!(error.contains("107") && error.contains("socket.path"), "{error}");
}

#[test]
fn mode_and_group_are_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    // A group of this user's: its own number is always allowed.
    let group = rustix::process::getgid().as_raw();
    for mode in [0o600, 0o666, 0o620] {
        let config = config::Socket {
            mode,
            group: group.to_string(),
            ..settings(&path)
        };
        let _listener = bind(&config, dir.path()).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.gid()), (mode, group));
    }
    let by_name = config::Socket {
        group: "no such group".into(),
        ..settings(&path)
    };
    let error = bind(&by_name, dir.path()).unwrap_err().to_string();
    assert!(error.contains("no such group"), "{error}");
    assert!(!path.exists(), "nobody could connect meanwhile");
    let by_name = config::Socket {
        group: "root".into(),
        ..settings(&path)
    };
    match bind(&by_name, dir.path()) {
        Ok(_listener) => assert_eq!(fs::metadata(&path).unwrap().gid(), 0),
        // Only root, and members, may give it to that group.
        Err(e) => assert!(matches!(e, BindError::Group { .. }), "{e}"),
    }
}

#[test]
fn the_directory_is_created_only_inside_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let listener = bound(&data.join("run/s.sock"), &data).unwrap();
    assert!(!listener.activated);
    let outside = dir.path().join("elsewhere/s.sock");
    assert!(matches!(bound(&outside, &data).unwrap_err(), BindError::NoDirectory(_)));
    let off = config::Socket {
        path: None,
        ..settings(&outside)
    };
    assert!(bind(&off, &data).unwrap().is_none());
}

/// Runs in a process of its own (see the next test): takes whatever socket systemd passes, and serves until it has a
/// line.
#[test]
fn serves_a_passed_socket() {
    let Ok(dir) = std::env::var("TEST_ACTIVATION_DIR") else {
        return;
    };
    let dir = PathBuf::from(dir);
    let listener = bound(&dir.join("unused.sock"), &dir).unwrap();
    assert!(listener.activated);
    assert_eq!(listener.path, dir.join("passed.sock"));
    let (memory, cancel) = (Arc::new(Memory::default()), CancellationToken::new());
    let served = serve(listener, memory.clone(), Limits { max_line: 1000 }, cancel.clone());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let wait = async {
                while memory.lines.lock().unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
                cancel.cancel();
            };
            let (served, ()) = tokio::join!(served, wait);
            served.unwrap();
        });
    println!("got {:?}", memory.texts());
    assert!(!dir.join("unused.sock").exists());
}

#[test]
fn a_socket_that_systemd_passes_is_used_and_left_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // The socket becomes descriptor 3, and LISTEN_PID that of the process that runs the test: both only a shell that
    // replaces itself can know.
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 TEST_ACTIVATION_DIR={} exec {} --exact socket::serves_a_passed_socket --nocapture",
        dir.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let mut child = Command::new("sh");
    child.arg("-c").arg(format!("exec 3<&0; {script}"));
    let child = child.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap())));
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    UnixStream::connect(&path)
        .unwrap()
        .write_all(b"through systemd\n")
        .unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    assert!(output.contains("got [\"through systemd\"]"), "{output}");
    assert!(path.exists(), "the file is systemd's");
    UnixStream::connect(&path).unwrap();
}
