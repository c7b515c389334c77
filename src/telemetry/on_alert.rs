//! Tells alerts to a command of the user's: `monitoring.on_alert`.
//!
//! The command belongs to somebody else: it may hang, fail, or write a lot. It gets one alert at a time, a pause between
//! two, a bounded time, and a bounded queue before it; what does not fit is logged, which every alert is anyway.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::alerts::Alert;

/// Alerts that wait for the command.
const QUEUE: usize = 32;
/// Between the end of one and the start of the next.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the command reads.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    alert: &'a Alert,
    host: &'a str,
}

/// Hands alerts to the command, which runs as long as this value lives.
#[derive(Debug)]
pub struct Teller {
    queue: mpsc::Sender<Alert>,
}

impl Teller {
    /// The way to `command`, and the work that runs it, for a task of its own.
    pub fn new(command: String, host: String) -> (Teller, impl Future<Output = ()> + Send + 'static) {
        let (queue, mut waiting) = mpsc::channel::<Alert>(QUEUE);
        let work = async move {
            while let Some(alert) = waiting.recv().await {
                if let Err(e) = tell(&command, &alert, &host, PATIENCE).await {
                    tracing::warn!("monitoring.on_alert: {e}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        (Teller { queue }, work)
    }

    /// Queues an alert; never waits.
    pub fn tell(&self, alert: Alert) {
        if let Err(e) = self.queue.try_send(alert) {
            tracing::warn!("monitoring.on_alert is too slow, an alert was not told: {e}");
        }
    }
}

/// Runs the command once.
async fn tell(command: &str, alert: &Alert, host: &str, patience: Duration) -> Result<(), String> {
    let mut json = serde_json::to_vec(&Told { alert, host }).map_err(|e| e.to_string())?;
    json.push(b'\n');
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        // Standard output is data, and the agent has none.
        .stdout(Stdio::null())
        .kill_on_drop(true)
        // A group of its own, so that what it started can be ended with it.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the command does not start: {e}"))?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input is not at fault.
            let _ = stdin.write_all(&json).await;
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(patience, work).await;
    if ended.is_err()
        && let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the command ended with {status}")),
        Ok(Err(e)) => Err(format!("the command cannot be waited for: {e}")),
        Err(_) => Err(format!("the command was ended after {} s", patience.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::alerts::{Change, Severity};

    fn alert() -> Alert {
        Alert {
            name: "store_away",
            state: Change::Raised,
            severity: Severity::Error,
            message: "away".into(),
            since: "2026-11-21T02:20:24.054432Z".into(),
        }
    }

    #[tokio::test]
    async fn the_command_reads_the_alert_as_json() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("told");
        tell(&format!("cat > '{}'", file.display()), &alert(), "web1", PATIENCE)
            .await
            .unwrap();
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(told["name"], "store_away");
        assert_eq!(told["state"], "raised");
        assert_eq!(told["severity"], "error");
        assert_eq!(told["host"], "web1");
    }

    #[tokio::test]
    async fn a_command_that_fails_hangs_or_does_not_read_is_survived() {
        let fails = tell("exit 3", &alert(), "h", PATIENCE).await;
        assert!(fails.unwrap_err().contains("exit status: 3"));
        let hangs = tell("exec sleep 60", &alert(), "h", Duration::from_millis(50)).await;
        assert!(hangs.unwrap_err().contains("was ended"));
        tell("exec 0<&-; true", &alert(), "h", PATIENCE).await.unwrap();
    }
}
