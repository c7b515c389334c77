//! What happens to log files in real life, where the whole program has to answer: messages, limits of the machine, an
//! outage of the store, a full disk, a damaged state.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::confine::{Refuse, refusing};
use crate::harness::eventually;
use crate::place::{Agent, Place, line, lines, noise};
use crate::recorder::opened;

/// Lines of the agent's log with this level that came from looking after files.
fn said(place: &Place, level: &str, part: &str) -> usize {
    let log = place.stderr();
    log.lines().filter(|l| l.contains(level) && l.contains(part)).count()
}

// Case 10.
#[test]
fn an_empty_file_causes_no_message_and_a_line_in_it_is_shipped_like_any_other() {
    let place = Place::new();
    fs::write(place.log("empty.jsonl"), "").expect("written");
    let _agent = place.start();
    fs::write(place.log("later.jsonl"), "").expect("written");
    place.append("small.jsonl", &line(0));
    place.await_events(1);
    for level in ["WARN", "ERROR"] {
        assert_eq!(said(&place, level, ""), 0, "{}", place.stderr());
    }
    place.append("empty.jsonl", &line(1));
    place.append("later.jsonl", &line(2));
    place.await_events(3);
}

/// Puts something else into the place of everything the state consists of.
fn damage(dir: &Path, how: &dyn Fn(&Path)) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => damage(&path, how),
            false => how(&path),
        }
    }
}

// Case 12. Single files, one by one: in `state`.
#[test]
fn whatever_became_of_the_state_the_agent_starts_says_so_and_the_store_counts_the_same() {
    let truncate: &dyn Fn(&Path) = &|f| fs::write(f, "").expect("written");
    let zeros: &dyn Fn(&Path) = &|f| {
        let n = fs::metadata(f).expect("metadata").len() as usize;
        fs::write(f, vec![0; n]).expect("written");
    };
    let half: &dyn Fn(&Path) = &|f| {
        let bytes = fs::read(f).expect("read");
        fs::write(f, &bytes[..bytes.len() / 2]).expect("written");
    };
    for (what, how) in [("truncated", truncate), ("zeros", zeros), ("half", half)] {
        let place = Place::new();
        place.append("app.jsonl", &lines(0..3000));
        place.once();
        let state = place.path(".logagent/state");
        assert!(state.is_dir(), "the state is where it is looked for");
        damage(&state, how);
        place.append("app.jsonl", &lines(3000..3100));
        let out = place.once();
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(place.counts(), (3100, 3100), "{what}: {log}");
        assert!(log.contains("ERROR"), "{what}: it is said: {log}");
        // Nothing is said a second time, and nothing is shipped again.
        let again = String::from_utf8_lossy(&place.once().stderr).into_owned();
        assert!(!again.contains("ERROR"), "{what}: {again}");
        assert_eq!(place.counts(), (3100, 3100));
    }
}

/// The agent with its data directory on a file system with 2 MB of room; where the kernel lets nobody mount one, files may not
/// grow beyond 2 MB. Returns how to make room.
fn start_on_a_small_disk(place: &Place) -> (Agent, impl Fn(&Agent) + use<>) {
    fs::create_dir_all(place.path(".logagent")).expect("a directory");
    let may_mount = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let run = place.command(&["run"]);
    let mut command = Command::new("unshare");
    if may_mount {
        let script = "mount -t tmpfs -o size=40m,mode=0700 none .logagent && head -c 40000000 /dev/zero > .logagent/ballast && exec \"$@\"";
        command
            .args(["-Urm", "sh", "-c", script, "sh"])
            .arg(run.get_program())
            .args(run.get_args());
    } else {
        command = place.command(&["run"]);
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                let limit = libc::rlimit {
                    rlim_cur: 2 << 20,
                    rlim_max: libc::RLIM_INFINITY,
                };
                libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                Ok(())
            });
        }
    }
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let agent = place.spawn(command.current_dir(place.dir.path()).stdin(Stdio::null()));
    let relieve = move |agent: &Agent| {
        let pid = agent.child.id();
        if may_mount {
            fs::remove_file(format!("/proc/{pid}/cwd/.logagent/ballast")).expect("the ballast is removed");
        } else {
            let limit = libc::rlimit {
                rlim_cur: libc::RLIM_INFINITY,
                rlim_max: libc::RLIM_INFINITY,
            };
            // SAFETY: plain system call on our own child; the old limit is not asked for.
            let set = unsafe { libc::prlimit(pid as i32, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
            assert_eq!(set, 0);
        }
    };
    (agent, relieve)
}

// Case 12: the disk is full.
#[test]
fn a_disk_that_fills_up_is_said_and_nothing_is_lost_once_there_is_room() {
    let place = Place::with("[retry]\ninitial = \"50ms\"\nmax = \"200ms\"\n");
    let (agent, relieve) = start_on_a_small_disk(&place);
    place.append("app.jsonl", &lines(0..4000));
    eventually(&format!("the full disk is said, {}", place.stderr()), || {
        let log = place.stderr();
        (log.contains("space") || log.contains("too large") || log.contains("disk I/O")).then_some(())
    });
    place.append("app.jsonl", &lines(4000..4100));
    relieve(&agent);
    // What the agent mounted only it can open by name, so a copy is looked into.
    let data: PathBuf = format!("/proc/{}/cwd/.logagent", agent.child.id()).into();
    fs::create_dir(place.path("copy")).expect("a directory");
    let stored = || -> Option<(i64, i64)> {
        for name in ["logs.db", "logs.db-wal"] {
            fs::copy(data.join(name), place.path("copy").join(name)).ok()?;
        }
        let db = rusqlite::Connection::open(place.path("copy/logs.db")).ok()?;
        let sql = "select count(*), count(distinct json_extract(extra_data, '$.seq')) from log_events";
        db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).ok()
    };
    eventually("everything to be stored once", || {
        (stored()? == (4100, 4100)).then_some(())
    });
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

#[test]
fn a_disk_that_fills_up_makes_the_socket_wait_and_it_goes_on_once_there_is_room() {
    let place = Place::with("[retry]\ninitial = \"50ms\"\nmax = \"200ms\"\n");
    let (agent, relieve) = start_on_a_small_disk(&place);
    let path = format!("/proc/{}/cwd/.logagent/logagent.sock", agent.child.id());
    let client = UnixStream::connect(path).expect("connected");
    let answers = BufReader::new(client.try_clone().expect("cloned"));
    let writer = std::thread::spawn(move || {
        let mut out = &client;
        out.write_all(b"{\"logagent\":\"ack\"}\n")?;
        let mut seed = 1_u64;
        for i in 0..4000 {
            let noise = noise(&mut seed, 100);
            out.write_all(format!("{{\"message\":\"{noise}\",\"seq\":{i}}}\n").as_bytes())?;
        }
        Ok::<_, std::io::Error>(client)
    });
    eventually(&format!("the full disk is said, {}", place.stderr()), || {
        let log = place.stderr();
        (log.contains("full") || log.contains("too large") || log.contains("cannot be written")).then_some(())
    });
    relieve(&agent);
    let last = answers.lines().map_while(Result::ok).find(|l| l == "{\"acked\":4000}");
    assert!(last.is_some(), "all are taken: {}", place.stderr());
    let _client = writer.join().expect("the writer ends").expect("no write failed");
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

// Case 13, the whole way.
#[test]
fn a_line_of_64_megabytes_is_stored_cut_and_marked_and_counted() {
    let place = Place::new();
    place.append("app.jsonl", &line(0));
    let mut file = opened(&place.log("app.jsonl"));
    file.write_all(b"{\"seq\": 1, \"message\": \"").expect("written");
    for _ in 0..64 {
        file.write_all(&[b'z'; 1 << 20]).expect("written");
    }
    file.write_all(b"\"}\n").expect("written");
    place.append("app.jsonl", &line(2));
    let out = place.once();
    let rows = place.text(
        "select coalesce(json_extract(extra_data, '$.seq'), 'cut') || ' ' || (length(message) < 40000) || ' ' || \
         (truncated is not null) from log_events order by seq",
    );
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(
        rows.contains(&"0 1 0".to_owned()) && rows.contains(&"2 1 0".to_owned()),
        "{rows:?}"
    );
    assert!(rows.iter().any(|r| r.ends_with(" 1 1")), "{rows:?}");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("1 truncated"),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

// Case 15.
#[test]
fn where_inotify_refuses_there_is_one_warning_and_everything_is_found_by_polling() {
    for refuse in [Refuse::Watches, Refuse::Instances] {
        let place = Place::with("[files]\npoll_interval = \"100ms\"\n");
        for n in 0..50 {
            fs::create_dir(place.log(&format!("d{n}"))).expect("a directory");
            place.append(&format!("d{n}/app.jsonl"), &line(n));
        }
        let mut command = place.command(&["run"]);
        let _agent = place.spawn(refusing(&mut command, refuse));
        place.await_events(50);
        for n in 0..50 {
            place.append(&format!("d{n}/app.jsonl"), &line(50 + n));
        }
        fs::create_dir(place.log("new")).expect("a directory");
        place.append("new/app.jsonl", &line(100));
        fs::rename(place.log("d0/app.jsonl"), place.log("d0/app.1.jsonl")).expect("renamed");
        place.append("d0/app.jsonl", &line(101));
        place.await_events(102);
        assert_eq!(said(&place, "WARN", "inotify"), 1, "{}", place.stderr());
        assert_eq!(said(&place, "WARN", ""), 1, "{}", place.stderr());
    }
}

// Case 23.
#[test]
fn a_file_that_may_not_be_read_is_said_once_and_once_more_when_it_may() {
    let place = Place::with("[files]\npoll_interval = \"50ms\"\n");
    let mode =
        |name: &str, mode| fs::set_permissions(place.log(name), fs::Permissions::from_mode(mode)).expect("chmod");
    place.append("app.jsonl", &lines(0..10));
    place.append("fine.jsonl", &lines(10..20));
    mode("app.jsonl", 0o000);
    let mut command = place.command(&["run"]);
    // SAFETY: plain system call. Root may read anything, so it becomes nobody.
    if unsafe { libc::geteuid() } == 0 {
        std::os::unix::fs::chown(place.dir.path(), Some(65_534), Some(65_534)).expect("chown");
        command.uid(65_534).gid(65_534);
    }
    let _agent = place.spawn(&mut command);
    place.await_events(10);
    eventually("the message", || {
        (said(&place, "", "permission denied") > 0).then_some(())
    });
    // Many polls later, seen by what is shipped at each of them, it is still one message.
    for n in 20..40 {
        place.append("fine.jsonl", &line(n));
        place.await_events(n as i64 - 9);
    }
    mode("app.jsonl", 0o644);
    place.await_events(40);
    assert_eq!(said(&place, "WARN", "permission denied"), 1, "{}", place.stderr());
    assert_eq!(said(&place, "INFO", "can be read again"), 1, "{}", place.stderr());
    mode("app.jsonl", 0o000);
    place.append("fine.jsonl", &line(40));
    place.await_events(41);
    mode("app.jsonl", 0o644);
    place.append("app.jsonl", &line(41));
    place.await_events(42);
}

// Case 25.
#[test]
fn stopped_under_load_rotated_lines_are_stored_before_live_ones_and_each_file_in_order() {
    let place = Place::with("[batch]\nmax_records = 200\n");
    for (n, name) in [
        "app.2026-11-21_01-00-00_000000.jsonl",
        "app.2026-11-21_02-00-00_000000.jsonl",
        "app.jsonl",
    ]
    .iter()
    .enumerate()
    {
        let from = n as u64 * 5000;
        place.append(name, &lines(from..from + 5000));
        let age = std::time::Duration::from_secs(100 * (3 - n as u64));
        let file = fs::File::options().write(true).open(place.log(name)).expect("opened");
        file.set_modified(std::time::SystemTime::now() - age).expect("a time");
    }
    let agent = place.start();
    eventually("shipping has begun", || (place.counts().0 > 0).then_some(()));
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    let order = place.text("select cast(json_extract(extra_data, '$.seq') as text) from log_events order by rowid");
    let expected: Vec<String> = (0..order.len()).map(|n| n.to_string()).collect();
    assert_eq!(order, expected, "a prefix of everything, in order");
    place.once();
    assert_eq!(place.counts(), (15_000, 15_000));
}

// Of very many files some are listed; the totals are of all.
#[test]
fn the_status_counts_files_that_it_does_not_list() {
    let place = Place::new();
    for n in 0..1200 {
        place.append(&format!("f{n:04}.jsonl"), &line(n));
    }
    let _agent = place.start();
    eventually("all files to be counted", || {
        let bytes = fs::read(place.path(".logagent/status.json")).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let listed = status["sources"].as_array()?.len();
        assert!(listed <= 1000, "{listed}");
        // The socket is one, too.
        (status["sources_total"] == 1201 && status["lag_bytes"] == 0).then_some(())
    });
}

/// Peak of the agent's resident memory.
fn peak(agent: &Agent) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).expect("a process");
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    peak.expect("a peak").trim().to_owned()
}

/// Lines that cannot be compressed by more than half, `seq` from `from` on, sent over the socket by a thread of its own.
fn send_noise(place: &Place, from: u64, n: u64) -> std::thread::JoinHandle<()> {
    let socket = UnixStream::connect(place.path(".logagent/logagent.sock")).expect("connected");
    std::thread::spawn(move || {
        let mut random = from;
        let mut noise = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{random:016x}")
        };
        for seq in from..from + n {
            let text: String = (0..60).map(|_| noise()).collect();
            writeln!(&socket, "{{\"seq\": {seq}, \"message\": \"{text}\"}}").expect("sent");
        }
    })
}

// Case 16. What an hour at 1,000 lines/s is to the agent: more than spool and memory hold. The peak is printed.
#[test]
fn an_outage_longer_than_the_spool_is_caught_up_with_and_live_lines_are_not_starved() {
    let place = Place::with("[spool]\nmax_size = \"8MB\"\n[retry]\ninitial = \"50ms\"\nmax = \"500ms\"\n");
    place.append("live.jsonl", &line(0));
    place.once();
    let lock = rusqlite::Connection::open(place.path(".logagent/logs.db")).expect("opened");
    lock.execute_batch("begin immediate").expect("locked");
    let agent = place.start();
    place.append("live.jsonl", &line(1));
    eventually("the store counts as away", || {
        (said(&place, "", "away") > 0).then_some(())
    });
    let (files, each, sent) = (40, 1000, 20_000);
    let client = send_noise(&place, 100_000, sent);
    for n in 0..files {
        let from = 10 + n * each;
        place.append("app.jsonl", &lines(from..from + each));
        let rotated = format!("app.2026-11-21_02-{n:02}-24_054432.jsonl");
        fs::rename(place.log("app.jsonl"), place.log(&rotated)).expect("renamed");
        if n % 4 == 0 {
            let text = fs::read(place.log(&rotated)).expect("read");
            fs::write(place.log(&(rotated.clone() + ".gz")), crate::recorder::gz(&text)).expect("written");
            fs::remove_file(place.log(&rotated)).expect("removed");
        }
    }
    eventually("the spool to be full", || {
        let bytes = fs::read(place.path(".logagent/status.json")).ok()?;
        let status: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let spool = &status["spool"];
        assert!(spool["bytes"].as_u64()? <= 8_000_000, "{spool}");
        (spool["bytes"].as_u64()? > 7_000_000).then_some(())
    });
    assert!(!client.is_finished(), "the client waits");
    // The store is there again. A line of another file need not wait for all that has gathered.
    lock.execute_batch("commit").expect("unlocked");
    place.append("live.jsonl", &line(2));
    let total = 3 + (files * each + sent) as i64;
    place.await_events(total);
    client.join().expect("all was sent");
    println!("peak of resident memory through the outage: {}", peak(&agent));
    let later = "select cast(count(*) as text) from log_events where rowid > \
                 (select rowid from log_events where json_extract(extra_data, '$.seq') = 2)";
    let behind: i64 = place.text(later)[0].parse().expect("a number");
    assert!(
        behind > 1000,
        "the live line was stored before the last {behind} of {total}"
    );
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
}

/// What decompressors need much memory for, in every format that can ask for it.
fn large_windows(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut options = liblzma::stream::LzmaOptions::new_preset(9).expect("a preset");
    options.dict_size(64 << 20);
    let encode = |stream: Result<liblzma::stream::Stream, liblzma::stream::Error>| {
        let mut w = liblzma::write::XzEncoder::new_stream(Vec::new(), stream.expect("an encoder"));
        w.write_all(text).expect("written");
        w.finish().expect("finished")
    };
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let xz = encode(liblzma::stream::Stream::new_stream_encoder(
        &filters,
        liblzma::stream::Check::Crc32,
    ));
    let lzma = encode(liblzma::stream::Stream::new_lzma_encoder(&options));
    let mut w = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
    w.window_log(27).expect("a window");
    w.write_all(text).expect("written");
    let zst = w.finish().expect("finished");
    let mut w = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, method) in [
        ("z.jsonl", zip::CompressionMethod::Zstd),
        ("d.txt", zip::CompressionMethod::Deflated),
    ] {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        w.start_file(name, options).expect("a member");
        w.write_all(if name == "d.txt" { b"" } else { text }).expect("written");
    }
    let zip = w.finish().expect("finished").into_inner();
    let mut w = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    w.write_all(text).expect("written");
    vec![
        ("xz", xz),
        ("lzma", lzma),
        ("zst", zst),
        ("zip", zip),
        ("bz2", w.finish().expect("finished")),
    ]
}

#[test]
fn archives_that_take_much_memory_are_read_whole_by_a_process_that_ends() {
    for (suffix, packed) in large_windows(lines(0..2000).as_bytes()) {
        let place = Place::new();
        // The first lines are shipped while the file is plain, and the rest is in the archive alone.
        place.append("app.jsonl", &lines(0..500));
        place.once();
        fs::remove_file(place.log("app.jsonl")).expect("removed");
        fs::write(
            place.log(&format!("app.2026-11-21_02-20-24_054432.jsonl.{suffix}")),
            &packed,
        )
        .expect("written");
        let agent = place.start();
        place.await_events(2000);
        let children = format!("/proc/{0}/task/{0}/children", agent.child.id());
        eventually("no process to be left", || {
            fs::read_to_string(&children).ok()?.is_empty().then_some(())
        });
        assert_eq!(agent.terminate(), Some(0), "{suffix}: {}", place.stderr());
    }
}

#[test]
fn an_archive_that_is_damaged_is_said_by_its_name_and_holds_nothing_up() {
    for (suffix, mut packed) in large_windows(lines(0..2000).as_bytes()) {
        if suffix == "zip" {
            continue;
        }
        let place = Place::new();
        place.append("app.jsonl", &line(5000));
        let middle = packed.len() / 2;
        packed[middle..middle + 20].fill(0x55);
        fs::write(place.log(&format!("old.jsonl.{suffix}")), &packed).expect("written");
        let out = place.once();
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(log.contains(&format!("old.jsonl.{suffix}")), "{log}");
        let stored = place.text("select message from log_events where json_extract(extra_data, '$.seq') = 5000");
        assert_eq!(stored.len(), 1);
    }
}
