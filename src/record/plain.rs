//! Lines that are no JSON: kept whole, as a message.

use std::borrow::Cow;

use super::traceback::HEADER;
use super::{Exception, Record, Text, flat, level, time};
use crate::config::NaiveTime;

/// Reads a line of plain text. A time that it begins with is its time; its message is all of it.
pub(super) fn read<'a>(line: &'a str, naive: NaiveTime, rec: &mut Record<'a>) {
    rec.level = Cow::Borrowed("INFO");
    rec.level_no = level::UNKNOWN;
    rec.marks.unparsed = true;
    rec.message = Text::new(line);
    let start = line.trim_start_matches(['[', '(', ' ']);
    rec.time = time::stamp(start.as_bytes()).and_then(|(stamp, _)| stamp.instant(naive));
}

/// Whether a line begins a traceback that belongs to no other line.
pub(super) fn is_traceback(line: &str) -> bool {
    line.trim_end() == HEADER || line.trim_end() == "  + Exception Group Traceback (most recent call last):"
}

/// Makes an error of a traceback that belongs to no other line: its message is what was raised.
pub(super) fn raise<'a>(rec: &mut Record<'a>, e: Exception<'a>) {
    (rec.level, rec.level_no) = (Cow::Borrowed("ERROR"), level::ERROR);
    let title = flat::headline(&e);
    if !title.0.is_empty() {
        rec.message = title;
    }
    rec.exception = Some(Box::new(e));
}
