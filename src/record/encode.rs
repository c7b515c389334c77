//! From a record to the document that is stored: one JSON object, fields in the order of the interface, `_key` first.
//!
//! A field without a value is left out. Texts and tokens were checked when the record was parsed and are copied.

use super::append::append;
use super::text::escape_into;
use super::truncate::note;
use super::{Exception, Marks, Placed, Record, Rules, Text, shrink, write_time};

/// How often a document that is too big is made smaller before it is taken as it is.
const ATTEMPTS: usize = 8;

/// Appends the document. One that is bigger than `truncate.document` loses parts of its biggest values; the record's
/// marks then say so, as they say all that happened to it.
pub fn encode(rec: &mut Record<'_>, placed: &Placed<'_>, rules: &Rules, out: &mut Vec<u8>) {
    if placed.whole > 0 {
        note(&mut rec.marks.truncated, "line");
    }
    let start = out.len();
    write(rec, placed, out);
    let max = usize::try_from(rules.truncate.document).unwrap_or(usize::MAX);
    for _ in 0..ATTEMPTS {
        let size = out.len() - start;
        if size <= max || !shrink::shrink(rec, size - max) {
            break;
        }
        out.truncate(start);
        write(rec, placed, out);
    }
}

fn write(rec: &Record<'_>, placed: &Placed<'_>, out: &mut Vec<u8>) {
    let mut doc = Doc { out };
    // One reservation for nearly every document.
    doc.out.reserve(1024 + rec.message.0.len());
    doc.raw("{\"_key\":\"");
    doc.out.extend_from_slice(placed.key.as_str().as_bytes());
    doc.raw("\",\"timestamp\":\"");
    write_time(placed.time, doc.out);
    doc.raw("\",\"level\":\"");
    doc.plain(&rec.level);
    doc.raw("\",\"level_no\":");
    doc.number(rec.level_no);
    doc.raw(",\"message\":\"");
    doc.piece(&rec.message.0);
    doc.raw("\",\"execution_id\":\"");
    doc.plain(placed.execution_id);
    doc.raw("\"");
    if let Some(script) = placed.script_name {
        doc.raw(",\"script_name\":\"");
        doc.plain(script);
        doc.raw("\"");
    }
    doc.text(",\"function_name\":\"", &rec.function_name);
    doc.text(",\"file_path\":\"", &rec.file_path);
    doc.integer(",\"line_number\":", rec.line_number);
    doc.text(",\"module\":\"", &rec.module);
    doc.text(",\"logger\":\"", &rec.logger);
    doc.integer(",\"pid\":", rec.pid);
    doc.text(",\"process_name\":\"", &rec.process_name);
    doc.integer(",\"thread_id\":", rec.thread_id);
    doc.text(",\"thread_name\":\"", &rec.thread_name);
    doc.raw(",\"host\":\"");
    match &rec.host {
        Some(host) => doc.piece(&host.0),
        None => doc.plain(placed.host),
    }
    doc.raw("\"");
    if let Some(e) = &rec.exception {
        doc.exception(e);
    }
    doc.values(rec);
    if let Some(event) = rec.bound.event {
        doc.raw(",\"event\":\"");
        doc.piece(event.as_str());
        doc.raw("\"");
    }
    doc.raw(",\"source\":");
    doc.piece(placed.source);
    doc.raw(",\"offset\":");
    doc.piece(itoa::Buffer::new().format(placed.offset));
    doc.raw("},\"seq\":");
    doc.number(placed.seq);
    doc.raw(",\"ingested_at\":\"");
    doc.piece(placed.ingested_at);
    doc.raw("\"");
    doc.marks(&rec.marks);
    doc.raw("}");
}

/// A document being written.
struct Doc<'o> {
    out: &'o mut Vec<u8>,
}

impl Doc<'_> {
    // Inlined wherever it stands: most of what is written is known when the program is built, and is then stored by a
    // few instructions instead of a call.
    #[inline(always)]
    fn raw(&mut self, s: &str) {
        self.out.extend_from_slice(s.as_bytes());
    }

    /// A piece that is known only now.
    #[inline(always)]
    fn piece(&mut self, s: &str) {
        append(self.out, s.as_bytes());
    }

    /// The contents of a string that stands for `s`.
    #[inline]
    fn plain(&mut self, s: &str) {
        if super::text::special(s.as_bytes(), 0) == s.len() {
            return self.piece(s);
        }
        let mut escaped = String::with_capacity(s.len() + 16);
        escape_into(s, &mut escaped);
        self.piece(&escaped);
    }

    fn number(&mut self, n: i64) {
        self.piece(itoa::Buffer::new().format(n));
    }

    #[inline(always)]
    fn text(&mut self, name: &str, text: &Option<Text<'_>>) {
        if let Some(text) = text {
            self.raw(name);
            self.piece(&text.0);
            self.raw("\"");
        }
    }

    #[inline(always)]
    fn integer(&mut self, name: &str, n: Option<i64>) {
        if let Some(n) = n {
            self.raw(name);
            self.number(n);
        }
    }

    /// Extra values, tags, embeddings and fingerprint.
    fn values(&mut self, rec: &Record<'_>) {
        for (i, (name, value)) in rec.extra.iter().enumerate() {
            self.raw(if i == 0 { ",\"extra_data\":{\"" } else { ",\"" });
            self.piece(&name.0);
            self.raw("\":");
            self.piece(&value.0);
        }
        if !rec.extra.is_empty() {
            self.raw("}");
        }
        let lists = [
            (",\"tags\":", &rec.bound.tags),
            (",\"embeddings\":", &rec.bound.embeddings),
        ];
        for (name, list) in lists {
            if let Some(list) = list {
                self.raw(name);
                self.piece(&list.0);
            }
        }
        if let Some(fingerprint) = rec.fingerprint {
            self.raw(",\"fingerprint\":\"");
            self.hex(fingerprint.0);
            self.raw("\"");
        }
    }

    fn hex(&mut self, n: u64) {
        let digit = |shift: u32| b"0123456789abcdef"[(n >> shift & 15) as usize];
        let digits: [u8; 16] = std::array::from_fn(|i| digit(60 - 4 * i as u32));
        self.out.extend_from_slice(&digits);
    }

    fn exception(&mut self, e: &Exception<'_>) {
        self.raw(",\"exception\":{");
        let start = self.out.len();
        self.text(",\"type\":\"", &e.kind);
        self.text(",\"value\":\"", &e.value);
        self.text(",\"traceback\":\"", &e.traceback);
        for (i, (kind, value)) in e.chain.iter().enumerate() {
            self.raw(if i == 0 {
                ",\"chain\":[{\"type\":\""
            } else {
                ",{\"type\":\""
            });
            self.piece(&kind.0);
            self.raw("\",\"value\":\"");
            self.piece(&value.0);
            self.raw("\"}");
        }
        if !e.chain.is_empty() {
            self.raw("]");
        }
        // The first member follows no comma.
        if self.out.len() > start {
            self.out.remove(start);
        }
        self.raw("}");
    }

    fn marks(&mut self, marks: &Marks) {
        if marks.unparsed {
            self.raw(",\"unparsed\":true");
        }
        if marks.repaired {
            self.raw(",\"repaired\":true");
        }
        let lists = [
            (",\"truncated\":[", &marks.truncated),
            (",\"redacted\":[", &marks.redacted),
        ];
        for (name, list) in lists.into_iter().filter(|(_, l)| !l.is_empty()) {
            self.raw(name);
            for (i, item) in list.iter().enumerate() {
                self.raw(if i == 0 { "\"" } else { ",\"" });
                self.plain(item);
                self.raw("\"");
            }
            self.raw("]");
        }
    }
}
