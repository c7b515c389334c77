//! What delivery to ArangoDB costs the agent: CPU time per GB of request bodies, batches of 2 MiB, two in flight.
//!
//! ```sh
//! sink 18529 &                                    # or any server that answers as ArangoDB does
//! cargo bench --bench arango_insert -- http://127.0.0.1:18529 400          # 400 batches
//! cargo bench --bench arango_insert -- http://127.0.0.1:18529 400 runs     # and a run for each record
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use logagent::config;
use logagent::store::arango::Arango;
use logagent::store::{Batch, RunUpdate, Sink};

const RECORDS: usize = 1800;

fn batch(n: u64, runs: bool) -> Batch {
    let mut batch = Batch::default();
    let filler = "x".repeat(820);
    for i in 0..RECORDS as u64 {
        let id = n * RECORDS as u64 + i;
        batch.events.push(
            format!(
                r#"{{"_key":"{id:031}","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","level_no":20,"message":"{filler}","execution_id":"job_20261121_022024_{id:08x}","script_name":"job","extra_data":{{"seq":{id}}},"source":{{"kind":"file","path":"/srv/logs/job.jsonl","stream":"s","offset":{id}}},"seq":1795227624054432,"ingested_at":"2026-11-21T02:20:25.000000Z"}}"#
            )
            .as_bytes(),
        );
        if runs {
            batch.runs.push(RunUpdate {
                execution_id: format!("job_20261121_022024_{id:08x}"),
                script_name: "job".into(),
                start_time: 1_795_227_624_054_432,
                last_seen: 1_795_227_624_054_432,
                host: Some("bench".into()),
                ..RunUpdate::default()
            });
        }
    }
    batch
}

/// User and system time of this process in seconds, and its peak of resident memory in kB.
fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let peak = peak
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    ((ticks(11) + ticks(12)) / 100.0, peak)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [url, count, rest @ ..] = args.as_slice() else {
        println!("arango_insert: name a server and a number of batches, see the head of the file");
        return;
    };
    let count: u64 = count.parse().unwrap_or(100);
    let runs = rest.iter().any(|a| a == "runs");
    let settings = config::Arangodb {
        endpoints: vec![url.clone()],
        database: "script_logs".into(),
        username: "root".into(),
        password: "bench".into(),
        auth: config::Auth::Basic,
        ca_file: None,
        compression: config::Compression::None,
        timeout: Duration::from_secs(60),
        shards: 1,
        replication_factor: 1,
        vector_dimensions: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = Arango::open(&settings).unwrap();
    let begun = Instant::now();
    let (mut spent, mut bytes) = (0.0, 0_u64);
    runtime.block_on(async {
        for n in 0..count / 2 {
            // Making them is not what is measured.
            let (one, two) = (Arc::new(batch(2 * n, runs)), Arc::new(batch(2 * n + 1, runs)));
            let before = usage().0;
            let (a, b) = tokio::join!(store.write(&one), store.write(&two));
            a.unwrap();
            b.unwrap();
            spent += usage().0 - before;
            bytes += (one.events.bytes() + two.events.bytes()) as u64;
        }
    });
    let gb = bytes as f64 / 1e9;
    println!(
        "{gb:.3} GB in {:.2} s, {spent:.2} CPU-s: {:.3} CPU-s/GB, peak {} kB",
        begun.elapsed().as_secs_f64(),
        spent / gb,
        usage().1
    );
}
