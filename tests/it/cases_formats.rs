//! What loguru and Python write into lines, by the real thing, as it is stored by the real program.

use std::fs;
use std::process::Command;

use rusqlite::OptionalExtension;
use serde_json::Value;

use crate::harness::python_with_loguru;
use crate::place::Place;

/// Runs a script, ships what it wrote, and reads events back.
struct Written {
    place: Place,
}

fn written(script: &str) -> Written {
    let place = Place::new();
    fs::write(place.path("script.py"), script).expect("a script");
    let status = Command::new(python_with_loguru())
        .arg("script.py")
        .current_dir(place.dir.path())
        .status()
        .expect("python");
    assert!(status.success());
    place.once();
    Written { place }
}

impl Written {
    /// The stored fields of the one event whose message begins so; JSON columns as values.
    fn event(&self, message: &str) -> Value {
        let db = self.place.open().expect("a store");
        let mut q = db
            .prepare("select * from log_events where substr(message, 1, length(?1)) = ?1")
            .expect("a query");
        let names: Vec<String> = q.column_names().into_iter().map(str::to_owned).collect();
        let row = q.query_row([message], |row| {
            let mut fields = serde_json::Map::new();
            for (n, name) in names.iter().enumerate() {
                let value = match row.get_ref(n)? {
                    rusqlite::types::ValueRef::Integer(i) => Value::from(i),
                    rusqlite::types::ValueRef::Text(t) => {
                        let text = String::from_utf8_lossy(t).into_owned();
                        let json = text.starts_with(['{', '[']).then(|| serde_json::from_str(&text).ok());
                        json.flatten().unwrap_or(Value::from(text))
                    }
                    _ => continue,
                };
                fields.insert(name.clone(), value);
            }
            Ok(Value::Object(fields))
        });
        let found = row.optional().expect("a row");
        found.unwrap_or_else(|| panic!("{message:?} is not among {:?}", self.messages()))
    }

    fn messages(&self) -> Vec<String> {
        self.place.text("select message from log_events order by rowid")
    }
}

const LOGURU: &str = "import sys\nfrom loguru import logger\nlogger.remove()\n\
                      logger.add('logs/job.jsonl', serialize=True)\n";

// Case 22 and §2.
#[test]
fn what_python_writes_beyond_json_is_stored_and_marked_and_blocks_nothing() {
    let nested = "deep = 1\nfor _ in range(200):\n    deep = [deep]\n";
    let w = written(&format!(
        "{LOGURU}{nested}\
         logger.bind(x=float('nan'), y=[float('inf'), float('-inf')]).info('floats')\n\
         logger.bind(big=2**80, small=-2**63, most=2**64-1, neg=-2**70, n=10**400).info('integers')\n\
         logger.bind(deep=deep).info('deep')\n\
         logger.bind(t=(1, 2), s={{1}}, o=object, e=ValueError('v')).info('objects')\n\
         logger.info('line one\\nline two\\u2028still two\\x00end')\n\
         logger.info('before')\n\
         with open('logs/job.jsonl', 'a', encoding='utf-8') as f:\n    \
             f.write('plain text\\n')\n    \
             f.write('{{\"text\": \"torn\", \"record\": {{\"elapsed\": {{\"re\\n')\n    \
             f.write('{{\"message\": \"lone \\\\ud800 surrogate\", \"time\": 1795227624.054432}}\\n')\n    \
             f.write('{{\"message\": \"twice\", \"a\": 1, \"a\": 2}}\\n')\n    \
             f.write('\\ufeff{{\"message\": \"after a BOM\"}}\\r\\n')\n    \
             f.write('{{\"message\": \"huge\", \"x\": 1e400}}\\n')\n\
         with open('logs/job.jsonl', 'ab') as f:\n    \
             f.write(b'{{\"message\": \"bad \\xff\\xfe bytes\"}}\\n')\n\
         logger.info('last')\n"
    ));
    let messages = w.messages();
    assert_eq!(messages.len(), 14, "{messages:?}");
    let floats = w.event("floats");
    assert_eq!(
        floats["extra_data"],
        serde_json::json!({"x": "NaN", "y": ["Infinity", "-Infinity"]})
    );
    assert!(
        floats["repaired"].as_i64() == Some(1) || floats["repaired"].is_array(),
        "{floats}"
    );
    let integers = &w.event("integers")["extra_data"];
    assert_eq!(integers["big"], "1208925819614629174706176");
    assert_eq!(integers["neg"], "-1180591620717411303424");
    assert_eq!(integers["small"], i64::MIN);
    assert_eq!(integers["n"].as_str().map(str::len), Some(401));
    assert!(w.event("deep")["extra_data"].to_string().starts_with("{\"deep\":[[[["));
    let objects = &w.event("objects")["extra_data"];
    assert_eq!(
        (&objects["t"], &objects["e"]),
        (&serde_json::json!([1, 2]), &"v".into())
    );
    assert_eq!(
        w.event("line one")["message"],
        "line one\nline two\u{2028}still two\u{0}end"
    );
    assert_eq!(w.event("plain text")["unparsed"], 1);
    assert_eq!(w.event("{\"text\": \"torn\"")["unparsed"], 1);
    for repaired in ["lone \u{fffd} surrogate", "twice", "huge", "bad \u{fffd}"] {
        let event = w.event(repaired);
        assert!(event.get("repaired").is_some(), "{event}");
    }
    assert_eq!(w.event("twice")["extra_data"]["a"], 2);
    assert!(w.event("after a BOM").get("unparsed").is_none());
    for whole in ["before", "last"] {
        let event = w.event(whole);
        let marks = ["unparsed", "repaired", "truncated"].map(|m| event.get(m).is_none());
        assert_eq!(marks, [true; 3], "{event}");
    }
}

// §2: levels, times, names.
#[test]
fn levels_times_and_bound_names_of_real_loguru_are_understood() {
    let w = written(&format!(
        "{LOGURU}import datetime, threading\n\
         logger.remove()\nlogger.add('logs/job.jsonl', serialize=True, level=0)\n\
         names = ['TRACE', 'DEBUG', 'INFO', 'SUCCESS', 'WARNING', 'ERROR', 'CRITICAL']\n\
         for name in names:\n    logger.log(name, 'as ' + name)\n\
         logger.level('NOTICE', no=22)\nlogger.log('NOTICE', 'as NOTICE')\nlogger.log(33, 'as a number')\n\
         def at(when):\n    return lambda record: record.update(time=when(record['time']))\n\
         logger.patch(at(lambda t: t.replace(microsecond=0))).info('no fraction')\n\
         zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))\n\
         logger.patch(at(lambda t: t.astimezone(zone))).info('elsewhere')\n\
         logger.bind(level='x', message='y', time='z', function='f', name='n').info('own names')\n\
         t = threading.Thread(target=lambda: logger.info('from a thread'), name='worker')\n\
         t.start()\nt.join()\n\
         import os\npid = os.fork()\nif pid == 0:\n    logger.info('from a child')\n    os._exit(0)\n\
         os.waitpid(pid, 0)\n"
    ));
    let names = ["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"];
    for (name, no) in names.iter().zip([5, 10, 20, 25, 30, 40, 50]) {
        let event = w.event(&format!("as {name}"));
        assert_eq!((&event["level"], &event["level_no"]), (&(*name).into(), &no.into()));
    }
    assert_eq!(w.event("as NOTICE")["level_no"], 22);
    assert_eq!(
        (&w.event("as a number")["level"], &w.event("as a number")["level_no"]),
        (&"LEVEL 33".into(), &33.into())
    );
    let whole = w.event("no fraction")["timestamp"].as_str().expect("a time").to_owned();
    assert!(whole.len() == 27 && whole.ends_with(".000000Z"), "{whole}");
    let (here, there) = (w.event("as CRITICAL"), w.event("elsewhere"));
    let hour = |e: &Value| e["timestamp"].as_str().map(|t| t[..13].to_owned());
    assert_eq!(hour(&here), hour(&there), "both are UTC");
    let own = &w.event("own names")["extra_data"];
    for (name, value) in [
        ("level", "x"),
        ("message", "y"),
        ("time", "z"),
        ("function", "f"),
        ("name", "n"),
    ] {
        assert_eq!(own[name], value, "{own}");
    }
    assert_eq!(w.event("from a thread")["thread_name"], "worker");
    // Threads belong to the process; a forked child is another run, though its start is the same.
    let run = |message: &str| w.event(message)["execution_id"].clone();
    assert_eq!(run("from a thread"), run("as INFO"));
    assert_ne!(run("from a child"), run("as INFO"));
    assert!(run("from a child").as_str().is_some_and(|r| r.starts_with("job_")));
}

// §2: exceptions, whose traceback stands in `text` alone, or in lines of its own.
#[test]
fn tracebacks_of_real_loguru_are_stored_with_their_exception() {
    let w = written(
        "from loguru import logger\nimport json\nlogger.remove()\n\
         logger.add('logs/a.jsonl', serialize=True, diagnose=True, backtrace=True)\n\
         def flat(record):\n    \
             record['extra']['line'] = json.dumps({'msg': record['message'], 'lvl': record['level'].name, \
                 'ts': record['time'].timestamp()})\n    return '{extra[line]}\\n{exception}'\n\
         logger.add('logs/b.log', format=flat, diagnose=False)\n\
         def outer(password):\n    \
             try:\n        {}['id']\n    except KeyError as e:\n        raise ValueError('no row') from e\n\
         try:\n    outer('hunter2-secret')\nexcept ValueError:\n    logger.exception('lookup failed')\n\
         logger.info('next')\n",
    );
    assert_eq!(w.messages().len(), 4, "{:?}", w.messages());
    let db = w.place.open().expect("a store");
    let sql = "select exception from log_events where message = 'lookup failed'";
    let mut q = db.prepare(sql).expect("a query");
    let both: Vec<Value> = q
        .query_map([], |r| r.get::<_, String>(0))
        .expect("rows")
        .map(|r| serde_json::from_str(&r.expect("an exception")).expect("JSON"))
        .collect();
    assert_eq!(both.len(), 2);
    for exception in &both {
        assert_eq!(
            (&exception["type"], &exception["value"]),
            (&"ValueError".into(), &"no row".into()),
            "{exception}"
        );
        assert_eq!(exception["chain"][0]["type"], "KeyError", "{exception}");
        let traceback = exception["traceback"].as_str().unwrap_or_default();
        assert!(
            traceback.contains("outer") && traceback.contains("KeyError"),
            "{exception}"
        );
    }
    assert_eq!(
        w.place
            .text("select distinct fingerprint from log_events where level = 'ERROR'")
            .len(),
        1
    );
}
