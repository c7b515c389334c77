//! What stands in the database file: tables, indexes, full text; and how an older file becomes a newer one.
//!
//! # Layout
//!
//! Rows lie in the order of their arrival (`id`), so that every insert is an append, whatever the times in the data.
//! What is looked up by time goes through indexes; `id` is stable for ever (an alias of the rowid, so that `VACUUM`
//! does not renumber it) and is the document id of the full text.
//!
//! * `log_events_execution (execution_id, timestamp, level_no)`: an execution in order of time; its counts by level are
//!   read from the index alone.
//! * `log_events_time (timestamp, level, script_name)`: windows, also of one script or level: the others are passed over
//!   within the index. Counts by these are read from it alone. (An index by script and time would cost each insert a
//!   tenth more, and only spare the passing over; where that would never end, full text helps: see `read/reach.rs`.)
//! * `log_events_error (timestamp, fingerprint, script_name, execution_id) WHERE level_no >= 40`: errors of a window.
//! * `log_events_fingerprint (fingerprint, timestamp, script_name) WHERE fingerprint IS NOT NULL`: first and last seen of
//!   an error, by script.
//! * `log_events_response (script_name, timestamp) WHERE has_response IS NOT NULL`: a script's newest responses.
//!
//! * `log_events_fix (timestamp) WHERE event = 'fix'`: recorded fixes.
//!
//! SQLite takes a partial index only for a query that repeats its `WHERE` literally: write `level_no >= 40` as a term
//! of its own also where a higher level is asked for.
//!
//! Full text is `log_events_fts`, an FTS5 table without a copy of the text: its content is `log_events` itself, cut and
//! folded beforehand where it is not ASCII ([`words`]). Join on `log_events.id = log_events_fts.rowid`. Only options that SQLite 3.40 and older know are used, because other programs
//! read the file with the SQLite they have. Each commit adds a segment to it; sixteen of a level are merged into one of
//! the next, a few pages with each commit, so that none takes long and the log stays short.
//!
//! Columns beside those of the interface: `id`; `exception_text`, the types and values of the whole exception chain, as
//! full text needs them; `has_response`, 1 where `extra_data.response` stands.

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension};

use crate::store::{SchemaAction, SchemaObject, words};

/// `PRAGMA user_version` of the schema below.
pub const VERSION: i64 = 3;

/// `PRAGMA application_id`: "loga".
pub const APPLICATION: i64 = 0x6c6f_6761;

/// Level numbers from here on are errors (loguru's ERROR).
pub const ERROR_LEVEL: i64 = 40;

/// The stored columns of `log_events` behind `id`, in the order of the interface save that what full text reads comes
/// before what can be long. Three of them (`resolved`, `resolved_at`, `fix_description`) are set by fixes only.
pub const EVENT_COLUMNS: [&str; 34] = [
    "_key",
    "timestamp",
    "level",
    "level_no",
    "execution_id",
    "script_name",
    "function_name",
    "tags",
    "message",
    "file_path",
    "line_number",
    "module",
    "logger",
    "pid",
    "process_name",
    "thread_id",
    "thread_name",
    "host",
    "fingerprint",
    "event",
    "seq",
    "ingested_at",
    "source",
    "exception",
    "extra_data",
    "embeddings",
    "unparsed",
    "repaired",
    "truncated",
    "redacted",
    "resolved",
    "resolved_at",
    "fix_description",
    "fix_unmatched",
];

/// Columns that are derived from the document, behind [`EVENT_COLUMNS`].
pub const DERIVED_COLUMNS: [&str; 2] = ["exception_text", "has_response"];

/// The columns of full text, which are columns of `log_events` by the same names.
pub const TEXT_COLUMNS: &str = "message, exception_text, function_name, script_name, tags";

/// What full text is told of these columns, see [`words::indexed`]; `lg_words` is known on connections that write.
pub const TEXT_WORDS: &str = "lg_words(message), lg_words(exception_text), lg_words(function_name), \
    lg_words(script_name), lg_words(tags)";

/// Registers `lg_words(text)`.
pub fn register_words(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("lg_words", 1, flags, |ctx| {
        let text = ctx.get_raw(0).as_str_or_null()?;
        Ok(text.map(|t| words::indexed(t).into_owned()))
    })
}

/// One object of the schema.
struct Object {
    /// Name in `sqlite_master`.
    name: &'static str,
    /// Name as `init` reports it; empty: not reported.
    shown: &'static str,
    sql: &'static str,
    /// Done once behind `sql`.
    then: &'static str,
}

const OBJECTS: &[Object] = &[
    Object {
        name: "logagent_meta",
        shown: "",
        sql: "CREATE TABLE logagent_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        then: "",
    },
    Object {
        name: "log_events",
        shown: "log_events",
        sql: "CREATE TABLE log_events (
  id INTEGER PRIMARY KEY,
  _key TEXT NOT NULL UNIQUE,
  timestamp TEXT NOT NULL,
  level TEXT NOT NULL,
  level_no INTEGER,
  execution_id TEXT NOT NULL,
  script_name TEXT,
  function_name TEXT,
  tags TEXT,
  message TEXT NOT NULL,
  file_path TEXT,
  line_number INTEGER,
  module TEXT,
  logger TEXT,
  pid INTEGER,
  process_name TEXT,
  thread_id INTEGER,
  thread_name TEXT,
  host TEXT,
  fingerprint TEXT,
  event TEXT,
  seq INTEGER,
  ingested_at TEXT,
  source TEXT,
  exception TEXT,
  extra_data TEXT,
  embeddings TEXT,
  unparsed INTEGER,
  repaired INTEGER,
  truncated TEXT,
  redacted TEXT,
  resolved INTEGER,
  resolved_at TEXT,
  fix_description TEXT,
  fix_unmatched INTEGER,
  exception_text TEXT,
  has_response INTEGER
)",
        then: "",
    },
    Object {
        name: "log_events_execution",
        shown: "log_events/execution",
        sql: "CREATE INDEX log_events_execution ON log_events (execution_id, timestamp, level_no)",
        then: "",
    },
    Object {
        name: "log_events_time",
        shown: "log_events/time",
        sql: "CREATE INDEX log_events_time ON log_events (timestamp, level, script_name)",
        then: "",
    },
    Object {
        name: "log_events_error",
        shown: "log_events/error",
        sql: "CREATE INDEX log_events_error ON log_events (timestamp, fingerprint, script_name, execution_id) \
              WHERE level_no >= 40",
        then: "",
    },
    Object {
        name: "log_events_fingerprint",
        shown: "log_events/fingerprint",
        sql: "CREATE INDEX log_events_fingerprint ON log_events (fingerprint, timestamp, script_name) \
              WHERE fingerprint IS NOT NULL",
        then: "",
    },
    Object {
        name: "log_events_response",
        shown: "log_events/response",
        sql: "CREATE INDEX log_events_response ON log_events (script_name, timestamp) \
              WHERE has_response IS NOT NULL",
        then: "",
    },
    Object {
        name: "log_events_fix",
        shown: "log_events/fix",
        sql: "CREATE INDEX log_events_fix ON log_events (timestamp) WHERE event = 'fix'",
        then: "",
    },
    Object {
        name: "log_events_fts",
        shown: "log_events/fts",
        sql: "CREATE VIRTUAL TABLE log_events_fts USING fts5(message, exception_text, function_name, script_name, tags, \
              content='log_events', content_rowid='id', tokenize='unicode61')",
        // Every commit adds a segment to the full text: merging them rarely, many at once, costs least.
        then: "INSERT INTO log_events_fts (log_events_fts, rank) VALUES ('automerge', 16), ('crisismerge', 64)",
    },
    Object {
        name: "script_runs",
        shown: "script_runs",
        sql: "CREATE TABLE script_runs (
  _key TEXT NOT NULL,
  execution_id TEXT NOT NULL PRIMARY KEY,
  script_name TEXT NOT NULL,
  start_time TEXT NOT NULL,
  end_time TEXT,
  last_seen TEXT,
  status TEXT,
  duration_seconds REAL,
  metadata TEXT,
  error TEXT,
  pid INTEGER,
  host TEXT,
  parent_execution_id TEXT,
  start_declared INTEGER,
  end_declared INTEGER,
  end_at TEXT
) WITHOUT ROWID",
        then: "",
    },
    Object {
        name: "script_runs_start",
        shown: "script_runs/start",
        sql: "CREATE INDEX script_runs_start ON script_runs (start_time)",
        then: "",
    },
    Object {
        name: "script_runs_script",
        shown: "script_runs/script",
        sql: "CREATE INDEX script_runs_script ON script_runs (script_name, start_time)",
        then: "",
    },
    Object {
        name: "agent_learnings",
        shown: "agent_learnings",
        sql: "CREATE TABLE agent_learnings (
  _key TEXT NOT NULL PRIMARY KEY,
  timestamp TEXT NOT NULL,
  execution_id TEXT,
  learning TEXT NOT NULL,
  context TEXT,
  function_name TEXT,
  confidence REAL,
  script_name TEXT,
  tags TEXT
)",
        then: "",
    },
    Object {
        name: "agent_learnings_time",
        shown: "agent_learnings/time",
        sql: "CREATE INDEX agent_learnings_time ON agent_learnings (timestamp)",
        then: "",
    },
    Object {
        name: "agent_learnings_execution",
        shown: "agent_learnings/execution",
        sql: "CREATE INDEX agent_learnings_execution ON agent_learnings (execution_id, timestamp)",
        then: "",
    },
    Object {
        name: "agent_memories",
        shown: "agent_memories",
        sql: "CREATE TABLE agent_memories (
  _key TEXT NOT NULL PRIMARY KEY,
  content TEXT NOT NULL,
  type TEXT,
  timestamp TEXT,
  metadata TEXT,
  access_count INTEGER,
  last_accessed TEXT,
  created_at TEXT,
  valid_at TEXT,
  invalid_at TEXT
)",
        then: "",
    },
    Object {
        name: "agent_memories_type",
        shown: "agent_memories/type",
        sql: "CREATE INDEX agent_memories_type ON agent_memories (type, timestamp)",
        then: "",
    },
    Object {
        name: "agent_memories_execution",
        shown: "agent_memories/execution",
        sql: "CREATE INDEX agent_memories_execution ON agent_memories (json_extract(metadata, '$.execution_id'))",
        then: "",
    },
    Object {
        name: "log_causality",
        shown: "log_causality",
        sql: "CREATE TABLE log_causality (
  _key TEXT NOT NULL PRIMARY KEY,
  _from TEXT NOT NULL,
  _to TEXT NOT NULL,
  type TEXT NOT NULL,
  relationship_type TEXT NOT NULL,
  relationship TEXT NOT NULL,
  weight REAL,
  confidence REAL,
  rationale TEXT,
  method TEXT,
  timestamp TEXT,
  created_at TEXT,
  valid_at TEXT,
  invalid_at TEXT,
  metadata TEXT
)",
        then: "",
    },
    Object {
        name: "log_causality_from",
        shown: "log_causality/from",
        sql: "CREATE INDEX log_causality_from ON log_causality (_from)",
        then: "",
    },
    Object {
        name: "log_causality_to",
        shown: "log_causality/to",
        sql: "CREATE INDEX log_causality_to ON log_causality (_to)",
        then: "",
    },
    Object {
        name: "log_causality_execution",
        shown: "log_causality/execution",
        sql: "CREATE INDEX log_causality_execution ON log_causality (json_extract(metadata, '$.execution_id'))",
        then: "",
    },
    Object {
        name: "log_causality_fingerprint",
        shown: "log_causality/fingerprint",
        sql: "CREATE INDEX log_causality_fingerprint ON log_causality (json_extract(metadata, '$.fingerprint'))",
        then: "",
    },
];

/// Why a database is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("its schema is version {found}, newer than this program knows ({VERSION}): upgrade logagent")]
    TooNew { found: i64 },
    #[error(
        "it is another program's database (it has {0}) and is left as it is: name another file in store.sqlite.path"
    )]
    Foreign(String),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// One step from a version to the next, within the upgrade's transaction.
pub type Step = fn(&Connection) -> rusqlite::Result<()>;

/// Step `i` brings version `i + 1` to `i + 2`. A new file is made of [`OBJECTS`].
const STEPS: &[Step] = &[merge_bit_by_bit, fold_words];

/// Version 1 merged the segments of full text only when there were so many that all of a level had to be merged at once:
/// a commit in some hundreds took seconds, and in some thousands minutes.
fn merge_bit_by_bit(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("INSERT INTO log_events_fts (log_events_fts, rank) VALUES ('crisismerge', 64)")
}

/// Version 2 left cutting and folding to SQLite, which takes a sentence of Chinese for one word.
fn fold_words(db: &Connection) -> rusqlite::Result<()> {
    register_words(db)?;
    db.execute_batch(&format!(
        "INSERT INTO log_events_fts (log_events_fts) VALUES ('delete-all');
         INSERT INTO log_events_fts (rowid, {TEXT_COLUMNS}) SELECT id, {TEXT_WORDS} FROM log_events"
    ))
}

/// What the file's schema is: 0 where it holds none of ours yet.
pub fn version(db: &Connection) -> Result<i64, SchemaError> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    if application == APPLICATION {
        return if found > VERSION {
            Err(SchemaError::TooNew { found })
        } else {
            Ok(found)
        };
    }
    // What is not ours is not touched: the journal's mode and the versions in the file's head are its owner's, too.
    let first = "SELECT type || ' ' || name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 1";
    if let Some(thing) = db.query_row(first, [], |r| r.get::<_, String>(0)).optional()? {
        return Err(SchemaError::Foreign(format!("a {thing}")));
    }
    if application != 0 || found != 0 {
        return Err(SchemaError::Foreign(format!(
            "application_id {application}, user_version {found}"
        )));
    }
    Ok(0)
}

/// Creates and upgrades what is missing or old, in one transaction; with `dry` only says what it would do.
pub fn ensure(db: &Connection, dry: bool) -> Result<Vec<SchemaObject>, SchemaError> {
    let found = version(db)?;
    let plan = plan(db)?;
    let changes = found < VERSION || plan.iter().any(|(_, a)| *a != SchemaAction::Unchanged);
    if changes && !dry {
        if found == 0 {
            // Only an empty file takes this; space of pruned rows can then be given back in small steps.
            db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
        }
        let tx = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate)?;
        apply(&tx, found, STEPS)?;
        tx.commit()?;
    }
    Ok(plan
        .into_iter()
        .filter(|(o, _)| !o.shown.is_empty())
        .map(|(o, action)| SchemaObject {
            name: o.shown.to_owned(),
            action,
            dry,
        })
        .collect())
}

fn plan(db: &Connection) -> rusqlite::Result<Vec<(&'static Object, SchemaAction)>> {
    OBJECTS
        .iter()
        .map(|object| {
            let action = match stored_sql(db, object.name)? {
                None => SchemaAction::Created,
                Some(sql) if sql == object.sql => SchemaAction::Unchanged,
                Some(_) => SchemaAction::Updated,
            };
            Ok((object, action))
        })
        .collect()
}

fn apply(tx: &Connection, found: i64, steps: &[Step]) -> Result<(), SchemaError> {
    // A file without any version is made as it is to be.
    let first = usize::try_from(found - 1).unwrap_or(steps.len());
    for step in steps.iter().skip(first) {
        step(tx)?;
    }
    // Another process may have been here between the plan and the transaction: look again.
    for (object, action) in plan(tx)? {
        let index = object.sql.starts_with("CREATE INDEX");
        match action {
            SchemaAction::Unchanged => {}
            SchemaAction::Created => {
                tx.execute_batch(object.sql)?;
                tx.execute_batch(object.then)?;
            }
            SchemaAction::Updated if index => {
                tx.execute_batch(&format!("DROP INDEX {}; {}", object.name, object.sql))?;
            }
            // Tables change by steps only; how the statement was spelt does not matter.
            SchemaAction::Updated => {}
        }
    }
    tx.execute_batch(&format!(
        "PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION}"
    ))?;
    Ok(())
}

fn stored_sql(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT sql FROM sqlite_master WHERE name = ?1", [name], |r| {
        r.get::<_, Option<String>>(0)
    })
    .optional()
    .map(|sql| sql.map(Option::unwrap_or_default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_runs_the_steps_behind_the_found_version_and_no_others() {
        let steps: &[Step] = &[
            |db| db.execute_batch("CREATE TABLE step_1 (a)"),
            |db| db.execute_batch("CREATE TABLE step_2 (a)"),
        ];
        let made = |found| {
            let db = Connection::open_in_memory().unwrap();
            apply(&db, found, steps).unwrap();
            let names = "SELECT group_concat(name) FROM sqlite_master WHERE name LIKE 'step%' ORDER BY name";
            db.query_row(names, [], |r| r.get::<_, Option<String>>(0)).unwrap()
        };
        assert_eq!(made(1).as_deref(), Some("step_1,step_2"));
        assert_eq!(made(2).as_deref(), Some("step_2"));
        assert_eq!(made(3), None);
        // A new file is made as it is to be; there is nothing to bring forward.
        assert_eq!(made(0), None);
    }

    #[test]
    fn full_text_of_an_older_file_is_cut_and_folded_too() {
        let db = Connection::open_in_memory().unwrap();
        ensure(&db, false).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO log_events (id, _key, timestamp, level, message, execution_id) VALUES
               (1, 'a', 't', 'INFO', '数据库连接失败', 'e'), (2, 'b', 't', 'INFO', 'plain text', 'e');
             INSERT INTO log_events_fts (rowid, {TEXT_COLUMNS}) SELECT id, {TEXT_COLUMNS} FROM log_events;
             PRAGMA user_version = 2"
        ))
        .unwrap();
        let found = |words: &str| -> Option<i64> {
            let sql = "SELECT rowid FROM log_events_fts WHERE log_events_fts MATCH ?";
            db.query_row(sql, [format!("\"{words}\"")], |r| r.get(0))
                .optional()
                .unwrap()
        };
        assert_eq!((found("数 据 库"), found("plain")), (None, Some(2)));
        ensure(&db, false).unwrap();
        assert_eq!((found("数 据 库"), found("plain")), (Some(1), Some(2)));
        assert_eq!(found("数据库连接失败"), None);
        db.execute_batch("INSERT INTO log_events_fts (log_events_fts) VALUES ('integrity-check')")
            .unwrap();
    }

    #[test]
    fn full_text_of_an_older_file_is_merged_bit_by_bit_too() {
        let merging = |db: &Connection| -> String {
            let all = "SELECT group_concat(k || '=' || v) FROM (SELECT * FROM log_events_fts_config \
                       WHERE k LIKE '%merge' ORDER BY k)";
            db.query_row(all, [], |r| r.get(0)).unwrap()
        };
        let db = Connection::open_in_memory().unwrap();
        ensure(&db, false).unwrap();
        assert_eq!(merging(&db), "automerge=16,crisismerge=64");
        db.execute_batch("DELETE FROM log_events_fts_config WHERE k = 'crisismerge'; PRAGMA user_version = 1")
            .unwrap();
        ensure(&db, false).unwrap();
        assert_eq!(merging(&db), "automerge=16,crisismerge=64");
        assert_eq!(version(&db).unwrap(), VERSION);
    }
}
