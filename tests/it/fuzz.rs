//! The bodies of the fuzz targets (`fuzz/`), over a corpus that is mutated from a fixed seed. A failure names the input.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use logagent::source::{Cursor, StreamEntry};
use logagent::state::codec;
use logagent::state::spool::frame;
use logagent::store::Batch;

use crate::place::line;

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Pieces that mean something to a parser.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "NaN",
    "Infinity",
    "1e400",
    "-0",
    "\n",
    "\r\n",
    "\0\0\0\0\0",
    "\u{feff}",
    "\"message\":",
    "\"time\":",
    "\"record\":",
    "\"exception\":",
    "\"extra\":",
    "{\"logagent\":\"ack\"}",
    "  File \"a.py\", line 1",
    "Traceback (most recent call last):\n",
    "ValueError: x\n",
    "password=hunter2",
    "99999999999999999999999999",
];

fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..random.below(6) {
        let at = random.below(data.len() + 1);
        match random.below(6) {
            0 => data.truncate(at),
            1 => {
                let piece = PIECES[random.below(PIECES.len())].as_bytes();
                data.splice(at..at, piece.iter().copied());
            }
            2 => {
                let end = (at + random.below(20)).min(data.len());
                data.drain(at..end);
            }
            3 => {
                let end = (at + random.below(40)).min(data.len());
                let copy = data[at..end].to_vec();
                data.splice(at..at, copy);
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
        }
    }
    data
}

/// Names the input if the test panics over it.
struct Named<'a>(&'a [u8], usize);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input {}: {:?}", self.1, String::from_utf8_lossy(self.0));
        }
    }
}

fn run(body: fn(&[u8]), corpus: &[Vec<u8>], times: usize) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for n in 0..times {
        let data = mutated(&corpus[n % corpus.len()], &mut random);
        let _named = Named(&data, n);
        body(&data);
    }
}

fn texts() -> Vec<Vec<u8>> {
    let traceback = "12:00:00 ERROR boom\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    f()\nValueError: no\n";
    let flat = "{\"ts\": 1795227624.05, \"lvl\": \"warn\", \"msg\": \"m\", \"exc_info\": \"E: x\", \"tags\": [\"a\"], \"n\": {\"a\": [1, 2.5, null]}}\n";
    [
        line(7) + &line(8),
        flat.to_owned(),
        traceback.to_owned(),
        flat.to_owned() + traceback + "plain\n",
        "{\"logagent\":\"ack\",\"stream\":\"s\"}\n{\"message\": \"m\"}\n\nhalf a li".to_owned(),
        "a".repeat(700) + "\n" + &"\0".repeat(50) + "b\n",
        String::new(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

#[test]
fn the_splitter_stays_within_what_it_is_given() {
    run(bodies::lines, &texts(), 20_000);
}

#[test]
fn every_line_becomes_a_document_with_what_is_required() {
    run(bodies::record, &texts(), 10_000);
}

#[test]
fn the_lines_of_a_connection_do_not_depend_on_how_they_arrive() {
    run(bodies::socket, &texts(), 20_000);
}

#[test]
fn damaged_values_and_frames_are_refused_or_read_as_they_are() {
    let entry = StreamEntry {
        id: 7,
        path: "/var/log/app.log".into(),
        script: "app".to_owned(),
        covers: vec![(3, 9)],
        ..StreamEntry::default()
    };
    let mut batch = Batch::default();
    batch.events.push(b"{\"_key\":\"a\",\"message\":\"m\"}");
    let mut encoded = Vec::new();
    codec::encode_batch(&batch, &mut encoded);
    let key = codec::part_key(&codec::id_key(codec::ENTRY, 7), 0);
    let (_, row) = codec::rows(&codec::id_key(codec::ENTRY, 7), &codec::encode_entry(&entry)).remove(0);
    let mut framed = Vec::new();
    framed.extend_from_slice(frame::MAGIC);
    framed.resize(frame::HEAD, 0);
    let corpus = [
        codec::encode_entry(&entry),
        codec::encode_cursor(&Cursor::default()),
        codec::encode_named("run", b"value"),
        encoded,
        [key, row].concat(),
        framed,
        Vec::new(),
    ];
    run(bodies::state, &corpus, 40_000);
}
