//! Faults that last: a full disk, a locked store, a spool that cannot be read, a standard error that nobody reads. Each is
//! met by several attempts, and the agent goes on by itself once it is over, or ends as it was told to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use crate::harness::eventually;
use crate::place::{Agent, Place, line, lines, noise};

const QUICK: &str = "[retry]\ninitial = \"20ms\"\nmax = \"100ms\"\n";

/// Numbers of what clients send, beyond those of files.
static SEQ: AtomicU64 = AtomicU64::new(1_000_000);

/// How often the agent has said this.
fn said(place: &Place, what: &str) -> usize {
    place.stderr().matches(what).count()
}

/// A client that is told what is durable.
struct Client {
    out: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &std::path::Path) -> Client {
        let out = eventually("the socket is there", || UnixStream::connect(path).ok());
        let answers = BufReader::new(out.try_clone().expect("cloned"));
        let mut client = Client { out, answers };
        client.send("{\"logagent\":\"ack\"}");
        client
    }

    fn send(&mut self, text: &str) {
        self.out.write_all(format!("{text}\n").as_bytes()).expect("sent");
    }

    /// Sends so many lines that all begin alike, and waits until all sent so far are durable.
    fn deliver(&mut self, tag: &str, n: usize, all: usize) {
        for i in 0..n {
            let seq = SEQ.fetch_add(1, Ordering::Relaxed);
            self.send(&format!("{{\"message\":\"{tag} {i}\",\"seq\":{seq}}}"));
        }
        self.await_acked(all);
    }

    fn await_acked(&mut self, all: usize) {
        let wanted = format!("{{\"acked\":{all}}}");
        let mut answer = String::new();
        while answer.trim_end() != wanted {
            answer.clear();
            assert!(
                self.answers.read_line(&mut answer).expect("an answer") > 0,
                "the agent hung up"
            );
        }
    }
}

/// `run` with its data directory on a file system of 8 MB of its own, after `prepare` was done there; `None` where the
/// kernel lets nobody mount one.
fn on_a_small_disk(place: &Place, prepare: &str) -> Command {
    fs::create_dir_all(place.path(".logagent")).expect("a directory");
    let run = place.command(&["run"]);
    let script = format!("mount -t tmpfs -o size=8m,mode=0700 none .logagent && {prepare} exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["-Urm", "sh", "-c", &script, "sh"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(place.dir.path())
        .env("LOGAGENT_LOG", "debug")
        .stdin(Stdio::null());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The agent's data directory as the agent sees it.
fn data(child: &Child) -> PathBuf {
    format!("/proc/{}/cwd/.logagent", child.id()).into()
}

/// Fills the disk to its last block.
fn fill(data: &std::path::Path) {
    let mut ballast = fs::File::create(data.join("ballast")).expect("the ballast");
    for size in [1 << 16, 4096, 1] {
        while ballast.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// Messages that are stored, by a copy of the store: what the agent mounted only it can open by name.
fn stored(place: &Place, data: &std::path::Path) -> Option<(i64, i64)> {
    let copy = place.path("copy");
    fs::create_dir_all(&copy).ok()?;
    for name in ["logs.db", "logs.db-wal"] {
        fs::copy(data.join(name), copy.join(name)).ok()?;
    }
    let db = Connection::open(copy.join("logs.db")).ok()?;
    let sql = "select count(*), count(distinct _key) from log_events";
    db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).ok()
}

#[test]
fn a_disk_that_stays_full_for_many_attempts_makes_clients_wait_and_not_for_ever() {
    let place = Place::with(QUICK);
    let agent = place.spawn(&mut on_a_small_disk(&place, ""));
    let data = data(&agent.child);
    let mut client = Client::connect(&data.join("logagent.sock"));
    client.deliver("before", 50, 50);
    let mut seed = 1;
    // Twice: what the first time leaves behind is there the second time.
    for round in 1..=2 {
        fill(&data);
        let before = said(&place, "the spool still cannot be written");
        for i in 0..40 {
            let filler = noise(&mut seed, 60);
            client.send(&format!("{{\"message\":\"full {round} {i}\",\"filler\":\"{filler}\"}}"));
        }
        eventually("several attempts to write the spool", || {
            (said(&place, "the spool still cannot be written") >= before + 3).then_some(())
        });
        place.append("app.log", &line(round));
        fs::remove_file(data.join("ballast")).expect("there is room again");
        client.await_acked(50 + 40 * round as usize);
    }
    eventually("everything is stored once", || {
        (stored(&place, &data)? == (132, 132)).then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    assert_eq!(said(&place, "everything is stored"), 1, "{}", place.stderr());
}

#[test]
fn a_start_on_a_full_disk_waits_until_there_is_room() {
    let place = Place::with(QUICK);
    place.append("app.log", &line(1));
    let full = "{ cat /dev/zero > .logagent/ballast 2> /dev/null; true; } &&";
    let log = fs::File::create(place.path("agent.err")).expect("a log");
    let mut child = on_a_small_disk(&place, full)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the agent starts");
    eventually("the agent says that it waits", || {
        assert_eq!(child.try_wait().expect("a child"), None, "{}", place.stderr());
        (said(&place, "the start waits until there is room") == 1).then_some(())
    });
    eventually("several attempts to start", || {
        (said(&place, "the disk is still full") >= 3).then_some(())
    });
    let data = data(&child);
    fs::remove_file(data.join("ballast")).expect("there is room");
    eventually("the line is stored", || {
        (stored(&place, &data)? == (1, 1)).then_some(())
    });
    assert_eq!(Agent { child }.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn told_to_stop_while_it_waits_for_room_the_agent_ends() {
    let place = Place::new();
    let full = "{ cat /dev/zero > .logagent/ballast 2> /dev/null; true; } &&";
    let log = fs::File::create(place.path("agent.err")).expect("a log");
    let child = on_a_small_disk(&place, full)
        .stderr(log)
        .spawn()
        .expect("the agent starts");
    eventually("the agent says that it waits", || {
        (said(&place, "the start waits until there is room") == 1).then_some(())
    });
    assert_eq!(Agent { child }.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn lines_acknowledged_before_and_after_the_state_was_lost_are_all_stored_although_a_full_disk_left_an_empty_file() {
    let place = Place::with(QUICK);
    let agent = place.start();
    let socket = place.path(".logagent/logagent.sock");
    Client::connect(&socket).deliver("stored", 100, 100);
    place.await_events(100);
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    Client::connect(&socket).deliver("spooled", 10, 10);
    agent.kill9();
    let spool = place.path(".logagent/spool");
    let names = fs::read_dir(&spool).expect("the spool").flatten();
    let last = names
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".spool")?.parse::<u64>().ok())
        .max()
        .expect("a file of the spool");
    fs::write(spool.join(format!("{:020}.spool", last + 50)), "").expect("an empty file");
    fs::remove_dir_all(place.path(".logagent/state")).expect("the state is lost");
    lock.execute_batch("commit").expect("unlocked");
    let agent = place.start();
    Client::connect(&socket).deliver("again", 20, 20);
    place.await_events(130);
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    assert_eq!(place.counts(), (130, 130));
}

#[test]
fn what_became_known_of_a_run_is_delivered_although_none_of_its_records_is_shipped() {
    let place = Place::with(&format!("{QUICK}[ship]\nmin_level = \"ERROR\"\n"));
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    let mut client = Client::connect(&place.path(".logagent/logagent.sock"));
    client.send("{\"message\":\"x\",\"level\":\"INFO\",\"execution_id\":\"quiet\",\"event\":\"run_start\"}");
    client.await_acked(1);
    agent.kill9();
    lock.execute_batch("commit").expect("unlocked");
    let agent = place.start();
    eventually("the run is stored", || {
        (place.text("select execution_id from script_runs") == ["quiet"]).then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn a_spool_smaller_than_one_request_blocks_nobody_for_ever() {
    let place = Place::with(&format!(
        "{QUICK}[spool]\nmax_size = \"1MiB\"\n[batch]\nmax_bytes = \"64KiB\"\n"
    ));
    let agent = place.start();
    let socket = place.path(".logagent/logagent.sock");
    let clients: Vec<_> = (0..2)
        .map(|n| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(&socket);
                let text = format!("{n}\n").repeat(16_000);
                client.out.write_all(text.as_bytes()).expect("sent");
                client.await_acked(16_000);
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all is taken");
    }
    eventually("everything is stored", || (place.counts().0 == 32_000).then_some(()));
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn a_spool_that_cannot_be_read_holds_up_neither_files_nor_the_stop_and_is_delivered_once_it_can() {
    let place = Place::with(&format!("{QUICK}[shutdown]\ndeadline = \"1s\"\n"));
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    let socket = place.path(".logagent/logagent.sock");
    Client::connect(&socket).deliver("first", 10, 10);
    agent.kill9();
    let before = said(&place, "the store is away");
    // What is spooled already is on its way, again and again; what comes now lies in another file.
    let agent = place.start();
    eventually("the store counts as away", || {
        (said(&place, "the store is away") > before).then_some(())
    });
    Client::connect(&socket).deliver("second", 10, 10);
    let mut files: Vec<PathBuf> = fs::read_dir(place.path(".logagent/spool"))
        .expect("the spool")
        .map(|e| e.expect("an entry").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2);
    // A directory in its place can be opened and not be read.
    let (file, aside) = (files.remove(1), place.path("aside.spool"));
    fs::rename(&file, &aside).expect("moved");
    fs::create_dir(&file).expect("a directory");
    lock.execute_batch("commit").expect("unlocked");
    place.append("app.log", &lines(0..100));
    place.await_events(110);
    eventually("the spool is said to be unreadable", || {
        (said(&place, "what is spooled waits until the spool can be read") == 1).then_some(())
    });
    place.append("app.log", &lines(100..200));
    place.await_events(210);
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    assert_eq!(said(&place, "everything is stored"), 0, "{}", place.stderr());
    fs::remove_dir(&file).expect("removed");
    fs::rename(&aside, &file).expect("moved back");
    let agent = place.start();
    place.await_events(220);
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn told_to_stop_while_the_store_is_locked_the_agent_ends_in_time_and_by_itself() {
    for deadline in ["1s", "3s"] {
        let place = Place::with(&format!("{QUICK}[shutdown]\ndeadline = \"{deadline}\"\n"));
        place.once();
        let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
        lock.execute_batch("begin immediate").expect("locked");
        let agent = place.start();
        place.append("app.log", &lines(0..5000));
        Client::connect(&place.path(".logagent/logagent.sock")).deliver("spooled", 10, 10);
        eventually("it is read", || {
            let status: serde_json::Value =
                serde_json::from_slice(&fs::read(place.path(".logagent/status.json")).ok()?).ok()?;
            (status["records"]["read"].as_u64()? > 10).then_some(())
        });
        // An end by force, some seconds behind the deadline, would have another code.
        assert_eq!(agent.terminate(), Some(0), "{deadline}: {}", place.stderr());
        lock.execute_batch("commit").expect("unlocked");
        place.once();
        assert_eq!(place.counts().0, 5010, "{deadline}");
    }
}

#[test]
fn a_reader_of_standard_error_that_goes_away_or_stops_reading_neither_ends_nor_holds_up_the_agent() {
    for goes in [true, false] {
        let place = Place::with(QUICK);
        let mut child = place
            .command(&["run"])
            .env("LOGAGENT_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let mut reader = child.stderr.take().expect("standard error");
        let mut first = [0; 1];
        reader.read_exact(&mut first).expect("it says something");
        let kept = (!goes).then_some(reader);
        for i in 0..20 {
            place.append("app.log", &lines(i * 50..(i + 1) * 50));
            place.await_events(50 * (i as i64 + 1));
        }
        assert_eq!(Agent { child }.terminate(), Some(0), "goes: {goes}");
        drop(kept);
    }
}

#[test]
fn an_agent_whose_data_directory_is_moved_away_ends_and_says_so() {
    let place = Place::new();
    let mut agent = place.start();
    place.append("app.log", &line(1));
    place.await_events(1);
    fs::rename(place.path(".logagent"), place.path("elsewhere")).expect("moved");
    let status = eventually("the agent ends", || agent.child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(70), "{}", place.stderr());
    assert!(
        place.stderr().contains("was moved, removed or replaced"),
        "{}",
        place.stderr()
    );
    fs::remove_dir_all(place.path(".logagent")).ok();
    fs::rename(place.path("elsewhere"), place.path(".logagent")).expect("moved back");
    place.append("app.log", &line(2));
    place.once();
    assert_eq!(place.counts().0, 2);
}
