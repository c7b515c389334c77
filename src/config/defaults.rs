//! The defaults, as `config.example.toml` documents them.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    Arangodb, Auth, Batch, Compression, Copies, Embeddings, Files, FollowLinks, Keep, Monitoring, NaiveTime, Redact,
    Retention, Retry, Runs, Settings, Ship, Shutdown, Socket, Spool, StartAt, Store, StoreKind, Truncate, WhenFull,
};

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;

/// Of `batch.max_bytes`.
const BATCH_BYTES: u64 = 2 * MIB;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The defaults, before what depends on the place (`data_dir`, `host`, and paths below `data_dir`) is filled in.
pub(super) fn settings() -> Settings {
    let secs = Duration::from_secs;
    Settings {
        data_dir: PathBuf::new(),
        data_mode: 0o700,
        data_group: String::new(),
        host: String::new(),
        files: files(),
        socket: Socket {
            path: None,
            mode: 0o660,
            group: String::new(),
        },
        ship: Ship {
            min_level: "TRACE".into(),
            keep: Keep::All,
            categories: texts(&["AGENT_LEARNING", "SCRIPT_FINAL_RESPONSE"]),
        },
        truncate: Truncate {
            message: 32 * KIB,
            string: 8 * KIB,
            list: 1000,
            document: MIB,
        },
        redact: Redact {
            enabled: true,
            patterns: Vec::new(),
            fields: texts(&["password", "passwd", "secret", "token", "api_key", "authorization"]),
        },
        store: store(),
        formats: Vec::new(),
        batch: Batch {
            max_records: 2000,
            max_bytes: BATCH_BYTES,
            flush_interval: secs(2),
            in_flight: 2,
        },
        batch_bytes_given: false,
        retry: Retry {
            initial: Duration::from_millis(500),
            max: secs(60),
        },
        spool: Spool {
            max_size: 1_000_000_000,
            when_full: WhenFull::Block,
        },
        shutdown: Shutdown { deadline: secs(30) },
        runs: Runs { lost_after: secs(3600) },
        retention: Retention {
            days: 30,
            interval: secs(3600),
        },
        monitoring: Monitoring {
            interval: secs(60),
            alert_failure_percent: 10.0,
            listen: String::new(),
            on_alert: String::new(),
        },
        embeddings: Embeddings {
            url: String::new(),
            model: String::new(),
            api_key: String::new(),
            api_key_file: PathBuf::new(),
            timeout: secs(5),
            min_similarity: 0.5,
        },
    }
}

fn files() -> Files {
    Files {
        include: texts(&["logs/**/*.jsonl", "logs/**/*.log"]),
        exclude: Vec::new(),
        start_at: StartAt::Beginning,
        compressed: true,
        copies: Copies::Skip,
        follow_links: FollowLinks::Safe,
        hold: Duration::from_secs(120),
        finish_line_after: Duration::from_secs(5),
        poll_interval: Duration::from_secs(1),
        max_line: MIB,
        naive_time: NaiveTime::Local,
    }
}

fn store() -> Store {
    Store {
        kind: StoreKind::Sqlite,
        sqlite_path: PathBuf::new(),
        arangodb: Arangodb {
            endpoints: texts(&["http://localhost:8529"]),
            database: "script_logs".into(),
            username: "root".into(),
            password: String::new(),
            auth: Auth::Basic,
            ca_file: None,
            compression: Compression::None,
            timeout: Duration::from_secs(60),
            shards: 1,
            replication_factor: 1,
            vector_dimensions: 0,
        },
    }
}
