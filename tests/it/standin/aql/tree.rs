//! What a query is, once it is read.

use serde_json::Value;

#[derive(Debug)]
pub struct Query {
    pub clauses: Vec<Clause>,
}

#[derive(Debug)]
pub enum Clause {
    For {
        name: String,
        of: Expr,
        search: Option<Expr>,
        options: Option<Expr>,
    },
    Filter(Expr),
    Let(String, Expr),
    /// Expressions, and whether each goes down.
    Sort(Vec<(Expr, bool)>),
    Limit {
        offset: Option<Expr>,
        count: Expr,
        /// The last one of the whole query, which `fullCount` looks behind.
        last: bool,
    },
    Collect(Collect),
    Write(Write),
    Return {
        distinct: bool,
        value: Expr,
    },
}

#[derive(Debug)]
pub struct Collect {
    pub by: Vec<(String, Expr)>,
    /// Variable, function, argument.
    pub aggregate: Vec<(String, String, Expr)>,
    /// Variable, and what is kept of each row: an expression, or these variables.
    pub into: Option<(String, Option<Expr>, Vec<String>)>,
    pub count_into: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Insert,
    Update,
    Replace,
    Remove,
    Upsert,
}

#[derive(Debug)]
pub struct Write {
    pub kind: Kind,
    /// Document, key, or (for an upsert) example.
    pub what: Expr,
    /// The change of an update, or of an upsert that finds something.
    pub with: Option<Expr>,
    /// What an upsert inserts, and whether it replaces instead of updating.
    pub insert: Option<Expr>,
    pub replaces: bool,
    /// The collection: a name, or a bound one.
    pub into: Expr,
    pub options: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Or,
    And,
    Eq,
    Ne,
    Like,
    NotLike,
    Matches,
    NotMatches,
    In,
    NotIn,
    Lt,
    Le,
    Gt,
    Ge,
    Range,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    All,
    Any,
    None,
}

#[derive(Debug)]
pub enum Name {
    Is(String),
    Bound(String),
    Computed(Expr),
}

#[derive(Debug)]
pub enum Expr {
    Value(Value),
    Bind(String),
    Variable(String),
    /// A name that is no variable: a collection or view.
    Collection(String),
    /// `@@name`.
    BoundCollection(String),
    Attribute(Box<Expr>, String),
    /// `a.@name`.
    BoundAttribute(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Expand(Box<Expansion>),
    Array(Vec<Expr>),
    Object(Vec<(Name, Expr)>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    Plus(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Compare(Quantifier, Op, Box<Expr>, Box<Expr>),
    /// Without the middle: `a ?: b`.
    Choice(Box<Expr>, Option<Box<Expr>>, Box<Expr>),
    Call(String, Vec<Expr>),
    Subquery(Box<Query>),
}

/// `of[* FILTER … LIMIT … RETURN …]`, then the steps that follow for each element.
#[derive(Debug)]
pub struct Expansion {
    pub of: Expr,
    /// Number of stars.
    pub depth: usize,
    pub filter: Option<Expr>,
    pub limit: Option<(Option<Expr>, Expr)>,
    pub project: Option<Expr>,
}
