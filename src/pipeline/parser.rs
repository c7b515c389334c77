//! From the items of a chunk to documents: parsed, given their run, encoded.

use std::collections::HashMap;
use std::sync::Arc;

use super::extras;
use crate::record::{self, Event, Key, Memory, Micros, Placed, Record, Rules};
use crate::runs::{Resolved, Tracker};
use crate::source::chain::Chain;
use crate::source::{Chunk, Cursor, Item, Stream, StreamId, StreamKind};
use crate::store::Batch;
use crate::telemetry::{Counters, add};

/// `seq` of the first record of a stream that names no time: below all times, above all small numbers.
const SEQ_WITHOUT_TIME: i64 = 1 << 40;

/// What is kept of a stream from chunk to chunk.
pub(super) struct Known {
    source: String,
    memory: Memory,
}

/// Turns items into documents.
pub(super) struct Parser {
    pub rules: Arc<Rules>,
    pub tracker: Tracker,
    host: String,
    /// What is known of streams, by their ids.
    pub known: HashMap<StreamId, Known>,
    /// Of the stream at hand: the ready-made beginning of its `source` objects.
    source: String,
    /// Of the stream at hand: the first part of its keys.
    home: u64,
    /// Of the stream at hand: its lines so far.
    memory: Memory,
    resolved: Resolved,
    now_text: String,
}

impl Parser {
    pub fn new(rules: Arc<Rules>, tracker: Tracker, host: &str) -> Parser {
        Parser {
            rules,
            tracker,
            host: host.to_owned(),
            known: HashMap::new(),
            source: String::new(),
            home: 0,
            memory: Memory::default(),
            resolved: Resolved::default(),
            now_text: String::new(),
        }
    }

    /// Prepares for the items of one chunk.
    pub fn begin(&mut self, stream: &Stream, now: Micros) {
        self.now_text = record::format_time(now);
        if self.known.len() > 1024 {
            self.known.clear();
        }
        let rules = &self.rules;
        let known = self.known.entry(stream.id).or_insert_with(|| Known {
            source: source_prefix(stream),
            memory: match &stream.kind {
                StreamKind::File { path } => rules.memory(path),
                StreamKind::Socket { .. } => Memory::default(),
            },
        });
        self.source.clone_from(&known.source);
        self.home = record::home(&self.host, stream.head);
        self.memory = std::mem::take(&mut known.memory);
        self.memory.now = now;
    }

    /// After the items of one chunk: keeps what was learnt of the stream.
    pub fn end(&mut self, stream: &Stream) {
        if let (Some(names), StreamKind::File { path }) = (self.memory.misfits(), &stream.kind) {
            tracing::warn!(%path, "none of the file's first 100 lines fits {names}; `logagent parse --explain` shows why");
        }
        if let Some(known) = self.known.get_mut(&stream.id) {
            known.memory = std::mem::take(&mut self.memory);
        }
    }

    /// One item: parsed, placed, encoded into `batch`.
    pub fn take(
        &mut self,
        chunk: &Chunk<'_>,
        item: &Item,
        now: Micros,
        cursor: &mut Cursor,
        batch: &mut Batch,
        counters: &Counters,
    ) {
        let bytes = |from: u32, to: u32| chunk.data.get(from as usize..to as usize).unwrap_or_default();
        let line = bytes(item.start, item.line_end);
        let rest = bytes(item.line_end, item.end);
        let mut rec = Record::default();
        let more = record::read_into(&mut rec, line, rest, &self.rules, &mut self.memory);
        self.memory.attribute(&mut rec);
        self.place(chunk, item, item.chain, &mut rec, now, cursor, batch, counters);
        for (i, mut rec) in more.into_iter().enumerate() {
            // Each of the records that one line holds has a key of its own.
            let chain = record::part(item.chain, i as u64 + 1);
            self.place(chunk, item, chain, &mut rec, now, cursor, batch, counters);
        }
    }

    /// One record: given its run, encoded into `batch`.
    #[expect(clippy::too_many_arguments, reason = "the parts of a chunk, borrowed apart")]
    fn place(
        &mut self,
        chunk: &Chunk<'_>,
        item: &Item,
        chain: Chain,
        rec: &mut Record<'_>,
        now: Micros,
        cursor: &mut Cursor,
        batch: &mut Batch,
        counters: &Counters,
    ) {
        let time = rec.time.unwrap_or(now);
        cursor.seq = next_seq(cursor.seq, rec.time);
        self.tracker
            .resolve(rec, &chunk.stream.script, time, now, &mut self.resolved);
        if !self.rules.keeps(rec) {
            add(&counters.skipped, 1);
            return;
        }
        let key = Key::new(self.home, item.offset, chain, item.number);
        let placed = Placed {
            key: &key,
            time,
            execution_id: &self.resolved.execution_id,
            script_name: self.resolved.script_name.as_deref(),
            host: &self.host,
            source: &self.source,
            offset: item.offset,
            seq: cursor.seq,
            ingested_at: &self.now_text,
            whole: item.whole,
        };
        batch
            .events
            .push_with(|out| record::encode(rec, &placed, &self.rules, out));
        if matches!(rec.bound.event, Some(Event::Learning | Event::Fix | Event::Relation)) {
            let place = extras::Place {
                key: key.as_str(),
                time,
                execution_id: &self.resolved.execution_id,
                script_name: self.resolved.script_name.as_deref(),
                now: &self.now_text,
            };
            extras::add(batch, rec, &place);
        }
        count_marks(rec, counters);
    }
}

fn count_marks(rec: &Record<'_>, counters: &Counters) {
    let marks = &rec.marks;
    add(&counters.unparsed, u64::from(marks.unparsed));
    add(&counters.repaired, u64::from(marks.repaired));
    add(&counters.truncated, u64::from(!marks.truncated.is_empty()));
    add(&counters.redacted, u64::from(!marks.redacted.is_empty()));
}

/// The hybrid clock: the record's time if it is later than all before, else one more than the last.
fn next_seq(last: i64, time: Option<Micros>) -> i64 {
    let next = last.saturating_add(1).max(SEQ_WITHOUT_TIME);
    time.map_or(next, |t| t.max(next))
}

/// The `source` object of a stream's records, up to the offset.
fn source_prefix(stream: &Stream) -> String {
    let name = serde_json::Value::from(stream.name.as_str());
    match &stream.kind {
        StreamKind::File { path } => {
            format!(
                "{{\"kind\":\"file\",\"path\":{},\"stream\":{name}",
                serde_json::Value::from(path.as_str())
            )
        }
        StreamKind::Socket { uid, pid } => {
            format!("{{\"kind\":\"socket\",\"uid\":{uid},\"pid\":{pid},\"stream\":{name}")
        }
    }
}
