//! What a real ArangoDB makes of a query or a request, and an interpreter of queries would not notice by itself: the
//! stand-in is taught to, trap by trap.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logagent::config;
use logagent::store::arango::read::ArangoReader;
use logagent::store::arango::{Arango, Client, QueryOptions};
use logagent::store::search::{EventAsk, Filter, Order, ReadError, Search, Words};
use logagent::store::{Batch, Sink};
use serde_json::{Value, json};

use crate::standin::{Fault, Standin, What};

const DB: &str = "script_logs";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// A server that holds one event for each message.
fn holding(messages: &[&str]) -> Standin {
    let standin = Standin::start();
    let store = Arango::open(&standin.settings(DB)).unwrap();
    let mut batch = Batch::default();
    for (n, message) in messages.iter().enumerate() {
        let doc = json!({"_key": format!("k{n}"), "timestamp": "2026-11-21T02:20:24.054432Z", "level": "INFO",
            "level_no": 20, "message": message, "execution_id": "e", "seq": n,
            "source": {"kind": "file", "stream": "s", "offset": n}, "ingested_at": "2026-11-21T02:20:24.054432Z"});
        batch.events.push(doc.to_string().as_bytes());
    }
    block_on(async {
        store.ensure_schema(false).await.unwrap();
        store.write(&Arc::new(batch)).await.unwrap();
    });
    standin.commit_views(DB);
    standin
}

/// Messages of the events that match.
fn found(standin: &Standin, words: Option<&str>, grep: Option<&str>) -> Result<Vec<String>, ReadError> {
    let reader = ArangoReader::new(&standin.settings(DB)).unwrap();
    let ask = EventAsk {
        filter: Filter {
            grep: grep.map(|g| regex::Regex::new(g).unwrap()),
            ..Filter::default()
        },
        words: words.map(|w| Words::parse(w).unwrap()),
        order: Order::Oldest,
        after: None,
        limit: 10,
        count: true,
    };
    let page = reader.events(&ask)?;
    Ok(page.items.into_iter().map(|(e, _)| e.message).collect())
}

/// Each word is one of eight alternatives. Multiplied out, six of them are 262144 conditions of six parts each.
#[test]
fn many_words_are_searched_for_without_being_multiplied_out() {
    let standin = holding(&["one two three four five six seven", "one two three"]);
    let all = found(&standin, Some("one two three four five six seven"), None).unwrap();
    assert_eq!(all, ["one two three four five six seven"]);
}

#[test]
fn the_beginning_of_a_word_is_found_with_its_accents_as_a_whole_word_is() {
    let standin = holding(&["the Café is open", "the cave"]);
    for words in ["café", "caf*", "café*", "CAFÉ*"] {
        assert_eq!(
            found(&standin, Some(words), None).unwrap(),
            ["the Café is open"],
            "{words}"
        );
    }
}

/// The server scores comparisons as well: by how rare the value is.
#[test]
fn conditions_beside_the_words_do_not_count_for_the_rank() {
    let standin = holding(&["disk", "disk disk disk", "disk full again and again and again"]);
    let reader = ArangoReader::new(&standin.settings(DB)).unwrap();
    let ranked = |filter: Filter| -> Vec<(String, f64)> {
        let ask = EventAsk {
            filter,
            words: Words::parse("disk"),
            order: Order::Score,
            after: None,
            limit: 10,
            count: false,
        };
        let page = reader.events(&ask).unwrap();
        page.items
            .into_iter()
            .map(|(e, score)| (e.key, score.unwrap()))
            .collect()
    };
    let plain = ranked(Filter::default());
    assert_eq!(plain.len(), 3);
    let narrowed = Filter {
        since: Some(0),
        min_level: Some(10),
        executions: vec!["e".into(), "f".into()],
        ..Filter::default()
    };
    assert_eq!(ranked(narrowed), plain);
}

#[test]
fn an_expression_that_only_the_program_can_read_is_told_and_not_taken_for_no_match() {
    let standin = holding(&["number 7"]);
    let said = found(&standin, None, Some("(?P<n>7)"));
    assert!(
        matches!(&said, Err(ReadError::Faulty(text)) if text.contains("regular expression")),
        "{said:?}"
    );
    assert_eq!(found(&standin, None, Some("(?i)NUMBER")).unwrap(), ["number 7"]);
}

fn pages(
    standin: &Standin,
    change: impl FnOnce(&mut config::Arangodb),
) -> Result<Vec<u32>, logagent::store::arango::Error> {
    let mut settings = standin.settings(DB);
    change(&mut settings);
    let client = Client::new(&settings).unwrap();
    let options = QueryOptions {
        batch_size: 2,
        ..QueryOptions::default()
    };
    block_on(client.rows::<Value, u32>("FOR i IN 1..7 RETURN i", &json!({}), &options)).map(|(rows, _)| rows)
}

#[test]
fn every_request_that_could_have_a_body_tells_its_length_even_when_it_has_none() {
    let standin = holding(&[]);
    standin.forget_seen();
    assert_eq!(pages(&standin, |_| {}).unwrap(), (1..8).collect::<Vec<u32>>());
    let seen = standin.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|s| s.header("content-length").is_some()), "{seen:#?}");
}

/// Results are computed page by page, so each of them may take the query's time.
#[test]
fn a_later_page_may_take_as_long_as_the_query() {
    let standin = holding(&[]);
    let slow = What::Slow(Duration::from_millis(700));
    standin.fail(Fault::on("POST /_db/script_logs/_api/cursor/", slow));
    let rows = pages(&standin, |s| s.timeout = Duration::from_millis(300));
    assert_eq!(rows.unwrap(), (1..8).collect::<Vec<u32>>());
}

#[test]
fn query_files_say_what_they_are_for_and_ask_for_nothing_that_a_server_pays_dearly_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/arango/queries");
    let mut read = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let query = logagent::store::arango::cursor::text(&text);
        let head = &text[..text.len() - query.len()];
        assert!(head.starts_with("// What: ") && head.contains("Index: "), "{name}");
        // What each of these does to a server: the condition multiplied out; a wait for the view's commit, meant for
        // tests; a request for each document from a coordinator; a collection closed to all other writers; what is gone
        // with the next version.
        assert_eq!(
            query.contains("SEARCH"),
            query.contains(r#"conditionOptimization: "none""#),
            "{name}"
        );
        for word in ["waitForSync", "DOCUMENT(", "exclusive", "FULLTEXT(", "allowDirtyReads"] {
            assert!(!query.contains(word), "{name}: {word}");
        }
        read += 1;
    }
    assert!(read > 30, "{read}");
}
