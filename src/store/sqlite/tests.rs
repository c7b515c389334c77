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

async fn refusal(store: &SqliteStore) -> String {
    match store.write(&batch(&[doc("k1", "hello")])).await {
        Err(WriteError::Refused(text)) => text,
        other => panic!("refused was expected, not {other:?}"),
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let text = "my notes, not a database\n".repeat(100);
    std::fs::write(&path, &text).unwrap();
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        assert!(refusal(&store).await.contains("is not a SQLite database"));
        assert!(store.ensure_schema(false).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        // Moved away, the same handle goes on.
        std::fs::rename(&path, dir.path().join("notes")).unwrap();
        assert_eq!(store.write(&batch(&[doc("k1", "hello")])).await.unwrap().stored, 1);
    });
}

#[test]
fn a_database_of_someone_else_is_refused_and_not_a_byte_of_it_changed() {
    for made in [
        "CREATE TABLE log_events (mine)",
        "CREATE TABLE orders (id); INSERT INTO orders VALUES (1); PRAGMA user_version = 7",
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 99; CREATE VIEW v AS SELECT 1",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch(made).unwrap();
        let before = std::fs::read(&path).unwrap();
        runtime().block_on(async {
            let store = SqliteStore::open(&path).unwrap();
            for _ in 0..3 {
                let text = refusal(&store).await;
                assert!(text.contains("another program's database"), "{text}");
            }
            assert!(store.ensure_schema(false).await.is_err());
            store.close().await;
        });
        assert_eq!(std::fs::read(&path).unwrap(), before, "{made}");
        let beside = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(beside, 1, "{made}");
    }
}

#[test]
fn a_writing_thread_that_panics_goes_on_with_the_next_job_however_often() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = SqliteStore::open(&dir.path().join("logs.db")).unwrap();
        store.write(&batch(&[doc("k1", "hello")])).await.unwrap();
        for _ in 0..4 {
            let answer = store.ask(writer::Job::Panic).await;
            assert!(matches!(answer, Err(WriteError::Away(_))), "{answer:?}");
        }
        assert_eq!(store.write(&batch(&[doc("k2", "hello")])).await.unwrap().known, 0);
        assert_eq!(store.write(&batch(&[doc("k1", "hello")])).await.unwrap().known, 1);
    });
}

#[test]
fn a_log_that_a_burst_left_is_folded_in_once_it_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let long = "many words of a long message ".repeat(2000);
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let docs: Vec<Vec<u8>> = (0..20).map(|i| doc(&format!("k{i}"), &long)).collect();
        store.write(&batch(&docs)).await.unwrap();
        let log = || std::fs::metadata(dir.path().join("logs.db-wal")).map_or(0, |m| m.len());
        assert!(log() > 1 << 20, "{}", log());
        // A reader holds it back for a while; nothing waits for that.
        let reader = rusqlite::Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM log_events").unwrap();
        for _ in 0..3 {
            store.rest().await;
        }
        reader.execute_batch("COMMIT").unwrap();
        store.rest().await;
        assert_eq!(log(), 0);
        assert_eq!(store.write(&batch(&docs)).await.unwrap().known, 20);
    });
}

#[test]
fn a_second_agent_on_the_same_file_is_noticed_and_both_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    runtime().block_on(async {
        let first = SqliteStore::open(&path).unwrap();
        first.write(&batch(&[doc("k1", "hello")])).await.unwrap();
        assert!(!first.is_shared());
        let second = SqliteStore::open(&path).unwrap();
        second.write(&batch(&[doc("k2", "hello")])).await.unwrap();
        assert!(second.is_shared());
        first.write(&batch(&[doc("k3", "hello")])).await.unwrap();
        first.close().await;
        second.close().await;
        second.write(&batch(&[doc("k4", "hello")])).await.unwrap();
        assert!(!second.is_shared(), "the first has let go of it");
    });
}

#[test]
fn files_beside_a_database_that_was_read_only_for_a_while_are_made_writable_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        store.write(&batch(&[doc("k1", "hello")])).await.unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        for name in ["logs.db-shm", "logs.db-wal"] {
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o444)).unwrap();
        }
        // Opened anew, as after an error.
        let other = SqliteStore::open(&path).unwrap();
        other.write(&batch(&[doc("k2", "hello")])).await.unwrap();
        assert_eq!((mode("logs.db-shm"), mode("logs.db-wal")), (0o640, 0o640));
    });
}

#[test]
fn a_newer_schema_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        store.ensure_schema(false).await.unwrap();
        drop(store);
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        assert!(refusal(&store).await.contains("upgrade logagent"));
    });
}

#[test]
fn a_directory_that_cannot_be_made_or_used_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    runtime().block_on(async {
        let store = SqliteStore::open(&dir.path().join("file/logs.db")).unwrap();
        assert!(refusal(&store).await.contains("cannot create the directory"));
        let store = SqliteStore::open(dir.path()).unwrap();
        assert!(refusal(&store).await.contains("is a directory"));
    });
}

#[test]
fn a_read_only_file_is_refused_as_such() {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.pragma_update(None, "query_only", true).unwrap();
    let error = db.execute_batch("CREATE TABLE t (a)").unwrap_err();
    let WriteError::Refused(text) = fault::explain(&error, Path::new("/x/logs.db")) else {
        panic!("refused was expected");
    };
    assert!(text.contains("write permission"), "{text}");
}

#[test]
fn a_full_disk_is_refused_as_such() {
    let db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute_batch("CREATE TABLE t (a); PRAGMA max_page_count = 3")
        .unwrap();
    let error = db.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap_err();
    let WriteError::Refused(text) = fault::explain(&error, Path::new("/x/logs.db")) else {
        panic!("refused was expected");
    };
    assert!(text.contains("no space left"), "{text}");
    assert!(!fault::is_fatal(&error));
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_then_passing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        store.ensure_schema(false).await.unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let b = batch(&[doc("k1", "hello")]);
        match store.write(&b).await {
            Err(WriteError::Away(text)) => assert!(text.contains("locked by another process"), "{text}"),
            other => panic!("away was expected, not {other:?}"),
        }
        other.execute_batch("COMMIT").unwrap();
        assert_eq!(store.write(&b).await.unwrap().known, 0);
    });
}

#[test]
fn a_database_that_was_deleted_under_the_agent_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        store.write(&batch(&[doc("k1", "hello")])).await.unwrap();
        for file in ["logs.db", "logs.db-wal", "logs.db-shm"] {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        assert_eq!(store.write(&batch(&[doc("k1", "hello")])).await.unwrap().known, 0);
        assert!(path.exists());
    });
}

#[test]
fn the_log_stays_short_under_load_and_a_reader_does_not_stop_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let long = "many words of a long message ".repeat(200);
    runtime().block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        store.ensure_schema(false).await.unwrap();
        let reader = rusqlite::Connection::open(&path).unwrap();
        for round in 0..30 {
            if round == 10 {
                reader.execute_batch("BEGIN; SELECT count(*) FROM log_events").unwrap();
            }
            if round == 20 {
                reader.execute_batch("COMMIT").unwrap();
            }
            let docs: Vec<_> = (0..300).map(|i| doc(&format!("k{round:02}_{i:03}"), &long)).collect();
            store.write(&batch(&docs)).await.unwrap();
        }
    });
    let log = std::fs::metadata(dir.path().join("logs.db-wal")).map_or(0, |m| m.len());
    assert!(log < 128 << 20, "{log} bytes");
    let db = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(
        db.query_row("SELECT count(*) FROM log_events", [], |r| r.get::<_, i64>(0)),
        Ok(9000)
    );
}

#[test]
fn a_missing_or_changed_index_is_put_right_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(dir.path().join("logs.db")).unwrap();
    schema::ensure(&db, false).unwrap();
    db.execute_batch("DROP INDEX log_events_error; DROP INDEX log_events_time; CREATE INDEX log_events_time ON log_events (timestamp)")
        .unwrap();
    let actions = |dry| {
        let mut changed = schema::ensure(&db, dry).unwrap();
        changed.retain(|o| o.action != super::super::SchemaAction::Unchanged);
        changed.into_iter().map(|o| (o.name, o.action)).collect::<Vec<_>>()
    };
    use super::super::SchemaAction::{Created, Updated};
    let expected = vec![
        ("log_events/time".to_owned(), Updated),
        ("log_events/error".to_owned(), Created),
    ];
    assert_eq!(actions(true), expected);
    assert_eq!(actions(false), expected);
    assert_eq!(actions(false), vec![]);
}
