//! Logs of the program itself: to standard error, filtered by `LOGAGENT_LOG`.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::telemetry::stderr::Stderr;

/// Local time to the millisecond: a person reads these lines, programs read the store.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", chrono::Local::now().format("%Y-%m-%d %H:%M:%S%.3f"))
    }
}

/// Starts logging, once for the process. `default` is the filter where `filter` (the text of `LOGAGENT_LOG`) is not
/// given or faulty. The journal stamps lines by itself, so there they carry no time.
pub(super) fn start(filter: Option<&str>, default: &str) {
    let (chosen, faulty) = match filter.filter(|f| !f.trim().is_empty()) {
        None => (EnvFilter::new(default), None),
        Some(text) => match EnvFilter::builder().parse(text) {
            Ok(filter) => (filter, None),
            Err(e) => (
                EnvFilter::new(default),
                Some(format!("LOGAGENT_LOG={text:?} is not a filter: {e}")),
            ),
        },
    };
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(chosen)
        .with_writer(|| Stderr)
        // Said on standard error, which is what failed.
        .log_internal_errors(false)
        .with_ansi(color)
        .with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.with_timer(LocalTime).try_init()
    };
    if let Some(faulty) = faulty {
        tracing::warn!("{faulty}; using {default:?}. Examples: debug, info,logagent::store=trace");
    }
}
