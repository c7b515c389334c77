//! Many files, many lines, limits reached, permissions taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use logagent::config::StartAt;
use logagent::source::status::FileState;

use crate::harness::eventually;
use crate::recorder::{Rig, opened, timed, timed_line};
use std::io::Write;

/// User and system time of this process.
fn cpu() -> Duration {
    // SAFETY: `usage` is plain data that the call fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64);
    time(usage.ru_utime) + time(usage.ru_stime)
}

// Case 17. The figure is printed: run it alone with `--nocapture`.
#[test]
fn twenty_thousand_idle_files_need_few_descriptors_and_a_new_line_is_noticed() {
    let mut rig = Rig::new();
    rig.settings.poll_interval = Duration::from_secs(1);
    for n in 0..20_000 {
        if n % 1000 == 0 {
            fs::create_dir(rig.path(&format!("d{}", n / 1000))).unwrap();
        }
        rig.write(
            &format!("d{}/f{n}.log", n / 1000),
            timed_line("idle", n) + &format!(" {n}\n"),
        );
    }
    rig.start();
    rig.wait(20_000);
    eventually("idle descriptors to be closed", || {
        (rig.status.get().open_descriptors < 100).then_some(())
    });
    rig.watched_for(Duration::from_millis(2500));
    let (from, before) = (Instant::now(), cpu());
    rig.watched_for(Duration::from_secs(2));
    let used = cpu() - before;
    println!(
        "20,000 idle files: {:.2} % of a core",
        100.0 * used.as_secs_f64() / from.elapsed().as_secs_f64()
    );
    rig.append("d7/f7777.log", "new\n");
    rig.wait(20_001);
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    let ours = fds
        .filter_map(|e| fs::read_link(e.unwrap().path()).ok())
        .filter(|p| p.starts_with(rig.dir.path()));
    assert!(ours.count() < 100);
}

// New files are judged some at a time; those that give nothing to read must not end that early.
#[test]
fn a_file_behind_very_many_empty_ones_is_found_at_once() {
    let rig = Rig::new();
    for n in 0..1500 {
        rig.write(&format!("a{n:04}.log"), "");
    }
    rig.write("z.log", timed("z", 0, 3));
    let report = rig.once();
    assert_eq!((report.files, rig.recorder.book().count), (1, 3));
}

// What `files.start_at` leaves out are the files of the first look, however long it takes to judge them.
#[test]
fn of_very_many_files_none_is_read_from_its_beginning_that_was_there_before_the_agent() {
    let mut rig = Rig::new();
    rig.settings.start_at = StartAt::End;
    for n in 0..1000 {
        rig.write(&format!("f{n:04}.log"), timed(&format!("f{n}"), 0, 2));
    }
    rig.start();
    eventually("all files to be judged", || {
        let status = rig.status.get();
        let current = status.files.iter().filter(|f| f.state == FileState::Current);
        (current.count() == 1000).then_some(())
    });
    rig.append("f0999.log", timed("f999", 2, 3));
    rig.write("new.log", timed("new", 0, 2));
    rig.wait(3);
    rig.watched_for(Duration::from_millis(300));
    assert_eq!(rig.recorder.book().count, 3);
}

// The cost of a busy file, and how long a line takes. The figures are printed.
#[test]
fn a_thousand_lines_a_second_arrive_one_by_one() {
    let mut rig = Rig::new();
    rig.settings.poll_interval = Duration::from_secs(1);
    rig.start();
    let mut file = opened(&rig.path("app.log"));
    let mut sent = Vec::new();
    let before = cpu();
    let from = Instant::now();
    for n in 0..2000 {
        let due = from + Duration::from_millis(n);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        file.write_all((timed_line("busy", n as usize) + "\n").as_bytes())
            .unwrap();
        sent.push(Instant::now());
    }
    rig.wait(2000);
    let used = cpu() - before;
    let book = rig.recorder.book();
    let mut waits: Vec<Duration> = sent
        .iter()
        .zip(&book.times)
        .map(|(s, t)| t.saturating_duration_since(*s))
        .collect();
    waits.sort();
    println!(
        "1,000 lines/s, writer included: {:.1} % of a core, p99 {:?}",
        used.as_secs_f64() * 50.0,
        waits[1980]
    );
    assert!(
        book.taken
            .iter()
            .enumerate()
            .all(|(n, t)| t.line == timed_line("busy", n))
    );
}

// Case 15. The limits belong to the machine and are not touched: hints are switched off, which is what the tailer does
// when inotify refuses.
#[test]
fn where_the_kernel_gives_no_hints_files_are_polled() {
    let mut rig = Rig::new();
    rig.hints = false;
    rig.settings.poll_interval = Duration::from_millis(50);
    for n in 0..50 {
        fs::create_dir(rig.path(&format!("d{n}"))).unwrap();
        rig.write(&format!("d{n}/app.log"), timed(&format!("d{n}"), 0, 1));
    }
    rig.start();
    rig.wait(50);
    for n in 0..50 {
        rig.append(&format!("d{n}/app.log"), timed(&format!("d{n}"), 1, 2));
    }
    rig.wait(100);
}

// Case 15: an overflow of the kernel's queue.
#[test]
fn more_changes_than_the_kernel_can_report_are_all_found() {
    let mut rig = Rig::new();
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let files = 100;
    for n in 0..files {
        rig.write(&format!("f{n}.log"), timed(&format!("f{n}"), 0, 1));
    }
    rig.start();
    rig.wait(files);
    // While nothing is taken from the queue: more alternating changes than it holds.
    rig.recorder.hold(true);
    rig.append("f0.log", timed("f0", 1, 2));
    eventually("the tailer to be held", || rig.recorder.is_held().then_some(()));
    let mut open: Vec<fs::File> = (0..files).map(|n| opened(&rig.path(&format!("f{n}.log")))).collect();
    for round in 0..limit / files + 20 {
        for (n, file) in open.iter_mut().enumerate() {
            file.write_all((timed_line(&format!("f{n}"), round + 2) + "\n").as_bytes())
                .unwrap();
        }
    }
    rig.write("late.log", timed("late", 0, 1));
    rig.recorder.hold(false);
    rig.wait(files + 1 + (limit / files + 20) * files + 1);
    rig.assert_nothing_again();
}

// Case 21: the bytes are handed over as they are; marking them is the parser's part.
#[test]
fn invalid_utf8_in_one_line_leaves_its_neighbours_untouched() {
    let mut rig = Rig::new();
    rig.write(
        "app.log",
        [
            timed("a", 0, 1).as_bytes(),
            b"bad \xff\xfe line\n",
            timed("a", 1, 2).as_bytes(),
        ]
        .concat(),
    );
    rig.start();
    rig.wait(3);
    assert_eq!(
        rig.lines(),
        [
            timed_line("a", 0),
            "bad \u{fffd}\u{fffd} line".to_owned(),
            timed_line("a", 1)
        ]
    );
}

/// Lets this thread access files as nobody, so that permissions count for root too.
fn as_nobody() {
    // SAFETY: plain system call, which changes this thread's own identity for file access only.
    unsafe { libc::syscall(libc::SYS_setfsuid, 65_534) };
}

// Case 23.
#[test]
fn a_file_that_may_not_be_read_for_a_while_is_read_from_its_offset_afterwards() {
    let mut rig = Rig::new();
    rig.settings.poll_interval = Duration::from_millis(50);
    let open = |name: &str, mode| fs::set_permissions(rig.path(name), fs::Permissions::from_mode(mode)).unwrap();
    fs::set_permissions(rig.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    rig.write("app.log", timed("a", 0, 5));
    rig.write("never.log", timed("n", 0, 5));
    open("never.log", 0o000);
    let tailer = rig.tailer();
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        as_nobody();
        tailer.run(&rx);
    });
    rig.wait(5);
    rig.settle();
    assert_eq!(rig.lines().len(), 5);
    open("never.log", 0o644);
    rig.wait(10);
    tx.send(logagent::source::files::Command::Stop).unwrap();
    thread.join().unwrap();
    open("app.log", 0o000);
    rig.append("app.log", timed("a", 5, 9));
    let tailer = rig.tailer();
    let (tx, rx) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        as_nobody();
        tailer.run(&rx);
    });
    rig.settle();
    assert_eq!(rig.lines().len(), 10);
    open("app.log", 0o644);
    rig.wait(14);
    rig.assert_nothing_again();
    tx.send(logagent::source::files::Command::Stop).unwrap();
    thread.join().unwrap();
}
