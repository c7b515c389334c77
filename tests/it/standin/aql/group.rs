//! `COLLECT`: groups of rows, what is counted of them, and what is kept.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::Fail;
use super::functions::aggregate;
use super::run::{Env, R, Run};
use super::tree::Collect;
use super::value::order;

/// What groups are known by: values in AQL's order, which tells apart what equality tells apart.
struct Key(Vec<Value>);

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .map(|(a, b)| order(a, b).then_with(|| super::value::by(a, b, str::cmp)))
            .find(|o| o.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

#[derive(Default)]
struct Group {
    rows: u64,
    arguments: Vec<Vec<Value>>,
    kept: Vec<Value>,
}

impl Run<'_> {
    /// `around`: what is in scope outside of this query; of its own variables nothing stays.
    pub fn grouped<'e>(&'e self, c: &'e Collect, rows: Vec<Env<'e>>, around: &Env<'e>) -> R<Vec<Env<'e>>> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        // Without criteria there is one group, even of nothing.
        if c.by.is_empty() {
            groups.insert(Key(Vec::new()), self.empty(c));
        }
        for env in rows {
            let by: R<Vec<Value>> = c.by.iter().map(|(_, e)| Ok(self.eval(e, &env)?.into_owned())).collect();
            let group = groups.entry(Key(by?)).or_insert_with(|| self.empty(c));
            group.rows += 1;
            for ((_, _, argument), values) in c.aggregate.iter().zip(&mut group.arguments) {
                values.push(self.eval(argument, &env)?.into_owned());
            }
            if let Some((_, projected, names)) = &c.into {
                let kept = match projected {
                    Some(e) => self.eval(e, &env)?.into_owned(),
                    None => {
                        let of = |n: &String| (n.clone(), env.get(n).cloned().unwrap_or_default());
                        Value::Object(names.iter().map(of).collect::<Map<_, _>>())
                    }
                };
                self.keep(&kept)?;
                group.kept.push(kept);
            }
        }
        let mut out = Vec::with_capacity(groups.len());
        for (Key(by), group) in groups {
            let mut env = around.clone();
            for ((name, _), value) in c.by.iter().zip(by) {
                env = env.with(name, Rc::new(value));
            }
            for ((name, function, _), values) in c.aggregate.iter().zip(group.arguments) {
                let unknown = || Fail::new(400, 1574, "invalid aggregate expression");
                let value = aggregate(function, &values).ok_or_else(unknown)?;
                env = env.with(name, Rc::new(value));
            }
            if let Some((name, _, _)) = &c.into {
                env = env.with(name, Rc::new(Value::Array(group.kept)));
            }
            if let Some(name) = &c.count_into {
                env = env.with(name, Rc::new(group.rows.into()));
            }
            out.push(env);
        }
        Ok(out)
    }

    fn empty(&self, c: &Collect) -> Group {
        Group {
            arguments: vec![Vec::new(); c.aggregate.len()],
            ..Group::default()
        }
    }
}
