//! From tokens to clauses. Expressions are read in [`super::expression`].
//!
//! Names are resolved here: a name that no clause before it declared is a collection or a view. A variable that is
//! declared twice is refused, as is reading a collection that an earlier clause of the same query has written.

use std::collections::{BTreeMap, BTreeSet};

use super::Fail;
use super::lex::{Token, is_reserved, tokens};
use super::tree::{Clause, Collect, Expr, Kind, Query, Write};

/// A query that was read, and what it names.
pub struct Parsed {
    pub query: Query,
    /// Bind variables; collections' with their `@`.
    pub binds: BTreeSet<String>,
    /// Collections and views, bound ones as `@@name`, and whether they are written.
    pub collections: BTreeMap<String, bool>,
    /// Names of the execution's steps, roughly as the server calls them.
    pub nodes: Vec<&'static str>,
}

impl Parsed {
    pub fn writes(&self) -> bool {
        self.collections.values().any(|w| *w)
    }
}

pub struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// Variables by level of query.
    pub(super) scopes: Vec<Vec<String>>,
    pub(super) binds: BTreeSet<String>,
    collections: BTreeMap<String, bool>,
    nodes: Vec<&'static str>,
}

pub fn parse(text: &str) -> Result<Parsed, Fail> {
    if text.trim().is_empty() {
        return Err(Fail::new(400, 1502, "query is empty"));
    }
    let mut p = Parser {
        tokens: tokens(text)?,
        at: 0,
        scopes: Vec::new(),
        binds: BTreeSet::new(),
        collections: BTreeMap::new(),
        nodes: vec!["SingletonNode"],
    };
    if p.keyword("WITH") {
        loop {
            let name = p.collection_name()?;
            p.touch(&name, false)?;
            if !p.sign(",") {
                break;
            }
        }
    }
    let mut query = p.query()?;
    if p.peek() != &Token::End {
        return Err(p.unexpected());
    }
    let last = query.clauses.iter_mut().rev().find_map(|c| match c {
        Clause::Limit { last, .. } => Some(last),
        _ => None,
    });
    if let Some(last) = last {
        *last = true;
    }
    Ok(Parsed {
        query,
        binds: p.binds,
        collections: p.collections,
        nodes: p.nodes,
    })
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, n: usize) -> &Token {
        self.tokens.get(self.at + n).unwrap_or(&Token::End)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn unexpected(&self) -> Fail {
        Fail::syntax(&format!(
            "unexpected {:?} (token {} of the query)",
            self.peek(),
            self.at
        ))
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn need(&mut self, sign: &str) -> Result<(), Fail> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn is_keyword(&self, n: usize, word: &str) -> bool {
        matches!(self.peek_at(n), Token::Name { text, quoted: false } if text.eq_ignore_ascii_case(word))
    }

    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(0, word);
        self.at += usize::from(found);
        found
    }

    fn need_keyword(&mut self, word: &str) -> Result<(), Fail> {
        if self.keyword(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// A name that is not a keyword.
    pub(super) fn name(&mut self) -> Result<String, Fail> {
        match self.peek().clone() {
            Token::Name { text, quoted } if quoted || !is_reserved(&text) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn declared(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|n| n == name)
    }

    fn declare(&mut self, name: &str) -> Result<(), Fail> {
        if self.declared(name) {
            let text = format!("variable '{name}' is assigned multiple times");
            return Err(Fail::new(400, 1511, &text));
        }
        self.scope().push(name.to_owned());
        Ok(())
    }

    fn scope(&mut self) -> &mut Vec<String> {
        if self.scopes.is_empty() {
            self.scopes.push(Vec::new());
        }
        self.scopes.last_mut().expect("a scope")
    }

    /// A collection is used. One that was written before cannot be used again.
    pub(super) fn touch(&mut self, name: &str, write: bool) -> Result<(), Fail> {
        let known = self.collections.entry(name.to_owned()).or_insert(false);
        if *known {
            let text = format!("access after data-modification by {name}");
            return Err(Fail::new(400, 1579, &text));
        }
        *known = write;
        Ok(())
    }

    fn collection_name(&mut self) -> Result<String, Fail> {
        if let Token::BindName(name) = self.peek().clone() {
            self.at += 1;
            self.binds.insert(format!("@{name}"));
            return Ok(format!("@@{name}"));
        }
        self.name()
    }

    fn collection(&mut self, write: bool) -> Result<Expr, Fail> {
        let name = self.collection_name()?;
        self.touch(&name, write)?;
        Ok(match name.strip_prefix("@@") {
            Some(bound) => Expr::BoundCollection(bound.to_owned()),
            None => Expr::Collection(name),
        })
    }

    /// Whether a query begins here.
    pub(super) fn is_query(&self) -> bool {
        let begins = [
            "FOR", "LET", "RETURN", "FILTER", "COLLECT", "INSERT", "UPDATE", "REPLACE", "REMOVE", "UPSERT", "LIMIT",
            "SORT",
        ];
        begins.iter().any(|w| self.is_keyword(0, w))
    }

    pub(super) fn query(&mut self) -> Result<Query, Fail> {
        self.scopes.push(Vec::new());
        let mut clauses = Vec::new();
        while let Some(clause) = self.clause()? {
            let last = matches!(clause, Clause::Return { .. });
            clauses.push(clause);
            if last {
                break;
            }
        }
        self.scopes.pop();
        match clauses.last() {
            Some(Clause::Return { .. } | Clause::Write(_)) => Ok(Query { clauses }),
            _ => Err(self.unexpected()),
        }
    }

    fn clause(&mut self) -> Result<Option<Clause>, Fail> {
        let Token::Name { text, quoted: false } = self.peek().clone() else {
            return Ok(None);
        };
        let word = text.to_ascii_uppercase();
        let read: fn(&mut Parser) -> Result<Clause, Fail> = match word.as_str() {
            "FOR" => Parser::for_loop,
            "FILTER" => |p| {
                p.nodes.push("FilterNode");
                Ok(Clause::Filter(p.expression()?))
            },
            "LET" => Parser::assignment,
            "SORT" => Parser::sort,
            "LIMIT" => Parser::limit,
            "COLLECT" => Parser::collect,
            "INSERT" => Parser::insert,
            "UPDATE" => |p| p.update(Kind::Update),
            "REPLACE" => |p| p.update(Kind::Replace),
            "REMOVE" => Parser::remove,
            "UPSERT" => Parser::upsert,
            "RETURN" => |p| {
                p.nodes.push("ReturnNode");
                let distinct = p.keyword("DISTINCT");
                Ok(Clause::Return {
                    distinct,
                    value: p.expression()?,
                })
            },
            _ => return Ok(None),
        };
        self.at += 1;
        read(self).map(Some)
    }

    fn for_loop(&mut self) -> Result<Clause, Fail> {
        let name = self.name()?;
        self.need_keyword("IN")?;
        let of = self.expression()?;
        let node = match of {
            Expr::Collection(_) | Expr::BoundCollection(_) => "EnumerateCollectionNode",
            _ => "EnumerateListNode",
        };
        self.nodes.push(node);
        self.declare(&name)?;
        let search = if self.keyword("SEARCH") {
            self.nodes.push("EnumerateViewNode");
            Some(self.expression()?)
        } else {
            None
        };
        let options = self.options()?;
        Ok(Clause::For {
            name,
            of,
            search,
            options,
        })
    }

    fn options(&mut self) -> Result<Option<Expr>, Fail> {
        if self.keyword("OPTIONS") {
            return self.expression().map(Some);
        }
        Ok(None)
    }

    fn assignment(&mut self) -> Result<Clause, Fail> {
        self.nodes.push("CalculationNode");
        let name = self.name()?;
        self.need("=")?;
        let value = self.expression()?;
        self.declare(&name)?;
        Ok(Clause::Let(name, value))
    }

    fn sort(&mut self) -> Result<Clause, Fail> {
        self.nodes.push("SortNode");
        let mut by = Vec::new();
        loop {
            let e = self.expression()?;
            let down = self.keyword("DESC");
            if !down {
                self.keyword("ASC");
            }
            by.push((e, down));
            if !self.sign(",") {
                return Ok(Clause::Sort(by));
            }
        }
    }

    fn limit(&mut self) -> Result<Clause, Fail> {
        self.nodes.push("LimitNode");
        let first = self.constant()?;
        let second = if self.sign(",") { Some(self.constant()?) } else { None };
        let (offset, count) = match second {
            Some(count) => (Some(first), count),
            None => (None, first),
        };
        Ok(Clause::Limit {
            offset,
            count,
            last: false,
        })
    }

    /// A limit is known before the query runs.
    pub(super) fn constant(&mut self) -> Result<Expr, Fail> {
        match self.next() {
            Token::Number(n) => Ok(Expr::Value(n)),
            Token::Bind(name) => {
                self.binds.insert(name.clone());
                Ok(Expr::Bind(name))
            }
            _ => Err(Fail::new(400, 1504, "number out of range: LIMIT wants a number")),
        }
    }

    fn collect(&mut self) -> Result<Clause, Fail> {
        self.nodes.push("CollectNode");
        let mut c = Collect {
            by: Vec::new(),
            aggregate: Vec::new(),
            into: None,
            count_into: None,
        };
        let special = |p: &Parser| {
            ["WITH", "AGGREGATE", "INTO", "OPTIONS"]
                .iter()
                .any(|w| p.is_keyword(0, w))
        };
        if !special(self) {
            loop {
                let name = self.name()?;
                self.need("=")?;
                c.by.push((name, self.expression()?));
                if !self.sign(",") {
                    break;
                }
            }
        }
        if self.keyword("AGGREGATE") {
            self.aggregates(&mut c)?;
        }
        if self.keyword("INTO") {
            let name = self.name()?;
            let projected = if self.sign("=") { Some(self.expression()?) } else { None };
            let mut kept = self.scope().clone();
            if self.keyword("KEEP") {
                kept.clear();
                loop {
                    kept.push(self.name()?);
                    if !self.sign(",") {
                        break;
                    }
                }
            }
            c.into = Some((name, projected, kept));
        } else if self.keyword("WITH") {
            self.need_keyword("COUNT")?;
            self.need_keyword("INTO")?;
            c.count_into = Some(self.name()?);
        }
        self.options()?;
        self.scope().clear();
        let names = c.by.iter().map(|b| &b.0).chain(c.aggregate.iter().map(|a| &a.0));
        let names: Vec<String> = names
            .chain(c.into.iter().map(|i| &i.0))
            .chain(&c.count_into)
            .cloned()
            .collect();
        if names.is_empty() {
            return Err(self.unexpected());
        }
        names.iter().try_for_each(|n| self.declare(n))?;
        Ok(Clause::Collect(c))
    }

    fn aggregates(&mut self, c: &mut Collect) -> Result<(), Fail> {
        loop {
            let name = self.name()?;
            self.need("=")?;
            let function = self.name()?.to_ascii_uppercase();
            self.need("(")?;
            let of = if self.sign(")") {
                Expr::Value(true.into())
            } else {
                let of = self.expression()?;
                self.need(")")?;
                of
            };
            c.aggregate.push((name, function, of));
            if !self.sign(",") {
                return Ok(());
            }
        }
    }

    /// `IN collection` or `INTO collection`, and options. What follows may speak of the document before and after.
    fn target(&mut self, mut write: Write) -> Result<Clause, Fail> {
        if !self.keyword("INTO") {
            self.need_keyword("IN")?;
        }
        write.into = self.collection(true)?;
        write.options = self.options()?;
        self.nodes.push(match write.kind {
            Kind::Insert => "InsertNode",
            Kind::Update => "UpdateNode",
            Kind::Replace => "ReplaceNode",
            Kind::Remove => "RemoveNode",
            Kind::Upsert => "UpsertNode",
        });
        for name in ["OLD", "NEW"] {
            if !self.declared(name) {
                self.declare(name)?;
            }
        }
        Ok(Clause::Write(write))
    }

    fn write(kind: Kind, what: Expr) -> Write {
        Write {
            kind,
            what,
            with: None,
            insert: None,
            replaces: false,
            into: Expr::Value(serde_json::Value::Null),
            options: None,
        }
    }

    fn insert(&mut self) -> Result<Clause, Fail> {
        let what = self.expression_before_in()?;
        self.target(Parser::write(Kind::Insert, what))
    }

    fn remove(&mut self) -> Result<Clause, Fail> {
        let what = self.expression_before_in()?;
        self.target(Parser::write(Kind::Remove, what))
    }

    fn update(&mut self, kind: Kind) -> Result<Clause, Fail> {
        let what = self.expression_before_in()?;
        let mut write = Parser::write(kind, what);
        if self.keyword("WITH") {
            write.with = Some(self.expression_before_in()?);
        }
        self.target(write)
    }

    fn upsert(&mut self) -> Result<Clause, Fail> {
        let what = self.expression()?;
        if !matches!(what, Expr::Object(_)) {
            return Err(Fail::syntax("UPSERT wants an object literal to look for"));
        }
        let mut write = Parser::write(Kind::Upsert, what);
        self.need_keyword("INSERT")?;
        write.insert = Some(self.expression()?);
        write.replaces = self.is_keyword(0, "REPLACE");
        if !write.replaces && !self.is_keyword(0, "UPDATE") {
            return Err(self.unexpected());
        }
        self.next();
        let fresh = !self.declared("OLD");
        if fresh {
            self.declare("OLD")?;
        }
        write.with = Some(self.expression_before_in()?);
        self.target(write)
    }
}
