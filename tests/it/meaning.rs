//! Ranking by meaning: the program beside a small embedding endpoint that knows a few concepts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::examples::Place;
use crate::harness::{Said, logagent};
use crate::sample::{self, TIMEOUT};

const KEY: &str = "key-that-nobody-may-see";

/// How the endpoint answers.
#[derive(Clone, Copy)]
enum Mood {
    Well,
    Refuses,
    Babbles,
    Hangs,
    Short,
}

/// What was asked: headers in lower case, and the body.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

struct Endpoint {
    url: String,
    seen: Seen,
}

/// One number for each concept that a text speaks of.
fn vector(text: &str) -> Vec<f64> {
    let text = text.to_lowercase();
    let speaks = |words: &[&str]| f64::from(u8::from(words.iter().any(|w| text.contains(w))));
    vec![
        speaks(&["timed out", "timeout", "never responds"]),
        speaks(&["row", "csv"]),
        speaks(&["denied", "forbidden", "upload"]) * 0.5 + speaks(&["forbidden"]),
        0.01,
    ]
}

fn answer(mood: Mood, body: &Value) -> (&'static str, String) {
    let input = body["input"].as_array().cloned().unwrap_or_default();
    let mut data: Vec<Value> = input
        .iter()
        .enumerate()
        .map(|(i, t)| json!({"object": "embedding", "index": i, "embedding": vector(t.as_str().unwrap_or(""))}))
        .collect();
    match mood {
        Mood::Refuses => ("401 Unauthorized", json!({"error": {"message": "no"}}).to_string()),
        Mood::Babbles => ("200 OK", "<html>".to_owned()),
        Mood::Short => ("200 OK", json!({"data": [data[0]]}).to_string()),
        Mood::Well | Mood::Hangs => {
            data.reverse();
            ("200 OK", json!({"object": "list", "data": data}).to_string())
        }
    }
}

fn serve(stream: TcpStream, mood: Mood, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line.to_lowercase());
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let (status, text) = answer(mood, &body);
    seen.lock().ok()?.push((head, body));
    if matches!(mood, Mood::Hangs) {
        // Until the client has enough of it.
        let _ = reader.read(&mut [0]);
        return None;
    }
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    (&stream).write_all(format!("{head}{text}").as_bytes()).ok()
}

impl Endpoint {
    fn start(mood: Mood) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Seen::default();
        let theirs = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&theirs);
                std::thread::spawn(move || serve(stream, mood, &seen));
            }
        });
        Endpoint { url, seen }
    }
}

/// The verb with this endpoint.
fn ask(dir: &Path, url: &str, args: &[&str]) -> Said {
    let out = logagent(dir)
        .args(args)
        .env("LOGAGENT_EMBEDDINGS_URL", url)
        .env("LOGAGENT_EMBEDDINGS_MODEL", "concepts-1")
        .env("LOGAGENT_EMBEDDINGS_API_KEY", KEY)
        .env("LOGAGENT_EMBEDDINGS_TIMEOUT", "1s")
        .env("LOGAGENT_LOG", "trace")
        .output()
        .unwrap();
    Said {
        code: out.status.code().unwrap_or(-1),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

const UNLIKE: [&str; 4] = ["similar", "postgres never responds", "-o", "json"];

#[test]
fn an_error_that_shares_no_word_is_found_by_its_meaning() {
    let dir = sample::directory();
    let endpoint = Endpoint::start(Mood::Well);
    let without = ask(dir.path(), "", &UNLIKE);
    assert_eq!(without.code, 1, "{}", without.out);
    let found = ask(dir.path(), &endpoint.url, &UNLIKE);
    assert_eq!(found.code, 0, "{}", found.err);
    let answer: Value = serde_json::from_str(&found.out).unwrap();
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "only what is near enough: {answer}");
    assert_eq!(
        (&items[0]["fingerprint"], &items[0]["by"]),
        (&json!(TIMEOUT), &json!("meaning"))
    );
    assert_eq!(items[0]["fix_description"], "raised the pool size to 20");
    let seen = endpoint.seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "one request a question");
    let (head, body) = &seen[0];
    assert!(head.starts_with("post /v1/embeddings "), "{head}");
    assert!(head.contains(&format!("authorization: bearer {KEY}")), "{head}");
    assert_eq!(body["model"], "concepts-1");
    assert_eq!(body["input"][0], "postgres never responds");
    assert!(body["input"].as_array().is_some_and(|i| i.len() > 1 && i.len() <= 101));
    assert!(!found.err.contains(KEY), "{}", found.err);
}

#[test]
fn where_the_endpoint_fails_the_other_rankings_stand_alone_and_it_is_said() {
    let dir = sample::directory();
    let text = ["similar", "database timed out", "-o", "json"];
    let alone = ask(dir.path(), "", &text);
    let nobody = "http://127.0.0.1:1/v1/embeddings".to_owned();
    let mut urls = vec![nobody];
    let moods = [Mood::Refuses, Mood::Babbles, Mood::Hangs, Mood::Short];
    let endpoints: Vec<Endpoint> = moods.into_iter().map(Endpoint::start).collect();
    urls.extend(endpoints.iter().map(|e| e.url.clone()));
    for url in urls {
        let said = ask(dir.path(), &url, &text);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(said.out, alone.out, "{url}");
        assert!(
            said.err.contains("ranked without meaning: the embedding endpoint"),
            "{}",
            said.err
        );
        assert!(!said.err.contains(KEY), "{}", said.err);
    }
    let said = ask(dir.path(), "ftp://nowhere", &text);
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn check_asks_the_endpoint_and_only_notes_its_failure() {
    let place = Place::new();
    let endpoint = Endpoint::start(Mood::Well);
    let good = ask(&place.path(""), &endpoint.url, &["check"]);
    assert_eq!(good.code, 0, "{}", good.out);
    assert!(good.out.contains("answers with vectors of 4 numbers"), "{}", good.out);
    let bad = ask(&place.path(""), "http://127.0.0.1:1/v1", &["check"]);
    assert_eq!(bad.code, 0, "{}", bad.out);
    assert!(bad.out.contains("note  embeddings"), "{}", bad.out);
    let off = ask(&place.path(""), "", &["check"]);
    assert!(!off.out.contains("embeddings"), "{}", off.out);
}

#[test]
fn search_ranks_by_words_and_meaning_together() {
    let place = Place::new();
    let lines = [
        "upload upload upload row timeout",
        "upload of an album forbidden",
        "an upload of nothing in particular but some csv files of the year before last",
    ];
    let text: String = lines
        .iter()
        .map(|m| format!("{{\"time\":\"2026-11-10T10:00:00Z\",\"run_id\":\"r\",\"message\":\"{m}\"}}\n"))
        .collect();
    std::fs::write(place.path("logs/a.jsonl"), text).unwrap();
    place.once();
    let endpoint = Endpoint::start(Mood::Well);
    let messages = |url: &str, more: &[&str]| -> Vec<String> {
        let said = ask(
            &place.path(""),
            url,
            &[&["search", "upload", "-o", "json"], more].concat(),
        );
        let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.err));
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|i| i["message"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let by_words = messages("", &[]);
    assert_eq!(by_words[0], lines[0]);
    let by_both = messages(&endpoint.url, &[]);
    assert_eq!(by_both.len(), 3);
    assert_eq!(by_both[0], lines[1], "{by_both:?}");
    let page = ask(
        &place.path(""),
        &endpoint.url,
        &["search", "upload", "-n", "1", "-o", "json"],
    );
    let page: Value = serde_json::from_str(&page.out).unwrap();
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        messages(&endpoint.url, &["-n", "2", "--cursor", cursor]),
        by_both[1..],
        "pages go on in the same order"
    );
    let asked = endpoint.seen.lock().unwrap().len();
    messages(&endpoint.url, &["--sort", "time"]);
    assert_eq!(
        endpoint.seen.lock().unwrap().len(),
        asked,
        "an order by time needs no ranking"
    );
}
