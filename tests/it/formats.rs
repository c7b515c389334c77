//! Lines as people and programs really write them, shipped by the real program and compared with what is stored.
//!
//! `tests/data/formats/*.jsonl` hold one case a line: `name`, `file`, `text` (with `utf16` in UTF-16), `expect` (partial
//! documents in the order of the file), `runs` and `config`. In `expect` a value is compared as it is; `{"has": "x"}`
//! wants a text that holds x, `{"min": n}` a number of at least n, `null` that the field is absent, `true` that it is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cases(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join("tests/data/formats").join(file)).unwrap();
    let cases: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(cases.len() > 40, "{file}");
    cases
}

/// The value at a dotted path; JSON within text is opened.
fn get(document: &Value, path: &str) -> Option<Value> {
    if let Some(found) = document.get(path) {
        return Some(found.clone());
    }
    let mut at = document.clone();
    for part in path.split('.') {
        if let Value::String(text) = &at
            && text.starts_with(['{', '['])
        {
            at = serde_json::from_str(text).ok()?;
        }
        at = match (&at, part.parse::<usize>()) {
            (Value::Array(list), Ok(i)) => list.get(i)?.clone(),
            _ => at.get(part)?.clone(),
        };
    }
    Some(at)
}

fn differs(want: &Value, got: Option<&Value>) -> bool {
    if let Some(has) = want.get("has").and_then(Value::as_str) {
        let Some(got) = got else { return true };
        let text = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
        return text.is_empty() || !(text.contains(has) || got.to_string().contains(has));
    }
    if let Some(min) = want.get("min").and_then(Value::as_i64) {
        return got.and_then(Value::as_i64).is_none_or(|n| n < min);
    }
    let set = got.is_some_and(|g| !matches!(g, Value::Null | Value::Bool(false)) && *g != 0);
    match want {
        Value::Null => set,
        Value::Bool(true) => !set,
        want => got != Some(want),
    }
}

fn rows(store: &Path, query: &str) -> Vec<Value> {
    let db = rusqlite::Connection::open(store).unwrap();
    let mut query = db.prepare(query).unwrap();
    let names: Vec<String> = query.column_names().into_iter().map(str::to_owned).collect();
    let rows = query.query_map([], |row| {
        let mut fields = Map::new();
        for (i, name) in names.iter().enumerate() {
            let value = match row.get_ref(i)? {
                rusqlite::types::ValueRef::Integer(n) => n.into(),
                rusqlite::types::ValueRef::Real(n) => n.into(),
                rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned().into(),
                _ => continue,
            };
            fields.insert(name.clone(), value);
        }
        Ok(Value::Object(fields))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Ships a case; what is not as it should be.
fn faults(case: &Value) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    fs::create_dir(path("logs")).unwrap();
    let text = case["text"].as_str().unwrap();
    let bytes = if case.get("utf16").is_some() {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    } else {
        text.as_bytes().to_vec()
    };
    fs::write(path("logs").join(case["file"].as_str().unwrap()), bytes).unwrap();
    let own = case.get("config").and_then(Value::as_str).unwrap_or_default();
    let config = "host = \"testhost\"\n[files]\ninclude = [\"logs/*\"]\nnaive_time = \"UTC\"\nfinish_line_after = \"100ms\"\n[socket]\npath = \"off\"\n[retention]\ndays = 0\n";
    fs::write(path("logagent.toml"), format!("{config}{own}")).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_logagent"))
        .args(["run", "--once"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    if !out.status.success() {
        return vec![format!("run --once: {}", String::from_utf8_lossy(&out.stderr))];
    }
    let store = path(".logagent/logs.db");
    let got = rows(&store, "select * from log_events order by seq");
    let expected = case["expect"].as_array().unwrap();
    let mut faults = Vec::new();
    if got.len() != expected.len() {
        let messages: Vec<_> = got.iter().map(|g| g["message"].clone()).collect();
        faults.push(format!("{} records, not {}: {messages:?}", got.len(), expected.len()));
    }
    for (i, (want, got)) in expected.iter().zip(&got).enumerate() {
        for (field, want) in want.as_object().unwrap() {
            let found = get(got, field);
            if differs(want, found.as_ref()) {
                faults.push(format!("record {}, {field}: {found:?}, not {want}", i + 1));
            }
        }
    }
    let runs = rows(&store, "select * from script_runs order by start_time");
    for want in case.get("runs").and_then(Value::as_array).into_iter().flatten() {
        let fits = |run: &&Value| {
            want.as_object()
                .unwrap()
                .iter()
                .all(|(k, v)| !differs(v, get(run, k).as_ref()))
        };
        if !runs.iter().any(|run| fits(&run)) {
            faults.push(format!("no run like {want}: {runs:?}"));
        }
    }
    faults
}

fn all_are_read_as_expected(file: &str) {
    let mut wrong = Vec::new();
    for case in cases(file) {
        for fault in faults(&case) {
            wrong.push(format!("{}: {fault}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_formats_that_people_and_agents_write_are_read() {
    all_are_read_as_expected("cases.jsonl");
}

#[test]
fn variations_of_these_formats_are_read_too() {
    all_are_read_as_expected("more.jsonl");
}

/// One row of the document for each case of a single line.
fn table() -> String {
    let mut out = String::new();
    for case in cases("cases.jsonl").iter().chain(&cases("more.jsonl")) {
        let text = case["text"].as_str().unwrap();
        let expected = &case["expect"].as_array().unwrap();
        let (Some(line), 1) = (text.strip_suffix('\n'), expected.len()) else {
            continue;
        };
        if line.contains('\n') || line.contains('`') || line.contains('\u{1b}') || case.get("utf16").is_some() {
            continue;
        }
        let made: Vec<String> = expected[0]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, v)| v.is_string() || v.is_number())
            .map(|(k, v)| format!("{k} `{}`", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        let cell = |t: &str| t.replace('|', "\\|").replace('\t', "⇥");
        out.push_str(&format!(
            "| {} | `{}` | {} |\n",
            case["name"].as_str().unwrap(),
            cell(line),
            cell(&made.join(", "))
        ));
    }
    out
}

#[test]
fn the_document_of_formats_shows_what_the_cases_say() {
    let text = fs::read_to_string(root().join("docs/formats.md")).unwrap();
    let (_, shown) = text.split_once("<!-- from the cases -->\n").expect("a mark");
    let shown = shown.split_once("<!-- end -->").expect("a mark").0;
    assert_eq!(
        shown.trim().lines().skip(2).collect::<Vec<_>>(),
        table().lines().collect::<Vec<_>>()
    );
}

#[test]
fn parse_names_the_format_and_the_record_and_says_where_others_gave_up() {
    let dir = tempfile::tempdir().unwrap();
    let line = "2026-11-30 19:15:12,034 - svc - ERROR - upload failed\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 8, in f\n    1/0\nZeroDivisionError: division by zero\n{\"message\": \"plain\"}\n";
    fs::write(dir.path().join("a.log"), line).unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_logagent"))
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let out = run(&["parse", "a.log", "-o", "json", "--explain"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    let items = all["items"].as_array().unwrap();
    assert_eq!((items.len(), &all["returned"]), (2, &2.into()));
    assert_eq!((&items[0]["format"], &items[0]["line"]), (&"python".into(), &1.into()));
    let record = &items[0]["record"];
    assert_eq!(
        (&record["level"], &record["message"]),
        (&"ERROR".into(), &"upload failed".into())
    );
    assert_eq!(record["exception"]["type"], "ZeroDivisionError");
    assert!(record.get("_key").is_none() && record.get("ingested_at").is_none());
    let tried = items[0]["tried"].as_array().unwrap();
    let of = |name: &str| tried.iter().find(|t| t["format"] == name).unwrap();
    assert_eq!(of("python")["fits"], true);
    assert!(of("loguru")["column"].as_u64().unwrap() >= 23, "{}", of("loguru"));
    assert!(!of("loguru")["wanted"].as_str().unwrap().is_empty());
    assert_eq!(items[1]["format"], "json");
    assert!(!dir.path().join(".logagent").exists(), "nothing is stored");
    let text = run(&["parse", "a.log"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("1: python"));
    assert_eq!(run(&["parse", "missing.log"]).status.code(), Some(2));
}

#[test]
fn a_format_of_ones_own_that_cannot_be_used_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    for (config, expected) in [
        (
            "[[format]]\nfiles = [\"a\"]\nregex = '(?<message>'\n",
            "logagent.toml:3: format.regex:",
        ),
        (
            "[[format]]\nfiles = [\"a\"]\nregex = '^(?<mesage>.+)$'\n",
            "did you mean \"message\"?",
        ),
        (
            "[[format]]\nfiles = [\"a\"]\nregexp = '^(?<message>.+)$'\n",
            "did you mean regex?",
        ),
        (
            "[[format]]\nregex = '^(?<message>.+)$'\n",
            "logagent.toml:1: [[format]] needs files",
        ),
        (
            "[[format]]\nfiles = [\"a\"]\nregex = '^(?=x)(?<message>.+)$'\n",
            "linear time",
        ),
        (
            "[[format]]\nfiles = [\"a\"]\nregex = '^(?<message>.*)$'\n",
            "matches the empty line",
        ),
    ] {
        fs::write(dir.path().join("logagent.toml"), config).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_logagent"))
            .arg("check")
            .current_dir(dir.path())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{config}");
        assert!(err.contains(expected), "{config}: {err}");
    }
}
