//! Lines and tables on a terminal.
//!
//! Log text is data: control characters in it are shown as what they are and never reach the terminal.

use unicode_width::UnicodeWidthStr;

use crate::query::window::Clock;
use crate::store::stored::Event;

/// Characters of a message in a list.
pub const MESSAGE: usize = 100;

/// Text under construction, with what decides how it looks.
pub struct Paint {
    pub out: String,
    pub colour: bool,
    pub clock: Clock,
}

/// A style of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Cyan,
    Alarm,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "31",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Blue => "34",
            Style::Cyan => "36",
            Style::Alarm => "1;97;41",
        }
    }

    /// The style of a level.
    #[must_use]
    pub fn of_level(level_no: i64) -> Style {
        match level_no {
            i64::MIN..=9 => Style::Dim,
            10..=19 => Style::Blue,
            20..=24 => Style::Plain,
            25..=29 => Style::Green,
            30..=39 => Style::Yellow,
            40..=49 => Style::Red,
            50.. => Style::Alarm,
        }
    }

    /// The style of a run's status, or of an error's state.
    #[must_use]
    pub fn of_status(status: &str) -> Style {
        match status {
            "success" | "resolved" => Style::Green,
            "failed" | "crashed" | "open" => Style::Red,
            "returned" => Style::Alarm,
            "running" => Style::Cyan,
            "lost" => Style::Yellow,
            _ => Style::Plain,
        }
    }
}

/// One cell of a table.
pub struct Cell {
    pub text: String,
    pub style: Style,
    pub right: bool,
}

/// A cell in plain style.
#[must_use]
pub fn cell(text: impl Into<String>) -> Cell {
    Cell {
        text: text.into(),
        style: Style::Plain,
        right: false,
    }
}

/// A number, flush right.
#[must_use]
pub fn number(n: impl std::fmt::Display) -> Cell {
    Cell {
        text: n.to_string(),
        style: Style::Plain,
        right: true,
    }
}

impl Cell {
    #[must_use]
    pub fn styled(mut self, style: Style) -> Cell {
        self.style = style;
        self
    }
}

impl Paint {
    #[must_use]
    pub fn new(colour: bool, clock: Clock) -> Paint {
        Paint {
            out: String::new(),
            colour,
            clock,
        }
    }

    /// Adds text in a style.
    pub fn put(&mut self, style: Style, text: &str) {
        if self.colour && style != Style::Plain && !text.is_empty() {
            self.out.push_str(&format!("\x1b[{}m{text}\x1b[0m", style.code()));
        } else {
            self.out.push_str(text);
        }
    }

    /// Ends the line, without spaces at its end.
    pub fn end(&mut self) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }

    /// A whole line in a style.
    pub fn line(&mut self, style: Style, text: &str) {
        self.put(style, text);
        self.end();
    }

    /// A heading with its lines indented below.
    pub fn heading(&mut self, text: &str) {
        self.line(Style::Bold, text);
    }

    /// Columns as wide as their widest cell on a terminal, where some characters take two places and some none; the
    /// last is not padded. Nothing is drawn without rows.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<Cell>>) {
        if rows.is_empty() {
            return;
        }
        let width = |i: usize| {
            let cells = rows
                .iter()
                .filter_map(|r| r.get(i))
                .map(|c| c.text.width())
                .max()
                .unwrap_or(0);
            cells.max(head.get(i).map_or(0, |h| h.width()))
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let right = |i: usize| rows.iter().filter_map(|r| r.get(i)).all(|c| c.right);
        if head.iter().any(|h| !h.is_empty()) {
            let titles = head.iter().enumerate().map(|(i, h)| Cell {
                text: (*h).to_owned(),
                style: Style::Dim,
                right: right(i),
            });
            self.row(&titles.collect::<Vec<_>>(), &widths);
        }
        for row in &rows {
            self.row(row, &widths);
        }
    }

    fn row(&mut self, cells: &[Cell], widths: &[usize]) {
        for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.text.width()));
            let last = i + 1 == cells.len();
            if cell.right {
                self.out.push_str(&gap);
            }
            self.put(cell.style, &cell.text);
            if !cell.right && !last {
                self.out.push_str(&gap);
            }
            if !last {
                self.out.push_str("  ");
            }
        }
        self.end();
    }

    /// An event on one line: time, level, script and function, message, key.
    pub fn event(&mut self, event: &Event, script: bool) {
        let time = self.clock.show(&event.timestamp);
        self.put(Style::Dim, &time);
        self.out.push(' ');
        self.put(
            Style::of_level(event.level_no.unwrap_or(20)),
            &format!("{:<8}", plain(&event.level)),
        );
        self.out.push(' ');
        let mut place = String::new();
        if script && let Some(name) = &event.script_name {
            place.push_str(name);
        }
        if let Some(name) = event.function_name.as_ref().filter(|n| *n != "<module>") {
            place.push_str(if place.is_empty() { "" } else { ":" });
            place.push_str(name);
        }
        if !place.is_empty() {
            self.put(Style::Cyan, &plain(&place));
            self.out.push(' ');
        }
        self.out.push_str(&gist(event));
        self.out.push(' ');
        self.put(Style::Dim, &format!("[{}]", short_key(&event.key)));
        self.end();
    }
}

/// An event's message on one line, cut; with the root cause where the message does not say it.
#[must_use]
pub fn gist(event: &Event) -> String {
    let mut text = short(&event.message, MESSAGE);
    if let Some(e) = &event.exception {
        let (kind, value) = e.root();
        let said = |text: &str| !text.is_empty() && event.message.contains(text);
        if !kind.is_empty() && (!said(kind) || !said(value)) {
            text.push_str(" ⟵ ");
            text.push_str(&short(&format!("{kind}: {value}"), MESSAGE));
        }
    }
    text
}

/// So much of a key as tells it from others: all of a foreign one, and of ours the part that names stream and offset.
#[must_use]
pub fn short_key(key: &str) -> &str {
    if key.len() == 31 {
        key.get(..18).unwrap_or(key)
    } else {
        key
    }
}

/// One line of at most `max` characters, with a mark where it was cut.
#[must_use]
pub fn short(text: &str, max: usize) -> String {
    let line = plain(text.trim());
    match line.char_indices().nth(max) {
        None => line,
        Some((at, _)) => {
            let left = line.chars().count() - max;
            format!("{}…(+{left})", line.get(..at).unwrap_or(""))
        }
    }
}

/// Without control characters: line ends become ⏎, others are shown escaped.
#[must_use]
pub fn plain(text: &str) -> String {
    harmless(text, false)
}

/// Without control characters but line ends and tabs.
#[must_use]
pub fn block(text: &str) -> String {
    harmless(text, true)
}

fn harmless(text: &str, lines: bool) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\t' if lines => out.push(c),
            '\r' if lines => {}
            '\n' => out.push('⏎'),
            '\t' => out.push(' '),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Control characters, and those that turn the direction of text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paint(colour: bool) -> Paint {
        Paint::new(
            colour,
            Clock {
                now: 0,
                utc: true,
                whole: false,
            },
        )
    }

    #[test]
    fn log_text_cannot_command_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb⏎c");
        assert_eq!(block("a\x07\nb\tc"), "a\\u{7}\nb\tc");
        assert_eq!(plain("left\u{202e}right"), "left\\u{202e}right");
    }

    #[test]
    fn a_cut_text_says_how_much_is_missing() {
        assert_eq!(short("äbcdef", 4), "äbcd…(+2)");
        assert_eq!(short("  abc ", 4), "abc");
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut p = paint(false);
        p.table(
            &["script", "n"],
            vec![vec![cell("etl"), number(5)], vec![cell("longer"), number(12)]],
        );
        assert_eq!(p.out, "script   n\netl      5\nlonger  12\n");
    }

    #[test]
    fn wide_characters_and_those_without_width_keep_columns_aligned() {
        let mut p = paint(false);
        p.table(
            &["script", "n"],
            vec![
                vec![cell("夜間"), number(1)],
                vec![cell("e\u{301}tl"), number(2)],
                vec![cell("😀"), number(3)],
            ],
        );
        assert_eq!(p.out, "script  n\n夜間    1\ne\u{301}tl     2\n😀      3\n");
    }

    #[test]
    fn colour_is_only_used_when_wanted() {
        let mut p = paint(true);
        p.line(Style::Red, "x");
        assert_eq!(p.out, "\x1b[31mx\x1b[0m\n");
        let mut p = paint(false);
        p.line(Style::Red, "x");
        assert_eq!(p.out, "x\n");
    }
}
