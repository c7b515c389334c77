//! What a scan accepts, and what it says of it.

use super::*;

#[test]
fn what_both_stores_take_is_accepted_whole() {
    for ok in [
        "{}",
        "[]",
        " { \"a\" : [ 1 , -2.5e3 , null , true , false , \"x\\n\\u00e9\\ud83d\\ude00\" ] } ",
        "18446744073709551615",
        "-9223372036854775808",
        "0",
        "-0",
        "0.1",
        "1e308",
        "\"\"",
        "{\"\":1}",
        "12345678901234567890123.5",
    ] {
        assert!(whole(ok).is_some(), "{ok}");
        assert!(serde_json::from_str::<serde_json::Value>(ok).is_ok(), "{ok}");
    }
}

#[test]
fn what_a_store_would_refuse_or_change_is_not_accepted() {
    for bad in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "NaN",
        "Infinity",
        "-Infinity",
        "18446744073709551616",
        "-9223372036854775809",
        "1e400",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\x\"",
        "\"a\nb\"",
        "\"a",
        "{} x",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"\\u0061\":2}",
        "tru",
        "{'a':1}",
    ] {
        assert!(whole(bad).is_none(), "{bad}");
    }
    assert!(whole(&"9".repeat(400)).is_none());
}

#[test]
fn a_short_number_is_found_as_a_long_one_is() {
    let numbers = [
        "0",
        "-0",
        "7",
        "-7",
        "12",
        "0.5",
        "-0.25",
        "152.83",
        "123456789012345",
        "12345678901234.",
        "1.",
        ".5",
        "-",
        "-.5",
        "01",
        "-01",
        "00",
        "1e5",
        "1.5e5",
        "1E5",
        "1.2.3",
        "0.0000000000001",
        "12345678.12345678",
        "",
    ];
    for number in numbers {
        for after in [",", "}", "]", " ", "x", "-", "e1", ".1"] {
            let text = format!("{number}{after}");
            let padded = format!("{text}                    ");
            // Without sixteen bytes to look at, the long way is taken.
            let (mut long, mut short) = (Scan::new(&text, None), Scan::new(&padded, None));
            assert_eq!(short.number(), long.number(), "{text}");
            assert!(short.at() == long.at() || long.number().is_none(), "{text}");
        }
    }
}

#[test]
fn digits_are_counted_up_to_the_first_byte_that_is_none() {
    for other in (0..=255_u8).filter(|b| !b.is_ascii_digit()) {
        for n in 0..8 {
            let eight: [u8; 8] = std::array::from_fn(|i| if i == n { other } else { b'0' + (i as u8 + n as u8) % 10 });
            assert_eq!(leading_digits(u64::from_le_bytes(eight)), n, "{eight:?}");
        }
    }
    assert_eq!(leading_digits(u64::from_le_bytes(*b"90123456")), 8);
}

#[test]
fn a_name_that_comes_twice_is_found_among_many() {
    let many: Vec<String> = (0..50).map(|i| format!("\"k{i}\":{i}")).collect();
    let fine = format!("{{{}}}", many.join(","));
    assert!(whole(&fine).is_some());
    assert!(whole(&fine.replace("\"k49\"", "\"k3\"")).is_none());
    assert!(whole(&fine.replace("\"k49\"", "\"k20\"")).is_none());
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(whole(&deep(MAX_DEPTH as usize)).is_some());
    assert!(whole(&deep(MAX_DEPTH as usize + 1)).is_none());
    assert!(whole(&"[".repeat(1_000_000)).is_none());
}
