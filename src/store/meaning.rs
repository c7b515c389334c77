//! Vectors of texts, from an OpenAI-compatible endpoint (`/v1/embeddings`).
//!
//! It stands beside the stores because it is the only other thing that is asked over HTTP. It keeps nothing: texts go
//! out in one request, vectors come back and are compared in the process. Every failure is a sentence for a person, and
//! never holds the key.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config;

/// The longest answer that is read, in bytes: a hundred vectors of 4,096 numbers, written out.
const MAX_ANSWER: usize = 16 << 20;

/// Turns texts into vectors.
pub trait Meaning: Send + Sync {
    /// One vector for each text, all of one length.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String>;

    /// Cosine from which on texts are alike although they share no words.
    fn min_similarity(&self) -> f64;
}

/// The configured endpoint.
pub struct Embedder {
    url: String,
    model: String,
    api_key: String,
    timeout: Duration,
    min_similarity: f64,
}

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a str,
    input: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl Embedder {
    /// The endpoint of the settings; `None` where none is configured. Nothing is sent yet.
    #[must_use]
    pub fn new(settings: &config::Embeddings) -> Option<Embedder> {
        if settings.url.is_empty() {
            return None;
        }
        let base = settings.url.trim_end_matches('/');
        Some(Embedder {
            url: if base.ends_with("/embeddings") {
                base.to_owned()
            } else {
                format!("{base}/embeddings")
            },
            model: settings.model.clone(),
            api_key: if settings.api_key.is_empty() {
                key_of(&settings.api_key_file)
            } else {
                settings.api_key.clone()
            },
            timeout: settings.timeout,
            min_similarity: settings.min_similarity,
        })
    }

    async fn ask(&self, texts: &[String]) -> Result<Vec<u8>, String> {
        let client = reqwest::Client::builder()
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("logagent/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| reason(&e))?;
        let body = serde_json::to_vec(&Asked {
            model: &self.model,
            input: texts,
        });
        let mut request = client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.map_err(|e| e.to_string())?);
        if !self.api_key.is_empty() {
            request = request.bearer_auth(&self.api_key);
        }
        let mut answer = request.send().await.map_err(|e| reason(&e))?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| reason(&e))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err("its answer is too long".to_owned());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

impl Meaning for Embedder {
    fn vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let failed = |e: String| format!("the embedding endpoint {} was of no use: {e}", self.url);
        // A thread of its own: who asks may be within a runtime already, where another one must not be waited for.
        let asked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|e| e.to_string())?.block_on(self.ask(texts))
            });
            thread
                .join()
                .unwrap_or_else(|_| Err("it could not be asked".to_owned()))
        });
        asked.and_then(|bytes| read(&bytes, texts.len())).map_err(failed)
    }

    fn min_similarity(&self) -> f64 {
        self.min_similarity
    }
}

/// The vectors of an answer, in the order of the texts.
fn read(bytes: &[u8], texts: usize) -> Result<Vec<Vec<f32>>, String> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|e| format!("its answer is not understood: {e}"))?;
    let mut items: Vec<(usize, Vec<f32>)> = answer
        .data
        .into_iter()
        .enumerate()
        .map(|(i, item)| (item.index.unwrap_or(i), item.embedding))
        .collect();
    items.sort_by_key(|(i, _)| *i);
    let len = items.first().map_or(0, |(_, v)| v.len());
    let whole = items
        .iter()
        .enumerate()
        .all(|(i, (index, v))| i == *index && v.len() == len);
    if items.len() != texts || len == 0 || !whole {
        return Err(format!("it gave {} vectors for {texts} texts", items.len()));
    }
    Ok(items.into_iter().map(|(_, v)| v).collect())
}

/// The key in a file; where it cannot be read, the endpoint is asked without and says so.
fn key_of(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return String::new();
    }
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
        Err(e) => {
            tracing::warn!(file = %path.display(), "embeddings.api_key_file cannot be read: {e}");
            String::new()
        }
    }
}

/// The innermost cause, without the address, which is said already.
fn reason(e: &reqwest::Error) -> String {
    if e.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// How alike two vectors point, from -1 to 1; 0 where one of them has no direction.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    let length = (aa * bb).sqrt();
    if length > 0.0 && length.is_finite() {
        dot / length
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer() {
        let answer = br#"{"data":[{"index":1,"embedding":[0,1]},{"index":0,"embedding":[1,0]}],"usage":{}}"#;
        assert_eq!(read(answer, 2), Ok(vec![vec![1.0, 0.0], vec![0.0, 1.0]]));
        for bad in [
            &br#"{"data":[]}"#[..],
            br#"{"data":[{"embedding":[1]},{"embedding":[1,2]}]}"#,
            br#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
            br#"{"error":"no"}"#,
            b"",
        ] {
            assert!(read(bad, 2).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_cosine_is_one_for_the_same_direction_and_zero_for_none() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-9);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-9);
        assert!(cosine(&[0.0, 0.0], &[1.0, 1.0]).abs() < 1e-9);
        assert!(cosine(&[f32::MAX, f32::MAX], &[f32::MAX, f32::MAX]).is_finite());
    }
}
