//! `parse`: shows how lines are read, and stores nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::{Map, Value, json};

use super::Context;
use super::args::Parse;
use super::exit::{Exit, Failure};
use super::show::{self, BOLD, DIM};
use crate::query::args::Output;
use crate::record::{self, Continues, Joiner, Key, Memory, Placed, Record, Rules};

/// One line with those that belong to it.
#[derive(Default)]
struct Lines {
    /// The number of its own line in the input, from 1.
    number: u64,
    own: Vec<u8>,
    rest: Vec<u8>,
}

/// Where items go, as they come.
struct Printer<'a> {
    args: &'a Parse,
    rules: Rules,
    color: bool,
    out: io::StdoutLock<'static>,
    items: Vec<Value>,
    shown: usize,
}

/// Reads every file, or standard input; exit 1 where there was no line.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn run(args: &Parse, context: &Context) -> Result<Exit, Failure> {
    let rules = Rules::new(&context.settings).map_err(Failure::usage)?;
    let max_line = usize::try_from(context.settings.files.max_line).unwrap_or(usize::MAX);
    let mut printer = Printer {
        args,
        rules,
        color: show::color(args.show.no_color),
        out: io::stdout().lock(),
        items: Vec::new(),
        shown: 0,
    };
    if args.files.is_empty() {
        let name = args.named.clone().unwrap_or_else(|| "-".to_owned());
        printer.input(&name, &mut io::stdin().lock(), max_line)?;
    }
    for path in &args.files {
        let name = path.to_string_lossy();
        let opened = File::open(path).map_err(|e| Failure::usage(format!("{name}: cannot be read: {e}")))?;
        printer
            .input(&name, &mut BufReader::new(opened), max_line)
            .map_err(|e| Failure::usage(format!("{name}: cannot be read: {e}")))?;
    }
    printer.finish()?;
    Ok(Exit::found(printer.shown > 0))
}

/// The input in UTF-8: what is in UTF-16 is read whole, and decoded.
fn decoded<'a>(input: &'a mut dyn BufRead) -> io::Result<Box<dyn BufRead + 'a>> {
    let Some(order) = record::utf16_order(input.fill_buf()?) else {
        return Ok(Box::new(input));
    };
    let mut all = Vec::new();
    input.read_to_end(&mut all)?;
    let text = record::utf16_text(&all, order);
    Ok(Box::new(io::Cursor::new(text.into_bytes())))
}

/// Reads one line, without its feed; at most `max` bytes of it are kept. `None` at the end.
fn next_line(input: &mut dyn BufRead, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    if input.take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > max {
        line.truncate(max);
        // What is beyond is passed over.
        loop {
            let buffer = input.fill_buf()?;
            let feed = memchr::memchr(b'\n', buffer);
            let (len, ends) = (
                feed.map_or(buffer.len(), |at| at + 1),
                feed.is_some() || buffer.is_empty(),
            );
            input.consume(len);
            if ends {
                break;
            }
        }
    }
    Ok(Some(line))
}

impl Printer<'_> {
    fn input(&mut self, name: &str, input: &mut dyn BufRead, max_line: usize) -> io::Result<()> {
        let mut memory = self.rules.memory(name);
        let rules = self.rules.continues(name);
        let mut input = decoded(input)?;
        let (mut number, mut blanks) = (0, 0);
        let mut open: Option<(Lines, Joiner)> = None;
        while let Some(line) = next_line(&mut *input, max_line)? {
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                match &open {
                    Some((_, joiner)) if joiner.takes_blanks() => blanks += 1,
                    _ => self.close(&mut open, &mut memory)?,
                }
                continue;
            }
            let joined = open
                .as_mut()
                .is_some_and(|(lines, joiner)| joins(lines, joiner, &line, blanks, max_line, &rules));
            if !joined {
                self.close(&mut open, &mut memory)?;
                let joiner = Joiner::begin(&line);
                let (own, rest) = (line, Vec::new());
                open = Some((Lines { number, own, rest }, joiner));
            }
            blanks = 0;
        }
        self.close(&mut open, &mut memory)
    }

    /// Shows the lines that are open.
    fn close(&mut self, open: &mut Option<(Lines, Joiner)>, memory: &mut Memory) -> io::Result<()> {
        let Some((lines, _)) = open.take() else { return Ok(()) };
        memory.now = chrono::Utc::now().timestamp_micros();
        let mut rec = Record::default();
        let more = record::read_into(&mut rec, &lines.own, &lines.rest, &self.rules, memory);
        let tried = if self.args.explain {
            record::explain(&lines.own, memory)
        } else {
            Vec::new()
        };
        let format = memory.format().to_owned();
        let mut documents = vec![document(&mut rec, &self.rules)];
        documents.extend(more.into_iter().map(|mut rec| document(&mut rec, &self.rules)));
        for document in documents {
            let mut item = Map::new();
            item.insert("line".to_owned(), lines.number.into());
            item.insert("format".to_owned(), format.as_str().into());
            item.insert("record".to_owned(), Value::Object(document));
            if self.args.explain {
                let tried = tried.iter().map(|t| {
                    json!({"format": t.name, "pattern": t.pattern, "fits": t.fits, "column": t.column, "wanted": t.wanted})
                });
                item.insert("tried".to_owned(), tried.collect());
            }
            self.show(item)?;
        }
        Ok(())
    }

    fn show(&mut self, item: Map<String, Value>) -> io::Result<()> {
        self.shown += 1;
        match self.args.show.output {
            Output::Json => self.items.push(Value::Object(item)),
            Output::Jsonl => writeln!(self.out, "{}", Value::Object(item))?,
            Output::Text => self.text(&item)?,
        }
        Ok(())
    }

    fn text(&mut self, item: &Map<String, Value>) -> io::Result<()> {
        let line = item.get("line").and_then(Value::as_u64).unwrap_or(0);
        let format = item.get("format").and_then(Value::as_str).unwrap_or_default();
        writeln!(
            self.out,
            "{line}: {}",
            show::paint(self.color, BOLD, &show::plain(format))
        )?;
        let fields = item.get("record").and_then(Value::as_object);
        for (name, value) in fields.into_iter().flatten() {
            let text = match value {
                Value::String(text) => show::plain(text).to_string(),
                other => show::plain(&other.to_string()).to_string(),
            };
            writeln!(
                self.out,
                "    {name:14} {}",
                text.replace('\n', "\n                   ")
            )?;
        }
        let tried = item.get("tried").and_then(Value::as_array);
        for t in tried.into_iter().flatten() {
            let of = |name: &str| t.get(name).and_then(Value::as_str).unwrap_or_default();
            let outcome = if t.get("fits") == Some(&Value::Bool(true)) {
                "fits".to_owned()
            } else {
                let column = t.get("column").and_then(Value::as_u64).unwrap_or(0);
                format!("gave up after {column} characters, wanted {}", of("wanted"))
            };
            let told = format!("{:16} {outcome}", of("format"));
            writeln!(self.out, "    {}", show::paint(self.color, DIM, &show::plain(&told)))?;
        }
        Ok(())
    }

    /// Writes what is written as a whole.
    fn finish(&mut self) -> io::Result<()> {
        if self.args.show.output == Output::Json {
            let items = std::mem::take(&mut self.items);
            let n = items.len();
            let all = json!({"items": items, "returned": n, "total": n, "truncated": false});
            writeln!(self.out, "{all:#}")?;
        }
        self.out.flush()
    }
}

/// Adds a line to the ones it belongs to; whether it does.
fn joins(lines: &mut Lines, joiner: &mut Joiner, line: &[u8], blanks: u64, max: usize, rules: &Continues) -> bool {
    if lines.own.len() + lines.rest.len() + line.len() > max || !joiner.continues(&lines.own, line, blanks, rules) {
        return false;
    }
    for _ in 0..=blanks {
        lines.rest.push(b'\n');
    }
    lines.rest.extend_from_slice(line);
    true
}

/// The document that would be stored, less what only the agent adds.
fn document(rec: &mut Record<'_>, rules: &Rules) -> Map<String, Value> {
    let (timed, run, host) = (
        rec.time,
        rec.bound.execution_id.as_ref().map(|id| id.plain().into_owned()),
        rec.host.is_some(),
    );
    let script = rec.bound.script_name.as_ref().map(|s| s.plain().into_owned());
    let placed = Placed {
        key: &Key::new(0, 0, 0, 0),
        time: timed.unwrap_or(0),
        execution_id: run.as_deref().unwrap_or(""),
        script_name: script.as_deref(),
        host: "",
        source: "{",
        offset: 0,
        seq: 0,
        ingested_at: "",
        whole: 0,
    };
    let mut out = Vec::new();
    record::encode(rec, &placed, rules, &mut out);
    let text = String::from_utf8_lossy(&out).replacen("\"source\":{,", "\"source\":{", 1);
    let mut fields: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    for added in ["_key", "source", "seq", "ingested_at"] {
        fields.remove(added);
    }
    for (name, known) in [
        ("timestamp", timed.is_some()),
        ("execution_id", run.is_some()),
        ("host", host),
    ] {
        if !known {
            fields.remove(name);
        }
    }
    fields
}
