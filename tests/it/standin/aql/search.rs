//! `SEARCH` on a view: what its index holds, which conditions it can answer, and how well a document matches.
//!
//! * Only linked fields are in the index, under the analyzers of their link. A condition on anything else, or under
//!   another analyzer, finds nothing, silently.
//! * Outside of `ANALYZER()` comparisons use `identity`: the whole value, by bytes. `text_en` cuts words as Unicode
//!   does (a dot or an apostrophe between letters, and an underscore, stay within a word), lower-cases, takes accents
//!   away and stems.
//! * Elements of an array are alternatives, those of nested objects too.
//! * The index shows what was written at its last commit.
//! * The score is BM25 with the server's defaults, over the terms that matched.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rust_stemmers::{Algorithm, Stemmer};
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

use super::super::catalog::Database;
use super::Fail;
use super::run::{Env, R, Rows, Run};
use super::tree::{Expr, Op};
use super::value::{number, order, text, truth};

impl Run<'_> {
    /// Terms of a text under an analyzer, built-in or of the database.
    pub fn analyze(&self, text: &str, analyzer: &str) -> R<Vec<String>> {
        match analyzer {
            "identity" => return Ok(vec![text.to_owned()]),
            "text_en" => return Ok(prose(text)),
            _ => {}
        }
        let db = self.db.borrow();
        let own = db.analyzers.get(analyzer.rsplit("::").next().unwrap_or_default());
        let unknown = || Fail::new(400, 10, &format!("unable to load requested analyzer '{analyzer}'"));
        piped(text, own.ok_or_else(unknown)?)
    }
}

/// The types of analyzer that are used, and pipelines of them.
fn piped(text: &str, analyzer: &Value) -> R<Vec<String>> {
    let properties = &analyzer["properties"];
    match analyzer["type"].as_str() {
        Some("pipeline") => {
            let mut terms = vec![text.to_owned()];
            for part in properties["pipeline"].as_array().into_iter().flatten() {
                let mut next = Vec::new();
                for term in &terms {
                    next.extend(piped(term, part)?);
                }
                terms = next;
            }
            Ok(terms)
        }
        Some("multi_delimiter") => {
            let delimiters = properties["delimiters"].as_array().into_iter().flatten();
            let delimiters: Vec<&str> = delimiters.filter_map(Value::as_str).collect();
            let mut terms = vec![String::new()];
            let mut rest = text;
            while let Some(c) = rest.chars().next() {
                let at = delimiters.iter().find(|d| rest.starts_with(**d));
                match at {
                    Some(_) => terms.push(String::new()),
                    None => terms.last_mut().expect("one").push(c),
                }
                rest = &rest[at.map_or(c.len_utf8(), |d| d.len())..];
            }
            terms.retain(|t| !t.is_empty());
            Ok(terms)
        }
        Some("norm") if properties["case"] == "lower" && properties["accent"] == false => {
            // Accents that stand for themselves, too.
            let letters = text.to_lowercase();
            let letters = letters.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c));
            Ok(vec![letters.map(unaccented).collect()])
        }
        _ => Err(Fail::new(400, 10, "the stand-in knows no such analyzer")),
    }
}

/// Terms of a text under `text_en`.
fn prose(text: &str) -> Vec<String> {
    // Words come again and again; stemming each anew would take most of a test's time.
    thread_local! {
        static STEMS: RefCell<HashMap<String, String>> = RefCell::default();
        static STEMMER: Stemmer = Stemmer::create(Algorithm::English);
    }
    let stem = |word: &str| {
        if let Some(known) = STEMS.with_borrow(|s| s.get(word).cloned()) {
            return known;
        }
        let plain: String = word.to_lowercase().chars().map(unaccented).collect();
        let stem = STEMMER.with(|s| s.stem(&plain).into_owned());
        STEMS.with_borrow_mut(|s| s.insert(word.to_owned(), stem.clone()));
        stem
    };
    text.unicode_words().map(stem).collect()
}

/// The common letters of Western languages without their accents.
fn unaccented(c: char) -> char {
    match c {
        'à'..='å' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'ì'..='ï' => 'i',
        'ñ' => 'n',
        'ò'..='ö' => 'o',
        'ù'..='ü' => 'u',
        'ý' | 'ÿ' => 'y',
        c => c,
    }
}

/// What one field of one document has in the index: its scalar values, and their terms.
struct Indexed {
    values: Vec<Value>,
    terms: Vec<Vec<String>>,
}

/// A condition of the query that counts for the score: by the place of its expression and the field.
type Leaf = (usize, String);

struct Hit {
    leaf: Leaf,
    frequency: f64,
    length: f64,
    boost: f64,
}

struct Index<'v> {
    links: &'v Value,
    cache: RefCell<HashMap<(String, String, String), Rc<Indexed>>>,
}

impl Index<'_> {
    /// Whether the view has the field of this collection under the analyzer.
    fn has(&self, collection: &str, path: &[String], analyzer: &str) -> bool {
        let mut at = &self.links[collection];
        let mut analyzers = &at["analyzers"];
        for name in path {
            match at["fields"].get(name) {
                Some(field) => at = field,
                None if at["includeAllFields"] == true => break,
                None => return false,
            }
            if at["analyzers"].is_array() {
                analyzers = &at["analyzers"];
            }
        }
        match analyzers {
            Value::Array(list) if !list.is_empty() => list.iter().any(|a| a == analyzer),
            _ => analyzer == "identity",
        }
    }

    fn field(&self, run: &Run<'_>, doc: &Value, path: &[String], analyzer: &str) -> R<Rc<Indexed>> {
        let id = text(&doc["_id"]);
        let key = (id.clone(), path.join("."), analyzer.to_owned());
        if let Some(known) = self.cache.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let mut values = Vec::new();
        if self.has(id.split('/').next().unwrap_or_default(), path, analyzer) {
            gather(doc, path, &mut values);
            if analyzer != "identity" {
                values.retain(Value::is_string);
            }
        }
        let terms: R<Vec<Vec<String>>> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|v| run.analyze(v, analyzer))
            .collect();
        let terms = terms?;
        let made = Rc::new(Indexed { values, terms });
        self.cache.borrow_mut().insert(key, Rc::clone(&made));
        Ok(made)
    }
}

fn gather(v: &Value, path: &[String], out: &mut Vec<Value>) {
    match (v, path) {
        (Value::Array(items), _) => items.iter().for_each(|i| gather(i, path, out)),
        (Value::Object(map), [first, rest @ ..]) => {
            if let Some(v) = map.get(first) {
                gather(v, rest, out);
            }
        }
        (Value::Object(_), []) => {}
        (scalar, []) => out.push(scalar.clone()),
        _ => {}
    }
}

/// How many conjunctions a condition becomes when it is multiplied out, which the server does unless it is told not to.
fn alternatives(e: &Expr) -> u64 {
    match e {
        Expr::Binary(Op::And, a, b) => alternatives(a).saturating_mul(alternatives(b)),
        Expr::Binary(Op::Or, a, b) => alternatives(a).saturating_add(alternatives(b)),
        _ => 1,
    }
}

/// The server would try for long; a test is told.
const MANY: u64 = 1000;

/// One search under way.
struct Search<'a, 'w> {
    run: &'a Run<'w>,
    name: &'a str,
    env: &'a Env<'a>,
    index: Index<'a>,
}

impl Run<'_> {
    pub fn searched<'e>(
        &'e self,
        name: &'e str,
        of: &'e Expr,
        condition: &'e Expr,
        options: Option<&'e Expr>,
        env: Env<'e>,
    ) -> R<Rows<'e>> {
        let view = self.collection_name(of).unwrap_or_default();
        let wish = match options {
            Some(e) => self.eval(e, &env)?.into_owned(),
            None => Value::Null,
        };
        if wish["waitForSync"] == true {
            self.db.borrow_mut().commit_view(&view);
        }
        if wish["conditionOptimization"] != "none" && alternatives(condition) > MANY {
            return Err(Fail::new(
                400,
                1576,
                "the search condition has too many alternatives to be multiplied out",
            ));
        }
        let links = match self.db.borrow().views.get(&view) {
            Some(v) => v["links"].clone(),
            None if self.db.borrow().collections.contains_key(&view) => {
                return Err(Fail::syntax("SEARCH condition used on non-view"));
            }
            None => {
                return Err(Fail::new(
                    404,
                    1203,
                    &format!("AQL: collection or view not found: {view}"),
                ));
            }
        };
        let docs = self.source(&view)?;
        let search = Search {
            run: self,
            name,
            env: &env,
            index: Index {
                links: &links,
                cache: RefCell::default(),
            },
        };
        let mut found = Vec::new();
        let mut frequency: HashMap<Leaf, f64> = HashMap::new();
        let mut lengths: HashMap<Leaf, (f64, f64)> = HashMap::new();
        for doc in &docs.docs {
            self.tick()?;
            let mut hits = Vec::new();
            let matched = search.holds(condition, doc, "identity", 1.0, &mut hits)?;
            for hit in &hits {
                *frequency.entry(hit.leaf.clone()).or_default() += 1.0;
                let sum = lengths.entry(hit.leaf.clone()).or_default();
                *sum = (sum.0 + hit.length, sum.1 + 1.0);
            }
            if matched {
                found.push((Rc::clone(doc), hits));
            }
        }
        let all = docs.docs.len() as f64;
        let score = |hit: &Hit| {
            let df = frequency.get(&hit.leaf).copied().unwrap_or(1.0);
            let (sum, n) = lengths.get(&hit.leaf).copied().unwrap_or((1.0, 1.0));
            let idf = (1.0 + (all - df + 0.5) / (df + 0.5)).ln();
            let norm = 1.2 * (0.25 + 0.75 * hit.length / (sum / n).max(1.0));
            hit.boost * idf * hit.frequency * 2.2 / (hit.frequency + norm)
        };
        let scored: Vec<(Rc<Value>, f64)> = found
            .into_iter()
            .map(|(doc, hits)| (doc, hits.iter().map(score).sum()))
            .collect();
        drop(search);
        Ok(Box::new(
            scored
                .into_iter()
                .map(move |(doc, score)| Ok(env.scored(name, doc, score))),
        ))
    }

    /// What the view's index shows.
    pub fn view_documents(&self, view: &str, db: &Database) -> Vec<Rc<Value>> {
        let interval = db.views[view]["commitIntervalMsec"].as_u64().unwrap_or(1000);
        let links = db.views[view]["links"].as_object().cloned().unwrap_or_default();
        let linked = links.keys().filter_map(|c| db.collections.get(c));
        linked
            .flat_map(|c| c.committed(Duration::from_millis(interval)))
            .map(Rc::new)
            .collect()
    }
}

impl Search<'_, '_> {
    fn holds(&self, e: &Expr, doc: &Value, analyzer: &str, boost: f64, hits: &mut Vec<Hit>) -> R<bool> {
        match e {
            Expr::Binary(Op::And, a, b) => {
                let one = self.holds(a, doc, analyzer, boost, hits)?;
                let other = self.holds(b, doc, analyzer, boost, hits)?;
                Ok(one && other)
            }
            Expr::Binary(Op::Or, a, b) => {
                let one = self.holds(a, doc, analyzer, boost, hits)?;
                let other = self.holds(b, doc, analyzer, boost, hits)?;
                Ok(one || other)
            }
            Expr::Not(of) => Ok(!self.holds(of, doc, analyzer, 0.0, &mut Vec::new())?),
            Expr::Value(_) | Expr::Bind(_) => Ok(truth(&*self.run.eval(e, self.env)?)),
            Expr::Call(name, args) => self.function(e, name, args, doc, analyzer, boost, hits),
            Expr::Binary(op, a, b) => {
                let path = self.path(a).ok_or_else(unsupported)?;
                let held = self.compared(*op, &path, &self.constant(b)?, doc, analyzer)?;
                if held {
                    let field = self.index.field(self.run, doc, &path, analyzer)?;
                    self.note_values(e, &path, &field, boost, hits);
                }
                Ok(held)
            }
            Expr::Compare(quantifier, Op::In, a, b) => {
                let (Some(path), Value::Array(wanted)) = (self.path(b), self.constant(a)?) else {
                    return Err(unsupported());
                };
                let held: R<Vec<bool>> = wanted
                    .iter()
                    .map(|w| self.compared(Op::Eq, &path, w, doc, analyzer))
                    .collect();
                let mut each = held?.into_iter();
                Ok(match quantifier {
                    super::tree::Quantifier::All => each.all(|v| v),
                    super::tree::Quantifier::Any => each.any(|v| v),
                    super::tree::Quantifier::None => !each.any(|v| v),
                })
            }
            _ => Err(unsupported()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn function(
        &self,
        e: &Expr,
        name: &str,
        args: &[Expr],
        doc: &Value,
        analyzer: &str,
        boost: f64,
        hits: &mut Vec<Hit>,
    ) -> R<bool> {
        match (name, args) {
            ("ANALYZER", [of, with]) => self.holds(of, doc, &text(&self.constant(with)?), boost, hits),
            ("BOOST", [of, by]) => self.holds(of, doc, analyzer, boost * number(&self.constant(by)?), hits),
            ("STARTS_WITH", [of, start]) => {
                let path = self.path(of).ok_or_else(unsupported)?;
                let start = text(&self.constant(start)?);
                let field = self.index.field(self.run, doc, &path, analyzer)?;
                let count = field.terms.iter().flatten().filter(|t| t.starts_with(&start)).count();
                self.note(e, &path, count, &field, boost, hits);
                Ok(count > 0)
            }
            ("LIKE", [of, pattern]) => {
                let path = self.path(of).ok_or_else(unsupported)?;
                let pattern = text(&self.constant(pattern)?);
                let field = self.index.field(self.run, doc, &path, analyzer)?;
                let alike = |t: &&String| super::eval::like(t, &pattern, false);
                let count = field.terms.iter().flatten().filter(alike).count();
                self.note(e, &path, count, &field, boost, hits);
                Ok(count > 0)
            }
            ("PHRASE", [of, parts @ ..]) => {
                let path = self.path(of).ok_or_else(unsupported)?;
                let mut given = Vec::new();
                for part in parts {
                    given.push(self.constant(part)?);
                }
                let mut analyzer = analyzer.to_owned();
                // The last text is the analyzer, unless the parts are all of the phrase.
                if given.len() > 1 && given.len() % 2 == 0 || given.len() > 1 && given.iter().all(|v| !v.is_number()) {
                    analyzer = text(&given.pop().unwrap_or_default());
                }
                let wanted = self.phrase(&given, &analyzer)?;
                let field = self.index.field(self.run, doc, &path, &analyzer)?;
                let count = field.terms.iter().map(|terms| occurrences(terms, &wanted)).sum();
                self.note(e, &path, count, &field, boost, hits);
                Ok(count > 0)
            }
            _ => Err(unsupported()),
        }
    }

    fn phrase(&self, parts: &[Value], analyzer: &str) -> R<Vec<Place>> {
        let mut out = Vec::new();
        for part in parts {
            match part {
                Value::String(words) => out.extend(self.run.analyze(words, analyzer)?.into_iter().map(Place::Term)),
                Value::Number(_) => out.extend((0..number(part) as usize).map(|_| Place::Any)),
                Value::Object(map) => match map.get("STARTS_WITH") {
                    Some(Value::Array(one)) => out.push(Place::Start(one.first().map(text).unwrap_or_default())),
                    Some(one) => out.push(Place::Start(text(one))),
                    None => return Err(unsupported()),
                },
                _ => return Err(unsupported()),
            }
        }
        Ok(out)
    }

    fn note(&self, e: &Expr, path: &[String], count: usize, field: &Indexed, boost: f64, hits: &mut Vec<Hit>) {
        if count > 0 {
            hits.push(Hit {
                leaf: (std::ptr::from_ref(e) as usize, path.join(".")),
                frequency: count as f64,
                length: field.terms.iter().map(Vec::len).sum::<usize>() as f64,
                boost,
            });
        }
    }

    /// A comparison counts for the score too, by each value as if it were a word.
    fn note_values(&self, e: &Expr, path: &[String], field: &Indexed, boost: f64, hits: &mut Vec<Hit>) {
        for value in &field.values {
            hits.push(Hit {
                leaf: (std::ptr::from_ref(e) as usize, format!("{} {value}", path.join("."))),
                frequency: 1.0,
                length: 1.0,
                boost,
            });
        }
    }

    /// `d.a.b` as a path, if it begins at the variable of this loop.
    fn path(&self, e: &Expr) -> Option<Vec<String>> {
        match e {
            Expr::Variable(v) if v == self.name => Some(Vec::new()),
            Expr::Attribute(of, name) => {
                let mut path = self.path(of)?;
                path.push(name.clone());
                Some(path)
            }
            Expr::Index(of, at) => {
                let mut path = self.path(of)?;
                path.push(text(&self.constant(at).ok()?));
                Some(path)
            }
            _ => None,
        }
    }

    fn constant(&self, e: &Expr) -> R<Value> {
        if self.path(e).is_some() {
            return Err(unsupported());
        }
        Ok(self.run.eval(e, self.env)?.into_owned())
    }

    fn compared(&self, op: Op, path: &[String], wanted: &Value, doc: &Value, analyzer: &str) -> R<bool> {
        let field = self.index.field(self.run, doc, path, analyzer)?;
        let has = |wanted: &Value| match wanted {
            Value::String(w) => field.terms.iter().flatten().any(|t| t == w),
            other => field.values.iter().any(|v| super::value::equal(v, other)),
        };
        let ranged = |good: fn(std::cmp::Ordering) -> bool| match wanted {
            Value::String(w) => field.terms.iter().flatten().any(|t| good(t.as_str().cmp(w))),
            other => {
                let same = |v: &&Value| super::value::type_name(v) == super::value::type_name(other);
                field.values.iter().filter(same).any(|v| good(order(v, other)))
            }
        };
        Ok(match op {
            Op::Eq => has(wanted),
            Op::Ne => !has(wanted),
            Op::In => wanted.as_array().is_some_and(|w| w.iter().any(has)),
            Op::NotIn => !wanted.as_array().is_some_and(|w| w.iter().any(has)),
            Op::Lt => ranged(std::cmp::Ordering::is_lt),
            Op::Le => ranged(std::cmp::Ordering::is_le),
            Op::Gt => ranged(std::cmp::Ordering::is_gt),
            Op::Ge => ranged(std::cmp::Ordering::is_ge),
            _ => false,
        })
    }
}

fn unsupported() -> Fail {
    Fail::new(
        400,
        10,
        "Could not process SEARCH condition: the stand-in's index cannot answer it",
    )
}

/// One place of a phrase.
enum Place {
    Term(String),
    Start(String),
    Any,
}

fn occurrences(terms: &[String], wanted: &[Place]) -> usize {
    if wanted.is_empty() {
        return 0;
    }
    let fits = |(place, term): (&Place, &String)| match place {
        Place::Term(t) => t == term,
        Place::Start(s) => term.starts_with(s),
        Place::Any => true,
    };
    terms
        .windows(wanted.len())
        .filter(|w| wanted.iter().zip(*w).all(fits))
        .count()
}

#[test]
fn words_are_cut_lower_cased_and_stemmed_as_the_server_does() {
    assert_eq!(prose("Retrying the connections!"), ["retri", "the", "connect"]);
    assert_eq!(prose("os.path can't load_data"), ["os.path", "can't", "load_data"]);
}
