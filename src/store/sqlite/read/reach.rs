//! How to get at the events of a filter: by which index, or that there are none.
//!
//! SQLite has no statistics here, so the index is named where it would take another. No index leads from a script to its
//! events, because most questions about a script find enough of them at the newest end of the time's index, and one
//! more index would cost each insert a tenth. Scripts of few events, and names that no script has, would be looked for
//! to the other end; full text, which holds the names of scripts, finds these at once.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::Fault;
use super::clauses::Clauses;
use crate::store::search::{Filter, Sign};
use crate::store::words::indexed;

/// Events of scripts that have no more than this are looked up one by one.
const FEW: usize = 2_000;

/// The way to the events of a filter.
pub struct Reach {
    pub clauses: Clauses,
    /// The table `log_events` as `e`, to stand behind `FROM`: where all of them are wanted.
    pub all: &'static str,
    /// The same, where they are wanted in order of time: walking an index beats sorting everything.
    pub in_order: &'static str,
}

/// The way to the events of `filter`; `None` where there are none.
pub fn reach(db: &Connection, filter: &Filter) -> Result<Option<Reach>, Fault> {
    let mut clauses = Clauses::default();
    let (all, in_order) = match few(db, filter)? {
        Some(ids) if ids.is_empty() => return Ok(None),
        Some(ids) => {
            let ids = serde_json::to_string(&ids).unwrap_or_default();
            clauses.add("e.id IN (SELECT value FROM json_each(?))", [Value::Text(ids)]);
            ("log_events e NOT INDEXED", "log_events e NOT INDEXED")
        }
        None if is_named(filter) => ("log_events e", "log_events e"),
        None if filter.min_level.is_some_and(|l| l >= 40) => (ERROR, ERROR),
        None => ("log_events e", "log_events e INDEXED BY log_events_time"),
    };
    clauses.events(filter);
    Ok(Some(Reach { clauses, all, in_order }))
}

const ERROR: &str = "log_events e INDEXED BY log_events_error";

/// Whether an index other than those by time leads to few events.
fn is_named(filter: &Filter) -> bool {
    !filter.executions.is_empty() || !filter.fingerprints.is_empty() || filter.has_response || filter.is_fix
}

/// The rows that can be of the filter's scripts, where they are few and nothing else leads to them.
pub fn few(db: &Connection, filter: &Filter) -> Result<Option<Vec<i64>>, Fault> {
    let by_field = || {
        filter
            .fields
            .iter()
            .find(|f| f.path == ["script_name"] && f.sign == Sign::Is)
            .map(|f| &f.values)
    };
    let names = match filter.scripts.is_empty() {
        true => by_field().map_or(&[][..], Vec::as_slice),
        false => &filter.scripts,
    };
    // A name without a word that both sides surely take for one cannot be looked for.
    let is_word = |name: &String| name.bytes().any(|b| b.is_ascii_alphanumeric()) && !name.contains('\0');
    if names.is_empty() || is_named(filter) || !names.iter().all(is_word) {
        return Ok(None);
    }
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("\"{}\"", indexed(name).replace('"', "\"\"")))
        .collect();
    let expression = format!("script_name : ({})", names.join(" OR "));
    let mut select = db.prepare_cached(&format!(
        "SELECT rowid FROM log_events_fts WHERE log_events_fts MATCH ? LIMIT {}",
        FEW + 1
    ))?;
    let ids = select
        .query_map([expression], |r| r.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    Ok((ids.len() <= FEW).then_some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::search::FieldIs;
    use crate::store::sqlite::schema;

    /// Many events of `busy-bee`, three of `rare`, one of a name without a word of letters.
    fn scripts() -> Connection {
        let db = Connection::open_in_memory().expect("a database");
        schema::ensure(&db, false).expect("a schema");
        db.execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             INSERT INTO log_events (id, _key, timestamp, level, message, execution_id, script_name)
             SELECT i, 'k' || i, 't', 'INFO', 'rare and busy', 'e',
                    CASE i WHEN 7 THEN 'rare' WHEN 8 THEN 'rare' WHEN 9 THEN 'rare' WHEN 10 THEN '--' ELSE 'busy-bee' END
             FROM n;
             INSERT INTO log_events_fts (log_events_fts) VALUES ('rebuild')",
        )
        .expect("rows");
        db
    }

    fn of(scripts: &[&str]) -> Filter {
        Filter {
            scripts: scripts.iter().map(|s| (*s).to_owned()).collect(),
            ..Filter::default()
        }
    }

    #[test]
    fn events_of_scripts_that_hardly_or_never_logged_are_found_without_looking_at_the_others() {
        let db = scripts();
        let rows = |filter: &Filter| few(&db, filter).expect("an answer");
        assert_eq!(rows(&of(&["rare"])), Some(vec![7, 8, 9]));
        assert_eq!(rows(&of(&["nobody", "and \"nothing\" OR busy"])), Some(vec![]));
        assert_eq!(rows(&of(&["busy"])), None, "part of a name that is frequent");
        assert_eq!(rows(&of(&["nobody", "busy-bee"])), None);
        for unsure in ["--", "r\0", ""] {
            assert_eq!(rows(&of(&["rare", unsure])), None, "{unsure:?}");
        }
        assert_eq!(rows(&of(&[])), None);
        let field = Filter {
            fields: vec![FieldIs {
                path: vec!["script_name".to_owned()],
                values: vec!["rare".to_owned()],
                sign: Sign::Is,
            }],
            ..Filter::default()
        };
        assert_eq!(rows(&field), Some(vec![7, 8, 9]));
    }

    #[test]
    fn an_execution_leads_to_its_events_by_itself() {
        let db = scripts();
        let named = Filter {
            executions: vec!["e".to_owned()],
            ..of(&["rare"])
        };
        assert_eq!(few(&db, &named).expect("an answer"), None);
        assert!(reach(&db, &named).expect("an answer").is_some());
        assert!(reach(&db, &of(&["nobody"])).expect("an answer").is_none());
    }
}
