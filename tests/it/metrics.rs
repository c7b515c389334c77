//! The metrics and health pages of a running agent, as a scraper reads them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{eventually, logagent, say};

/// An agent that is stopped with this value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn page(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An address that nobody listens on.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[test]
fn a_running_agent_serves_metrics_and_health_and_status_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    fs::create_dir(dir.path().join("logs")).unwrap();
    fs::write(dir.path().join("logs/a.log"), "one\ntwo\nthree\n").unwrap();
    let child = logagent(dir.path())
        .arg("run")
        .env("LOGAGENT_MONITORING_LISTEN", &address)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut agent = Agent(child);
    let metrics = eventually("three stored records", || {
        page(&address, "/metrics").filter(|p| p.contains("\nlogagent_records_stored_total 3\n"))
    });
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(
        metrics.contains("\nlogagent_records_marked_total{mark=\"unparsed\"} 3\n"),
        "{metrics}"
    );
    assert!(page(&address, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(page(&address, "/readyz").unwrap().starts_with("HTTP/1.1 200"));
    // scripts/test hands it to promtool.
    let body = metrics.split_once("\r\n\r\n").unwrap().1;
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt"), body).unwrap();

    let status = eventually("the status of three records", || {
        let said = say(dir.path(), &["status"]);
        said.out.contains("3 read, 3 stored, 3 unparsed").then_some(said)
    });
    assert_eq!(status.code, 0);
    assert!(status.out.starts_with("agent    running, pid "), "{}", status.out);
    assert!(status.out.contains("logs/a.log"), "{}", status.out);

    let second = say(dir.path(), &["run"]);
    assert_eq!(second.code, 2, "{}", second.err);
    assert!(
        second.err.contains(&agent.0.id().to_string()),
        "the first one's pid: {}",
        second.err
    );

    kill_process(Pid::from_raw(agent.0.id() as i32).unwrap(), Signal::TERM).unwrap();
    let ended = eventually("the agent's end", || agent.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(say(dir.path(), &["status", "-q"]).code, 1);
}

#[test]
fn an_address_that_is_taken_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let out = logagent(dir.path())
        .arg("run")
        .env("LOGAGENT_MONITORING_LISTEN", &address)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(err.contains("monitoring.listen") && err.contains(&address), "{err}");
}
