//! Every store answers like the reference: the same questions about the same random data.
//!
//! The data is drawn from a seed, which a failure prints; `LOGAGENT_TEST_SEED` asks for a certain one. The queries for
//! ArangoDB run in the stand-in's interpreter, and on a real server where one is named.

use std::sync::Arc;

use logagent::record::{Key, format_time};
use logagent::store::arango::read::ArangoReader;
use logagent::store::arango::{Arango, QueryOptions};
use logagent::store::memory::MemoryStore;
use logagent::store::search::{
    After, By, CountAsk, EventAsk, FieldIs, Filter, LearningAsk, Order, PruneAsk, RunAsk, Search, Sign, Words,
};
use logagent::store::sqlite::SqliteStore;
use logagent::store::sqlite::read::SqliteReader;
use logagent::store::{Batch, Fix, Relation, RunEnd, RunUpdate, Sink, Status};
use serde_json::{Value, json};

use crate::arango_live::Server;
use crate::standin::Standin;

/// A small random number generator: the same numbers for the same seed on every machine.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const WORDS: [&str; 16] = [
    "kafka",
    "socket",
    "customer",
    "invoice",
    "disk",
    "pool",
    "token",
    "gamma",
    // Whole and in parts.
    "Retrying_disk",
    "db.pool.Kafka:9092",
    "requests.exceptions.ConnectionError",
    // Accents in two normal forms, case beyond ASCII, scripts without spaces.
    "Café",
    "cafe\u{301}",
    "İstanbul",
    "数据库连接失败",
    "ファイル設定",
];
/// What is asked for beside them.
const PARTS: [&str; 11] = [
    "retrying",
    "connectionerror",
    "exceptions",
    "9092",
    "kaf*",
    "cafe",
    "CAFÉ",
    "istan*",
    "数据",
    "连接",
    "設定",
];
const SCRIPTS: [&str; 3] = ["etl", "report", "sync"];
const RUNS: [&str; 6] = ["etl_1", "etl_2", "report_1", "sync_1", "sync_2", "sync_3"];
const LEVELS: [(&str, i64); 6] = [
    ("DEBUG", 10),
    ("INFO", 20),
    ("INFO", 20),
    ("WARNING", 30),
    ("ERROR", 40),
    ("CRITICAL", 50),
];
const START: i64 = 1_794_268_800_000_000;

fn key(n: usize) -> String {
    Key::new(7, n as u64, 11 * n as u128, 0).as_str().to_owned()
}

fn event(dice: &mut Dice, n: usize) -> Value {
    // Few instants, so that there are ties.
    let time = START + dice.below(200) as i64 * 250_000;
    let (level, level_no) = *dice.one(&LEVELS);
    let run = *dice.one(&RUNS);
    let mut doc = json!({
        "_key": key(n), "timestamp": format_time(time), "level": level, "level_no": level_no,
        "message": format!("{} {} {}", dice.one(&WORDS), dice.one(&WORDS), dice.below(5)), "execution_id": run,
        "script_name": run.split('_').next(), "seq": time + dice.below(3) as i64,
        "ingested_at": format_time(START + n as i64 * 1_000_000), "host": dice.one(&["a", "b"]),
    });
    let map = doc.as_object_mut().unwrap();
    if dice.often(40) {
        map.insert("extra_data".into(), json!({
            "user": dice.below(4), "ok": dice.often(50), "name": dice.one(&WORDS), "ratio": dice.below(3) as f64 / 2.0,
            "list": [dice.below(3), dice.one(&WORDS)], "deep": {"er": dice.below(2)},
            "id": 9_007_199_254_740_991_i64 + dice.below(4) as i64,
        }));
        match dice.below(3) {
            0 => map["extra_data"]["http.status"] = json!(500 + dice.below(2)),
            1 => map["extra_data"]["http"] = json!({"status": 500 + dice.below(2)}),
            _ => {}
        }
        if dice.often(20) {
            map["extra_data"]["response"] = json!({"n": n});
        }
    }
    if dice.often(30) {
        map.insert("tags".into(), json!([dice.one(&["red", "green"]), "all"]));
    }
    if dice.often(30) {
        map.insert("function_name".into(), json!(dice.one(&["load", "store"])));
    }
    if level_no >= 40 {
        map.insert("fingerprint".into(), json!(format!("f{}", dice.below(4))));
        if dice.often(60) {
            let kind = *dice.one(&["ValueError", "TimeoutError"]);
            let link = json!({"type": kind, "value": *dice.one(&WORDS)});
            map.insert(
                "exception".into(),
                json!({"type": kind, "value": link["value"], "traceback": "at line 7",
                "chain": [link]}),
            );
        }
    }
    doc
}

/// A history: events, runs in several steps, learnings, fixes, relations.
pub fn history(dice: &mut Dice) -> Batch {
    let mut batch = Batch::default();
    let count = 300;
    for n in 0..count {
        batch.events.push(event(dice, n).to_string().as_bytes());
    }
    for (i, id) in RUNS.iter().enumerate() {
        let start = START + i as i64 * 5_000_000;
        let mut update = RunUpdate {
            execution_id: (*id).to_owned(),
            script_name: id.split('_').next().unwrap().to_owned(),
            start_time: start,
            last_seen: start + 1_000_000,
            host: Some("a".to_owned()),
            metadata: Some(json!({"env": dice.one(&["staging", "live"]), "n": i}).to_string()),
            ..RunUpdate::default()
        };
        batch.runs.push(update.clone());
        if dice.often(70) {
            update.end = Some(RunEnd {
                status: *dice.one(&[Status::Success, Status::Failed, Status::Ended]),
                time: start + dice.below(60) as i64 * 1_000_000,
                declared: true,
                error: None,
            });
            batch.runs.push(update);
        }
    }
    for n in 0..12 {
        let doc = json!({"_key": format!("l{n:02}"), "timestamp": format_time(START + n * 3_000_000),
            "execution_id": dice.one(&RUNS), "learning": format!("{} {}", dice.one(&WORDS), dice.one(&WORDS)),
            "confidence": dice.below(10) as f64 / 10.0, "script_name": dice.one(&SCRIPTS), "tags": ["t"]});
        batch.learnings.push(doc.to_string().as_bytes());
    }
    let fix = count + 1;
    let time = START + 30_000_000;
    batch.events.push(
        json!({"_key": key(fix), "timestamp": format_time(time), "level": "INFO", "level_no": 20,
            "message": "fixed it", "execution_id": "etl_1", "script_name": "etl", "event": "fix", "seq": time})
        .to_string()
        .as_bytes(),
    );
    batch.fixes.push(Fix {
        key: key(fix),
        time,
        execution_id: "etl_1".to_owned(),
        script_name: Some("etl".to_owned()),
        target: Some(format!("f{}", dice.below(4))),
        description: "fixed it".to_owned(),
        rationale: None,
    });
    batch.relations.push(Relation {
        from: key(1),
        to: key(2),
        to_collection: "log_events".to_owned(),
        kind: "EXPLAINS".to_owned(),
        weight: 0.5,
        confidence: 0.5,
        rationale: "because".to_owned(),
        method: "declared".to_owned(),
        time,
        execution_id: "etl_2".to_owned(),
    });
    batch
}

fn filter(dice: &mut Dice) -> Filter {
    let mut f = Filter::default();
    if dice.often(40) {
        f.since = Some(START + dice.below(100) as i64 * 250_000);
    }
    if dice.often(30) {
        f.until = Some(START + (100 + dice.below(100)) as i64 * 250_000);
    }
    if dice.often(30) {
        f.min_level = Some(*dice.one(&[20, 30, 40, 50]));
    }
    if dice.often(20) {
        f.executions = vec![(*dice.one(&RUNS)).to_owned()];
    }
    if dice.often(20) {
        f.scripts = match dice.often(30) {
            true => vec![(*dice.one(&["nobody", "rep", "Etl", "etl\" OR \"sync", "--"])).to_owned()],
            false => vec![(*dice.one(&SCRIPTS)).to_owned(), "etl".to_owned()],
        };
    }
    if dice.often(10) {
        f.hosts = vec!["a".to_owned()];
    }
    if dice.often(10) {
        f.tags = vec!["red".to_owned(), "all".to_owned()];
    }
    if dice.often(10) {
        f.fingerprints = vec!["f1".to_owned(), "f2".to_owned()];
    }
    f.has_response = dice.often(5);
    if dice.often(15) {
        f.grep = Some(
            regex::Regex::new(dice.one::<&str>(&["k.fka", "^disk", "TimeoutError", "line [0-9]", "[34]$"])).unwrap(),
        );
    }
    if dice.often(25) {
        let (path, values): (&[&str], &[&str]) = *dice.one::<(&[&str], &[&str])>(&[
            (&["extra_data", "user"][..], &["1", "2"][..]),
            (&["extra_data", "ok"], &["true"]),
            (&["extra_data", "name"], &["disk", "pool"]),
            (&["extra_data", "ratio"], &["0.5"]),
            (&["extra_data", "list"], &["kafka", "2"]),
            (&["extra_data", "deep", "er"], &["1"]),
            (&["exception", "type"], &["ValueError"]),
            (&["level"], &["ERROR", "DEBUG"]),
            (&["extra_data", "http", "status"], &["500"]),
            (&["extra_data", "id"], &["9007199254740993"]),
            (&["level_no"], &["40"]),
            (&["tags"], &["green"]),
            (&["function_name"], &["load"]),
            (&["extra_data", "absent"], &["x"]),
            (&["script_name"], &["sync", "nobody"]),
            (&["script_name"], &["nobody"]),
        ]);
        f.fields.push(FieldIs {
            path: path.iter().map(|p| (*p).to_owned()).collect(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            sign: *dice.one(&[Sign::Is, Sign::Is, Sign::IsNot]),
        });
    }
    if dice.often(15) {
        let (path, value) = *dice.one(&[
            ("extra_data.user", "4"),
            ("extra_data.user", "4.5"),
            ("extra_data.http.status", "500"),
            ("line_number", "40"),
            ("level_no", "30"),
            ("level_no", "29.5"),
            ("function_name", "m"),
        ]);
        f.fields.push(FieldIs {
            path: path.split('.').map(str::to_owned).collect(),
            values: vec![value.to_owned()],
            sign: *dice.one(&[Sign::Above, Sign::AtLeast, Sign::Below, Sign::AtMost]),
        });
    }
    f
}

/// Keys of all pages of a question, and its total.
fn paged(store: &dyn Search, ask: &EventAsk) -> (Vec<String>, Option<u64>) {
    let mut ask = ask.clone();
    let mut keys = Vec::new();
    let mut total = None;
    loop {
        let page = store.events(&ask).unwrap();
        total = total.or(page.total);
        keys.extend(page.items.iter().map(|(e, _)| e.key.clone()));
        assert_eq!(page.more, page.total.is_some_and(|t| (keys.len() as u64) < t));
        match (page.more, page.items.last(), &ask.words) {
            (false, ..) | (_, None, _) => return (keys, total),
            (_, Some((e, _)), None) => {
                ask.after = Some(After::Position {
                    timestamp: e.timestamp.clone(),
                    seq: e.seq.unwrap_or(0),
                    key: e.key.clone(),
                });
            }
            _ => ask.after = Some(After::Offset(keys.len() as u64)),
        }
    }
}

fn field(path: &str) -> By {
    By::Field(path.split('.').map(str::to_owned).collect())
}

/// Everything a store says to the questions drawn from `seed`, as one text a question.
pub fn answers(store: &dyn Search, seed: u64, rounds: usize) -> Vec<String> {
    let mut dice = Dice(seed ^ 0xABCD);
    let mut out = Vec::new();
    for _ in 0..rounds {
        let filter = filter(&mut dice);
        let order = *dice.one(&[Order::Newest, Order::Oldest, Order::Score]);
        let text = format!(
            "{} {}",
            dice.one(&[&WORDS[..], &PARTS[..]].concat()),
            dice.one(&[
                "",
                "-pool",
                "OR disk",
                "dis*",
                "\"disk pool\"",
                "db.po*",
                "OR pool.kaf*"
            ])
        );
        let words = (order == Order::Score || dice.often(30))
            .then(|| Words::parse(&text))
            .flatten();
        let order = if words.is_none() && order == Order::Score {
            Order::Newest
        } else {
            order
        };
        let ask = EventAsk {
            filter: filter.clone(),
            words,
            order,
            after: None,
            limit: 1 + dice.below(40),
            count: true,
        };
        let (mut keys, total) = paged(store, &ask);
        if order == Order::Score {
            // How well something matches is each store's own affair, what matches is not.
            keys.sort();
        }
        out.push(format!("{ask:?}\n{keys:?} {total:?}"));
        let mut seen = Vec::new();
        store
            .scan(&filter, dice.often(50), &mut |e| {
                seen.push(serde_json::to_string(&e).unwrap());
                true
            })
            .unwrap();
        out.push(format!("scan {filter:?}\n{seen:#?}"));
        out.push(format!("extent {filter:?}\n{:?}", store.extent(&filter).unwrap()));
        let by = dice
            .one(&[
                vec![field("level")],
                vec![field("fingerprint"), field("script_name"), field("execution_id")],
                vec![By::Hour, field("level")],
                vec![By::Day],
                vec![field("tags")],
                vec![field("extra_data.user"), field("extra_data.ok")],
                vec![field("extra_data.list")],
                vec![field("level_no")],
                vec![],
            ])
            .clone();
        let ask = CountAsk {
            filter,
            by,
            newest: dice.often(50),
        };
        let mut groups = Vec::new();
        store
            .counts(&ask, &mut |g| {
                groups.push(format!("{g:?}"));
                true
            })
            .unwrap();
        groups.sort();
        out.push(format!("{ask:?}\n{groups:#?}"));
    }
    out
}

/// What a store says of runs, learnings, fixes, edges and single events.
pub fn others(store: &dyn Search) -> Vec<String> {
    let mut out = Vec::new();
    let env = FieldIs {
        path: vec!["metadata".to_owned(), "env".to_owned()],
        values: vec!["live".to_owned()],
        sign: Sign::Is,
    };
    let errors = Filter {
        min_level: Some(40),
        ..Filter::default()
    };
    for ask in [
        RunAsk::default(),
        RunAsk {
            scripts: vec!["sync".to_owned()],
            oldest: true,
            ..RunAsk::default()
        },
        RunAsk {
            status: Some("running"),
            ..RunAsk::default()
        },
        RunAsk {
            since: Some(START + 20_000_000),
            until: Some(START + 24_000_000),
            ..RunAsk::default()
        },
        RunAsk {
            fields: vec![env],
            ..RunAsk::default()
        },
        RunAsk {
            with_event: Some(errors),
            hosts: vec!["a".to_owned()],
            ..RunAsk::default()
        },
        RunAsk {
            executions: vec!["etl_1".to_owned()],
            ..RunAsk::default()
        },
    ] {
        let mut ask = RunAsk {
            limit: 2,
            count: true,
            ..ask
        };
        loop {
            let page = store.runs(&ask).unwrap();
            let runs = serde_json::to_string(&page.items).unwrap();
            out.push(format!("{ask:?}\n{runs} {:?} {}", page.total, page.more));
            let last = page
                .items
                .last()
                .map(|r| (r.start_time.clone(), r.execution_id.clone()));
            let Some((timestamp, key)) = last.filter(|_| page.more) else {
                break;
            };
            ask.after = Some(After::Position { timestamp, seq: 0, key });
        }
    }
    for ask in [
        LearningAsk::default(),
        LearningAsk {
            oldest: true,
            after: Some(After::Offset(3)),
            ..LearningAsk::default()
        },
        LearningAsk {
            words: Words::parse("kafka OR disk"),
            ..LearningAsk::default()
        },
        LearningAsk {
            min_confidence: Some(0.5),
            scripts: vec!["etl".to_owned()],
            ..LearningAsk::default()
        },
        LearningAsk {
            grep: regex::Regex::new("^(pool|token)").ok(),
            tags: vec!["t".to_owned()],
            ..LearningAsk::default()
        },
    ] {
        let ask = LearningAsk { limit: 5, ..ask };
        let page = store.learnings(&ask).unwrap();
        out.push(format!(
            "{ask:?}\n{}  {:?} {}",
            serde_json::to_string(&page.items).unwrap(),
            page.total,
            page.more
        ));
    }
    let prints: Vec<String> = (0..4).map(|n| format!("f{n}")).collect();
    out.push(format!("{:#?}", store.fixes(&prints).unwrap()));
    out.push(format!("{:#?}", store.edges("etl_2", &[key(2)], 100).unwrap()));
    for n in [0, 7, 299] {
        out.push(serde_json::to_string(&store.event(&key(n)).unwrap()).unwrap());
        out.push(serde_json::to_string(&store.event(&key(n)[..18]).unwrap()).unwrap());
    }
    out.push(format!(
        "{:?} {:?}",
        store.event("nosuchkey").unwrap(),
        store.event(&key(1)[..10])
    ));
    out
}

/// Deletes step by step, and says what each step did and left.
pub fn pruned(store: &dyn Search, settled: &dyn Fn()) -> Vec<String> {
    let mut out = Vec::new();
    for ask in [
        PruneAsk {
            max_level: Some(10),
            dry_run: true,
            ..PruneAsk::default()
        },
        PruneAsk {
            max_level: Some(10),
            ..PruneAsk::default()
        },
        PruneAsk {
            executions: vec!["etl_1".to_owned(), "nobody".to_owned()],
            ..PruneAsk::default()
        },
        PruneAsk {
            before: Some(START + 100_000_000),
            ..PruneAsk::default()
        },
        PruneAsk {
            executions: vec!["report_1".to_owned()],
            max_level: Some(50),
            ..PruneAsk::default()
        },
        PruneAsk {
            before: Some(START + 1_000_000_000),
            ..PruneAsk::default()
        },
        PruneAsk::default(),
    ] {
        let mut dry = ask.clone();
        dry.dry_run = true;
        let would = store.prune(&dry, &mut |_| {}).unwrap();
        let done = store.prune(&ask, &mut |_| {}).unwrap();
        assert_eq!(would, done, "a dry run says what goes: {ask:?}");
        settled();
        let mut left = Vec::new();
        store
            .scan(&Filter::default(), true, &mut |e| {
                left.push(e.key);
                true
            })
            .unwrap();
        out.push(format!("{ask:?}\n{done:?}\n{left:?}"));
    }
    let runs = store
        .runs(&RunAsk {
            limit: 100,
            ..RunAsk::default()
        })
        .unwrap();
    out.push(format!(
        "{:?}",
        runs.items.iter().map(|r| &r.execution_id).collect::<Vec<_>>()
    ));
    let learnings = store
        .learnings(&LearningAsk {
            limit: 100,
            ..LearningAsk::default()
        })
        .unwrap();
    out.push(format!(
        "{:?}",
        learnings.items.iter().map(|(l, _)| &l.key).collect::<Vec<_>>()
    ));
    let words = Words::parse("kafka OR socket OR customer OR invoice OR disk OR pool OR token OR gamma");
    let page = store.events(&EventAsk {
        filter: Filter::default(),
        words,
        order: Order::Newest,
        after: None,
        limit: 1000,
        count: true,
    });
    out.push(format!(
        "{:?}",
        page.unwrap().items.iter().map(|(e, _)| &e.key).collect::<Vec<_>>()
    ));
    out
}

fn same(what: &str, seed: u64, reference: &[String], other: &[String]) {
    assert_eq!(reference.len(), other.len());
    for (wanted, got) in reference.iter().zip(other) {
        assert_eq!(wanted, got, "{what}, LOGAGENT_TEST_SEED={seed}");
    }
}

fn seeds() -> Vec<u64> {
    let given = std::env::var("LOGAGENT_TEST_SEED").ok().and_then(|s| s.parse().ok());
    given.map_or_else(|| (1..=4).collect(), |s| vec![s])
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap()
}

/// Stores the same in the reference and in another store.
fn stored(memory: &MemoryStore, other: &impl Sink, batch: &Arc<Batch>) {
    runtime().block_on(async {
        other.ensure_schema(false).await.unwrap();
        memory.write(batch).await.unwrap();
        let report = other.write(batch).await.unwrap();
        assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    });
}

/// Asks both everything; `settled` makes the other store show what has changed.
fn compared(memory: &MemoryStore, other: &dyn Search, seed: u64, rounds: usize, settled: &dyn Fn()) {
    settled();
    same("others", seed, &others(memory), &others(other));
    same(
        "questions",
        seed,
        &answers(memory, seed, rounds),
        &answers(other, seed, rounds),
    );
    same("prune", seed, &pruned(memory, &|| {}), &pruned(other, settled));
}

#[test]
fn the_embedded_store_answers_like_the_reference() {
    for seed in seeds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.db");
        let memory = MemoryStore::new();
        stored(
            &memory,
            &SqliteStore::open(&path).unwrap(),
            &Arc::new(history(&mut Dice(seed))),
        );
        compared(&memory, &SqliteReader::new(&path), seed, 60, &|| {});
    }
}

#[test]
fn the_queries_of_the_arangodb_store_answer_like_the_reference_on_the_stand_in() {
    // The interpreter is not fast.
    for seed in seeds().into_iter().take(2) {
        let standin = Standin::start();
        let settings = standin.settings("script_logs");
        let memory = MemoryStore::new();
        stored(
            &memory,
            &Arango::open(&settings).unwrap(),
            &Arc::new(history(&mut Dice(seed))),
        );
        let reader = ArangoReader::new(&settings).unwrap();
        compared(&memory, &reader, seed, 30, &|| standin.commit_views("script_logs"));
    }
}

#[test]
fn the_store_answers_like_the_reference_on_a_real_arangodb_where_one_is_named() {
    let Some(server) = Server::named() else { return };
    let database = server.database();
    let memory = MemoryStore::new();
    stored(
        &memory,
        &Arango::open(&database.settings).unwrap(),
        &Arc::new(history(&mut Dice(1))),
    );
    let reader = ArangoReader::new(&database.settings).unwrap();
    let settled = || {
        database.on_the_side(|store| async move {
            // For tests only, says the server's documentation, and this is one.
            let query = "FOR e IN log_events_view SEARCH true OPTIONS { waitForSync: true } LIMIT 1 RETURN 1";
            let options = QueryOptions::default();
            store
                .client()
                .rows::<_, u64>(query, &json!({}), &options)
                .await
                .unwrap();
        });
    };
    compared(&memory, &reader, 1, 60, &settled);
}

#[test]
fn new_events_are_told_in_the_order_of_storing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let memory = MemoryStore::new();
    let sqlite = SqliteStore::open(&path).unwrap();
    let standin = Standin::start();
    let settings = standin.settings("script_logs");
    let arango = Arango::open(&settings).unwrap();
    runtime.block_on(async {
        sqlite.ensure_schema(false).await.unwrap();
        arango.ensure_schema(false).await.unwrap();
    });
    let reader = SqliteReader::new(&path);
    let server = ArangoReader::new(&settings).unwrap();
    let mut dice = Dice(5);
    let mut marks = Vec::new();
    for round in 0..5 {
        let mut batch = Batch::default();
        for n in 0..20 {
            batch
                .events
                .push(event(&mut dice, 1000 * round + n).to_string().as_bytes());
        }
        let batch = Arc::new(batch);
        runtime.block_on(memory.write(&batch)).unwrap();
        runtime.block_on(sqlite.write(&batch)).unwrap();
        runtime.block_on(arango.write(&batch)).unwrap();
        let filter = Filter {
            min_level: Some(20),
            ..Filter::default()
        };
        for (i, store) in [&memory as &dyn Search, &reader, &server].into_iter().enumerate() {
            let mut told = Vec::new();
            let mut mark = marks.get(i).cloned();
            loop {
                let first = mark.is_none();
                let (events, next) = store.tail(&filter, mark.take(), 7).unwrap();
                assert!(events.len() <= 7);
                assert!(!first || events.is_empty());
                told.extend(events.iter().map(|e| e.key.clone()));
                mark = Some(next);
                if events.is_empty() {
                    break;
                }
            }
            let wanted: Vec<String> = batch
                .events
                .iter()
                .map(|doc| serde_json::from_slice::<Value>(doc).unwrap())
                .filter(|d| round > 0 && d["level_no"].as_i64() >= Some(20))
                .map(|d| d["_key"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(told, wanted, "round {round}, {}", store.name());
            if marks.len() <= i {
                marks.push(mark.unwrap());
            } else {
                marks[i] = mark.unwrap();
            }
        }
    }
}

#[test]
fn what_is_stored_later_lies_outside_of_what_was_stored_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let memory = MemoryStore::new();
    let sqlite = SqliteStore::open(&path).unwrap();
    let standin = Standin::start();
    let settings = standin.settings("script_logs");
    let arango = Arango::open(&settings).unwrap();
    let (reader, server) = (SqliteReader::new(&path), ArangoReader::new(&settings).unwrap());
    let stores: [&dyn Search; 3] = [&memory, &reader, &server];
    let mut dice = Dice(6);
    let mut write = |round: usize| {
        let mut batch = Batch::default();
        for n in 0..40 {
            let doc = event(&mut dice, 100 * round + n).to_string();
            batch.events.push(doc.as_bytes());
        }
        stored(&memory, &sqlite, &Arc::new(batch.clone()));
        let report = runtime().block_on(async {
            arango.ensure_schema(false).await.unwrap();
            arango.write(&Arc::new(batch)).await.unwrap()
        });
        assert!(report.rejected.is_empty());
        standin.commit_views("script_logs");
    };
    let seen = |store: &dyn Search, stored_until: Option<i64>| -> Vec<String> {
        let filter = Filter {
            stored_until,
            ..Filter::default()
        };
        let mut out = Vec::new();
        for words in [None, Words::parse("kafka OR disk OR pool")] {
            let order = if words.is_some() { Order::Oldest } else { Order::Newest };
            let page = store.events(&EventAsk {
                filter: filter.clone(),
                words,
                order,
                after: None,
                limit: 1000,
                count: true,
            });
            let page = page.unwrap();
            assert!(!page.items.is_empty());
            out.push(format!("{:?}", page.total));
            out.extend(page.items.into_iter().map(|(e, _)| e.key));
        }
        let mut groups = Vec::new();
        let by = CountAsk {
            filter,
            by: vec![field("level")],
            newest: false,
        };
        store
            .counts(&by, &mut |row| {
                groups.push(format!("{row:?}"));
                true
            })
            .unwrap();
        groups.sort();
        out.extend(groups);
        out
    };
    write(0);
    let before: Vec<(i64, Vec<String>)> = stores.iter().map(|s| (s.latest().unwrap(), seen(*s, None))).collect();
    write(1);
    for (store, (latest, then)) in stores.iter().zip(&before) {
        assert_eq!(&seen(*store, Some(*latest)), then, "{}", store.name());
        assert!(seen(*store, None).len() > then.len(), "{}", store.name());
        assert!(store.latest().unwrap() > *latest, "{}", store.name());
    }
}
