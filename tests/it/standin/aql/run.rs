//! Running a query: clauses as a chain of rows, each drawn when the next one asks for it, so that a limit ends what
//! stands before it.
//!
//! Reading sees the data as it was when the query began; writing goes to the data itself.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::super::catalog::Database;
use super::Fail;
use super::tree::{Clause, Expr, Op, Query};
use super::value::{equal, order, size, truth};

pub type R<T> = Result<T, Fail>;
pub type Rows<'e> = Box<dyn Iterator<Item = R<Env<'e>>> + 'e>;

/// Variables in scope.
#[derive(Clone, Default)]
pub struct Env<'e>(Option<Rc<Node<'e>>>);

struct Node<'e> {
    name: &'e str,
    value: Rc<Value>,
    /// How well a document of a view matched.
    score: f64,
    before: Env<'e>,
}

impl<'e> Env<'e> {
    pub fn with(&self, name: &'e str, value: Rc<Value>) -> Env<'e> {
        self.scored(name, value, 0.0)
    }

    pub fn scored(&self, name: &'e str, value: Rc<Value>, score: f64) -> Env<'e> {
        Env(Some(Rc::new(Node {
            name,
            value,
            score,
            before: self.clone(),
        })))
    }

    fn node(&self, name: &str) -> Option<&Node<'e>> {
        let mut at = self;
        while let Some(node) = &at.0 {
            if node.name == name {
                return Some(node);
            }
            at = &node.before;
        }
        None
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.node(name).map(|n| &*n.value)
    }

    pub fn score(&self, name: &str) -> Option<f64> {
        self.node(name).map(|n| n.score)
    }
}

type Places = HashMap<String, Vec<usize>>;

/// A collection as the query sees it.
pub struct Source {
    pub docs: Vec<Rc<Value>>,
    /// Of an attribute: text to places.
    indexes: RefCell<HashMap<String, Rc<Places>>>,
}

impl Source {
    pub fn new(docs: Vec<Rc<Value>>) -> Source {
        Source {
            docs,
            indexes: RefCell::default(),
        }
    }

    fn index(&self, attribute: &str) -> Rc<Places> {
        let mut all = self.indexes.borrow_mut();
        let made = all.entry(attribute.to_owned()).or_insert_with(|| {
            let mut index = Places::new();
            for (i, doc) in self.docs.iter().enumerate() {
                if let Some(text) = doc[attribute].as_str() {
                    index.entry(text.to_owned()).or_default().push(i);
                }
            }
            Rc::new(index)
        });
        Rc::clone(made)
    }

    pub fn one(&self, attribute: &str, text: &str) -> Option<Rc<Value>> {
        let index = self.index(attribute);
        index.get(text)?.first().map(|i| Rc::clone(&self.docs[*i]))
    }
}

/// A query at work.
pub struct Run<'w> {
    pub db: RefCell<&'w mut Database>,
    pub binds: &'w Map<String, Value>,
    pub deadline: Instant,
    pub memory_limit: u64,
    pub full_count: bool,
    pub sources: RefCell<BTreeMap<String, Rc<Source>>>,
    pub warnings: RefCell<Vec<(i64, String)>>,
    pub executed: Cell<u64>,
    pub ignored: Cell<u64>,
    pub scanned: Cell<u64>,
    pub filtered: Cell<u64>,
    pub counted: Cell<Option<u64>>,
    memory: Cell<u64>,
    steps: Cell<u32>,
    pub now: i64,
}

impl<'w> Run<'w> {
    pub fn new(db: &'w mut Database, binds: &'w Map<String, Value>, runtime: Duration, memory_limit: u64) -> Run<'w> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Run {
            db: RefCell::new(db),
            binds,
            deadline: Instant::now() + runtime,
            memory_limit,
            full_count: false,
            sources: RefCell::default(),
            warnings: RefCell::default(),
            executed: Cell::new(0),
            ignored: Cell::new(0),
            scanned: Cell::new(0),
            filtered: Cell::new(0),
            counted: Cell::new(None),
            memory: Cell::new(0),
            steps: Cell::new(0),
            now: now.map_or(0, |d| d.as_millis() as i64),
        }
    }

    pub fn warn(&self, num: i64, text: &str) -> Value {
        self.warnings.borrow_mut().push((num, text.to_owned()));
        Value::Null
    }

    /// Ends a query that takes too long.
    pub fn tick(&self) -> R<()> {
        self.steps.set(self.steps.get().wrapping_add(1));
        if self.steps.get().is_multiple_of(64) {
            self.in_time()?;
        }
        Ok(())
    }

    pub fn in_time(&self) -> R<()> {
        if Instant::now() > self.deadline {
            return Err(Fail::new(410, 1500, "query killed"));
        }
        Ok(())
    }

    /// Ends a query that keeps too much.
    pub fn keep(&self, v: &Value) -> R<()> {
        self.memory.set(self.memory.get() + size(v));
        if self.memory_limit > 0 && self.memory.get() > self.memory_limit {
            return Err(Fail::new(500, 32, "query would use more memory than allowed"));
        }
        Ok(())
    }

    /// The rows that a query returns.
    pub fn values<'e>(&'e self, query: &'e Query, env: Env<'e>) -> R<Vec<Value>> {
        let Some((last, before)) = query.clauses.split_last() else {
            return Ok(Vec::new());
        };
        let Clause::Return { distinct, value } = last else {
            for row in self.pipe(&query.clauses, env) {
                row?;
            }
            return Ok(Vec::new());
        };
        let mut out: Vec<Value> = Vec::new();
        for row in self.pipe(before, env) {
            let row = row?;
            let value = self.eval(value, &row)?.into_owned();
            if *distinct && out.iter().any(|v| equal(v, &value)) {
                continue;
            }
            self.keep(&value)?;
            out.push(value);
        }
        Ok(out)
    }

    pub fn pipe<'e>(&'e self, clauses: &'e [Clause], env: Env<'e>) -> Rows<'e> {
        let around = env.clone();
        let mut rows: Rows<'e> = Box::new(std::iter::once(Ok(env)));
        for (i, clause) in clauses.iter().enumerate() {
            rows = self.step(clause, clauses.get(i + 1), rows, &around);
        }
        rows
    }

    fn step<'e>(&'e self, clause: &'e Clause, next: Option<&'e Clause>, rows: Rows<'e>, around: &Env<'e>) -> Rows<'e> {
        match clause {
            Clause::For {
                name,
                of,
                search,
                options,
            } => Box::new(rows.flat_map(move |row| -> Rows<'e> {
                let looped = row.and_then(|env| match search {
                    Some(condition) => self.searched(name, of, condition, options.as_ref(), env),
                    None => self.each(name, of, next, env),
                });
                looped.unwrap_or_else(|e| Box::new(std::iter::once(Err(e))))
            })),
            Clause::Filter(condition) => Box::new(rows.filter_map(move |row| {
                let env = match row {
                    Ok(env) => env,
                    Err(e) => return Some(Err(e)),
                };
                match self.eval(condition, &env).map(|v| truth(&v)) {
                    Ok(true) => Some(Ok(env)),
                    Ok(false) => {
                        self.filtered.set(self.filtered.get() + 1);
                        None
                    }
                    Err(e) => Some(Err(e)),
                }
            })),
            Clause::Let(name, value) => Box::new(rows.map(move |row| {
                let env = row?;
                let value = Rc::new(self.eval(value, &env)?.into_owned());
                Ok(env.with(name, value))
            })),
            Clause::Sort(keys) => self.late(rows, move |rows| self.sorted(keys, rows)),
            Clause::Limit { offset, count, last } => self.limited(offset.as_ref(), count, *last, rows),
            Clause::Collect(c) => {
                let around = around.clone();
                self.late(rows, move |rows| self.grouped(c, rows, &around))
            }
            Clause::Write(w) => {
                // A write takes all of its rows first, whoever wants how many of them.
                self.late(rows, move |rows| {
                    rows.into_iter().map(|env| self.write(w, env)).collect()
                })
            }
            Clause::Return { .. } => Box::new(std::iter::once(Err(Fail::syntax("RETURN in the middle")))),
        }
    }

    /// A step that wants all rows before it gives the first.
    fn late<'e>(&'e self, rows: Rows<'e>, f: impl FnOnce(Vec<Env<'e>>) -> R<Vec<Env<'e>>> + 'e) -> Rows<'e> {
        let all = std::iter::once_with(move || rows.collect::<R<Vec<_>>>().and_then(f));
        Box::new(all.flat_map(|all| -> Rows<'e> {
            match all {
                Ok(all) => Box::new(all.into_iter().map(Ok)),
                Err(e) => Box::new(std::iter::once(Err(e))),
            }
        }))
    }

    fn sorted<'e>(&'e self, keys: &'e [(Expr, bool)], rows: Vec<Env<'e>>) -> R<Vec<Env<'e>>> {
        let mut keyed = Vec::with_capacity(rows.len());
        for env in rows {
            let mut of = Vec::with_capacity(keys.len());
            for (key, _) in keys {
                of.push(self.eval(key, &env)?.into_owned());
            }
            keyed.push((of, env));
        }
        keyed.sort_by(|(a, _), (b, _)| {
            let pairs = a.iter().zip(b).zip(keys);
            pairs
                .map(|((a, b), (_, down))| if *down { order(b, a) } else { order(a, b) })
                .find(|o| o.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        Ok(keyed.into_iter().map(|(_, env)| env).collect())
    }

    fn limited<'e>(&'e self, offset: Option<&'e Expr>, count: &'e Expr, last: bool, rows: Rows<'e>) -> Rows<'e> {
        let whole = |e: &Expr| -> R<usize> {
            let v = self.eval(e, &Env::default())?.into_owned();
            let n = v.as_u64().ok_or_else(|| Fail::new(400, 1504, "number out of range"))?;
            Ok(usize::try_from(n).unwrap_or(usize::MAX))
        };
        let bounds = offset.map_or(Ok(0), whole).and_then(|o| Ok((o, whole(count)?)));
        let (offset, count) = match bounds {
            Ok(bounds) => bounds,
            Err(e) => return Box::new(std::iter::once(Err(e))),
        };
        if last && self.full_count {
            return self.late(rows, move |rows| {
                self.counted.set(Some(rows.len() as u64));
                Ok(rows.into_iter().skip(offset).take(count).collect())
            });
        }
        Box::new(rows.skip(offset).take(count))
    }

    /// The name that a collection expression means.
    pub fn collection_name(&self, of: &Expr) -> Option<String> {
        match of {
            Expr::Collection(name) => Some(name.clone()),
            Expr::BoundCollection(name) => self.binds.get(&format!("@{name}"))?.as_str().map(str::to_owned),
            _ => None,
        }
    }

    /// The documents of a collection, in no certain order.
    pub fn source(&self, name: &str) -> R<Rc<Source>> {
        if let Some(known) = self.sources.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let db = self.db.borrow();
        let missing = || Fail::new(404, 1203, &format!("AQL: collection or view not found: {name}"));
        let docs: Vec<Rc<Value>> = match db.collections.get(name) {
            Some(c) => c.documents.values().cloned().map(Rc::new).collect(),
            None if db.views.contains_key(name) => self.view_documents(name, &db),
            None => return Err(missing()),
        };
        let mut mixed: Vec<(u64, Rc<Value>)> = docs
            .into_iter()
            .map(|d| (xxhash_rust::xxh3::xxh3_64(d["_id"].to_string().as_bytes()), d))
            .collect();
        mixed.sort_by_key(|(hash, _)| *hash);
        let source = Rc::new(Source::new(mixed.into_iter().map(|(_, d)| d).collect()));
        self.sources.borrow_mut().insert(name.to_owned(), Rc::clone(&source));
        Ok(source)
    }

    fn each<'e>(&'e self, name: &'e str, of: &'e Expr, next: Option<&'e Clause>, env: Env<'e>) -> R<Rows<'e>> {
        if let Some(collection) = self.collection_name(of) {
            let source = self.source(&collection)?;
            let chosen = match next {
                Some(Clause::Filter(condition)) => self.chosen(&source, name, condition, &env)?,
                _ => None,
            };
            let places = chosen.unwrap_or_else(|| (0..source.docs.len()).collect());
            return Ok(Box::new(places.into_iter().map(move |i| {
                self.tick()?;
                self.scanned.set(self.scanned.get() + 1);
                Ok(env.with(name, Rc::clone(&source.docs[i])))
            })));
        }
        if let Expr::Binary(Op::Range, from, to) = of {
            let bound = |e: &Expr| Ok::<i64, Fail>(super::value::number(&*self.eval(e, &env)?) as i64);
            let (from, to) = (bound(from)?, bound(to)?);
            let range: Box<dyn Iterator<Item = i64>> = if from <= to {
                Box::new(from..=to)
            } else {
                Box::new((to..=from).rev())
            };
            return Ok(Box::new(range.map(move |i| {
                self.tick()?;
                Ok(env.with(name, Rc::new(i.into())))
            })));
        }
        let items = match self.eval(of, &env)?.into_owned() {
            Value::Array(items) => items,
            other => {
                let kind = super::value::type_name(&other);
                let text = format!(
                    "collection or array expected as operand to FOR loop; you provided a value of type '{kind}'"
                );
                return Err(Fail::new(400, 1563, &text));
            }
        };
        Ok(Box::new(items.into_iter().map(move |item| {
            self.tick()?;
            Ok(env.with(name, Rc::new(item)))
        })))
    }

    /// Places that an equality of the filter allows, if it has one. Only saves time: the filter is applied all the same.
    fn chosen(&self, source: &Source, name: &str, condition: &Expr, env: &Env<'_>) -> R<Option<Vec<usize>>> {
        match condition {
            Expr::Binary(Op::And, a, b) => match self.chosen(source, name, a, env)? {
                None => self.chosen(source, name, b, env),
                some => Ok(some),
            },
            Expr::Binary(Op::Eq, a, b) => {
                let Expr::Attribute(of, attribute) = &**a else {
                    return Ok(None);
                };
                let mine = matches!(&**of, Expr::Variable(v) if v == name);
                if !mine
                    || !matches!(
                        **b,
                        Expr::Bind(_) | Expr::Value(_) | Expr::Attribute(..) | Expr::Variable(_)
                    )
                {
                    return Ok(None);
                }
                if speaks_of(b, name) {
                    return Ok(None);
                }
                let Value::String(wanted) = self.eval(b, env)?.into_owned() else {
                    return Ok(None);
                };
                Ok(Some(source.index(attribute).get(&wanted).cloned().unwrap_or_default()))
            }
            _ => Ok(None),
        }
    }
}

fn speaks_of(e: &Expr, name: &str) -> bool {
    match e {
        Expr::Variable(v) => v == name,
        Expr::Attribute(of, _) => speaks_of(of, name),
        _ => false,
    }
}
