//! What `--store` takes, and the form of an endpoint.

use std::path::PathBuf;

use url::Url;

/// What a `--store` argument says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoreUrl {
    /// `None`: the default path.
    Sqlite(Option<PathBuf>),
    Arangodb {
        endpoint: String,
        database: Option<String>,
        username: Option<String>,
        password: Option<String>,
    },
}

const FORMS: &str = "write sqlite:PATH or http(s)://user:password@host:port/database";

/// Reads `sqlite:PATH` or `http(s)://user:password@host:port/database`.
pub(super) fn parse(text: &str) -> Result<StoreUrl, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("sqlite:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        return Ok(StoreUrl::Sqlite((!path.is_empty()).then(|| PathBuf::from(path))));
    }
    if text == "sqlite" {
        return Ok(StoreUrl::Sqlite(None));
    }
    if !text.contains("://") {
        let hint = if text.contains('/') || text.ends_with(".db") || text.ends_with(".sqlite") {
            format!("for a file write sqlite:{text}")
        } else {
            FORMS.to_owned()
        };
        return Err(format!("{text:?} is not a store: {hint}"));
    }
    // The argument may hold a password: it is not repeated in errors.
    let url = parse_http(text).map_err(|e| format!("not a store: {e}; {FORMS}"))?;
    let path = url.path().trim_matches('/');
    let database = path.strip_prefix("_db/").unwrap_or(path);
    if database.contains('/') || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("not a store: nothing may follow the database; {FORMS}"));
    }
    let some = |t: &str| (!t.is_empty()).then(|| decode(t));
    Ok(StoreUrl::Arangodb {
        endpoint: bare(&url),
        database: some(database),
        username: some(url.username()),
        password: url.password().map(decode),
    })
}

/// An endpoint of `store.arangodb.endpoints`: `http(s)://host:port`, nothing more. Returns its normal form.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = parse_http(text.trim()).map_err(|e| format!("an endpoint is http(s)://host:port; {e}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an endpoint holds no login: use store.arangodb.username and password".to_owned());
    }
    if !url.path().trim_matches('/').is_empty() || url.query().is_some() {
        return Err(format!(
            "{text:?}: an endpoint ends with its port; the database is store.arangodb.database"
        ));
    }
    Ok(bare(&url))
}

fn parse_http(text: &str) -> Result<Url, String> {
    for (scheme, right) in [("tcp://", "http://"), ("ssl://", "https://")] {
        if text.starts_with(scheme) {
            return Err(format!("write {right} in place of {scheme}"));
        }
    }
    let url = Url::parse(text).map_err(|e| e.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{}:// is no scheme of a store", url.scheme()));
    }
    Ok(url)
}

/// Scheme, host and port only.
fn bare(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// Undoes percent-encoding; what is no valid text afterwards stays as it was.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_a_server() {
        assert_eq!(parse("sqlite:a/b.db"), Ok(StoreUrl::Sqlite(Some("a/b.db".into()))));
        assert_eq!(parse("sqlite:///a/b.db"), Ok(StoreUrl::Sqlite(Some("/a/b.db".into()))));
        assert_eq!(parse("sqlite:"), Ok(StoreUrl::Sqlite(None)));
        assert_eq!(
            parse("https://me:p%40ss@db.example:8530/logs/"),
            Ok(StoreUrl::Arangodb {
                endpoint: "https://db.example:8530".into(),
                database: Some("logs".into()),
                username: Some("me".into()),
                password: Some("p@ss".into()),
            })
        );
        assert_eq!(
            parse("http://[::1]:8529"),
            Ok(StoreUrl::Arangodb {
                endpoint: "http://[::1]:8529".into(),
                database: None,
                username: None,
                password: None,
            })
        );
    }

    #[test]
    fn a_wrong_store_says_the_right_form_and_never_repeats_a_password() {
        assert!(parse("logs/a.db").unwrap_err().contains("sqlite:logs/a.db"));
        assert!(parse("tcp://h:1").unwrap_err().contains("http://"));
        let e = parse("ftp://me:geheim@h/db").unwrap_err();
        assert!(!e.contains("geheim"), "{e}");
        assert!(parse("http://h/db/more").is_err());
    }

    #[test]
    fn endpoints_are_brought_to_one_form() {
        assert_eq!(endpoint("http://h:8529/"), Ok("http://h:8529".into()));
        assert!(endpoint("http://h:8529/db").unwrap_err().contains("database"));
        assert!(endpoint("http://u:p@h:8529").unwrap_err().contains("username"));
        assert!(endpoint("h:8529").is_err());
    }
}
