use proptest::prelude::*;

use super::*;

/// Items as (line, continuation, offset, whole).
type Seen = Vec<(String, String, u64, u64)>;

fn text(data: &[u8], items: &[Item]) -> Seen {
    let cut = |a: u32, b: u32| String::from_utf8_lossy(&data[a as usize..b as usize]).into_owned();
    items
        .iter()
        .map(|i| (cut(i.start, i.line_end), cut(i.line_end, i.end), i.offset, i.whole))
        .collect()
}

fn all(data: &[u8], end: End) -> (Seen, Split) {
    let mut items = Vec::new();
    let split = split(data, 0, 0, end, 1 << 20, &mut items);
    (text(data, &items), split)
}

fn lines(data: &[u8], end: End) -> Vec<String> {
    all(data, end).0.into_iter().map(|i| i.0 + &i.1).collect()
}

const TB: &str =
    "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    1/0\nZeroDivisionError: division by zero\n";

#[test]
fn an_unterminated_line_waits_unless_the_stream_is_final() {
    assert_eq!(lines(b"a\nb", End::Live), ["a"]);
    assert_eq!(all(b"a\nb", End::Quiet).1.rest, Rest::Partial);
    assert_eq!(lines(b"a\nb", End::Final), ["a", "b"]);
}

#[test]
fn blank_lines_are_counted_and_carriage_returns_left_to_the_parser() {
    let (items, split) = all(b"\n a\r\n\r\n \t\nb\n", End::Live);
    assert_eq!(items.iter().map(|i| i.0.as_str()).collect::<Vec<_>>(), [" a\r", "b"]);
    assert_eq!((split.blank_lines, split.consumed, items[1].2), (3, 12, 10));
}

#[test]
fn nul_runs_are_skipped_counted_and_end_a_torn_line() {
    let (items, split) = all(b"\0\0\0\0\0a\ntorn\0\0\0\0\0\0b\nc\0d\n\0\0", End::Live);
    assert_eq!(
        items.iter().map(|i| i.0.as_str()).collect::<Vec<_>>(),
        ["a", "torn", "b", "c\0d"]
    );
    // Those at the end of a live stream may become text yet.
    assert_eq!((split.nul_bytes, split.rest), (11, Rest::Nuls));
    assert_eq!(all(b"a\n\0\0", End::Final).1.nul_bytes, 2);
    assert_eq!(items[0].2, 5);
}

#[test]
fn a_line_over_the_limit_is_cut_and_the_next_is_whole() {
    let data = format!("a\n{}\nb\n", "x".repeat(50));
    let mut items = Vec::new();
    let split = split(data.as_bytes(), 0, 0, End::Live, 10, &mut items);
    let seen = text(data.as_bytes(), &items);
    assert_eq!(seen[1], ("x".repeat(10), String::new(), 2, 50));
    assert_eq!((seen[2].0.as_str(), split.cut_bytes), ("b", 40));
}

#[test]
fn the_beginning_of_a_line_over_the_limit_is_said_to_be_long() {
    let data = format!("a\n{}", "x".repeat(50));
    let split = split(data.as_bytes(), 0, 0, End::More, 10, &mut Vec::new());
    assert_eq!((split.rest, split.consumed), (Rest::Long, 2));
}

#[test]
fn a_traceback_belongs_to_the_error_before_it_and_is_a_record_of_its_own_else() {
    let data = format!("ERROR:root:boom\n{TB}INFO:root:next\n");
    let (items, _) = all(data.as_bytes(), End::Live);
    assert_eq!(
        lines(format!("{{\"level\": \"error\"}}\n{TB}").as_bytes(), End::Quiet).len(),
        1
    );
    assert_eq!(items[0].1, format!("\n{}", TB.trim_end()));
    for other in ["{\"message\": \"boom\"}", "INFO:root:boom", "plain words"] {
        let data = format!("{other}\n{TB}{{\"message\": \"next\"}}\n");
        let (items, _) = all(data.as_bytes(), End::Live);
        assert_eq!(items.len(), 3, "{other}");
        assert_eq!(format!("{}{}", items[1].0, items[1].1), TB.trim_end(), "{other}");
    }
}

#[test]
fn chained_tracebacks_and_indented_values_stay_together() {
    let chained = format!(
        "ERROR:x:m\n{TB}  more of the value\n\nDuring handling of the above exception, another exception occurred:\n\n{TB}INFO:x:n\n"
    );
    assert_eq!(lines(chained.as_bytes(), End::Quiet).len(), 2);
    let pretty = "ERROR:x:m\nTraceback (most recent call last):\n\n  File \"a.py\", line 8, in <module>\n    f()\n    └ <function f>\n\n> File \"a.py\", line 5, in f\n    1/0\n\nZeroDivisionError: division by zero\nINFO:x:n\n";
    assert_eq!(lines(pretty.as_bytes(), End::Quiet).len(), 2);
    let group = "ERROR:x:m\n  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in f\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------\nINFO:x:n\n";
    assert_eq!(lines(group.as_bytes(), End::Quiet).len(), 2);
}

#[test]
fn a_live_line_that_nothing_can_follow_never_waits_but_what_may_go_on_does() {
    assert_eq!(lines(b"plain\n", End::Live), ["plain"]);
    assert_eq!(lines(b"plain\nTrace", End::Live), ["plain"]);
    assert_eq!(lines(b"{\"text\": 1}\nTrace", End::Live), ["{\"text\": 1}"]);
    assert_eq!(lines(b"ERROR:x:m\n", End::Live), Vec::<String>::new());
    assert_eq!(lines(b"ERROR:x:m\n", End::Quiet), ["ERROR:x:m"]);
    let open = format!("ERROR:x:m\n{TB}");
    assert_eq!(all(open.as_bytes(), End::Live).1.rest, Rest::Open);
    assert_eq!(all(open.as_bytes(), End::Live).1.consumed, 0);
    assert_eq!(lines(open.as_bytes(), End::Quiet).len(), 1);
}

#[test]
fn lines_in_utf_16_end_with_both_bytes_of_their_feed() {
    for order in [Order::Little, Order::Big] {
        let bytes = |text: &str| -> Vec<u8> {
            let unit = |u: u16| {
                if order == Order::Little {
                    u.to_le_bytes()
                } else {
                    u.to_be_bytes()
                }
            };
            text.encode_utf16().flat_map(unit).collect()
        };
        let data = bytes("\u{feff}first \u{a05}\r\n失败\n\nlast\n");
        let mut items = Vec::new();
        let whole = super::split(&data, 0, 0, End::Final, 1 << 20, &mut items);
        let texts: Vec<String> = items
            .iter()
            .map(|i| record::utf16_text(&data[i.start as usize..i.line_end as usize], order))
            .collect();
        assert_eq!(texts, ["first \u{a05}\r", "失败", "last"]);
        assert_eq!((whole.consumed, whole.nul_bytes, whole.blank_lines), (data.len(), 0, 1));
        // Also from the second line on, which has no character of ASCII.
        let from = items[1].start as usize;
        let mut rest = Vec::new();
        super::split(&data[from..], from as u64, 0, End::Final, 1 << 20, &mut rest);
        assert_eq!(rest.len(), 2);
    }
}

#[test]
fn a_traceback_without_end_is_bounded() {
    let data = format!(
        "ERROR:x:m\n{}{}",
        "Traceback (most recent call last):\n",
        "    x\n".repeat(100)
    );
    let mut items = Vec::new();
    split(data.as_bytes(), 0, 0, End::Live, 60, &mut items);
    assert!(items.iter().all(|i| i.end - i.start <= 60));
    assert!(items.len() > 5);
}

#[test]
fn keys_do_not_depend_on_grouping() {
    let data = format!("ERROR:x:m\n{TB}n\n");
    let mut together = Vec::new();
    let whole = split(data.as_bytes(), 0, 0, End::Quiet, 1 << 20, &mut together);
    let mut apart = Vec::new();
    let first = split(&data.as_bytes()[..10], 0, 0, End::Quiet, 1 << 20, &mut apart);
    let mut rest = Vec::new();
    let second = split(&data.as_bytes()[10..], 10, first.chain, End::Quiet, 1 << 20, &mut rest);
    assert_eq!(second.chain, whole.chain);
    assert_eq!(apart[0].chain, together[0].chain);
    let whole_of = |item: &Item| together.iter().find(|i| i.offset == item.offset).map(|i| i.chain);
    let both: Vec<_> = rest.iter().filter_map(|i| Some((i.chain, whole_of(i)?))).collect();
    assert!(both.iter().all(|(a, b)| a == b), "{both:?}");
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,12}\n",
        Just("ERROR:root:bad\n".to_string()),
        Just("2026-11-30 19:15:12,034 - svc - INFO - x\n".to_string()),
        Just("java.lang.IllegalStateException: no\n\tat a.B.c(B.java:4)\n".to_string()),
        Just("panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:9 +0x1d\n".to_string()),
        Just("{\"log\":\"ERROR:root:x\",\"stream\":\"stdout\"}\n".to_string()),
        Just(TB.to_string()),
        Just("{\"text\": 1}\n".to_string()),
        Just("\n".to_string()),
        Just("\0\0\0\0\0\0".to_string()),
        Just("\nDuring handling of the above exception, another exception occurred:\n\n".to_string()),
        Just(format!("{}\n", "y".repeat(300))),
        Just("Traceback (most\n".to_string()),
        Just("    indented\n".to_string()),
    ]
}

proptest! {
    /// Reads that end anywhere, with more to come, change nothing.
    #[test]
    fn read_boundaries_change_nothing(pieces in prop::collection::vec(piece(), 0..30), cuts in prop::collection::vec(1usize..80, 1..40)) {
        let data = pieces.concat().into_bytes();
        let mut whole = Vec::new();
        let expected = split(&data, 0, 0, End::Final, 200, &mut whole);
        prop_assert_eq!(expected.consumed, data.len());

        let (mut at, mut to, mut chain, mut got) = (0, 0, 0, Vec::new());
        let mut losses = (0, 0, 0);
        for cut in cuts.iter().cycle() {
            let last = to == data.len();
            let mut items = Vec::new();
            let end = if last { End::Final } else { End::More };
            let s = split(&data[at..to], at as u64, chain, end, 200, &mut items);
            got.extend(text(&data[at..to], &items));
            at += s.consumed;
            chain = s.chain;
            losses = (losses.0 + s.nul_bytes, losses.1 + s.blank_lines, losses.2 + s.cut_bytes);
            if last { break; }
            to = (to + cut).min(data.len());
        }
        prop_assert_eq!(got, text(&data, &whole));
        prop_assert_eq!(chain, expected.chain);
        prop_assert_eq!(losses, (expected.nul_bytes, expected.blank_lines, expected.cut_bytes));
    }

    /// Every byte is in an item, or counted, or ends a line.
    #[test]
    fn every_byte_is_accounted_for(data in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), Just(b'a'), Just(b' ')], 0..200)) {
        let mut items = Vec::new();
        let s = split(&data, 0, 0, End::Final, 8, &mut items);
        prop_assert_eq!(s.consumed, data.len());
        let mut last = 0;
        for i in &items {
            prop_assert!(i.start >= last && i.line_end > i.start && i.end >= i.line_end);
            last = i.end;
        }
    }
}
