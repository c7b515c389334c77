//! What most of loguru's lines have in common with one shortly before.
//!
//! Half of a line says where it was written: file, function, level and line number before the message, module, process
//! and thread behind it. A script has few such places and says the same of each time and again, to the byte. So both
//! parts are remembered as they stood, with what was read in them. A line that goes on with a known part is not read
//! there again; it is compared.
//!
//! The time changes with every line, but hardly the second.
//!
//! Nothing hangs on what is remembered: a part that is found is what reading it would say of these same bytes.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::scan::Scan;
use super::{Micros, Record, Text, level, time};

/// Parts before the message that are remembered: places that log in turns.
const HEADS: usize = 16;
/// Parts behind the message: modules and threads.
const TAILS: usize = 8;
/// Longer parts are read every time.
const LONGEST: usize = 1024;

/// A time as loguru writes it, but for the digits behind the second, and the instant of that second.
#[derive(Clone, Copy)]
struct Second {
    /// `2026-11-21 02:20:24.`
    clock: [u8; 20],
    /// `+00:00`
    zone: [u8; 6],
    instant: Micros,
}

thread_local! {
    static SECOND: Cell<Option<Second>> = const { Cell::new(None) };
    static HEAD: RefCell<Known<Head, HEADS>> = const { RefCell::new(Known::new()) };
    static TAIL: RefCell<Known<Tail, TAILS>> = const { RefCell::new(Known::new()) };
}

/// Reads from behind the bound values to the beginning of the message.
pub(super) fn head<'a>(scan: &mut Scan<'a, '_>, rec: &mut Record<'a>) -> Option<()> {
    HEAD.with_borrow_mut(|known| known.read(scan, rec))
}

/// Reads from behind the message to the beginning of the time.
pub(super) fn tail<'a>(scan: &mut Scan<'a, '_>, rec: &mut Record<'a>) -> Option<()> {
    TAIL.with_borrow_mut(|known| known.read(scan, rec))
}

/// The instant that `repr` names, if it names a zone. Most are of the same second as the one before.
#[inline]
pub(super) fn instant(repr: &str) -> Option<Micros> {
    let parts = parts(repr.as_bytes());
    if let (Some((clock, micros, zone)), Some(last)) = (parts, SECOND.get())
        && (clock, zone) == (&last.clock, &last.zone)
    {
        return Some(last.instant + micros);
    }
    let (stamp, len) = time::stamp(repr.as_bytes())?;
    let instant = stamp.zoned().filter(|_| len == repr.len())?;
    SECOND.set(parts.map(|(clock, micros, zone)| Second {
        clock: *clock,
        zone: *zone,
        instant: instant - micros,
    }));
    Some(instant)
}

/// Up to the second, the microseconds, and the zone of `2026-11-21 02:20:24.054432+00:00`.
#[inline]
fn parts(repr: &[u8]) -> Option<(&[u8; 20], i64, &[u8; 6])> {
    let repr: &[u8; 32] = repr.try_into().ok()?;
    let (clock, rest) = repr.split_first_chunk()?;
    let (fraction, zone) = rest.split_first_chunk()?;
    Some((clock, time::micros(fraction)?, zone.first_chunk()?))
}

/// What is read in a part of a line. Texts are places within the part.
trait Part: Sized {
    /// Reads on, to the end of the part; positions count from `start`.
    fn read(scan: &mut Scan<'_, '_>, start: usize) -> Option<Self>;
    /// Fills in what was read; `part` are its bytes.
    fn apply<'a>(&self, part: &'a str, rec: &mut Record<'a>);
}

/// The parts known, each with its bytes.
struct Known<P, const N: usize> {
    parts: [Option<(String, P)>; N],
    /// The one that was found last.
    last: usize,
    /// The one that gives way next.
    oldest: usize,
}

impl<P: Part, const N: usize> Known<P, N> {
    const fn new() -> Known<P, N> {
        Known {
            parts: [const { None }; N],
            last: 0,
            oldest: 0,
        }
    }

    #[inline]
    fn read<'a>(&mut self, scan: &mut Scan<'a, '_>, rec: &mut Record<'a>) -> Option<()> {
        let rest = scan.rest();
        let others = (0..N).filter(|i| *i != self.last);
        for i in std::iter::once(self.last).chain(others) {
            let Some((bytes, part)) = self.parts.get(i)? else {
                continue;
            };
            if begins_with(rest, bytes) {
                part.apply(rest.get(..bytes.len())?, rec);
                scan.skip(bytes.len());
                self.last = i;
                return Some(());
            }
        }
        self.learn(scan, rec)
    }

    #[inline(never)]
    fn learn<'a>(&mut self, scan: &mut Scan<'a, '_>, rec: &mut Record<'a>) -> Option<()> {
        let (rest, start) = (scan.rest(), scan.at());
        let part = P::read(scan, start)?;
        let bytes = rest.get(..scan.at() - start)?;
        part.apply(bytes, rec);
        if bytes.len() <= LONGEST {
            self.last = self.oldest;
            self.oldest = (self.oldest + 1) % N;
            if let Some(slot) = self.parts.get_mut(self.last) {
                let mut kept = slot.take().map_or_else(String::new, |(bytes, _)| bytes);
                kept.clear();
                kept.push_str(bytes);
                *slot = Some((kept, part));
            }
        }
        Some(())
    }
}

/// Whether `rest` begins with `part`. The end of a part says more than its beginning: there is the line's number.
#[inline(always)]
fn begins_with(rest: &str, part: &str) -> bool {
    const END: usize = 24;
    let (rest, part) = (rest.as_bytes(), part.as_bytes());
    let Some(rest) = rest.get(..part.len()) else {
        return false;
    };
    rest.last_chunk::<END>() == part.last_chunk::<END>() && rest == part
}

type Place = Range<u16>;

/// The string that begins here, as a place.
#[inline]
fn contents(scan: &mut Scan<'_, '_>, start: usize) -> Option<Place> {
    let from = scan.at() - start;
    let text = scan.contents()?;
    place(from, text.len())
}

/// `None` beyond what a place can say: such a line is read in the way of those that differ.
#[inline]
fn place(from: usize, len: usize) -> Option<Place> {
    Some(u16::try_from(from).ok()?..u16::try_from(from + len).ok()?)
}

#[inline]
fn at<'a>(part: &'a str, place: &Place) -> &'a str {
    part.get(usize::from(place.start)..usize::from(place.end))
        .unwrap_or_default()
}

/// A text that is left out where it is empty.
#[inline]
fn text<'a>(part: &'a str, place: &Place) -> Option<Text<'a>> {
    let text = at(part, place);
    (!text.is_empty()).then_some(Text(Cow::Borrowed(text)))
}

/// `, "file": … , "message": "`
struct Head {
    path: Place,
    function: Place,
    /// One of loguru's own, or where another name stands.
    level: Result<&'static str, Place>,
    level_no: i64,
    line: i64,
}

impl Part for Head {
    fn read(scan: &mut Scan<'_, '_>, start: usize) -> Option<Head> {
        scan.literal(", \"file\": {\"name\": \"")?;
        scan.contents()?;
        scan.literal(", \"path\": \"")?;
        let path = contents(scan, start)?;
        scan.literal("}, \"function\": \"")?;
        let function = contents(scan, start)?;
        scan.literal(", \"level\": {\"icon\": \"")?;
        scan.contents()?;
        scan.literal(", \"name\": \"")?;
        let from = scan.at();
        let name = scan.contents()?;
        let level = match level::known(name) {
            Some((name, _)) => Ok(name),
            None => Err(place(from - start, name.len())?),
        };
        scan.literal(", \"no\": ")?;
        let level_no = scan.integer()?;
        scan.literal("}, \"line\": ")?;
        let line = scan.integer()?;
        scan.literal(", \"message\": \"")?;
        Some(Head {
            path,
            function,
            level,
            level_no,
            line,
        })
    }

    #[inline(always)]
    fn apply<'a>(&self, part: &'a str, rec: &mut Record<'a>) {
        rec.file_path = text(part, &self.path);
        rec.function_name = text(part, &self.function);
        match &self.level {
            Ok(name) => {
                rec.level = Cow::Borrowed(*name);
                rec.level_no = self.level_no;
            }
            Err(place) => super::loguru::set_level(rec, at(part, place), Some(self.level_no)),
        }
        rec.line_number = Some(self.line);
    }
}

/// `, "module": … "time": {"repr": "`
struct Tail {
    module: Place,
    logger: Place,
    pid: i64,
    process_name: Place,
    thread_id: i64,
    thread_name: Place,
}

impl Part for Tail {
    fn read(scan: &mut Scan<'_, '_>, start: usize) -> Option<Tail> {
        scan.literal(", \"module\": \"")?;
        let module = contents(scan, start)?;
        scan.literal(", \"name\": \"")?;
        let logger = contents(scan, start)?;
        scan.literal(", \"process\": {\"id\": ")?;
        let pid = scan.integer()?;
        scan.literal(", \"name\": \"")?;
        let process_name = contents(scan, start)?;
        scan.literal("}, \"thread\": {\"id\": ")?;
        let thread_id = scan.integer()?;
        scan.literal(", \"name\": \"")?;
        let thread_name = contents(scan, start)?;
        scan.literal("}, \"time\": {\"repr\": \"")?;
        Some(Tail {
            module,
            logger,
            pid,
            process_name,
            thread_id,
            thread_name,
        })
    }

    #[inline(always)]
    fn apply<'a>(&self, part: &'a str, rec: &mut Record<'a>) {
        rec.module = text(part, &self.module);
        rec.logger = text(part, &self.logger);
        rec.pid = Some(self.pid);
        rec.process_name = text(part, &self.process_name);
        rec.thread_id = Some(self.thread_id);
        rec.thread_name = text(part, &self.thread_name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Rules, parse};
    use super::*;

    fn line(function: &str, number: i64, level: &str, thread: &str, message: &str) -> String {
        format!(
            r#"{{"text": "t", "record": {{"elapsed": {{"repr": "0:00:00.011557", "seconds": 0.011557}}, "exception": null, "extra": {{}}, "file": {{"name": "a.py", "path": "/srv/a.py"}}, "function": "{function}", "level": {{"icon": "i", "name": "{level}", "no": 20}}, "line": {number}, "message": "{message}", "module": "a", "name": "__main__", "process": {{"id": 8276, "name": "MainProcess"}}, "thread": {{"id": 7, "name": "{thread}"}}, "time": {{"repr": "2026-11-21 02:20:24.054432+00:00", "timestamp": 1795227624.054432}}}}}}"#
        )
    }

    fn rules() -> Rules {
        let (settings, _) = crate::config::Settings::load(&crate::config::Sources::default()).unwrap();
        Rules::new(&settings).unwrap()
    }

    /// What a thread says of a line that has seen none before.
    fn fresh(line: String) -> super::super::Record<'static> {
        let read = move || parse(line.as_bytes(), b"", &rules()).into_owned();
        std::thread::spawn(read).join().unwrap()
    }

    #[test]
    fn a_line_is_read_the_same_whatever_was_read_before_it() {
        let rules = rules();
        let mut lines = Vec::new();
        for i in 0..40 {
            let (function, thread) = (format!("f{}", i % 7), format!("T{}", i % 11));
            let level = ["INFO", "Level 33", "notice", "ERROR"][i % 4];
            lines.push(line(&function, i as i64 % 19, level, &thread, &format!("m{i}")));
        }
        // Parts of like length that differ in one place, an empty name, and a part that is no longer whole.
        lines.push(line("f", 12, "INFO", "", "x"));
        lines.push(line("g", 12, "INFO", "", "x"));
        lines.push(line("", 12, "INFO", "", "x"));
        lines.push(line("f", 12, "INFO", "", "x").replace("\"line\": 12", "\"line\": 012"));
        lines.push(line(&"f".repeat(2 * LONGEST), 12, "INFO", "", "x"));
        lines.push(line(&"f".repeat(70_000), 12, "INFO", "", "x"));
        for _ in 0..2 {
            for line in &lines {
                assert_eq!(
                    parse(line.as_bytes(), b"", &rules).into_owned(),
                    fresh(line.clone()),
                    "{line}"
                );
            }
            lines.reverse();
        }
    }

    #[test]
    fn an_instant_is_the_same_whatever_instant_was_read_before_it() {
        let reprs = [
            "2026-11-21 02:20:24.054432+00:00",
            "2026-11-21 02:20:24.999999+00:00",
            "2026-11-21 02:20:24.000000+05:30",
            "2026-11-21 02:20:24.000001-04:00",
            "2026-11-21 02:20:25.054432+00:00",
            "2026-11-21 02:20:24+00:00",
            "2026-11-21 02:20:24.054432",
            "2026-11-21 02:20:24.05443x+00:00",
            "2026-11-21 02:20:24x054432+00:00",
            "2026-13-21 02:20:24.054432+00:00",
            "2026-11-21 02:20:24.054432+00:0x",
            "",
        ];
        let plain = |repr: &str| {
            let (stamp, len) = time::stamp(repr.as_bytes())?;
            stamp.zoned().filter(|_| len == repr.len())
        };
        for before in reprs {
            for repr in reprs {
                let _ = instant(before);
                assert_eq!(instant(repr), plain(repr), "{repr} after {before}");
            }
        }
        assert_eq!(instant(reprs[0]), Some(1_795_227_624_054_432));
    }

    #[test]
    fn only_the_whole_part_is_taken_for_known() {
        assert!(begins_with("abc and more", "abc"));
        assert!(!begins_with("ab", "abc"));
        let long = "x".repeat(40) + "y";
        assert!(begins_with(&format!("{long}z"), &long));
        assert!(!begins_with(&format!("y{}", &long[1..]), &long));
    }
}
