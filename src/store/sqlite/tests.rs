use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn doc(key: &str, message: &str) -> Vec<u8> {
    format!(
        r#"{{"_key":"{key}","timestamp":"2026-11-21T02:20:24.054432Z","level":"INFO","level_no":20,"message":"{message}","execution_id":"run_1","script_name":"app","extra_data":{{"response":{{"ok":true}}}},"tags":["a","b"],"source":{{"kind":"file","offset":0}},"seq":1795227624054432,"ingested_at":"2026-11-21T02:20:25.000000Z"}}"#
    )
    .into_bytes()
}

fn batch(docs: &[Vec<u8>]) -> Arc<Batch> {
    let mut batch = Batch::default();
    for d in docs {
        batch.events.push(d);
    }
    Arc::new(batch)
}

#[test]
fn a_batch_is_stored_once_and_found_by_plain_sql_and_full_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/logs.db");
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let b = batch(&[
            doc("k1", "hello world"),
            doc("k2", "a\\nquoted \\\"word\\\""),
            doc("k1", "again"),
        ]);
        let report = store.write(&b).await.unwrap();
        assert_eq!((report.stored, report.known), (3, 1));
        let report = store.write(&b).await.unwrap();
        assert_eq!((report.stored, report.known), (3, 3));
        store.durable_barrier().await.unwrap();
        store.probe().await.unwrap();
    });
    let db = rusqlite::Connection::open(&path).unwrap();
    let (n, tags, marked): (i64, String, i64) = db
        .query_row(
            "SELECT count(*), min(tags), sum(has_response) FROM log_events WHERE execution_id = 'run_1'",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .unwrap();
    assert_eq!((n, tags.as_str(), marked), (2, r#"["a","b"]"#, 2));
    let found: String = db
        .query_row(
            "SELECT e.message FROM log_events_fts f JOIN log_events e ON e.id = f.rowid \
             WHERE log_events_fts MATCH 'word' ORDER BY bm25(log_events_fts)",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(found, "a\nquoted \"word\"");
    db.execute_batch("INSERT INTO log_events_fts (log_events_fts, rank) VALUES ('integrity-check', 1)")
        .unwrap();
}
