//! Objects that are built like one shortly before.
//!
//! A place in a script that binds values binds the same names each time: between one object and the next only the
//! values change, and all that stands between them (names, punctuation, white space, the braces of inner objects) is
//! the same to the byte. Such a frame is remembered as it stood, with holes for the values. Where an object fits in it,
//! its names need not be read, compared with one another and searched for secrets again: the frame is compared, and only
//! the values are read.
//!
//! ```text
//! {"seq": ·, "execution_id": "·", "payload": {"ms": ·, "note": "·"}}
//! ```
//!
//! A hole of a number takes a number, one of a string the contents of a string; any other value is read as ever. What
//! does not fit is read in the general way. So nothing hangs on what is remembered: the frame has every quality that was
//! checked when it was learnt, and the values are checked here.

use std::cell::RefCell;

use super::fields::members;
use super::scan::Scan;

/// Frames that are remembered.
const SHAPES: usize = 4;
/// Larger ones are not.
const LONGEST: usize = 2048;
const HOLES: usize = 32;
/// Once all places are taken, a frame is learnt of one in so many objects that fit in none: where none lasts, learning
/// would be in vain.
const PATIENCE: u32 = 16;

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known::new()) };
}

/// Reads an object as [`Scan::object`] does.
pub(super) fn object<'a>(scan: &mut Scan<'a, '_>, depth: u32, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
    KNOWN.with_borrow_mut(|known| {
        let (start, suspicious) = (scan.at(), scan.suspicious);
        if let Some((shape, places)) = known.fit(scan) {
            let object = scan.since(start);
            shape.members.iter().for_each(|m| {
                if let (Some(name), Some(value)) = (m.name.of(object, &places), m.value.of(object, &places)) {
                    each(name, value);
                }
            });
            return Some(());
        }
        scan.back_to(start, suspicious);
        scan.object(depth, each)?;
        // A name that hides its value would have to be noticed each time.
        if scan.suspicious == suspicious {
            known.meet(scan.since(start), depth);
        }
        Some(())
    })
}

/// Where each piece of the frame begins in an object, in bytes from its start.
type Places = [u32; HOLES + 1];

struct Known {
    /// The names for which the frames were searched.
    watched: u64,
    shapes: [Option<Shape>; SHAPES],
    last: usize,
    oldest: usize,
    strangers: u32,
}

impl Known {
    const fn new() -> Known {
        Known {
            watched: 0,
            shapes: [const { None }; SHAPES],
            last: 0,
            oldest: 0,
            strangers: 0,
        }
    }

    /// The shape in which the object fits that begins here, which is gone past.
    #[inline(always)]
    fn fit(&mut self, scan: &mut Scan<'_, '_>) -> Option<(&Shape, Places)> {
        if self.watched != scan.watched() {
            // The configuration was read again.
            *self = Known {
                watched: scan.watched(),
                ..Known::new()
            };
        }
        let (start, suspicious) = (scan.at(), scan.suspicious);
        let mut places = [0; HOLES + 1];
        let others = (0..SHAPES).filter(|i| *i != self.last);
        let mut order = std::iter::once(self.last).chain(others);
        let found = order.find(|i| {
            let Some(Some(shape)) = self.shapes.get(*i) else {
                return false;
            };
            let fits = shape.fits(scan, start, &mut places).is_some();
            if !fits {
                scan.back_to(start, suspicious);
            }
            fits
        })?;
        self.last = found;
        Some((self.shapes.get(found)?.as_ref()?, places))
    }

    /// Learns the frame of an object that fits in none, if there is place.
    fn meet(&mut self, object: &str, depth: u32) {
        let full = self.shapes.iter().all(Option::is_some);
        self.strangers = self.strangers.wrapping_add(1);
        if full && !self.strangers.is_multiple_of(PATIENCE) {
            return;
        }
        if let Some(shape) = Shape::of(object, depth) {
            self.last = self.oldest;
            self.oldest = (self.oldest + 1) % SHAPES;
            if let Some(slot) = self.shapes.get_mut(self.last) {
                *slot = Some(shape);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    /// Between quotes, which belong to the frame.
    Text,
    /// Anything but an object, nested in so many others.
    Value(u32),
}

#[derive(Debug, Default)]
struct Shape {
    /// The pieces of the frame, one after the other.
    frame: String,
    /// Where the piece before each hole ends in `frame`, and what the hole takes.
    holes: Vec<(usize, Kind)>,
    members: Vec<Member>,
}

/// A member of the outer object.
#[derive(Debug)]
struct Member {
    name: Part,
    value: Part,
}

/// A part of an object: from a position in a piece of the frame to one in the same or another piece.
#[derive(Debug)]
struct Part {
    from: (usize, u32),
    to: (usize, u32),
}

impl Part {
    #[inline(always)]
    fn of<'a>(&self, object: &'a str, places: &Places) -> Option<&'a str> {
        let place = |(piece, at): (usize, u32)| Some((places.get(piece)? + at) as usize);
        object.get(place(self.from)?..place(self.to)?)
    }
}

impl Shape {
    /// Whether the object that begins here fits; notes where the pieces are, and goes past it.
    #[inline(always)]
    fn fits(&self, scan: &mut Scan<'_, '_>, start: usize, places: &mut Places) -> Option<()> {
        let mut from = 0;
        for ((to, kind), place) in self.holes.iter().zip(places.iter_mut()) {
            *place = (scan.at() - start) as u32;
            scan.frame(self.frame.get(from..*to)?)?;
            match kind {
                Kind::Number => {
                    scan.number()?;
                }
                Kind::Text => {
                    // Goes past the closing quote, with which the next piece begins.
                    scan.contents()?;
                    scan.step_back();
                }
                Kind::Value(depth) => {
                    scan.value(*depth)?;
                }
            }
            from = *to;
        }
        *places.get_mut(self.holes.len())? = (scan.at() - start) as u32;
        scan.frame(self.frame.get(from..)?)
    }

    /// The frame of an object that was read and found in order; `None` if it is too large.
    fn of(object: &str, depth: u32) -> Option<Shape> {
        let mut shape = Shape::default();
        let mut learn = Learn { object, at: 0 };
        for (name, value) in members(object) {
            let name = (learn.offset(name), learn.offset(name) + name.len());
            let value_at = learn.offset(value);
            let first = learn.position(&shape, value_at);
            let name = Part {
                from: learn.position(&shape, name.0),
                to: learn.position(&shape, name.1),
            };
            learn.value(&mut shape, value, depth + 1)?;
            let to = learn.position(&shape, value_at + value.len());
            shape.members.push(Member {
                name,
                value: Part { from: first, to },
            });
        }
        shape.frame.push_str(object.get(learn.at..)?);
        (shape.frame.len() <= LONGEST).then_some(shape)
    }
}

/// An object on its way to become a shape.
struct Learn<'a> {
    object: &'a str,
    /// What is before this is in the shape already.
    at: usize,
}

impl Learn<'_> {
    /// Where a part of the object begins in it.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.object.as_ptr().addr()
    }

    /// A position behind the last hole, as piece and position within it.
    fn position(&self, shape: &Shape, at: usize) -> (usize, u32) {
        (shape.holes.len(), (at - self.at) as u32)
    }

    fn value(&mut self, shape: &mut Shape, value: &str, depth: u32) -> Option<()> {
        let (from, len) = (self.offset(value), value.len());
        match value.as_bytes().first()? {
            b'{' => {
                for (_, inner) in members(value) {
                    self.value(shape, inner, depth + 1)?;
                }
                return Some(());
            }
            b'"' => self.hole(shape, from + 1, from + len - 1, Kind::Text)?,
            b'-' | b'0'..=b'9' => self.hole(shape, from, from + len, Kind::Number)?,
            _ => self.hole(shape, from, from + len, Kind::Value(depth))?,
        }
        Some(())
    }

    fn hole(&mut self, shape: &mut Shape, from: usize, to: usize, kind: Kind) -> Option<()> {
        if shape.holes.len() == HOLES {
            return None;
        }
        shape.frame.push_str(self.object.get(self.at..from)?);
        shape.holes.push((shape.frame.len(), kind));
        self.at = to;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::any::any_json;
    use super::super::redact::Names;
    use super::*;
    use proptest::prelude::*;

    /// What reading an object says: its members, whether a name was suspicious, and where it ends.
    type Said = Option<(Vec<(String, String)>, bool, usize)>;

    fn said(text: &str, names: &Names, general: bool) -> Said {
        let mut scan = Scan::new(text, Some(names));
        let mut members = Vec::new();
        let each = |n: &str, v: &str| members.push((n.to_owned(), v.to_owned()));
        if general {
            scan.object(1, each)?;
        } else {
            object(&mut scan, 1, each)?;
        }
        Some((members, scan.suspicious, scan.at()))
    }

    fn names() -> Names {
        Names::new(&["token".to_owned()])
    }

    #[test]
    fn objects_are_read_the_same_whatever_was_read_before_them() {
        let names = names();
        let mut texts = Vec::new();
        for i in 0..30 {
            texts.push(format!(
                r#"{{"seq": {i}, "id": "x{i}", "tags": ["a", "b{i}"], "in": {{"ok": {}, "ms": {i}.5, "deep": {{"s": "q\"{i}"}}}}, "e": {{}}}}"#,
                i % 2 == 0
            ));
        }
        for other in [
            r"{}",
            r#"{"seq": 1}"#,
            r#"{"seq": "1"}"#,
            r#"{"seq": -1.5e3}"#,
            r#"{"seq": 01}"#,
            r#"{"seq": null}"#,
            r#"{"seq": {"seq": 1}}"#,
            r#"{"seq": "1", "seq": 2}"#,
            r#"{"seq" : 1}"#,
            r#"{"seq": 1,"a": "b"}"#,
            r#"{"token": 1}"#,
            r#"{"a": {"api_token": "x"}}"#,
            r#"{"a": [{"token": "x"}], "b": 1}"#,
            r#"{"a": [{"other": "x"}], "b": 1}"#,
            r#"{"a": "unfinished"#,
            r#"{"a": "\ud800"}"#,
            r#"{"a": 99999999999999999999}"#,
            r#"{"": ""}"#,
            r#"{"\u0061": 1, "b": 2}"#,
            r#"{"\u0061": 1, "a": 2}"#,
        ] {
            texts.push(other.to_owned());
        }
        texts.push(format!(
            "{{{}}}",
            (0..60).map(|i| format!("\"k{i}\": {i}")).collect::<Vec<_>>().join(", ")
        ));
        for _ in 0..3 {
            for text in &texts {
                for behind in ["", ", \"file\""] {
                    let text = format!("{text}{behind}");
                    assert_eq!(said(&text, &names, false), said(&text, &names, true), "{text}");
                    assert_eq!(said(&text, &names, false), said(&text, &names, true), "{text}, again");
                }
            }
            texts.reverse();
        }
    }

    #[test]
    fn a_frame_that_was_not_searched_for_a_name_is_searched_again() {
        let text = r#"{"token": 1, "password": "x"}"#;
        let other = Names::new(&["other".to_owned()]);
        for _ in 0..3 {
            assert_eq!(said(text, &other, false).map(|s| s.1), Some(false));
            assert_eq!(said(text, &names(), false).map(|s| s.1), Some(true));
        }
    }

    #[test]
    fn a_frame_is_all_but_the_values() {
        let shape = Shape::of(r#"{"a": 1, "b": {"c": "x", "d": [1, "2"]}, "e": {}}"#, 1).unwrap();
        assert_eq!(shape.frame, r#"{"a": , "b": {"c": "", "d": }, "e": {}}"#);
        let kinds: Vec<_> = shape.holes.iter().map(|(_, k)| *k).collect();
        assert_eq!(kinds, [Kind::Number, Kind::Text, Kind::Value(3)]);
        assert_eq!(shape.members.len(), 3);
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_in_the_general_way(
            objects in prop::collection::vec(any_json().prop_filter("object", serde_json::Value::is_object), 1..8),
        ) {
            let names = names();
            for object in objects.iter().chain(&objects) {
                let text = object.to_string();
                prop_assert_eq!(said(&text, &names, false), said(&text, &names, true));
            }
        }
    }
}
