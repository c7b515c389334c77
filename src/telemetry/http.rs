//! `/metrics`, `/healthz` and `/readyz`, for whoever watches the agent. Off unless `monitoring.listen` names an address.
//!
//! * `/healthz` is 200 while the agent does its rounds: 503 when its status has not been renewed for [`HEALTHY`], or a
//!   part of it has failed or stands still; the text says which.
//! * `/readyz` is 200 while the store takes records, else 503 with the reason.
//!
//! There is no login, and nothing of any log is shown but counts and the store's last error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;

use super::snapshot::{Snapshot, StoreState};
use super::{Counters, prometheus};

/// The status is renewed about each second, and at least each ten.
pub const HEALTHY: Duration = Duration::from_secs(30);

/// What is served: the last snapshot, which the agent replaces, the counters, and what is wrong with the agent itself.
#[derive(Clone)]
pub struct Watched {
    pub snapshot: Arc<Mutex<Snapshot>>,
    pub counters: Arc<Counters>,
    /// Asks for faults, in words.
    pub faults: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl Watched {
    fn now(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Binds the address of `monitoring.listen`.
///
/// # Errors
/// An address that is in use, or not this machine's; the text says which.
pub async fn bind(listen: &str) -> Result<TcpListener, String> {
    TcpListener::bind(listen)
        .await
        .map_err(|e| format!("monitoring.listen = {listen:?} cannot be served: {e}"))
}

/// Answers requests until `stop` completes.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    watched: Watched,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(watched);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(watched): State<Watched>) -> impl IntoResponse {
    let page = prometheus::render(&watched.now(), &watched.counters, prometheus::resident_bytes());
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], page)
}

async fn healthz(State(watched): State<Watched>) -> impl IntoResponse {
    health(&watched.now(), &(watched.faults)(), Utc::now())
}

async fn readyz(State(watched): State<Watched>) -> impl IntoResponse {
    ready(&watched.now())
}

fn health(s: &Snapshot, faults: &[String], now: DateTime<Utc>) -> (StatusCode, String) {
    if !faults.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n");
    }
    let age = DateTime::parse_from_rfc3339(&s.updated_at).map(|t| now.signed_duration_since(t).num_seconds());
    match age {
        Ok(age) if age <= i64::try_from(HEALTHY.as_secs()).unwrap_or(i64::MAX) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(age) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the status has not been renewed for {age} s\n"),
        ),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
    }
}

fn ready(s: &Snapshot) -> (StatusCode, String) {
    if s.store.state == StoreState::Up {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let reason = s.store.last_error.as_deref().unwrap_or("no reason known");
    let text = format!("store {} since {}: {reason}\n", s.store.state.as_str(), s.store.since);
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn metrics_and_health_are_served_until_the_agent_stops() {
        let watched = Watched {
            snapshot: Arc::default(),
            counters: Arc::default(),
            faults: Arc::new(Vec::new),
        };
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(
            bind(&address.to_string())
                .await
                .unwrap_err()
                .contains("cannot be served")
        );
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, watched.clone(), async {
            let _ = stopped.await;
        }));
        let asked = watched.clone();
        tokio::task::spawn_blocking(move || {
            let metrics = ask(address, "/metrics");
            assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
            assert!(metrics.contains("text/plain; version=0.0.4") && metrics.contains("logagent_build_info"));
            assert!(ask(address, "/healthz").starts_with("HTTP/1.1 503"), "not yet started");
            asked.snapshot.lock().unwrap().updated_at = Utc::now().to_rfc3339();
            assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"));
            assert!(ask(address, "/readyz").starts_with("HTTP/1.1 200"));
            asked.snapshot.lock().unwrap().store.state = StoreState::Away;
            assert!(ask(address, "/readyz").starts_with("HTTP/1.1 503"));
            assert!(ask(address, "/else").starts_with("HTTP/1.1 404"));
        })
        .await
        .unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_status_that_is_not_renewed_is_no_good_health() {
        let s = Snapshot {
            updated_at: "2026-11-21T02:20:24.000000Z".into(),
            ..Snapshot::default()
        };
        let at = |t: &str| DateTime::parse_from_rfc3339(t).unwrap().with_timezone(&Utc);
        assert_eq!(health(&s, &[], at("2026-11-21T02:20:50Z")).0, StatusCode::OK);
        let (code, text) = health(&s, &["a part failed".to_owned()], at("2026-11-21T02:20:50Z"));
        assert_eq!(
            (code, text.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "a part failed\n")
        );
        assert_eq!(
            health(&s, &[], at("2026-11-21T02:21:24Z")).0,
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
