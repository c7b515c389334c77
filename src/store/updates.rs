//! Updates of runs on their way, in two blocks of memory whatever their number.
//!
//! A script that binds an id per request has a run for each record, so an update is written, moved and read as often as
//! a record is. As a struct with texts of its own each would take four allocations, or a store of used ones to be
//! written over; here its texts stand one behind the other in one string, and the rest of it in one row.

use super::{RunEnd, RunUpdate, Status};
use crate::record::Micros;

/// Updates, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunUpdates {
    texts: String,
    rows: Vec<Row>,
}

/// The texts of an update, in the order in which they stand.
const TEXTS: usize = 6;

#[derive(Clone, Debug, PartialEq)]
struct Row {
    start_time: Micros,
    last_seen: Micros,
    end_time: Micros,
    pid: i64,
    /// Where the first text begins, and where each ends.
    at: [u32; TEXTS + 1],
    /// A bit for each of [`Flag`].
    flags: u16,
    status: Status,
}

/// What is true of an update, or there.
#[derive(Clone, Copy)]
enum Flag {
    StartDeclared,
    Pid,
    Host,
    Parent,
    Metadata,
    End,
    EndDeclared,
    Error,
}

impl Flag {
    fn bit(self, set: bool) -> u16 {
        u16::from(set) << self as u16
    }
}

/// An update whose texts are borrowed; see [`RunUpdate`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunRef<'a> {
    pub execution_id: &'a str,
    pub script_name: &'a str,
    pub start_time: Micros,
    pub start_declared: bool,
    pub last_seen: Micros,
    pub pid: Option<i64>,
    pub host: Option<&'a str>,
    pub parent_execution_id: Option<&'a str>,
    pub metadata: Option<&'a str>,
    pub end: Option<EndRef<'a>>,
}

/// How a run ended; see [`RunEnd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndRef<'a> {
    pub status: Status,
    pub time: Micros,
    pub declared: bool,
    pub error: Option<&'a str>,
}

impl RunUpdates {
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn push(&mut self, update: RunUpdate) {
        self.add(&update.borrowed());
    }

    /// Appends an update. Texts of more than 4 GiB together are cut; a batch is much smaller.
    pub fn add(&mut self, update: &RunRef<'_>) {
        let end = update.end.as_ref();
        let error = end.and_then(|e| e.error);
        let texts = [
            update.execution_id,
            update.script_name,
            update.host.unwrap_or_default(),
            update.parent_execution_id.unwrap_or_default(),
            update.metadata.unwrap_or_default(),
            error.unwrap_or_default(),
        ];
        let mut at = [self.texts.len() as u32; TEXTS + 1];
        for (text, to) in texts.into_iter().zip(at.iter_mut().skip(1)) {
            self.texts.push_str(text);
            *to = self.texts.len() as u32;
        }
        self.rows.push(Row {
            start_time: update.start_time,
            last_seen: update.last_seen,
            end_time: end.map_or(0, |e| e.time),
            pid: update.pid.unwrap_or(0),
            at,
            flags: Flag::StartDeclared.bit(update.start_declared)
                | Flag::Pid.bit(update.pid.is_some())
                | Flag::Host.bit(update.host.is_some())
                | Flag::Parent.bit(update.parent_execution_id.is_some())
                | Flag::Metadata.bit(update.metadata.is_some())
                | Flag::End.bit(end.is_some())
                | Flag::EndDeclared.bit(end.is_some_and(|e| e.declared))
                | Flag::Error.bit(error.is_some()),
            status: end.map_or(Status::Ended, |e| e.status),
        });
    }

    /// Moves all of `others` behind these.
    pub fn append(&mut self, others: &mut RunUpdates) {
        if self.is_empty() {
            // The others take over the memory of these.
            std::mem::swap(self, others);
        } else {
            others.iter().for_each(|update| self.add(&update));
            others.clear();
        }
    }

    #[must_use]
    pub fn get(&self, i: usize) -> Option<RunRef<'_>> {
        self.rows.get(i).map(|row| self.read(row))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = RunRef<'_>> {
        self.rows.iter().map(|row| self.read(row))
    }

    /// The id of the execution alone.
    #[must_use]
    pub fn id(&self, i: usize) -> &str {
        self.rows.get(i).map_or("", |row| self.text(row, 0))
    }

    #[inline(always)]
    fn text(&self, row: &Row, n: usize) -> &str {
        let [from, to] = [row.at[n], row.at[n + 1]];
        self.texts.get(from as usize..to as usize).unwrap_or_default()
    }

    #[inline(always)]
    fn read(&self, row: &Row) -> RunRef<'_> {
        let is = |flag: Flag| row.flags & flag.bit(true) != 0;
        let text = |flag: Flag, n: usize| is(flag).then(|| self.text(row, n));
        RunRef {
            execution_id: self.text(row, 0),
            script_name: self.text(row, 1),
            start_time: row.start_time,
            start_declared: is(Flag::StartDeclared),
            last_seen: row.last_seen,
            pid: is(Flag::Pid).then_some(row.pid),
            host: text(Flag::Host, 2),
            parent_execution_id: text(Flag::Parent, 3),
            metadata: text(Flag::Metadata, 4),
            end: is(Flag::End).then(|| EndRef {
                status: row.status,
                time: row.end_time,
                declared: is(Flag::EndDeclared),
                error: text(Flag::Error, 5),
            }),
        }
    }

    /// Empties it, and keeps room for as many as there were, but not for many more.
    pub fn clear(&mut self) {
        let (rows, bytes) = (self.rows.len(), self.texts.len());
        self.rows.clear();
        self.texts.clear();
        self.rows.shrink_to(2 * rows);
        self.texts.shrink_to(2 * bytes);
    }

    /// Bytes of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts.len() + self.rows.len() * size_of::<Row>()
    }
}

impl From<Vec<RunUpdate>> for RunUpdates {
    fn from(updates: Vec<RunUpdate>) -> RunUpdates {
        updates.into_iter().collect()
    }
}

impl FromIterator<RunUpdate> for RunUpdates {
    fn from_iter<I: IntoIterator<Item = RunUpdate>>(updates: I) -> RunUpdates {
        let mut all = RunUpdates::default();
        all.extend(updates);
        all
    }
}

impl Extend<RunUpdate> for RunUpdates {
    fn extend<I: IntoIterator<Item = RunUpdate>>(&mut self, updates: I) {
        updates.into_iter().for_each(|update| self.push(update));
    }
}

impl RunRef<'_> {
    #[must_use]
    pub fn to_owned(&self) -> RunUpdate {
        RunUpdate {
            execution_id: self.execution_id.to_owned(),
            script_name: self.script_name.to_owned(),
            start_time: self.start_time,
            start_declared: self.start_declared,
            last_seen: self.last_seen,
            pid: self.pid,
            host: self.host.map(str::to_owned),
            parent_execution_id: self.parent_execution_id.map(str::to_owned),
            metadata: self.metadata.map(str::to_owned),
            end: self.end.map(|e| RunEnd {
                status: e.status,
                time: e.time,
                declared: e.declared,
                error: e.error.map(str::to_owned),
            }),
        }
    }
}

impl RunUpdate {
    #[must_use]
    pub fn borrowed(&self) -> RunRef<'_> {
        RunRef {
            execution_id: &self.execution_id,
            script_name: &self.script_name,
            start_time: self.start_time,
            start_declared: self.start_declared,
            last_seen: self.last_seen,
            pid: self.pid,
            host: self.host.as_deref(),
            parent_execution_id: self.parent_execution_id.as_deref(),
            metadata: self.metadata.as_deref(),
            end: self.end.as_ref().map(RunEnd::borrowed),
        }
    }
}

impl RunEnd {
    #[must_use]
    pub fn borrowed(&self) -> EndRef<'_> {
        EndRef {
            status: self.status,
            time: self.time,
            declared: self.declared,
            error: self.error.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An update for each number, which differ in what they have.
    fn update(n: u32) -> RunUpdate {
        let has = |bit: u32, text: &str| (n >> bit & 1 == 1).then(|| format!("{text}{n}"));
        RunUpdate {
            execution_id: format!("run_{n}"),
            script_name: "é".repeat(n as usize % 3),
            start_time: i64::from(n) - 20,
            start_declared: n % 2 == 1,
            last_seen: i64::from(n),
            pid: (n % 3 == 1).then_some(i64::from(n)),
            host: has(0, "host"),
            parent_execution_id: has(1, ""),
            metadata: has(2, "{}"),
            end: (n % 5 > 1).then(|| RunEnd {
                status: [Status::Success, Status::Failed, Status::Lost][n as usize % 3],
                time: i64::from(n) + 7,
                declared: n % 7 > 3,
                error: has(3, "失败"),
            }),
        }
    }

    #[test]
    fn updates_come_out_as_they_went_in() {
        let updates: Vec<RunUpdate> = (0..200).map(update).collect();
        let all = RunUpdates::from(updates.clone());
        let out: Vec<RunUpdate> = all.iter().map(|u| u.to_owned()).collect();
        assert_eq!(out, updates);
        assert_eq!(all.get(17).map(|u| u.to_owned()), updates.get(17).cloned());
        assert_eq!((all.id(3), all.id(200), all.get(200)), ("run_3", "", None));
    }

    #[test]
    fn those_appended_follow_in_order_and_are_gone_where_they_were() {
        let (mut first, mut second) = (RunUpdates::default(), RunUpdates::default());
        for n in 0..4 {
            second.push(update(n));
            first.append(&mut second);
            assert!(second.is_empty());
        }
        assert_eq!(first, (0..4).map(update).collect());
    }

    #[test]
    fn an_emptied_one_keeps_room_for_as_many_but_not_for_many_more() {
        let mut all: RunUpdates = (0..1000).map(update).collect();
        all.clear();
        assert!(all.is_empty() && all.rows.capacity() >= 1000);
        all.push(update(1));
        all.clear();
        assert!(all.rows.capacity() < 100);
        assert_eq!(all.iter().len(), 0);
    }

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 64, "{}", size_of::<Row>());
    }
}
