//! The unit files: systemd accepts them, and they hold what the program relies on.

use std::fs;
use std::path::Path;
use std::process::Command;

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).unwrap()
}

/// The values of a key in a section, in order.
fn values<'a>(unit: &'a str, section: &str, key: &str) -> Vec<&'a str> {
    let mut current = "";
    let mut found = Vec::new();
    for line in unit
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            current = name;
        } else if let Some((k, v)) = line.split_once('=')
            && (current, k) == (section, key)
        {
            found.push(v);
        }
    }
    found
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let scratch = tempfile::tempdir().unwrap();
    // The program need not be installed here, but the units must name one that is there.
    let program = env!("CARGO_BIN_EXE_logagent");
    let mut names = Vec::new();
    for name in ["logagent.service", "logagent.socket"] {
        let path = scratch.path().join(name);
        fs::write(&path, unit(name).replace("/usr/bin/logagent", program)).unwrap();
        names.push(path);
    }
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .args(&names)
        .output();
    let Ok(output) = verified else {
        // Where there is no systemd there is nobody to ask; what the other test reads holds anyway.
        eprintln!("systemd-analyze is not installed: the units were not verified");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = said.lines().filter(|l| l.contains("logagent")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn the_units_hold_what_the_program_relies_on() {
    let (service, socket) = (unit("logagent.service"), unit("logagent.socket"));
    let of = |key| values(&service, "Service", key);
    assert_eq!((of("Type"), of("WatchdogSec")), (vec!["notify"], vec!["2min"]));
    assert_eq!(of("Type"), ["notify"]);
    assert_eq!(
        of("StateDirectory"),
        ["logagent"],
        "the default of data_dir is $STATE_DIRECTORY"
    );
    assert_eq!(
        of("RestartPreventExitStatus"),
        ["2"],
        "a person has to do something about exit code 2"
    );
    assert!(of("ExecReload")[0].contains("-HUP"), "the include list is read again");
    // Runs end when their process does: the processes of others must be visible, and the clock of /proc with them.
    assert!(of("ProtectProc").iter().all(|v| *v == "default") && of("ProcSubset").iter().all(|v| *v == "all"));
    assert!(of("PrivatePIDs").is_empty() && of("PrivateUsers").is_empty());
    // Logs lie in home directories and in /tmp too.
    assert_eq!((of("ProtectHome"), of("PrivateTmp")), (vec!["read-only"], vec!["no"]));
    assert!(of("InaccessiblePaths").is_empty());
    let stop: u64 = of("TimeoutStopSec")[0].trim_end_matches('s').parse().unwrap();
    assert!(
        stop > 45,
        "longer than shutdown.deadline, and by enough for it to be overrun"
    );
    assert_eq!(
        (of("IPAddressDeny"), of("IPAddressAllow")),
        (vec!["any"], vec!["localhost"])
    );
    assert!(!of("MemoryMax").is_empty() && !of("TasksMax").is_empty());
    assert!(
        values(&unit("logagent-remote.conf"), "Service", "IPAddressAllow").len() == 1,
        "a drop-in for other hosts"
    );
    let listens = values(&socket, "Socket", "ListenStream");
    assert_eq!(listens, ["/run/logagent.sock"]);
    assert!(of("Environment").contains(&"LOGAGENT_SOCKET_PATH=/run/logagent.sock"));
    assert_eq!(values(&socket, "Socket", "SocketMode"), ["0660"]);
    assert!(values(&service, "Unit", "Requires").contains(&"logagent.socket"));
    assert!(
        service.contains("#LoadCredential=arango_password:"),
        "an example of how to pass the password"
    );
}

#[test]
fn the_user_and_the_directory_are_declared() {
    assert!(
        unit("logagent.sysusers.conf")
            .lines()
            .any(|l| l.starts_with("u logagent "))
    );
    assert!(
        unit("logagent.tmpfiles.conf")
            .lines()
            .any(|l| l.starts_with("d /etc/logagent 0750 root logagent"))
    );
}

/// What the agent tells its service manager, up to the message that `until` names, `n` times.
fn told(socket: &std::os::unix::net::UnixDatagram, until: &str, n: usize) {
    let mut found = 0;
    while found < n {
        let mut buf = [0; 4096];
        let len = socket.recv(&mut buf).expect("the agent tells more");
        found += usize::from(String::from_utf8_lossy(&buf[..len]).lines().any(|l| l == until));
    }
}

#[test]
fn the_agent_says_that_it_is_ready_and_goes_on_saying_that_it_lives() {
    let place = crate::place::Place::new();
    let socket = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    // The heartbeat is asked of one process, by its number.
    let run = place.command(&["run"]);
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"]);
    command
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(place.dir.path());
    command
        .env("NOTIFY_SOCKET", place.path("notify"))
        .env("WATCHDOG_USEC", "200000");
    let agent = place.spawn(&mut command);
    told(&socket, "READY=1", 1);
    // Idle, and at work.
    told(&socket, "WATCHDOG=1", 3);
    place.append("app.jsonl", &crate::place::lines(0..100));
    place.await_events(100);
    told(&socket, "WATCHDOG=1", 3);
    assert_eq!(agent.terminate(), Some(0), "{}", place.stderr());
    told(&socket, "STOPPING=1", 1);
}
