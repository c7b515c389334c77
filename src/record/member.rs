//! One member's value, as the field it is to be.

use std::borrow::Cow;

use super::bound::{id, is_number, list};
use super::exception::{self, text_of};
use super::flat::{Field, place};
use super::level::{self, Scale};
use super::time::{self, Clock};
use super::{Micros, Record, Text, Token, fields};

/// Reads one value.
pub(super) struct Reader<'a> {
    pub clock: Clock,
    pub scale: Scale,
    pub token: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&self) -> Token<'a> {
        Token(Cow::Borrowed(self.token))
    }

    pub fn text(&self) -> Option<Text<'a>> {
        text_of(&self.value())
    }

    /// An integer, also in quotes: shells have nothing else.
    fn integer(&self) -> Option<i64> {
        super::text::string(self.token).unwrap_or(self.token).parse().ok()
    }

    /// The value of a member of this object.
    fn within(&self, name: &str) -> Option<&'a str> {
        fields::members(self.token).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    fn time(&self) -> Option<Micros> {
        if self.token.starts_with('{') {
            return self.time_object();
        }
        match super::text::string(self.token) {
            Some(text) => time::written(&super::unescape(text), self.clock),
            None => time::epoch(self.token),
        }
    }

    /// loguru's `{repr, timestamp}`, log4j2's `{epochSecond, nanoOfSecond}`, MongoDB's `{$date}`, PHP's `{date}`.
    fn time_object(&self) -> Option<Micros> {
        let read = |name: &str| {
            let token = self.within(name)?;
            Reader { token, ..*self }.time()
        };
        if let Some(seconds) = self.within("epochSecond").or_else(|| self.within("seconds")) {
            let nanos = self.within("nanoOfSecond").or_else(|| self.within("nanos"));
            let nanos: i64 = nanos.and_then(|n| n.parse().ok()).unwrap_or(0);
            return Some(time::epoch(seconds)? + nanos / 1000);
        }
        ["repr", "timestamp", "$date", "date"].into_iter().find_map(read)
    }

    fn level(&self) -> Option<(Cow<'a, str>, i64)> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as i64);
        let scaled = |n: i64| {
            let (name, no) = self.scale.level(n);
            (Cow::Borrowed(name), no)
        };
        if self.token.starts_with('{') {
            let no = self.within("no").or_else(|| self.within("value")).and_then(number);
            let name = self.within("name").and_then(super::text::string);
            return match (name.filter(|n| !n.is_empty()), no) {
                (Some(name), no) => {
                    let (name, usual) = level::level(name);
                    Some((name, no.unwrap_or(usual)))
                }
                (None, Some(no)) => Some(scaled(no)),
                (None, None) => None,
            };
        }
        let name = match super::text::string(self.token) {
            Some("") => return None,
            Some(text) => super::unescape(text),
            None if is_number(self.token) => return number(self.token).map(scaled),
            None => return None,
        };
        if let Some(n) = name.trim().parse::<i64>().ok().or_else(|| number(name.trim())) {
            return Some(scaled(n));
        }
        Some(match name {
            Cow::Borrowed(name) => level::level(name),
            Cow::Owned(name) => {
                let (name, no) = level::level(&name);
                (Cow::Owned(name.into_owned()), no)
            }
        })
    }

    /// A text, or the bytes of one that is no UTF-8 (journald).
    fn message(&self) -> Option<Text<'a>> {
        if let Some(text) = super::text::string(self.token) {
            return Some(Text(Cow::Borrowed(text)));
        }
        if !self.token.starts_with('[') || self.token == "[]" {
            return None;
        }
        let bytes: Option<Vec<u8>> = fields::elements(self.token).map(|n| n.parse().ok()).collect();
        let text = String::from_utf8_lossy(&bytes?).into_owned();
        Some(Text(Cow::Owned(super::escape(&text).into_owned())))
    }

    /// Whether the value can be this field.
    pub fn fits(&self, field: Field) -> bool {
        match field {
            Field::Time => self.time().is_some(),
            Field::Level => self.level().is_some(),
            Field::Message => self.message().is_some(),
            Field::Execution => id(&self.value()).is_some(),
            Field::Line | Field::Pid | Field::Thread => self.integer().is_some(),
            Field::Exception => exception::from_token(self.token).is_some(),
            Field::Tags => list(&self.value(), |e| e.starts_with('"')).is_some(),
            Field::Embeddings => list(&self.value(), is_number).is_some(),
            Field::Caller => self.text().is_some_and(|t| place(&t.0).is_some()),
            Field::Stack => self.text().is_some_and(|t| exception::is_stack(&t.0)),
            _ => self.text().is_some(),
        }
    }

    /// Puts the value where it belongs. It fits.
    pub fn fill(&self, field: Field, rec: &mut Record<'a>) {
        match field {
            Field::Time => rec.time = self.time(),
            Field::Level => (rec.level, rec.level_no) = self.level().unwrap_or_default(),
            Field::Message => rec.message = self.message().unwrap_or_default(),
            Field::Execution => rec.bound.execution_id = id(&self.value()),
            Field::Script => rec.bound.script_name = self.text(),
            Field::Function => rec.function_name = self.text(),
            Field::File => rec.file_path = self.text(),
            Field::Line => rec.line_number = self.integer(),
            Field::Logger => rec.logger = self.text(),
            Field::Module => rec.module = self.text(),
            Field::Pid => rec.pid = self.integer(),
            Field::Process => rec.process_name = self.text(),
            Field::Thread => rec.thread_id = self.integer(),
            Field::ThreadName => rec.thread_name = self.text(),
            Field::Host => rec.host = self.text(),
            Field::Tags => rec.bound.tags = Some(self.value()),
            Field::Embeddings => rec.bound.embeddings = Some(self.value()),
            // `flat` takes it apart.
            Field::Caller => rec.file_path = self.text(),
            Field::Exception | Field::ErrorType | Field::ErrorValue | Field::Stack => {}
        }
    }
}
