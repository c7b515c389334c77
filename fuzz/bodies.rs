//! What the fuzz targets do with bytes that anybody may have written. The test suite runs the same over a mutated
//! corpus (`tests/it/fuzz.rs`).

use std::sync::OnceLock;

use logagent::config::{Settings, Sources};
use logagent::record::{Key, Placed, Rules, encode, parse};
use logagent::source::lines::{End, split};
use logagent::source::socket::{handshake, lines::Lines};
use logagent::state::{codec, spool::frame};
use logagent::store::Batch;

/// A limit from the first byte, and the rest.
fn limited(data: &[u8]) -> (usize, &[u8]) {
    data.split_first()
        .map_or((1, data), |(n, rest)| (1 + usize::from(*n) * 8, rest))
}

/// The splitter of files: items are in order and inside, and at the end nothing is left.
pub fn lines(data: &[u8]) {
    let (max_line, data) = limited(data);
    for end in [End::More, End::Live, End::Quiet, End::Final] {
        let mut items = Vec::new();
        let split = split(data, 0, 0, end, max_line, &mut items);
        let mut at = 0;
        for item in &items {
            assert!(at <= item.start && item.start <= item.line_end && item.line_end <= item.end);
            assert!((item.line_end - item.start) as usize <= max_line);
            at = item.end;
        }
        assert!(at as usize <= split.consumed && split.consumed <= data.len());
        assert!(end != End::Final || split.consumed == data.len());
    }
}

/// A line, and what follows it up to the next record: whatever it is, it becomes a document.
pub fn record(data: &[u8]) {
    static RULES: OnceLock<Rules> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let sources = Sources {
            dir: "/nonexistent".into(),
            ..Sources::default()
        };
        let (settings, _) = Settings::load(&sources).expect("the defaults are valid");
        Rules::new(&settings).expect("the defaults are valid")
    });
    let cut = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (line, rest) = data.split_at(cut);
    let mut record = parse(line, rest.get(1..).unwrap_or_default(), rules);
    let key = Key::new(1, 2, 3, 0);
    let placed = Placed {
        key: &key,
        time: record.time.unwrap_or(0),
        execution_id: "unknown",
        script_name: None,
        host: "here",
        source: r#"{"kind":"file","path":"/x","stream":"s""#,
        offset: 9,
        seq: 7,
        ingested_at: "2026-11-21T00:00:00.000000Z",
        whole: 0,
    };
    let mut out = Vec::new();
    encode(&mut record, &placed, rules, &mut out);
    let document: serde_json::Value = serde_json::from_slice(&out).expect("a document is JSON");
    for required in ["_key", "timestamp", "level", "message", "execution_id"] {
        assert!(document[required].is_string(), "{required} in {document}");
    }
}

/// The values of the state and the frames of the spool: what can be read comes back the same.
pub fn state(data: &[u8]) {
    if let Ok(cursor) = codec::decode_cursor(data) {
        assert_eq!(codec::decode_cursor(&codec::encode_cursor(&cursor)), Ok(cursor));
    }
    if let Ok(entry) = codec::decode_entry(data) {
        assert_eq!(codec::decode_entry(&codec::encode_entry(&entry)), Ok(entry));
    }
    if let Ok((name, value)) = codec::decode_named(data) {
        assert_eq!(
            codec::decode_named(&codec::encode_named(&name, &value)),
            Ok((name, value))
        );
    }
    let _ = codec::decode_socket(data);
    let _ = codec::decode_census(data);
    let _ = codec::decode_mark(data);
    let (key, value) = data.split_at(data.len().min(11));
    let _ = codec::row(key, value);
    let mut batch = Batch::default();
    if codec::decode_batch(data, &mut batch).is_ok() {
        let mut again = Vec::new();
        codec::encode_batch(&batch, &mut again);
        assert!(codec::decode_batch(&again, &mut Batch::default()).is_ok());
    }
    if let Some((head, payload)) = data.split_first_chunk::<{ frame::HEAD }>()
        && let Some(parsed) = frame::Head::parse(head)
        && let Some(payload) = payload.get(..parsed.stored as usize)
        && parsed.vouches_for(head, payload)
    {
        let _ = parsed.decode(payload, &mut Batch::default());
    }
}

/// A connection: however the bytes arrive, its lines are the same. (Which of them make a record depends on what came
/// together: lines of a traceback do not wait for each other.)
pub fn socket(data: &[u8]) {
    let (max_line, data) = limited(data);
    let read = |step: usize| {
        let mut lines = Lines::after(0, 0, max_line);
        let mut texts = Vec::new();
        let mut take = |lines: &mut Lines, end| {
            let (chunk, _) = lines.take(end);
            for item in &chunk.items {
                let lines = chunk.data[item.start as usize..item.end as usize].split(|b| *b == b'\n');
                let filled = lines.filter(|line| !line.trim_ascii().is_empty());
                texts.extend(filled.map(|line| (item.whole, line.to_vec())));
            }
        };
        for piece in data.chunks(step) {
            lines.space().extend_from_slice(piece);
            take(&mut lines, false);
        }
        take(&mut lines, true);
        (texts, lines.number, lines.chain)
    };
    assert_eq!(read(1 + data.len() / 7), read(data.len().max(1)));
    for line in data.split(|b| *b == b'\n') {
        let _ = handshake::read(line);
    }
}
