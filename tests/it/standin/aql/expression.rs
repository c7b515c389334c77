//! From tokens to expressions, by precedence.
//!
//! `IN` is an operator and also stands before the collection of a write. There the grammar prefers the collection, but
//! only at the outermost place: in `UPDATE a ? b : {} IN c`, `{} IN c` is a comparison, and the collection is missing.

use serde_json::Value;

use super::Fail;
use super::lex::{Token, is_reserved};
use super::parse::Parser;
use super::tree::{Expansion, Expr, Name, Op, Quantifier};

/// Of `IN`, which binds tighter than equality and looser than order.
const IN: u8 = 5;

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Fail> {
        self.choice(false)
    }

    pub(super) fn expression_before_in(&mut self) -> Result<Expr, Fail> {
        self.choice(true)
    }

    fn choice(&mut self, before_in: bool) -> Result<Expr, Fail> {
        let condition = self.binary(2, before_in)?;
        if !self.sign("?") {
            return Ok(condition);
        }
        if self.sign(":") {
            let other = self.choice(false)?;
            return Ok(Expr::Choice(Box::new(condition), None, Box::new(other)));
        }
        let one = self.choice(false)?;
        self.need(":")?;
        let other = self.choice(false)?;
        Ok(Expr::Choice(Box::new(condition), Some(Box::new(one)), Box::new(other)))
    }

    /// The operator that comes next, with how tight it binds and of how many tokens it is.
    fn operator(&self) -> Option<(Op, u8, usize)> {
        let found = match self.peek() {
            Token::Sign(sign) => match *sign {
                "||" => (Op::Or, 2),
                "&&" => (Op::And, 3),
                "==" => (Op::Eq, 4),
                "!=" => (Op::Ne, 4),
                "=~" => (Op::Matches, 4),
                "!~" => (Op::NotMatches, 4),
                "<" => (Op::Lt, 6),
                "<=" => (Op::Le, 6),
                ">" => (Op::Gt, 6),
                ">=" => (Op::Ge, 6),
                ".." => (Op::Range, 7),
                "+" => (Op::Add, 8),
                "-" => (Op::Sub, 8),
                "*" => (Op::Mul, 9),
                "/" => (Op::Div, 9),
                "%" => (Op::Mod, 9),
                _ => return None,
            },
            Token::Name { text, quoted: false } => match text.to_ascii_uppercase().as_str() {
                "OR" => (Op::Or, 2),
                "AND" => (Op::And, 3),
                "LIKE" => (Op::Like, 4),
                "IN" => (Op::In, IN),
                "NOT" if self.is_keyword(1, "IN") => return Some((Op::NotIn, IN, 2)),
                "NOT" if self.is_keyword(1, "LIKE") => return Some((Op::NotLike, 4, 2)),
                _ => return None,
            },
            _ => return None,
        };
        Some((found.0, found.1, 1))
    }

    fn binary(&mut self, least: u8, before_in: bool) -> Result<Expr, Fail> {
        let mut left = self.unary()?;
        loop {
            let quantifier = [
                ("ALL", Quantifier::All),
                ("ANY", Quantifier::Any),
                ("NONE", Quantifier::None),
            ]
            .into_iter()
            .find(|(word, _)| self.is_keyword(0, word));
            if let Some((_, quantifier)) = quantifier {
                self.next();
                let (op, tight, width) = self.operator().ok_or_else(|| self.unexpected())?;
                for _ in 0..width {
                    self.next();
                }
                let right = self.binary(tight + 1, before_in && tight > IN)?;
                left = Expr::Compare(quantifier, op, Box::new(left), Box::new(right));
                continue;
            }
            let Some((op, tight, width)) = self.operator() else {
                return Ok(left);
            };
            if tight < least || (before_in && op == Op::In) {
                return Ok(left);
            }
            for _ in 0..width {
                self.next();
            }
            let right = self.binary(tight + 1, before_in && tight > IN)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Expr, Fail> {
        if self.sign("!") || self.keyword("NOT") {
            return Ok(Expr::Not(Box::new(self.unary()?)));
        }
        if self.sign("-") {
            return Ok(Expr::Minus(Box::new(self.unary()?)));
        }
        if self.sign("+") {
            return Ok(Expr::Plus(Box::new(self.unary()?)));
        }
        let of = self.primary()?;
        self.steps(of)
    }

    /// `.name`, `[index]`, `[*]` behind something.
    fn steps(&mut self, mut of: Expr) -> Result<Expr, Fail> {
        loop {
            if self.sign(".") {
                of = if let Token::Bind(name) = self.peek().clone() {
                    self.next();
                    self.binds.insert(name.clone());
                    Expr::BoundAttribute(Box::new(of), name)
                } else {
                    Expr::Attribute(Box::new(of), self.name()?)
                };
            } else if self.sign("[") {
                let mut depth = 0;
                while self.sign("*") {
                    depth += 1;
                }
                of = if depth > 0 {
                    self.expansion(of, depth)?
                } else {
                    let index = self.expression()?;
                    self.need("]")?;
                    Expr::Index(Box::new(of), Box::new(index))
                };
            } else {
                return Ok(of);
            }
        }
    }

    fn expansion(&mut self, of: Expr, depth: usize) -> Result<Expr, Fail> {
        self.scopes.push(vec!["CURRENT".to_owned()]);
        let filter = if self.keyword("FILTER") {
            Some(self.expression()?)
        } else {
            None
        };
        let mut limit = None;
        if self.keyword("LIMIT") {
            let first = self.expression()?;
            limit = Some(if self.sign(",") {
                (Some(first), self.expression()?)
            } else {
                (None, first)
            });
        }
        let mut project = if self.keyword("RETURN") {
            Some(self.expression()?)
        } else {
            None
        };
        self.need("]")?;
        // What follows is done for each element.
        let begins = matches!(self.peek(), Token::Sign("." | "["));
        if begins {
            let element = project.unwrap_or_else(|| Expr::Variable("CURRENT".to_owned()));
            project = Some(self.steps(element)?);
        }
        self.scopes.pop();
        Ok(Expr::Expand(Box::new(Expansion {
            of,
            depth,
            filter,
            limit,
            project,
        })))
    }

    fn primary(&mut self) -> Result<Expr, Fail> {
        match self.peek().clone() {
            Token::Number(n) => {
                self.next();
                Ok(Expr::Value(n))
            }
            Token::Text(t) => {
                self.next();
                Ok(Expr::Value(t.into()))
            }
            Token::Bind(name) => {
                self.next();
                self.binds.insert(name.clone());
                Ok(Expr::Bind(name))
            }
            Token::BindName(name) => {
                self.next();
                self.binds.insert(format!("@{name}"));
                self.touch(&format!("@@{name}"), false)?;
                Ok(Expr::BoundCollection(name))
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.expression_or_query()?;
                self.need(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.array(),
            Token::Sign("{") => self.object(),
            Token::Name { text, quoted } => self.word(&text, quoted),
            _ => Err(self.unexpected()),
        }
    }

    fn expression_or_query(&mut self) -> Result<Expr, Fail> {
        if self.is_query() {
            return Ok(Expr::Subquery(Box::new(self.query()?)));
        }
        self.expression()
    }

    fn word(&mut self, text: &str, quoted: bool) -> Result<Expr, Fail> {
        let upper = text.to_ascii_uppercase();
        let call = matches!(self.peek_at(1), Token::Sign("("));
        if !quoted {
            let literal = match upper.as_str() {
                "TRUE" => Some(Value::Bool(true)),
                "FALSE" => Some(Value::Bool(false)),
                "NULL" => Some(Value::Null),
                _ => None,
            };
            if let Some(value) = literal {
                self.next();
                return Ok(Expr::Value(value));
            }
            if call && (!is_reserved(text) || upper == "LIKE") {
                self.next();
                return self.call(upper);
            }
            if is_reserved(text) {
                return Err(self.unexpected());
            }
        }
        self.next();
        if self.declared(text) {
            return Ok(Expr::Variable(text.to_owned()));
        }
        self.touch(text, false)?;
        Ok(Expr::Collection(text.to_owned()))
    }

    fn call(&mut self, name: String) -> Result<Expr, Fail> {
        self.need("(")?;
        let mut args = Vec::new();
        while !self.sign(")") {
            args.push(self.expression_or_query()?);
            if !self.sign(",") {
                self.need(")")?;
                break;
            }
        }
        super::functions::known(&name, args.len())?;
        Ok(Expr::Call(name, args))
    }

    fn array(&mut self) -> Result<Expr, Fail> {
        self.need("[")?;
        let mut items = Vec::new();
        while !self.sign("]") {
            items.push(self.expression()?);
            if !self.sign(",") {
                self.need("]")?;
                break;
            }
        }
        Ok(Expr::Array(items))
    }

    fn object(&mut self) -> Result<Expr, Fail> {
        self.need("{")?;
        let mut items = Vec::new();
        while !self.sign("}") {
            let name = match self.peek().clone() {
                Token::Text(text) => {
                    self.next();
                    Name::Is(text)
                }
                Token::Bind(name) => {
                    self.next();
                    self.binds.insert(name.clone());
                    Name::Bound(name)
                }
                Token::Sign("[") => {
                    self.next();
                    let of = self.expression()?;
                    self.need("]")?;
                    Name::Computed(of)
                }
                _ => Name::Is(self.name()?),
            };
            let short = matches!(self.peek(), Token::Sign("," | "}"));
            let value = match &name {
                Name::Is(own) if short && self.declared(own) => Expr::Variable(own.clone()),
                _ => {
                    self.need(":")?;
                    self.expression()?
                }
            };
            items.push((name, value));
            if !self.sign(",") {
                self.need("}")?;
                break;
            }
        }
        Ok(Expr::Object(items))
    }
}
