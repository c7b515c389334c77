//! The interpreter against what the documentation says of AQL.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::catalog::{Collection, Database};
use super::super::documents::{Mode, put};
use super::Fail;
use super::parse::parse;
use super::run::{Env, Run};

fn ask_in(database: &mut Database, query: &str, binds: Value) -> Result<Value, Fail> {
    let none = Map::new();
    let parsed = parse(query)?;
    let run = Run::new(
        database,
        binds.as_object().unwrap_or(&none),
        Duration::from_secs(5),
        1 << 30,
    );
    run.values(&parsed.query, Env::default()).map(Value::Array)
}

fn ask(query: &str) -> Value {
    ask_in(&mut Database::default(), query, json!({})).unwrap_or_else(|e| panic!("{query}: {e:?}"))
}

fn refused(query: &str) -> i64 {
    ask_in(&mut Database::default(), query, json!({})).expect_err(query).num
}

fn people() -> Database {
    let mut people = Collection::new(&json!({"name": "people", "type": 2}), 1).unwrap();
    for (key, age) in [("ada", json!(36)), ("bob", json!(null)), ("eve", json!("x"))] {
        put(&mut people, json!({"_key": key, "age": age}), &Mode::Conflict).unwrap();
    }
    let mut database = Database::default();
    database.collections.insert("people".into(), people);
    database
}

#[test]
fn null_is_less_than_anything_and_texts_are_greater_than_numbers() {
    assert_eq!(
        ask("RETURN [null < 'x', 'x' >= null, 'a' > 99999, 1 == '1', null == {}.a]")[0],
        json!([true, true, true, false, true])
    );
    assert_eq!(
        ask("RETURN ['a' IN null, 'a' NOT IN null, 1 IN [1, 2], [1, 2] ALL > 0, [] ANY == 1]")[0],
        json!([false, true, true, true, false])
    );
}

#[test]
fn or_and_and_give_their_operands() {
    assert_eq!(
        ask("RETURN [1 || 7, null || 'x', 0 && 1, NOT 0, true ? 1 : 2, null ?: 5]")[0],
        json!([1, "x", 0, true, 1, 5])
    );
    assert_eq!(
        ask("RETURN [1 + 2 * 3, 7 / 2, 4 / 2, 1 / 0, -3 % 2, '4' + 1]")[0],
        json!([7, 3.5, 2, null, -1, 5])
    );
}

#[test]
fn arrays_are_expanded_filtered_and_projected_in_place() {
    let query = "LET a = [{n: 1, t: [1, 2]}, {n: 2, t: [3]}]
        RETURN [a[*].n, a[* FILTER CURRENT.n > 1].n, a[*].t[**], a[* LIMIT 1 RETURN CURRENT.t[0]], null[*].x, a[-1].n]";
    assert_eq!(ask(query)[0], json!([[1, 2], [2], [[1, 2], [3]], [1], [], 2]));
}

#[test]
fn groups_are_counted_and_their_variables_end_there() {
    let query = "FOR x IN [1, 2, 2, 3] COLLECT odd = x % 2 == 1 AGGREGATE n = COUNT(), most = MAX(x) INTO g = x
        SORT odd RETURN [odd, n, most, g]";
    assert_eq!(ask(query), json!([[false, 2, 2, [2, 2]], [true, 2, 3, [1, 3]]]));
    assert_eq!(ask("FOR x IN [] COLLECT WITH COUNT INTO n RETURN n"), json!([0]));
    assert_eq!(refused("FOR x IN [1] COLLECT n = x RETURN x"), 1203);
}

#[test]
fn what_the_grammar_refuses_is_refused() {
    for query in [
        "RETURN",
        "FOR x IN [1]",
        "RETURN 1 RETURN 2",
        "RETURN doc.filter",
        "FOR v, e IN 1..2 OUTBOUND 'a/b' c RETURN v",
    ] {
        assert_eq!(refused(query), 1501, "{query}");
    }
    assert_eq!(refused(" "), 1502);
    assert_eq!(refused("RETURN NOSUCH(1)"), 1540);
    assert_eq!(refused("RETURN LENGTH()"), 1541);
    assert_eq!(refused("LET a = 1 LET a = 2 RETURN a"), 1511);
    assert_eq!(refused("FOR x IN null RETURN x"), 1563);
    assert_eq!(refused("FOR x IN nowhere RETURN x"), 1203);
    assert_eq!(refused("FOR x IN c REMOVE x IN c FOR y IN c RETURN y"), 1579);
}

#[test]
fn in_behind_a_choice_is_a_comparison_and_no_collection() {
    let head = "UPSERT {_key: 'x'} INSERT {_key: 'x'} UPDATE";
    assert!(parse(&format!("{head} {{a: 1}} IN people")).is_ok());
    assert!(parse(&format!("{head} (OLD.a ? {{a: 1}} : {{}}) IN people")).is_ok());
    assert_eq!(
        parse(&format!("{head} OLD.a ? {{a: 1}} : {{}} IN people"))
            .err()
            .map(|e| e.num),
        Some(1501)
    );
}

#[test]
fn writes_change_the_data_and_tell_what_was_there() {
    let mut db = people();
    let query =
        "FOR p IN people FILTER p.age == null UPDATE p WITH {age: 1, more: {a: 1}} IN people RETURN [OLD.age, NEW.age]";
    assert_eq!(ask_in(&mut db, query, json!({})).unwrap(), json!([[null, 1]]));
    let query = "UPDATE 'bob' WITH {age: null, more: {b: 2}} IN people OPTIONS {keepNull: false} RETURN NEW";
    let new = ask_in(&mut db, query, json!({})).unwrap();
    assert_eq!((new[0].get("age"), &new[0]["more"]), (None, &json!({"a": 1, "b": 2})));
    let query = "UPSERT {_key: 'zoe'} INSERT {_key: 'zoe', n: 1} UPDATE {n: OLD.n + 1} IN people RETURN NEW.n";
    assert_eq!(ask_in(&mut db, query, json!({})).unwrap(), json!([1]));
    assert_eq!(ask_in(&mut db, query, json!({})).unwrap(), json!([2]));
    let query = "FOR k IN ['zoe', 'nobody'] REMOVE k IN people OPTIONS {ignoreErrors: true}";
    ask_in(&mut db, query, json!({})).unwrap();
    assert_eq!(
        ask_in(&mut db, "REMOVE 'nobody' IN people", json!({})).unwrap_err().num,
        1202
    );
    assert_eq!(
        ask_in(&mut db, "FOR p IN people SORT p._key RETURN p._key", json!({})).unwrap(),
        json!(["ada", "bob", "eve"])
    );
}

#[test]
fn a_filter_with_null_lets_every_text_through() {
    let query = "FOR p IN people FILTER p.age >= @none SORT p._key RETURN p._key";
    assert_eq!(
        ask_in(&mut people(), query, json!({"none": null})).unwrap(),
        json!(["ada", "bob", "eve"])
    );
    let query = "FOR p IN people FILTER p.age < 40 SORT p._key LIMIT 1, 5 RETURN p._key";
    assert_eq!(ask_in(&mut people(), query, json!({})).unwrap(), json!(["bob"]));
}
