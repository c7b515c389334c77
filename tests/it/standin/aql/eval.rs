//! What an expression is worth in a row.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::Fail;
use super::run::{Env, R, Run};
use super::tree::{Expansion, Expr, Name, Op, Quantifier};
use super::value::{self, equal, from_f64, number, order, truth};

const NULL: Value = Value::Null;
static NOTHING: Value = NULL;

fn nothing<'a>() -> Cow<'a, Value> {
    Cow::Borrowed(&NOTHING)
}

impl Run<'_> {
    pub fn eval<'a>(&'a self, e: &'a Expr, env: &'a Env<'_>) -> R<Cow<'a, Value>> {
        Ok(match e {
            Expr::Value(v) => Cow::Borrowed(v),
            Expr::Bind(name) => Cow::Borrowed(self.binds.get(name).unwrap_or(&NOTHING)),
            Expr::Variable(name) => Cow::Borrowed(env.get(name).unwrap_or(&NOTHING)),
            Expr::Collection(_) | Expr::BoundCollection(_) => {
                let name = self.collection_name(e).unwrap_or_default();
                let docs = &self.source(&name)?.docs;
                Cow::Owned(docs.iter().map(|d| (**d).clone()).collect())
            }
            Expr::Attribute(of, name) => attribute(self.eval(of, env)?, name),
            Expr::BoundAttribute(of, name) => match self.binds.get(name) {
                Some(Value::String(name)) => attribute(self.eval(of, env)?, name),
                _ => return Err(Fail::new(400, 1553, "bind parameter has an invalid value or type")),
            },
            Expr::Index(of, at) => self.index(of, at, env)?,
            Expr::Expand(x) => Cow::Owned(self.expand(x, env)?),
            Expr::Array(items) => {
                let items: R<Vec<Value>> = items.iter().map(|i| Ok(self.eval(i, env)?.into_owned())).collect();
                Cow::Owned(Value::Array(items?))
            }
            Expr::Object(items) => Cow::Owned(self.object(items, env)?),
            Expr::Not(of) => Cow::Owned((!truth(&*self.eval(of, env)?)).into()),
            Expr::Minus(of) => Cow::Owned(from_f64(-number(&*self.eval(of, env)?))),
            Expr::Plus(of) => Cow::Owned(from_f64(number(&*self.eval(of, env)?))),
            Expr::Binary(op, a, b) => self.binary(*op, a, b, env)?,
            Expr::Compare(quantifier, op, a, b) => {
                let (a, b) = (self.eval(a, env)?, self.eval(b, env)?);
                let Value::Array(items) = &*a else {
                    return Ok(Cow::Owned(false.into()));
                };
                let mut each = items.iter().map(|i| compare(*op, i, &b));
                Cow::Owned(Value::Bool(match quantifier {
                    Quantifier::All => each.all(|v| v),
                    Quantifier::Any => each.any(|v| v),
                    Quantifier::None => !each.any(|v| v),
                }))
            }
            Expr::Choice(condition, one, other) => {
                let decided = self.eval(condition, env)?;
                match (truth(&decided), one) {
                    (true, None) => decided,
                    (true, Some(one)) => self.eval(one, env)?,
                    (false, _) => self.eval(other, env)?,
                }
            }
            Expr::Call(name, args) => Cow::Owned(self.call(name, args, env)?),
            Expr::Subquery(query) => Cow::Owned(Value::Array(self.values(query, env.clone())?)),
        })
    }

    fn index<'a>(&'a self, of: &'a Expr, at: &'a Expr, env: &'a Env<'_>) -> R<Cow<'a, Value>> {
        let at = self.eval(at, env)?.into_owned();
        let of = self.eval(of, env)?;
        Ok(match (&*of, &at) {
            (Value::Array(items), Value::Number(_) | Value::String(_)) => {
                let n = number(&at) as i64;
                let n = if n < 0 { n + items.len() as i64 } else { n };
                let item = usize::try_from(n).ok().and_then(|n| items.get(n)).cloned();
                Cow::Owned(item.unwrap_or_default())
            }
            (Value::Object(_), Value::String(name)) => attribute(of, name),
            (Value::Object(_), Value::Number(n)) => attribute(of, &n.to_string()),
            _ => nothing(),
        })
    }

    fn object(&self, items: &[(Name, Expr)], env: &Env<'_>) -> R<Value> {
        let mut map = Map::new();
        for (name, value) in items {
            let name = match name {
                Name::Is(name) => name.clone(),
                Name::Bound(name) => value::text(self.binds.get(name).unwrap_or(&NULL)),
                Name::Computed(e) => value::text(&*self.eval(e, env)?),
            };
            map.insert(name, self.eval(value, env)?.into_owned());
        }
        Ok(Value::Object(map))
    }

    fn expand(&self, x: &Expansion, env: &Env<'_>) -> R<Value> {
        let Value::Array(mut items) = self.eval(&x.of, env)?.into_owned() else {
            return Ok(Value::Array(Vec::new()));
        };
        for _ in 1..x.depth {
            items = flat(items);
        }
        let mut out = Vec::new();
        for item in items {
            let inner = env.with("CURRENT", Rc::new(item));
            if let Some(filter) = &x.filter
                && !truth(&*self.eval(filter, &inner)?)
            {
                continue;
            }
            let Some(item) = inner.get("CURRENT") else { continue };
            out.push(match &x.project {
                Some(project) => self.eval(project, &inner)?.into_owned(),
                None => item.clone(),
            });
        }
        if let Some((offset, count)) = &x.limit {
            let whole = |e: &Expr| Ok::<usize, Fail>(number(&*self.eval(e, env)?).max(0.0) as usize);
            let offset = offset.as_ref().map_or(Ok(0), whole)?;
            out = out.into_iter().skip(offset).take(whole(count)?).collect();
        }
        Ok(Value::Array(out))
    }

    fn binary<'a>(&'a self, op: Op, a: &'a Expr, b: &'a Expr, env: &'a Env<'_>) -> R<Cow<'a, Value>> {
        let left = self.eval(a, env)?;
        match op {
            Op::Or if truth(&left) => return Ok(left),
            Op::And if !truth(&left) => return Ok(left),
            Op::Or | Op::And => return self.eval(b, env),
            _ => {}
        }
        let right = self.eval(b, env)?;
        Ok(Cow::Owned(match op {
            Op::Add => from_f64(number(&left) + number(&right)),
            Op::Sub => from_f64(number(&left) - number(&right)),
            Op::Mul => from_f64(number(&left) * number(&right)),
            Op::Div | Op::Mod if number(&right) == 0.0 => self.warn(1562, "division by zero"),
            Op::Div => from_f64(number(&left) / number(&right)),
            Op::Mod => from_f64(number(&left) % number(&right)),
            Op::Range => {
                let (from, to) = (number(&left) as i64, number(&right) as i64);
                if from <= to {
                    (from..=to).map(Value::from).collect()
                } else {
                    (to..=from).rev().map(Value::from).collect()
                }
            }
            _ => compare(op, &left, &right).into(),
        }))
    }
}

fn attribute<'a>(of: Cow<'a, Value>, name: &str) -> Cow<'a, Value> {
    match of {
        Cow::Borrowed(Value::Object(map)) => map.get(name).map_or_else(nothing, Cow::Borrowed),
        Cow::Owned(Value::Object(mut map)) => map.remove(name).map_or_else(nothing, Cow::Owned),
        _ => nothing(),
    }
}

pub fn flat(items: Vec<Value>) -> Vec<Value> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Value::Array(inner) => out.extend(inner),
            other => out.push(other),
        }
    }
    out
}

pub fn compare(op: Op, a: &Value, b: &Value) -> bool {
    let among = || b.as_array().is_some_and(|items| items.iter().any(|i| equal(i, a)));
    let pattern = || super::functions::pattern(&value::text(b), false).is_some_and(|re| re.is_match(&value::text(a)));
    match op {
        Op::Eq => equal(a, b),
        Op::Ne => !equal(a, b),
        Op::In => among(),
        Op::NotIn => !among(),
        Op::Lt => order(a, b) == Ordering::Less,
        Op::Le => order(a, b) != Ordering::Greater,
        Op::Gt => order(a, b) == Ordering::Greater,
        Op::Ge => order(a, b) != Ordering::Less,
        Op::Like => like(&value::text(a), &value::text(b), false),
        Op::NotLike => !like(&value::text(a), &value::text(b), false),
        Op::Matches => pattern(),
        Op::NotMatches => !pattern(),
        _ => false,
    }
}

/// `%` for any text, `_` for one character, a backslash before one that is meant.
pub fn like(text: &str, pattern: &str, any_case: bool) -> bool {
    let mut re = String::from(if any_case { "(?si)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => re.push_str(".*"),
            '_' => re.push('.'),
            '\\' => re.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => re.push_str(&regex::escape(&c.to_string())),
        }
    }
    re.push('$');
    regex::Regex::new(&re).is_ok_and(|re| re.is_match(text))
}
