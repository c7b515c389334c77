use serde_json::json;

use super::clauses::{Where, by, names, words};
use super::complete;
use crate::store::search::{By, FieldIs, Filter, RunAsk, Words};

fn filter() -> Filter {
    Filter {
        since: Some(1_795_227_624_054_432),
        until: Some(1_795_227_625_000_000),
        min_level: Some(40),
        executions: vec!["run".into()],
        scripts: vec!["a".into(), "b".into()],
        hosts: vec!["h".into()],
        tags: vec!["t".into()],
        fingerprints: vec!["f".into()],
        has_response: true,
        is_fix: true,
        grep: regex::Regex::new("x+").ok(),
        fields: vec![FieldIs {
            path: vec!["extra_data".into(), "user".into(), "0".into()],
            values: vec!["7".into(), "x".into()],
            sign: Default::default(),
        }],
        stored_until: Some(1_795_227_626_000_000),
    }
}

/// Bind variables that a query speaks of.
fn spoken(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in query.match_indices('@') {
        let name: String = query[at + 1..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn every_bind_variable_of_a_query_has_a_value_and_no_value_is_without_one() {
    let mut with_words = Where::events(&filter());
    let search = words(&Words::parse("boom \"two words\" pre* -not").unwrap(), &mut with_words);
    let grouped = by(
        Some(&By::Field(vec!["extra_data".into(), "user".into()])),
        &mut with_words,
    );
    let places = [
        ("words", search.as_str()),
        ("by0", grouped.as_str()),
        ("by1", "[null]"),
        ("by2", "[null]"),
        ("newest", "null"),
        ("way", "DESC"),
        ("order", "score DESC"),
        ("edge", "true"),
    ];
    let wish = json!({
        "limit": 1, "offset": 0, "last": 1, "key": "k", "start": "s", "from": "", "seen": [], "ids": [], "keys": [],
        "execution": "e", "executions": [], "fingerprints": [], "nobody": 1,
    });
    let queries = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/arango/queries");
    let mut seen = 0;
    for file in std::fs::read_dir(queries).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("fix_") || name == "merge_runs" || name == "lease" {
            continue;
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(file.starts_with("// What: ") && file.contains("\n// Index: "), "{name}");
        let (query, binds) = complete(&file, &with_words, &places, wish.clone());
        assert!(!query.contains("/*"), "{name}: an open place is left:\n{query}");
        let mut bound: Vec<String> = binds.keys().cloned().collect();
        bound.sort();
        assert_eq!(spoken(&query), bound, "{name}:\n{query}");
        assert_eq!(
            query.matches('(').count(),
            query.matches(')').count(),
            "{name}:\n{query}"
        );
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn values_and_names_of_fields_never_stand_in_the_query() {
    let odd = "x' OR true //";
    let filter = Where::events(&Filter {
        scripts: vec![odd.into()],
        fields: vec![FieldIs {
            path: vec!["extra_data".into(), odd.into()],
            values: vec![odd.into()],
            sign: Default::default(),
        }],
        ..Filter::default()
    });
    assert!(!filter.filter().contains("OR true"), "{}", filter.filter());
    assert_eq!(filter.binds["b0"], odd);
}

#[test]
fn what_is_not_asked_for_is_not_in_the_query() {
    assert_eq!(Where::events(&Filter::default()).filter(), "");
    assert_eq!(Where::runs(&RunAsk::default()).filter(), "");
    let one = Where::events(&Filter {
        since: Some(0),
        ..Filter::default()
    });
    assert_eq!(one.filter(), "FILTER e.timestamp >= @b0");
    assert_eq!(one.binds["b0"], "1970-01-01T00:00:00.000000Z");
}

#[test]
fn a_search_compares_in_the_view_what_the_view_holds() {
    let mut w = Where::events(&Filter {
        min_level: Some(40),
        scripts: vec!["etl".into()],
        has_response: true,
        is_fix: true,
        ..Filter::default()
    });
    let search = words(&Words::parse("boom").unwrap(), &mut w);
    assert!(
        search.contains("PHRASE(e.message, @b2, \"logagent_words\")"),
        "{search}"
    );
    assert!(
        search.ends_with(" AND BOOST(e.level_no >= @b0 AND e.script_name == @b1, 0)"),
        "{search}"
    );
    assert!(!search.contains("extra_data"), "not in the view: {search}");
}

#[test]
fn a_bind_variable_is_not_taken_for_a_longer_one() {
    assert!(names("x == @b1", "b1"));
    assert!(!names("x == @b10", "b1"));
    assert!(names("IN @@coll", "@coll"));
}
