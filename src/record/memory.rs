//! What is known of a stream from its lines before: hints only. A line reads the same without them, but for what it
//! leaves unsaid: the year, the process that crashed.

use std::borrow::Cow;
use std::sync::Arc;

use super::formats::Custom;
use super::utf16::Order;
use super::{Micros, Record, Text};

/// See the module. One for each stream.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// When the line at hand was read, microseconds since the epoch; 0 where that is not known.
    pub now: Micros,
    /// The number of the text format that fitted last.
    pub(super) last: Option<u16>,
    /// Formats of the configuration for this stream.
    pub(super) custom: Vec<Arc<Custom>>,
    /// Lines that these were tried on, and whether one of them fitted; `None` once that was said.
    pub(super) tried: Option<(u32, bool)>,
    /// The stream is in UTF-16.
    pub(super) wide: Option<Order>,
    format: Cow<'static, str>,
    /// The last line of text named no level.
    pub(super) levelless: bool,
    /// The last record is an exception that reached the end of a program.
    pub(super) uncaught: bool,
    process: Option<Process>,
}

/// The writer of the stream's records.
#[derive(Clone, Debug, Default, PartialEq)]
struct Process {
    pid: Option<i64>,
    start: Option<Micros>,
    host: Option<String>,
    execution: Option<String>,
    script: Option<String>,
}

/// Lines after which a format of the configuration that fits none of them is spoken of.
const PROBATION: u32 = 100;

impl Memory {
    /// Of a stream for which these formats of the configuration hold.
    #[must_use]
    pub(super) fn with_formats(custom: Vec<Arc<Custom>>) -> Memory {
        Memory {
            tried: (!custom.is_empty()).then_some((0, false)),
            custom,
            ..Memory::default()
        }
    }

    /// The name of the last line's format.
    #[must_use]
    pub fn format(&self) -> &str {
        &self.format
    }

    pub(super) fn found(&mut self, format: impl Into<Cow<'static, str>>) {
        self.format = format.into();
    }

    /// Forgets that the stream is in UTF-16, for a line that was decoded.
    pub(super) fn suspend_wide(&mut self) -> Option<Order> {
        self.wide.take()
    }

    pub(super) fn resume_wide(&mut self, order: Option<Order>) {
        self.wide = order;
    }

    /// Notes whether a format of the configuration fitted a line.
    pub(super) fn fitted(&mut self, fits: bool) {
        if let Some((lines, any)) = &mut self.tried {
            *lines += 1;
            *any |= fits;
        }
    }

    /// The names of the formats of the configuration that fitted none of the stream's first lines; said once.
    pub fn misfits(&mut self) -> Option<String> {
        let (lines, any) = self.tried?;
        if lines < PROBATION && !any {
            return None;
        }
        self.tried = None;
        let names: Vec<&str> = self.custom.iter().map(|c| c.name.as_str()).collect();
        (!any).then(|| names.join(", "))
    }

    /// Who writes: a crash that names no process is that of the last record's.
    pub fn attribute(&mut self, rec: &mut Record<'_>) {
        if rec.pid.is_none() && rec.bound.execution_id.is_none() {
            if std::mem::take(&mut self.uncaught)
                && let Some(p) = &self.process
            {
                let owned = |t: &Option<String>| t.clone().map(|t| Text(Cow::Owned(t)));
                rec.pid = p.pid;
                rec.start = p.start;
                rec.host = owned(&p.host);
                rec.bound.execution_id = owned(&p.execution);
                if rec.bound.script_name.is_none() {
                    rec.bound.script_name = owned(&p.script);
                }
            }
            return;
        }
        let same = |kept: &Option<String>, new: &Option<Text<'_>>| kept.as_deref() == new.as_ref().map(Text::raw);
        let known = self.process.as_ref().is_some_and(|p| {
            (p.pid, p.start) == (rec.pid, rec.start)
                && same(&p.host, &rec.host)
                && same(&p.execution, &rec.bound.execution_id)
                && same(&p.script, &rec.bound.script_name)
        });
        if !known {
            let owned = |t: &Option<Text<'_>>| t.as_ref().map(|t| t.raw().to_owned());
            self.process = Some(Process {
                pid: rec.pid,
                start: rec.start,
                host: owned(&rec.host),
                execution: owned(&rec.bound.execution_id),
                script: owned(&rec.bound.script_name),
            });
        }
    }
}
