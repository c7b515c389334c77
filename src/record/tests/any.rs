//! Lines of any kind, by chance.

use proptest::prelude::*;

use super::*;

pub(in crate::record) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // serde_json itself reads the last digit of some others wrong.
        any::<f64>()
            .prop_filter("exact", |f| serde_json::from_str(&json!(f).to_string()).ok()
                == Some(*f))
            .prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map("[a-z_\\\\\"é]{0,8}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_become_a_document_that_both_stores_take(line in proptest::collection::vec(any::<u8>(), 0..300), rest in proptest::collection::vec(any::<u8>(), 0..100)) {
        doc_of(&line, &rest, &rules());
    }

    #[test]
    fn a_loguru_line_damaged_anywhere_becomes_a_document(at in 0..EXACT.len(), with in proptest::collection::vec(any::<u8>(), 0..4), cut in 0..3_usize) {
        let mut line = bound_line(r#"{"execution_id": "e", "event": "run_end", "token": "x", "n": [1, {"a": NaN}]}"#).into_bytes();
        line.splice(at..(at + cut).min(line.len()), with);
        doc_of(&line, b"", &rules());
    }

    #[test]
    fn values_of_any_kind_come_back_from_extra_data(value in any_json()) {
        let rules = rules_with(&[("LOGAGENT_REDACT_ENABLED", "false")]);
        let got = doc_of(bound_line(&json!({"x": value}).to_string()).as_bytes(), b"", &rules);
        prop_assert_eq!(&got["extra_data"]["x"], &value);
        let got = doc_of(json!({"message": "m", "x": value}).to_string().as_bytes(), b"", &rules);
        prop_assert_eq!(&got["extra_data"]["x"], &value);
    }

    #[test]
    fn the_fast_way_and_the_general_one_agree(extra in any_json().prop_filter("object", Value::is_object), message in "\\PC{0,30}") {
        let message = json!(message).to_string();
        let line = bound_line(&extra.to_string()).replace("\"message\": \"hello world\"", &format!("\"message\": {message}"));
        let rules = rules();
        let spaced = format!(" {line} ");
        let fast = parse(line.as_bytes(), b"", &rules);
        let slow = parse(spaced.as_bytes(), b"", &rules);
        prop_assert_eq!(fast, slow);
    }
}
