//! Everything done to a line takes time that grows with its length, and no faster: measured on texts made to hurt.
//!
//! The time of one thread is taken for a text and for one four times as long, each the best of several. Work that is
//! linear takes about four times as long, work that is quadratic sixteen times.

use rustix::time::{ClockId, clock_gettime};

use super::parse::tests::{encoded, rules_with};
use super::secrets::{HIDING, SECRETS};
use super::{Fingerprint, Rules, parse, preview_text, template, unescape};

/// Bytes of the shorter text: longer than what is stored of a string, so that both are cut.
const SHORT: usize = 9 << 10;
const TIMES: usize = 4;
/// Between four and sixteen, and far from both.
const MOST: f64 = 9.0;

/// Nanoseconds of this thread that `work` takes, at best.
fn best(work: &dyn Fn()) -> u64 {
    let now = || {
        let t = clock_gettime(ClockId::ThreadCPUTime);
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
    };
    let once = || {
        let before = now();
        work();
        now() - before
    };
    (0..2).map(|_| once()).min().unwrap_or(0).max(1)
}

/// How much longer `work` takes on a text four times as long.
fn growth(unit: &str, work: &dyn Fn(&str)) -> f64 {
    let text = |bytes: usize| unit.repeat(bytes.div_ceil(unit.len()));
    let (short, long) = (text(SHORT), text(SHORT * TIMES));
    let ratio = |_| best(&|| work(&long)) as f64 / best(&|| work(&short)) as f64;
    // What disturbs the machine disturbs no three in a row.
    (0..3).map(ratio).find(|r| *r < MOST).unwrap_or(f64::INFINITY)
}

fn assert_linear(what: &str, unit: &str, work: &dyn Fn(&str)) {
    let growth = growth(unit, work);
    assert!(growth < MOST, "{what} on {unit:?}…: {growth}");
}

/// Units whose repetition makes each rule look far ahead, or back, in vain.
fn anchored() -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for anchor in SECRETS.iter().filter_map(|s| s.anchors.first()) {
        let bare = anchor.trim_end();
        for between in ["", " ", "-", "aaaaaaaaa.", "=\\\\"] {
            units.push(format!("{anchor}{between}"));
        }
        units.push(format!("{bare}a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0 "));
    }
    units.extend(HIDING.iter().map(|h| format!("{h}5")));
    units
}

/// Units that other rules than those of secrets could stumble over.
fn units() -> Vec<String> {
    [
        "eyJa.eyJ",
        "-eyJ",
        "\\\\",
        "\\n",
        "\\\"",
        "\\u0041",
        "\\ud800",
        "'",
        "\\\"a ",
        "1",
        "1.",
        "1,",
        "1-",
        "a-",
        "a_1",
        "1e",
        "0x",
        "::",
        "a:",
        "@",
        "a@b",
        "a.b@",
        "/",
        "/a",
        "./",
        "~/",
        "<num>",
        "<",
        "://",
        "a://",
        " - ",
        "é",
        "失",
        "10.0.0.",
        "2026-11-21 ",
        "2026-11-21 05:46:00 ",
        "password=",
        "https://a:",
        "p_",
        "Traceback (most recent call last):\\n",
        "  File \\\"a.py\\\", line 1, in f\\n",
        "During handling of the above exception, another exception occurred:\\n",
        "E: x\\n",
        "  | ",
        "+-",
        "----",
        "\\r",
        "{",
        "[",
        "}",
        "]",
        "[REDACTED:x] ",
        "://u:[REDACTED:x]@ ",
    ]
    .map(str::to_owned)
    .into()
}

fn stored(line: &str, rest: &str, rules: &Rules) {
    let mut rec = parse(line.as_bytes(), rest.as_bytes(), rules);
    encoded(&mut rec, rules, 0);
}

#[test]
fn each_rule_of_redaction_takes_time_in_proportion_to_the_line() {
    let rules = rules_with(&[("LOGAGENT_REDACT_PATTERNS", r"['sk(.*END)?', '(a|1)+-\d+', '\bp\w*_x']")]);
    for unit in anchored().into_iter().chain(units()) {
        let line = |text: &str| stored(&format!("{{\"level\":\"ERROR\",\"message\":\"{text}\"}}"), "", &rules);
        assert_linear("a message", &unit, &line);
    }
}

#[test]
fn values_names_and_text_take_time_in_proportion_to_the_line() {
    let rules = rules_with(&[]);
    for unit in units() {
        let value = |text: &str| {
            stored(
                &format!("{{\"message\":\"m\",\"{text}\":{{\"token\":[\"{text}\"]}}}}"),
                "",
                &rules,
            )
        };
        assert_linear("a name and a value", &unit, &value);
        let plain = |text: &str| stored(text, "", &rules);
        assert_linear("a line of text", &unit, &plain);
    }
}

#[test]
fn tracebacks_fingerprints_templates_and_previews_take_time_in_proportion_to_the_text() {
    let rules = rules_with(&[]);
    for unit in units() {
        let inside = |text: &str| {
            stored(
                &format!(
                    "{{\"level\":\"ERROR\",\"message\":\"m\",\"exception\":\"Traceback (most recent call last):\\n{text}\"}}"
                ),
                "",
                &rules,
            );
        };
        assert_linear("an exception", &unit, &inside);
        let plain = unescape(&unit).into_owned();
        let behind = |text: &str| stored("ERROR m", text, &rules);
        assert_linear("lines behind a record", &plain, &behind);
        let of_text = |text: &str| {
            let pasted = format!("Traceback (most recent call last):\n{text}");
            std::hint::black_box(Fingerprint::of_text(&pasted));
            std::hint::black_box((template(text), preview_text(text, 100)));
        };
        assert_linear("a fingerprint, a template and a preview", &plain, &of_text);
    }
}

#[test]
fn many_members_and_elements_take_time_in_proportion_to_the_line() {
    let rules = rules_with(&[]);
    let numbered = |text: &str, f: &dyn Fn(usize) -> String| {
        let items: Vec<String> = (0..text.len() / 16).map(f).collect();
        items.join(",")
    };
    for (what, item) in [
        ("members", (|i| format!("\"k{i}\":\"{i}\"")) as fn(usize) -> String),
        ("the same member", |i| format!("\"k\":\"{i}\"")),
        ("secret members", |i| format!("\"token{i}\":\"{i}\"")),
        ("members with a nested value", |i| format!("\"{i}\":{{\"a\":[{i}]}}")),
        ("members that need repair", |i| format!("\"k{i}\":NaN")),
        ("the same member in need of repair", |_| "\"k\":NaN".to_owned()),
    ] {
        let work = |text: &str| {
            let members = numbered(text, &item);
            stored(&format!("{{\"message\":\"m\",{members}}}"), "", &rules);
            stored(&format!("{{\"message\":\"m\",\"o\":{{{members}}}}}"), "", &rules);
        };
        assert_linear(what, "x", &work);
    }
    for depth in [2, 50, 98, 120] {
        let nested = |text: &str| {
            let open = "{\"a\":[".repeat(depth / 2);
            let close = "]}".repeat(depth / 2);
            stored(
                &format!("{{\"message\":\"m\",\"o\":{open}\"{text}\"{close}}}"),
                "",
                &rules,
            );
        };
        assert_linear("a nested value", "x", &nested);
    }
}

#[test]
fn what_is_cut_takes_time_in_proportion_to_the_line() {
    let rules = rules_with(&[
        ("LOGAGENT_TRUNCATE_DOCUMENT", "4KiB"),
        ("LOGAGENT_TRUNCATE_MESSAGE", "1KiB"),
        ("LOGAGENT_TRUNCATE_STRING", "100B"),
        ("LOGAGENT_TRUNCATE_LIST", "10"),
    ]);
    for unit in ["x", "\\n", "\\u0041", "é"] {
        let work = |text: &str| {
            let some = &text[..super::text::floor(text, 120)].trim_end_matches('\\');
            let list: Vec<String> = (0..text.len() / 140)
                .map(|i| format!("\"k{i}\":[\"{}\"]", some.replace('\\', "/")))
                .collect();
            stored(
                &format!("{{\"message\":\"{text}\",\"l\":[\"{text}\"],{}}}", list.join(",")),
                "",
                &rules,
            );
        };
        assert_linear("what is cut", unit, &work);
    }
}
