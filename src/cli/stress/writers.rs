//! The scripts of the stress test: threads that write records into files and the socket, as scripts do.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::record::{Micros, format_time};

/// Where one writer writes.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    Socket(PathBuf),
}

/// One writer's work: records `from..to` of the whole.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) place: Place,
    pub(super) execution: String,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Work {
    /// The file that is written, if it is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        match &self.place {
            Place::File(path) => Some(path.clone()),
            Place::Socket(_) => None,
        }
    }
}

/// The message of record `n`; [`number_of`] reads it back.
fn message(n: u64) -> String {
    format!("stress record {n}")
}

/// The number of the record with this message.
pub(super) fn number_of(message: &str) -> Option<u64> {
    message.strip_prefix("stress record ")?.parse().ok()
}

fn line(work: &Work, n: u64, now: Micros) -> String {
    // Numbers, names and times of our own need no escaping.
    format!(
        "{{\"timestamp\":\"{}\",\"level\":\"DEBUG\",\"message\":\"{}\",\"execution_id\":\"{}\",\
         \"script_name\":\"stress\",\"pid\":{},\"payload\":\"{:0200}\"}}\n",
        format_time(now),
        message(n),
        work.execution,
        std::process::id(),
        n
    )
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

/// Starts a writer. Its result is an error in words.
pub(super) fn start(work: Work) -> JoinHandle<Result<(), String>> {
    std::thread::spawn(move || match &work.place {
        Place::File(path) => to_file(&work, path).map_err(|e| format!("{}: {e}", path.display())),
        Place::Socket(path) => to_socket(&work, path).map_err(|e| format!("{}: {e}", path.display())),
    })
}

/// One write a record, as loguru does.
fn to_file(work: &Work, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for n in work.from..work.to {
        file.write_all(line(work, n, now()).as_bytes())?;
    }
    Ok(())
}

/// With acknowledgements: returns when the agent has confirmed that every line is durable.
fn to_socket(work: &Work, path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"{\"logagent\":\"ack\"}\n")?;
    for n in work.from..work.to {
        stream.write_all(line(work, n, now()).as_bytes())?;
    }
    stream.shutdown(Shutdown::Write)?;
    let all = work.to - work.from;
    for answer in BufReader::new(&stream).lines() {
        let answer: serde_json::Value = serde_json::from_str(&answer?)?;
        if answer.get("acked").and_then(serde_json::Value::as_u64) == Some(all) {
            return Ok(());
        }
    }
    Err(io::Error::other(
        "the agent closed the socket before it confirmed every line",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_by_its_message() {
        let work = Work {
            place: Place::File("x".into()),
            execution: "stress_1".into(),
            from: 0,
            to: 1,
        };
        let value: serde_json::Value = serde_json::from_str(&line(&work, 42, 0)).unwrap();
        assert_eq!(number_of(value["message"].as_str().unwrap()), Some(42));
        assert_eq!(number_of("something else"), None);
    }
}
