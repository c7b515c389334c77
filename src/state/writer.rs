//! Making one change: the order of steps that the essay of [`super`] gives, and what happens when one fails.

use std::collections::HashMap;
use std::path::PathBuf;

use super::codec::{self, Census, SocketStream};
use super::db::{AT_ONCE, Db, DbError, Rows};
use super::dead_letters::DeadLetters;
use super::spool::Spool;
use super::{Change, Committed, Dropped, compact, now_micros};
use crate::source::Cursor;

pub(super) struct Inner {
    /// `None` after a failure, until it could be opened again.
    pub db: Option<Db>,
    pub spool: Spool,
    pub letters: DeadLetters,
    /// Rows that were applied since the last sync, or that are still to be.
    pub unsynced: Rows,
    pub unsynced_bytes: usize,
    /// Number of rows of the values that have more than one.
    pub parts: HashMap<Vec<u8>, u16>,
    /// How many values the database holds.
    pub census: Census,
    /// Below this size of its file the database is not looked at again for compaction.
    pub grown_at: u64,
    pub dir: PathBuf,
    pub aside: PathBuf,
}

/// Rows kept in memory for a failure are bounded by syncing when they are more.
const UNSYNCED_BYTES: usize = 256 << 10;

impl Inner {
    pub fn commit(&mut self, change: &Change, durable: bool) -> Result<Committed, DbError> {
        self.reopen()?;
        let letters_lost = self.letters.add(&change.dead_letters, now_micros())?;
        let spooled = self.spool.push(&change.spool)?;
        let freed = match change.spool_done {
            Some(id) => self.spool.done(id)?,
            None => false,
        };
        let spools = !change.spool.is_empty();
        let durable = durable || freed || spools;
        self.rows(change, spools || change.spool_done.is_some(), durable)?;
        self.spool.committed(&change.spool);
        if freed {
            self.spool.unlink_finished(&self.aside)?;
        }
        Ok(Committed { spooled, letters_lost })
    }

    /// The files go first: on a full disk nothing can be noted before there is room. A crash in between costs nothing but
    /// that what was given up is counted once more.
    pub fn drop_oldest(&mut self, bytes: u64) -> Result<Dropped, DbError> {
        let dropped = self.spool.drop_oldest(bytes)?;
        self.spool.unlink_finished(&self.aside)?;
        self.reopen()?;
        self.rows(&Change::default(), true, true)?;
        Ok(dropped)
    }

    /// Writes the database's part of a change: at once, or where it is large some at a time, cursors last, so that
    /// neither the rows of ten thousand files nor what sled holds for them are in memory together. A kill in between
    /// leaves cursors behind what they might be, and their records are read again.
    fn rows(&mut self, change: &Change, spool_moved: bool, durable: bool) -> Result<(), DbError> {
        let mut rows = Rows::new();
        let census = self.census;
        for entry in &change.remember {
            let key = codec::id_key(codec::ENTRY, entry.id);
            self.put(&mut rows, &key, Some(&codec::encode_entry(entry)))?;
            self.write_if_many(&mut rows)?;
        }
        for (name, value) in &change.runs {
            let value = value.as_ref().map(|v| codec::encode_named(name, v));
            self.put(&mut rows, &codec::name_key(codec::RUN, name), value.as_deref())?;
            self.write_if_many(&mut rows)?;
        }
        for (name, cursor) in &change.socket_streams {
            let stream = SocketStream {
                name: name.clone(),
                cursor: *cursor,
                used: (now_micros() / 1_000_000).max(0) as u64,
            };
            let value = codec::encode_socket(&stream);
            self.put(&mut rows, &codec::name_key(codec::SOCKET, name), Some(&value))?;
        }
        if spool_moved {
            put_single(&mut rows, codec::SPOOL, &codec::encode_mark(&self.spool.mark()));
        }
        for (id, cursor) in &change.cursors {
            let key = codec::id_key(codec::CURSOR, *id);
            self.put(&mut rows, &key, Some(&codec::encode_cursor(cursor)))?;
            self.write_if_many(&mut rows)?;
        }
        for id in &change.forget {
            self.put(&mut rows, &codec::id_key(codec::ENTRY, *id), None)?;
            self.put(&mut rows, &codec::id_key(codec::CURSOR, *id), None)?;
            self.write_if_many(&mut rows)?;
        }
        if self.census != census {
            put_single(&mut rows, codec::META, &codec::encode_census(&self.census));
        }
        self.write(rows, durable)
    }

    /// Writes the rows gathered so far if they are many, each time with the census that belongs to them.
    fn write_if_many(&mut self, rows: &mut Rows) -> Result<(), DbError> {
        if rows.len() < AT_ONCE {
            return Ok(());
        }
        put_single(rows, codec::META, &codec::encode_census(&self.census));
        self.write(std::mem::take(rows), false)
    }

    /// Adds the rows of one value; the rows it had before and has no more are removed.
    fn put(&mut self, rows: &mut Rows, key: &[u8], value: Option<&[u8]>) -> Result<(), DbError> {
        let first = codec::part_key(key, 0);
        let existed = match (rows.get(&first), &self.db) {
            (Some(row), _) => row.is_some(),
            (None, Some(db)) => db.contains(&first)?,
            (None, None) => false,
        };
        match (existed, value.is_some()) {
            (false, true) => self.census.add(key),
            (true, false) => self.census.remove(key),
            _ => {}
        }
        let before = self.parts.remove(key).unwrap_or(1);
        let new = value.map(|v| codec::rows(key, v)).unwrap_or_default();
        let count = new.len() as u16;
        if count > 1 {
            self.parts.insert(key.to_vec(), count);
        }
        for part in count..before {
            rows.insert(codec::part_key(key, part), None);
        }
        rows.extend(new.into_iter().map(|(k, v)| (k, Some(v))));
        Ok(())
    }

    /// Applies rows, and syncs if wanted. On failure they are kept for the next time.
    fn write(&mut self, rows: Rows, durable: bool) -> Result<(), DbError> {
        let bytes: usize = rows
            .iter()
            .map(|(k, v)| 64 + k.len() + v.as_ref().map_or(0, Vec::len))
            .sum();
        let result = match &self.db {
            Some(db) if rows.is_empty() => Ok(db),
            Some(db) => db.apply(&rows).map(|()| db),
            None => Err(DbError::Damaged("the database is closed".to_owned())),
        };
        self.unsynced_bytes += bytes;
        let durable = durable || self.unsynced_bytes > UNSYNCED_BYTES;
        let result = result.and_then(|db| if durable { db.sync() } else { Ok(()) });
        match result {
            Ok(()) if durable => {
                self.unsynced.clear();
                self.unsynced_bytes = 0;
                self.compact_if_grown();
                Ok(())
            }
            other => {
                self.unsynced.extend(rows);
                self.fail(other)
            }
        }
    }

    /// Lets go of a database that failed.
    fn fail<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        if result.is_err()
            && let Some(db) = self.db.take()
        {
            db.close();
        }
        result
    }

    /// After a failure: opens the database again, and writes what it may not have.
    fn reopen(&mut self) -> Result<&Db, DbError> {
        if self.db.is_none() {
            // A compaction that failed half way must not be taken for a state that is empty.
            compact::finish(&self.dir)?;
            let db = Db::open(&self.dir)?;
            let rows = std::mem::take(&mut self.unsynced);
            let caught_up = db.apply(&rows).and_then(|()| db.sync());
            if let Err(e) = caught_up {
                self.unsynced = rows;
                db.close();
                return Err(e);
            }
            self.unsynced_bytes = 0;
            self.db = Some(db);
        }
        self.db.as_ref().ok_or(DbError::Locked)
    }

    pub fn socket_stream(&mut self, name: &str) -> Result<Option<Cursor>, DbError> {
        let key = codec::name_key(codec::SOCKET, name);
        let parts = self.parts.get(&key).copied().unwrap_or(1);
        let db = self.reopen()?;
        let mut data = Vec::new();
        for part in 0..parts {
            let row_key = codec::part_key(&key, part);
            let Some(value) = db.get(&row_key)? else {
                return Ok(None);
            };
            // A damaged position is none: the client sends everything again, under the same keys.
            let Ok(row) = codec::row(&row_key, &value) else {
                return Ok(None);
            };
            data.extend_from_slice(row.data);
        }
        let stream = codec::decode_socket(&data).ok().filter(|s| s.name == name);
        Ok(stream.map(|s| s.cursor))
    }

    /// Compacts once the file is larger than `grown_at`, and waits until it has doubled where that was of no use.
    fn compact_if_grown(&mut self) {
        let disk = self.db.as_ref().map_or(0, Db::file_bytes);
        if disk <= self.grown_at.max(compact::FROM_BYTES) {
            return;
        }
        // A failure shows again in the next commit, which opens the database anew.
        let compacted = self.compact().unwrap_or(false);
        self.grown_at = if compacted { 0 } else { disk * 2 };
    }

    pub fn compact(&mut self) -> Result<bool, DbError> {
        let db = self.reopen()?;
        let mut live = 0;
        let disk = db.disk_bytes();
        db.scan(|key, value| live += (key.len() + value.len()) as u64)?;
        if !compact::worthwhile(disk, live) {
            return Ok(false);
        }
        db.sync()?;
        let Some(db) = self.db.take() else { return Ok(false) };
        match compact::run(db, &self.dir) {
            Ok(db) => {
                self.db = Some(db);
                Ok(true)
            }
            Err((db, e)) => {
                self.db = db;
                Err(e)
            }
        }
    }
}

/// Adds the rows of a value of which there is one.
fn put_single(rows: &mut Rows, kind: u8, value: &[u8]) {
    rows.extend(codec::rows(&[kind], value).into_iter().map(|(k, v)| (k, Some(v))));
}
