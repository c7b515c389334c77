//! The analyzer that cuts texts into words for the search view.
//!
//! # Why not `text_en`
//!
//! The built-in analyzer cuts as Unicode advises for prose: an underscore, and a dot between letters, stay within a
//! word. In logs these are what words are cut at: `load_data`, `os.path`, `db.example.com`, and
//! `requests.exceptions.ConnectionError`, of which nobody types the whole. It stems as well, which finds `retried` for
//! `retrying` and loses `retryin*`. The embedded store cuts at every sign and does not stem, and the same question should
//! find the same on both.
//!
//! # How
//!
//! A pipeline of two built-in analyzers: one cuts at signs and white space and passes over empty pieces, the other takes
//! lower case and drops accents. Of signs beyond ASCII the common ones are in the list.
//!
//! An analyzer cannot be changed, only dropped, which its view does not allow: another definition needs another name.

use serde_json::{Value, json};

use super::client::{Answer, Client, Request};
use super::definitions::VIEW;
use super::errors::Error;
use super::schema::contains;
use crate::store::SchemaAction;

/// The analyzer's name, in the database.
pub const ANALYZER: &str = "logagent_words";

/// Signs beyond ASCII, and spaces, at which words end.
const SIGNS: [&str; 24] = [
    "\u{a0}", "\u{202f}", "\u{3000}", "«", "»", "“", "”", "„", "‘", "’", "…", "–", "—", "·", "•", "→", "←", "⟵", "│",
    "├", "└", "─", "、", "。",
];

/// The body that makes it.
#[must_use]
pub fn definition() -> Value {
    let ascii = (1..128u8).map(char::from).filter(|c| !c.is_ascii_alphanumeric());
    let mut delimiters: Vec<String> = ascii.map(String::from).collect();
    delimiters.extend(SIGNS.map(str::to_owned));
    json!({
        "name": ANALYZER,
        "type": "pipeline",
        "properties": {"pipeline": [
            {"type": "multi_delimiter", "properties": {"delimiters": delimiters}},
            {"type": "norm", "properties": {"locale": "en", "case": "lower", "accent": false}},
        ]},
        // What phrases and BM25 need.
        "features": ["frequency", "norm", "position"],
    })
}

/// Makes the analyzer where it is missing. One of another definition stays, since the view stands on it, and is told of.
pub async fn ensure(client: &Client, dry: bool) -> Result<SchemaAction, Error> {
    let path = ["_api", "analyzer", ANALYZER];
    match client.send(Request::get(&path)).await {
        Ok(answer) => {
            let have: Value = answer.json()?;
            // The server may tell the same in other words; then it takes ours as the one it has.
            if !is_ours(&have) && (dry || make(client).await.is_err()) {
                tracing::warn!(
                    "the analyzer {ANALYZER} has another definition here, so words may be cut elsewhere than expected: \
                     drop the view {VIEW} and this analyzer, then run `logagent init`"
                );
            }
            return Ok(SchemaAction::Unchanged);
        }
        Err(Error::Api(e)) if e.missing() => {}
        Err(e) => return Err(e),
    }
    if dry {
        return Ok(SchemaAction::Created);
    }
    match make(client).await {
        // 200: another host was first.
        Ok(answer) if answer.status == 200 => Ok(SchemaAction::Unchanged),
        Ok(_) => Ok(SchemaAction::Created),
        Err(Error::Api(e)) if e.already_exists() => Ok(SchemaAction::Unchanged),
        Err(e) => Err(e),
    }
}

async fn make(client: &Client) -> Result<Answer, Error> {
    let request = Request::post(&["_api", "analyzer"], definition().to_string().into());
    client.send(request).await
}

fn is_ours(have: &Value) -> bool {
    let mut want = definition();
    // The server puts the database before the name.
    want["name"] = have["name"].clone();
    contains(have, &want)
}

/// Links as the server tells them, with the names of analyzers as they were given: it may put the database before them.
#[must_use]
pub fn bare(links: &Value) -> Value {
    match links {
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("analyzers", Value::Array(all)) => {
                    let bare = |a: &Value| {
                        a.as_str()
                            .map_or(a.clone(), |a| a.rsplit("::").next().unwrap_or(a).into())
                    };
                    (name.clone(), all.iter().map(bare).collect())
                }
                _ => (name.clone(), bare(value)),
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delimiter_is_the_beginning_of_another() {
        let definition = definition();
        let all = definition["properties"]["pipeline"][0]["properties"]["delimiters"]
            .as_array()
            .unwrap();
        let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
        assert!(all.len() > 80 && all.contains(&"_") && all.contains(&"\n") && !all.contains(&"a"));
        for (i, a) in all.iter().enumerate() {
            assert!(
                all.iter().enumerate().all(|(j, b)| i == j || !b.starts_with(a)),
                "{a:?}"
            );
        }
    }

    #[test]
    fn names_with_the_database_before_them_are_the_same() {
        let told =
            json!({"c": {"analyzers": ["db::logagent_words", "identity"], "fields": {"f": {"analyzers": ["::x"]}}}});
        let given = json!({"c": {"analyzers": ["logagent_words", "identity"], "fields": {"f": {"analyzers": ["x"]}}}});
        assert_eq!(bare(&told), given);
    }
}
