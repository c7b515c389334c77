//! Nearness in meaning: the optional ranking by vectors.
//!
//! # Which vectors are compared
//!
//! The question and a bounded set of candidates ([`POOL`]) are embedded on demand, in one request, by one model. The
//! `embeddings` that scripts store are not used: they were made by models of the scripts' own, over texts of their own
//! choice, and the cosine of vectors of two models means nothing. Nothing has to be computed while shipping, stored, or
//! made anew when the model changes; the price is one request for each question that asks for a ranking.
//!
//! # Failure
//!
//! Without an answer of the endpoint the other rankings stand alone, and a note says why.

use super::Asking;
use crate::record::preview_text;
use crate::store::meaning::cosine;

/// Candidates that are embedded for one question.
pub const POOL: usize = 100;
/// Characters of a text that are embedded: what an error says stands at its beginning and its end.
const TEXT: usize = 400;

/// How near each text is to the question, where an endpoint is configured; a note where it failed.
pub fn nearness(ask: &Asking<'_>, question: &str, texts: &[String], notes: &mut Vec<String>) -> Option<Vec<f64>> {
    let meaning = ask.meaning?;
    if texts.is_empty() {
        return None;
    }
    let cut = |text: &str| match text.trim() {
        // Some endpoints refuse an empty text.
        "" => "-".to_owned(),
        text => preview_text(text, TEXT).into_owned(),
    };
    let all: Vec<String> = std::iter::once(question)
        .chain(texts.iter().map(String::as_str))
        .map(cut)
        .collect();
    match meaning.vectors(&all) {
        Ok(vectors) => {
            let (first, rest) = vectors.split_first()?;
            Some(rest.iter().map(|v| cosine(first, v)).collect())
        }
        Err(why) => {
            notes.push(format!("ranked without meaning: {why}"));
            None
        }
    }
}
