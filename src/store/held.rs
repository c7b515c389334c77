//! What the store has of a line: the highest number under which it stands, see [`crate::record::Key`].
//!
//! Asked where nothing else remembers how many streams had a line before: once for a beginning that names no time, after
//! the loss of the state. The keys of one line lie side by side, so that the answer takes one step into an index.

use std::time::Duration;

use serde_json::json;

use super::search::{RawAsk, RawRow, ReadError, Search, Stop};
use crate::config::StoreKind;
use crate::record::{Key, Micros, format_time};

/// The time that a question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of each line the highest number under which it was stored before `before`; behind the first that was not stored
/// nothing is asked, since content that nobody had is not the beginning of any.
///
/// # Errors
/// Those of the store.
pub fn held(store: &dyn Search, kind: StoreKind, keys: &[Key], before: Micros) -> Result<Vec<Option<u32>>, ReadError> {
    let mut numbers = Vec::with_capacity(keys.len());
    for key in keys {
        let number = highest(store, kind, key, before)?;
        if number.is_none() {
            break;
        }
        numbers.push(number);
    }
    numbers.resize(keys.len(), None);
    Ok(numbers)
}

fn highest(store: &dyn Search, kind: StoreKind, key: &Key, before: Micros) -> Result<Option<u32>, ReadError> {
    let text = match kind {
        StoreKind::Sqlite => {
            "SELECT max(_key) AS key FROM log_events WHERE _key >= :low AND _key < :high AND ingested_at < :before"
        }
        StoreKind::Arangodb => {
            "FOR e IN log_events FILTER e._key >= @low AND e._key < @high AND e.ingested_at < @before \
             SORT e._key DESC LIMIT 1 RETURN e._key"
        }
    };
    let (low, high) = key.range();
    let bind = |name: &str, value: String| (name.to_owned(), json!(value));
    let ask = RawAsk {
        text: text.to_owned(),
        binds: vec![
            bind("low", low),
            bind("high", high),
            bind("before", format_time(before)),
        ],
        timeout: PATIENCE,
        stop: Stop::default(),
    };
    let mut found = None;
    store.raw(&ask, &mut |row| {
        let value = match row {
            RawRow::Columns(_, values) => values.into_iter().next().unwrap_or_default(),
            RawRow::Value(json) => serde_json::to_value(&json).unwrap_or_default(),
        };
        found = value.as_str().and_then(Key::number);
        true
    })?;
    Ok(found)
}
