//! The whole agent: the real binary, real files, a real embedded store, and SIGKILL.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::harness::{eventually, python_with_loguru};
use crate::place::{Place, lines, noise};

#[test]
fn run_once_ships_what_is_there_and_a_second_time_nothing() {
    let place = Place::new();
    place.append("etl.jsonl", &lines(0..500));
    let out = place.once();
    assert!(
        !place.path(".logagent/logs.db-wal").exists(),
        "the database is left in one piece"
    );
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("500"),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(place.counts(), (500, 500));
    place.append("etl.jsonl", &lines(500..510));
    place.once();
    assert_eq!(place.counts(), (510, 510));
    let runs = place.text("select execution_id || ' ' || script_name || ' ' || status from script_runs");
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(
        runs[0].starts_with("etl_20261121_022024_") && runs[0].ends_with(" etl ended"),
        "{runs:?}"
    );
}

#[test]
fn without_the_state_everything_is_shipped_again_and_nothing_is_doubled() {
    let place = Place::new();
    place.append("a.jsonl", &lines(0..3000));
    place.append("b.jsonl", &lines(3000..4000));
    place.once();
    let keys = place.text("select _key from log_events order by _key");
    for entry in fs::read_dir(place.path(".logagent")).expect("the data directory") {
        let path = entry.expect("an entry").path();
        if !path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("logs.db"))
        {
            if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
            .expect("removed");
        }
    }
    place.once();
    assert_eq!(place.counts(), (4000, 4000));
    assert_eq!(place.text("select _key from log_events order by _key"), keys);
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_doubles_nothing() {
    let place = Place::with("[batch]\nmax_records = 100\n");
    let total = 20_000_u64;
    let mut written = 0;
    let mut seed = std::process::id();
    while written < total {
        let agent = place.start();
        let rounds = 4;
        for _ in 0..rounds {
            let n = (total / 24).min(total - written);
            place.append("app.jsonl", &lines(written..written + n));
            written += n;
            if written % 3 == 0 {
                // A rotation as loguru does it, while lines may be unread.
                fs::rename(
                    place.log("app.jsonl"),
                    place.log(&format!("app.2026-11-21_00-00-00_{written:06}.jsonl")),
                )
                .expect("renamed");
            }
        }
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let target = place.counts().0 + i64::from(seed >> 8) % 2000;
        let deadline = Instant::now() + Duration::from_millis(400);
        while place.counts().0 < target.min(written as i64) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        agent.kill9();
    }
    let _agent = place.start();
    place.await_events(total as i64);
}

#[test]
fn real_loguru_with_rotation_and_compression_is_delivered_whole_across_kills() {
    let place = Place::new();
    let script = place.path("writer.py");
    fs::write(
        &script,
        "import sys\nfrom loguru import logger\nlogger.remove()\n\
         logger.add('logs/app.jsonl', serialize=True, rotation='100 KB', compression='gz')\n\
         for i in range(4000):\n    logger.bind(seq=i).info('step {}', i)\n",
    )
    .expect("a script");
    let mut agent = place.start();
    let mut writer = Command::new(python_with_loguru())
        .arg(&script)
        .current_dir(place.dir.path())
        .spawn()
        .expect("python");
    for n in [500, 1500, 3000] {
        eventually("the writer is on its way", || {
            (place.counts().0 >= n || writer.try_wait().ok()?.is_some()).then_some(())
        });
        agent.kill9();
        agent = place.start();
    }
    assert!(writer.wait().expect("wait").success());
    place.await_events(4000);
}

#[test]
fn a_second_agent_on_the_same_directory_is_told_the_pid_of_the_first() {
    let place = Place::new();
    let agent = place.start();
    let out = place.command(&["run", "--once"]).output().expect("runs");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert!(err.contains(&agent.child.id().to_string()), "{err}");
}

#[test]
fn sigterm_under_load_drains_and_ends_with_zero() {
    let place = Place::new();
    let agent = place.start();
    place.append("app.jsonl", &lines(0..20_000));
    eventually("shipping has begun", || (place.counts().0 > 0).then_some(()));
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    place.once();
    assert_eq!(place.counts(), (20_000, 20_000));
}

#[test]
fn an_acknowledged_socket_record_survives_sigkill() {
    let place = Place::new();
    let agent = place.start();
    let socket = UnixStream::connect(place.path(".logagent/logagent.sock")).expect("connected");
    let mut lines = BufReader::new(socket.try_clone().expect("cloned")).lines();
    let mut out = &socket;
    out.write_all(b"{\"logagent\":\"ack\"}\n").expect("sent");
    for i in 0..50 {
        writeln!(out, "{{\"message\":\"m{i}\",\"seq\":{i},\"execution_id\":\"run-1\"}}").expect("sent");
    }
    let acked = lines.find(|l| l.as_ref().is_ok_and(|l| l == "{\"acked\":50}"));
    assert!(acked.is_some(), "all are acknowledged");
    agent.kill9();
    let _agent = place.start();
    place.await_events(50);
    assert_eq!(
        place.text("select distinct json_extract(source, '$.kind') from log_events"),
        ["socket"]
    );
}

/// Sends records, each of about 1 KiB, until the agent takes no more; returns the client and its answers.
fn fill_the_spool(place: &Place) -> (UnixStream, BufReader<UnixStream>) {
    let socket = UnixStream::connect(place.path(".logagent/logagent.sock")).expect("connected");
    let answers = BufReader::new(socket.try_clone().expect("cloned"));
    let mut out = &socket;
    out.write_all(b"{\"logagent\":\"ack\"}\n").expect("sent");
    socket
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let mut seed = 1_u64;
    for i in 0.. {
        let noise = noise(&mut seed, 60);
        if out
            .write_all(format!("{{\"message\":\"{noise}\",\"seq\":{i}}}\n").as_bytes())
            .is_err()
        {
            break;
        }
    }
    (socket, answers)
}

#[test]
fn stopped_while_the_spool_is_full_the_agent_ends_by_its_deadline_and_keeps_what_it_acknowledged() {
    let place =
        Place::with("[spool]\nmax_size = \"1MiB\"\n[batch]\nmax_bytes = \"64KiB\"\n[shutdown]\ndeadline = \"500ms\"\n");
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    let (_socket, answers) = fill_the_spool(&place);
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    let acked = answers.lines().map_while(Result::ok).last().expect("an answer");
    let acked: serde_json::Value = serde_json::from_str(&acked).expect("JSON");
    lock.execute_batch("commit").expect("unlocked");
    place.once();
    let (events, distinct) = place.counts();
    assert_eq!(events, distinct);
    assert!(
        events >= acked["acked"].as_i64().expect("a number"),
        "{events} of {acked}"
    );
}

#[test]
fn stopped_while_an_archive_waits_for_the_store_the_agent_ends() {
    let place = Place::with("[batch]\nmax_records = 100\n[shutdown]\ndeadline = \"0s\"\n");
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let mut archive = flate2::write::GzEncoder::new(
        fs::File::create(place.log("a.jsonl.gz")).expect("a file"),
        flate2::Compression::fast(),
    );
    archive.write_all(lines(0..20_000).as_bytes()).expect("written");
    archive.finish().expect("written");
    let agent = place.start();
    eventually("the store counts as away", || {
        place.stderr().contains("away").then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    lock.execute_batch("commit").expect("unlocked");
    place.once();
    assert_eq!(place.counts(), (20_000, 20_000));
}

#[test]
fn a_server_that_never_answers_keeps_neither_clients_nor_run_once_waiting() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = Place::with(&format!(
        "[store]\nkind = \"arangodb\"\n[store.arangodb]\nendpoints = [\"http://{}\"]\n",
        server.local_addr().expect("an address")
    ));
    let agent = place.start();
    UnixStream::connect(place.path(".logagent/logagent.sock")).expect("connected");
    agent.kill9();
    let out = place
        .command(&["run", "--once", "--timeout", "1s"])
        .output()
        .expect("the agent runs");
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn run_once_gives_up_a_store_that_goes_away_while_it_reads() {
    let place = Place::with("[batch]\nmax_records = 100\n");
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    // The schema is there, so that only writing shows it. More than fits into memory at a time.
    place.append("a.jsonl", &lines(0..20_000));
    let out = place
        .command(&["run", "--once", "--timeout", "1s"])
        .output()
        .expect("the agent runs");
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
    lock.execute_batch("commit").expect("unlocked");
    place.once();
    assert_eq!(place.counts(), (20_000, 20_000));
}

#[test]
fn how_a_run_ended_reaches_the_store_although_the_agent_was_stopped_while_it_was_away() {
    let place = Place::with("[shutdown]\ndeadline = \"0s\"\n");
    let agent = place.start();
    let mut job = Command::new("sleep").arg("100").spawn().expect("a process");
    let start = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ");
    place.append(
        "job.jsonl",
        &format!(
            "{{\"timestamp\":\"{start}\",\"message\":\"m\",\"event\":\"run_start\",\"pid\":{}}}\n",
            job.id()
        ),
    );
    eventually("the run is stored", || {
        (place.open().is_some() && place.text("select status from script_runs") == ["running"]).then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    job.kill().and_then(|()| job.wait()).expect("gone");
    eventually("the agent wants to say how it ended", || {
        place.stderr().contains("away").then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    lock.execute_batch("commit").expect("unlocked");
    place.once();
    assert_eq!(place.text("select status from script_runs"), ["crashed"]);
}

#[test]
fn a_client_with_a_stream_of_its_own_may_send_twice_across_a_restart() {
    let place = Place::new();
    let send = |from: u64, to: u64| {
        let socket = UnixStream::connect(place.path(".logagent/logagent.sock")).expect("connected");
        let mut replies = BufReader::new(socket.try_clone().expect("cloned"));
        let mut out = &socket;
        out.write_all(b"{\"logagent\":\"ack\",\"stream\":\"worker-7\"}\n")
            .expect("sent");
        let mut first = String::new();
        replies.read_line(&mut first).expect("a reply");
        for i in from..to {
            writeln!(out, "{{\"message\":\"m{i}\",\"seq\":{i}}}").expect("sent");
        }
        socket.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut rest = String::new();
        replies.read_to_string(&mut rest).expect("replies");
        (first, rest)
    };
    let agent = place.start();
    let (first, rest) = send(0, 10);
    assert_eq!(first, "{\"acked\":0}\n");
    assert!(rest.ends_with("{\"acked\":10}\n"), "{rest}");
    agent.kill9();
    let _agent = place.start();
    let (first, _) = send(10, 12);
    assert_eq!(first, "{\"acked\":10}\n");
    place.await_events(12);
}

#[test]
fn while_the_store_is_locked_rotated_files_are_spooled_and_all_arrives_afterwards() {
    let place = Place::with("[batch]\nmax_records = 50\n");
    place.append("app.jsonl", &lines(0..10));
    place.once();
    let lock = Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    place.append("app.jsonl", &lines(10..500));
    eventually("the store counts as away", || {
        place.stderr().contains("away").then_some(())
    });
    fs::rename(place.log("app.jsonl"), place.log("app.1.jsonl")).expect("renamed");
    place.append("app.jsonl", &lines(500..800));
    eventually("rotated records are spooled", || {
        let status: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path(".logagent/status.json")).ok()?).ok()?;
        (status["spool"]["records"].as_u64()? >= 490).then_some(())
    });
    fs::remove_file(place.log("app.1.jsonl")).expect("removed");
    agent.kill9();
    let _agent = place.start();
    lock.execute_batch("commit").expect("unlocked");
    place.await_events(800);
}

#[test]
fn a_run_without_run_end_is_closed_when_its_process_is_gone() {
    let place = Place::new();
    fs::write(
        place.path("job.py"),
        "from loguru import logger\nlogger.remove()\nlogger.add('logs/job.jsonl', serialize=True)\n\
         logger.bind(event='run_start', metadata={'env': 'staging'}).info('start')\nimport os\n\
         try:\n    {}['id']\nexcept KeyError:\n    logger.exception('lookup failed')\nos._exit(1)\n",
    )
    .expect("a script");
    let _agent = place.start();
    let code = Command::new(python_with_loguru())
        .arg("job.py")
        .current_dir(place.dir.path())
        .status()
        .expect("python");
    assert_eq!(code.code(), Some(1));
    let row = eventually("the run is closed", || {
        let rows = place.open().is_some().then(|| {
            place.text("select script_name || '|' || status || '|' || error || '|' || metadata from script_runs")
        })?;
        rows.into_iter().find(|r| r.contains("|failed|"))
    });
    assert_eq!(row, "job|failed|KeyError: 'id'|{\"env\": \"staging\"}");
}

#[test]
fn sighup_reads_the_list_of_files_again() {
    let place = Place::new();
    let agent = place.start();
    fs::create_dir(place.path("more")).expect("more/");
    fs::write(place.path("more/x.jsonl"), lines(0..5)).expect("written");
    let config = "host = \"here\"\n[files]\ninclude = [\"logs/**/*.jsonl\", \"more/*.jsonl\"]\n";
    fs::write(place.path("logagent.toml"), config).expect("written");
    agent.signal(libc::SIGHUP);
    place.await_events(5);
}

#[test]
fn a_run_on_a_file_that_is_no_database_is_refused_and_leaves_it_alone() {
    let place = Place::with("[store.sqlite]\npath = \"precious.db\"\n");
    let precious: &[u8] = b"not a database, but somebody's thesis. ".repeat(100).leak();
    fs::write(place.path("precious.db"), precious).expect("written");
    place.append("app.jsonl", &lines(0..3));
    let out = place.command(&["run", "--once"]).output().expect("runs");
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("precious.db"));
    assert_eq!(fs::read(place.path("precious.db")).expect("still there"), precious);
}

#[test]
fn the_agent_says_what_it_watches_where_it_listens_and_what_to_type_next() {
    let place = Place::new();
    let _agent = place.start();
    let said = place.stderr();
    for part in ["logs/**/*.jsonl", "logagent.sock", "logs.db", "logagent search"] {
        assert!(said.contains(part), "{part} in: {said}");
    }
}
