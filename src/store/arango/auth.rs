//! Who the agent is to the server.
//!
//! With `basic` the same header goes with each request. With `jwt` the agent logs in once and sends the token, which
//! the server need not check against its list of users each time. A token dies at its `exp`, and, unless the server was
//! given a fixed secret, whenever the server restarts; so it is renewed when a tenth of its life is left, and a 401
//! brings one new login. Life is counted on this machine's monotonic clock from the moment the token came, so that
//! clocks that disagree do no harm.
//!
//! The header is marked sensitive, so that no debug output of the HTTP library shows it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::errors::Error;
use crate::config;

/// How the agent proves who it is.
pub enum Auth {
    Basic(HeaderValue),
    Jwt {
        username: String,
        password: String,
        token: tokio::sync::Mutex<Token>,
    },
}

/// A token and when to think of the next.
#[derive(Default)]
pub struct Token {
    header: Option<HeaderValue>,
    renew_at: Option<Instant>,
    /// The server's authentication is off: it knows no login.
    off: bool,
    /// Counts logins, so that of several requests that met the same dead token one logs in.
    pub serial: u64,
}

impl Token {
    /// The header to send, unless a login must come first. The inner option is empty where none is wanted.
    #[must_use]
    pub fn usable(&self, now: Instant) -> Option<Option<HeaderValue>> {
        if self.off {
            return Some(None);
        }
        match (&self.header, self.renew_at) {
            (Some(h), Some(at)) if now < at => Some(Some(h.clone())),
            (Some(h), None) => Some(Some(h.clone())),
            _ => None,
        }
    }

    /// The header there is, due for renewal or not: better than nothing while the login cannot be reached.
    #[must_use]
    pub fn stale(&self) -> Option<HeaderValue> {
        self.header.clone()
    }

    pub fn adopt(&mut self, jwt: &str, now: Instant, unix_now: u64) -> Result<(), Error> {
        self.header = Some(sensitive(&format!("bearer {jwt}"))?);
        self.renew_at = renew_after(jwt, unix_now).and_then(|d| now.checked_add(d));
        self.off = false;
        self.serial += 1;
        Ok(())
    }

    pub fn switched_off(&mut self) {
        self.header = None;
        self.off = true;
        self.serial += 1;
    }

    pub fn discard(&mut self, serial: u64) {
        if self.serial == serial {
            self.header = None;
            self.off = false;
        }
    }
}

impl Auth {
    pub fn new(settings: &config::Arangodb) -> Result<Auth, Error> {
        Ok(match settings.auth {
            config::Auth::Basic => {
                let pair = STANDARD.encode(format!("{}:{}", settings.username, settings.password));
                Auth::Basic(sensitive(&format!("Basic {pair}"))?)
            }
            config::Auth::Jwt => Auth::Jwt {
                username: settings.username.clone(),
                password: settings.password.clone(),
                token: tokio::sync::Mutex::default(),
            },
        })
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::Settings("the server's token has characters that a header cannot carry".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
}

/// How long a fresh token is used before the next is fetched: nine tenths of its life. `None` if it says nothing of an
/// end; then only a 401 tells.
#[must_use]
pub fn renew_after(jwt: &str, unix_now: u64) -> Option<Duration> {
    let claims = jwt.split('.').nth(1)?.trim_end_matches('=');
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let life = claims.exp? - claims.iat.unwrap_or(unix_now as f64);
    // A year at most, and never a panic over what a server put into a number.
    Duration::try_from_secs_f64((life * 0.9).clamp(0.0, 31_536_000.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_renewed_when_a_tenth_of_its_life_is_left() {
        let after = renew_after(&jwt(r#"{"iat":1000,"exp":4600}"#), 999_999);
        assert_eq!(after, Some(Duration::from_secs(3240)));
        let after = renew_after(&jwt(r#"{"exp":2000}"#), 1000);
        assert_eq!(after, Some(Duration::from_secs(900)));
    }

    #[test]
    fn a_token_without_an_end_or_without_sense_is_used_until_it_is_refused() {
        assert_eq!(renew_after(&jwt(r#"{"iat":1}"#), 0), None);
        assert_eq!(renew_after("nonsense", 0), None);
        assert_eq!(renew_after(&jwt(r#"{"exp":1}"#), 1000), Some(Duration::ZERO));
    }

    #[test]
    fn only_the_token_that_was_refused_is_thrown_away() {
        let mut token = Token::default();
        let now = Instant::now();
        token.adopt(&jwt(r#"{"iat":1,"exp":100}"#), now, 1).unwrap();
        let first = token.serial;
        token.adopt(&jwt(r#"{"iat":1,"exp":100}"#), now, 1).unwrap();
        token.discard(first);
        assert!(token.usable(now).is_some());
        token.discard(token.serial);
        assert!(token.usable(now).is_none());
    }

    #[test]
    fn the_header_is_never_shown() {
        let Ok(header) = sensitive("Basic cm9vdDpwYXNz") else {
            panic!()
        };
        assert!(!format!("{header:?}").contains("cm9v"));
    }
}
