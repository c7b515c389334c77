//! Bytes that were written once are read for ever.

use proptest::prelude::*;

use crate::source::marks::Mark;
use crate::source::steps::Step;
use crate::source::{Cursor, StreamEntry};
use crate::source::{Marks, Steps};
use crate::state::codec::*;
use crate::store::{Batch, Fix, RunUpdate};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    text.as_bytes()
        .chunks(2)
        .map(|p| digit(p[0]) << 4 | digit(p[1]))
        .collect()
}

fn cursor() -> Cursor {
    Cursor {
        offset: 1_000_000,
        chain: 0x1122_3344_5566_7788_99AA_BBCC_DDEE_FF00,
        seq: 1_795_227_624_054_432,
        near: u64::MAX,
    }
}

fn entry() -> StreamEntry {
    StreamEntry {
        id: 7,
        path: "/var/log/übung.jsonl".into(),
        script: "übung".into(),
        dev: 2049,
        ino: 42,
        head: 99,
        head_len: 300,
        born: 1_795_227_624_054_432_001,
        steps: Steps::of(vec![Step { to: 40, number: 3 }, Step { to: 90, number: 0 }]),
        numbered: Some(100),
        blind: true,
        marks: Marks::of(vec![Mark { end: 30, chain: 7 }], vec![(40_000, u64::MAX)]),
        finished: true,
        size: 12345,
        mtime: -1,
        start: 17,
        archive: true,
        covers: vec![(1, 2), (3, 4)],
    }
}

fn batch() -> Batch {
    let mut b = Batch::default();
    b.events.push(br#"{"_key":"a","message":"one"}"#);
    b.events.push(br#"{"_key":"b"}"#);
    b.memories.push(br#"{"_key":"m"}"#);
    b.runs.push(RunUpdate {
        execution_id: "run".into(),
        start_time: 5,
        ..RunUpdate::default()
    });
    b.fixes.push(Fix {
        key: "f".into(),
        time: 6,
        execution_id: "run".into(),
        script_name: None,
        target: Some("a".into()),
        description: "turned it off and on".into(),
        rationale: None,
    });
    b
}

fn same(a: &Batch, b: &Batch) -> bool {
    let docs = |x: &Batch| {
        [
            x.events.array().to_vec(),
            x.learnings.array().to_vec(),
            x.memories.array().to_vec(),
        ]
    };
    docs(a) == docs(b) && a.runs == b.runs && a.fixes == b.fixes && a.relations == b.relations
}

/// (what, bytes as they were first written, the same again by this program)
fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut encoded = Vec::new();
    encode_batch(&batch(), &mut encoded);
    let socket = SocketStream {
        name: "0:job".into(),
        cursor: cursor(),
        used: 1_795_227_624,
    };
    let mark = SpoolMark {
        done: 1,
        done_total: 2,
        next: 3,
        next_total: 4,
    };
    let census = Census {
        created: 5,
        values: 6,
        sum: 7,
    };
    let (row_key, row) = rows(&id_key(CURSOR, 7), b"data").remove(0);
    vec![
        ("cursor", CURSOR_V2, encode_cursor(&cursor())),
        ("entry", ENTRY_V2, encode_entry(&entry())),
        ("run", RUN_V1, encode_named("run", b"value")),
        ("socket stream", SOCKET_V2, encode_socket(&socket)),
        ("mark", MARK_V1, encode_mark(&mark)),
        ("census", CENSUS_V1, encode_census(&census)),
        ("batch", BATCH_V1, encoded),
        ("row key", ROW_KEY_V1, row_key),
        ("row", ROW_V2, row),
    ]
}

const CURSOR_V2: &str = "40420f000000000000ffeeddccbbaa998877665544332211a09ed200c0600600ffffffffffffffff";
const ENTRY_V2: &str = "070000000000000001080000000000002a0000000000000063000000000000003930000000000000ffffffffffffffff\
    110000000000000001a1bb3603eee9182c0100000f6400000000000000150000002f7661722f6c6f672fc3bc62756e67\
    2e6a736f6e6c06000000c3bc62756e670200000001000000000000000200000000000000030000000000000004000000\
    0000000002000000280000000000000003000000000000005a00000000000000000000000000000001000000409c0000\
    00000000ffffffffffffffff010000001e00000007000000";
const RUN_V1: &str = "0300000072756e0500000076616c7565";
const SOCKET_V2: &str = "05000000303a6a6f6240420f000000000000ffeeddccbbaa998877665544332211a09ed200c0600600ffffffffffffff\
    ffe8ff006b00000000";
const MARK_V1: &str = "0100000000000000020000000000000003000000000000000400000000000000";
const CENSUS_V1: &str = "050000000000000006000000000000000700000000000000";
const BATCH_V1: &str = "01020000001c0000000c0000007b225f6b6579223a2261222c226d657373616765223a226f6e65227d7b225f6b657922\
    3a2262227d00000000010000000c0000007b225f6b6579223a226d227de80000007b2272756e73223a5b7b2265786563\
    7574696f6e5f6964223a2272756e222c227363726970745f6e616d65223a22222c2273746172745f74696d65223a352c\
    226c6173745f7365656e223a307d5d2c226669786573223a5b7b226b6579223a2266222c2274696d65223a362c226578\
    65637574696f6e5f6964223a2272756e222c227363726970745f6e616d65223a6e756c6c2c22746172676574223a2261\
    222c226465736372697074696f6e223a227475726e6564206974206f666620616e64206f6e222c22726174696f6e616c\
    65223a6e756c6c7d5d2c2272656c6174696f6e73223a5b5d7d";
const ROW_KEY_V1: &str = "6300000000000000070000";
const ROW_V2: &str = "020100f52ffe5864617461";

#[test]
fn bytes_stay_as_they_were_first_written() {
    for (what, old, new) in samples() {
        assert_eq!(hex(&new), old, "{what}");
    }
}

#[test]
fn old_bytes_are_understood() {
    assert_eq!(decode_cursor(&unhex(CURSOR_V2)), Ok(cursor()));
    assert_eq!(decode_entry(&unhex(ENTRY_V2)), Ok(entry()));
    assert_eq!(decode_named(&unhex(RUN_V1)), Ok(("run".into(), b"value".to_vec())));
    assert_eq!(decode_socket(&unhex(SOCKET_V2)).unwrap().cursor, cursor());
    assert_eq!(decode_mark(&unhex(MARK_V1)).unwrap().next_total, 4);
    assert_eq!(decode_census(&unhex(CENSUS_V1)).unwrap().sum, 7);
    let mut read = Batch::default();
    decode_batch(&unhex(BATCH_V1), &mut read).unwrap();
    assert!(same(&read, &batch()));
    let (key, value) = (unhex(ROW_KEY_V1), unhex(ROW_V2));
    let found = row(&key, &value).unwrap();
    assert_eq!(
        (id_of(found.key), found.part, found.parts, found.data),
        (Some(7), 0, 1, &b"data"[..])
    );
}

#[test]
fn a_flipped_bit_and_a_row_under_another_key_are_noticed() {
    let (key, value) = rows(b"key", &[7; 50]).remove(0);
    for i in 0..value.len() {
        let mut damaged = value.clone();
        damaged[i] ^= 4;
        assert_eq!(row(&key, &damaged).unwrap_err(), DecodeError::Damaged, "byte {i}");
    }
    assert_eq!(row(b"other\0\0", &value).unwrap_err(), DecodeError::Damaged);
    assert_eq!(row(b"", &value).unwrap_err(), DecodeError::Damaged);
}

#[test]
fn a_value_of_a_newer_version_is_told_from_damage() {
    let mut encoded = Vec::new();
    encode_batch(&batch(), &mut encoded);
    encoded[0] = 9;
    assert_eq!(
        decode_batch(&encoded, &mut Batch::default()),
        Err(DecodeError::Newer(9))
    );
}

#[test]
fn long_values_are_cut_into_rows_that_stay_small() {
    for len in [0, 1, PART, PART + 1, 10 * PART] {
        let parts = rows(b"k", &vec![b'x'; len]);
        assert_eq!(parts.len(), len.div_ceil(PART).max(1));
        let data: usize = parts.iter().map(|(k, v)| row(k, v).unwrap().data.len()).sum();
        assert_eq!(data, len);
        assert!(parts.iter().all(|(_, v)| v.len() < 4096));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flip in any::<(u8, u8)>()) {
        let mut known = Vec::new();
        encode_batch(&batch(), &mut known);
        let at = flip.0 as usize % known.len();
        known[at] ^= flip.1;
        for data in [&bytes, &known] {
            let _ = decode_batch(data, &mut Batch::default());
            let _ = decode_entry(data);
            let _ = decode_socket(data);
            let _ = decode_named(data);
            let _ = row(b"ab\0\0", data);
        }
    }

    #[test]
    fn entries_survive_whatever_is_in_them(
        path in proptest::collection::vec(1u8..=255, 0..300),
        script in ".{0,40}",
        n in any::<[u64; 4]>(),
        flags in any::<(bool, bool)>(),
        covers in proptest::collection::vec(any::<(u64, u64)>(), 0..5),
    ) {
        use std::os::unix::ffi::OsStringExt;
        let e = StreamEntry {
            path: std::ffi::OsString::from_vec(path).into(),
            script, covers,
            id: n[0], ino: n[1], head: n[2], mtime: n[3] as i64,
            finished: flags.0, archive: flags.1,
            ..StreamEntry::default()
        };
        prop_assert_eq!(decode_entry(&encode_entry(&e)), Ok(e));
    }
}
