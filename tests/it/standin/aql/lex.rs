//! From text to tokens.

use serde_json::Value;

use super::Fail;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a keyword; names in backticks are never keywords.
    Name {
        text: String,
        quoted: bool,
    },
    Number(Value),
    Text(String),
    /// `@name`.
    Bind(String),
    /// `@@name`.
    BindName(String),
    Sign(&'static str),
    End,
}

/// Longer signs before their beginnings.
const SIGNS: [&str; 33] = [
    "==", "!=", "=~", "!~", "<=", ">=", "&&", "||", "..", "::", "<", ">", "=", "!", "+", "-", "*", "/", "%", "?", ":",
    ",", ".", "(", ")", "[", "]", "{", "}", "&", "|", "~", "^",
];

/// Words that cannot be names without backticks.
const RESERVED: [&str; 37] = [
    "AGGREGATE",
    "ALL",
    "ALL_SHORTEST_PATHS",
    "AND",
    "ANY",
    "ASC",
    "COLLECT",
    "DESC",
    "DISTINCT",
    "FALSE",
    "FILTER",
    "FOR",
    "GRAPH",
    "IN",
    "INBOUND",
    "INSERT",
    "INTO",
    "K_PATHS",
    "K_SHORTEST_PATHS",
    "LET",
    "LIKE",
    "LIMIT",
    "NONE",
    "NOT",
    "NULL",
    "OR",
    "OUTBOUND",
    "REMOVE",
    "REPLACE",
    "RETURN",
    "SHORTEST_PATH",
    "SORT",
    "TRUE",
    "UPDATE",
    "UPSERT",
    "WINDOW",
    "WITH",
];

pub fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(word))
}

pub fn tokens(text: &str) -> Result<Vec<Token>, Fail> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = skip(rest)?;
        let Some(first) = rest.chars().next() else {
            out.push(Token::End);
            return Ok(out);
        };
        let (token, after) = match first {
            '\'' | '"' => {
                let (text, after) = quoted(rest, first)?;
                (Token::Text(text), after)
            }
            '`' | '´' => {
                let (text, after) = quoted(rest, first)?;
                (Token::Name { text, quoted: true }, after)
            }
            '@' => bind(rest)?,
            c if c.is_ascii_digit() => number(rest)?,
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                let end = word(rest);
                let text = rest[..end].to_owned();
                (Token::Name { text, quoted: false }, &rest[end..])
            }
            _ => {
                let sign = SIGNS.iter().find(|s| rest.starts_with(**s));
                let sign = sign.ok_or_else(|| Fail::syntax(&format!("unexpected character near '{}'", head(rest))))?;
                (Token::Sign(sign), &rest[sign.len()..])
            }
        };
        out.push(token);
        rest = after;
    }
}

fn head(text: &str) -> String {
    text.chars().take(40).collect()
}

fn word(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(text.len())
}

fn skip(text: &str) -> Result<&str, Fail> {
    let mut rest = text.trim_start();
    loop {
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment
                .find("*/")
                .ok_or_else(|| Fail::syntax("unterminated multi-line comment"))?;
            rest = comment[end + 2..].trim_start();
        } else {
            return Ok(rest);
        }
    }
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), Fail> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((out, &text[at + c.len_utf8()..]));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next().map(|(_, c)| c) {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.ok_or_else(|| Fail::syntax("a broken escape"))?);
            }
            Some(c) => out.push(c),
            None => break,
        }
    }
    Err(Fail::syntax("unexpected unterminated string literal"))
}

fn bind(text: &str) -> Result<(Token, &str), Fail> {
    let (collection, name) = match text.strip_prefix("@@") {
        Some(name) => (true, name),
        None => (false, &text[1..]),
    };
    let end = name
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(name.len());
    if end == 0 {
        return Err(Fail::syntax("unexpected character near '@'"));
    }
    let found = name[..end].to_owned();
    let token = if collection {
        Token::BindName(found)
    } else {
        Token::Bind(found)
    };
    Ok((token, &name[end..]))
}

fn number(text: &str) -> Result<(Token, &str), Fail> {
    let digits = |t: &str| t.find(|c: char| !c.is_ascii_digit()).unwrap_or(t.len());
    let mut end = digits(text);
    let mut whole = true;
    let fraction = text[end..].strip_prefix('.').filter(|f| !f.starts_with('.'));
    if let Some(fraction) = fraction {
        end += 1 + digits(fraction);
        whole = false;
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        end += 1 + sign + digits(&text[end + 1 + sign..]);
        whole = false;
    }
    let literal = &text[..end];
    let value = if whole {
        literal.parse::<u64>().ok().map(Value::from)
    } else {
        literal.parse::<f64>().ok().map(Value::from)
    };
    let value = value.ok_or_else(|| Fail::new(400, 1504, "number out of range"))?;
    Ok((Token::Number(value), &text[end..]))
}

#[test]
fn a_range_is_no_fraction_and_comments_are_nothing() {
    let one_to_three = [
        Token::Number(1.into()),
        Token::Sign(".."),
        Token::Number(3.into()),
        Token::End,
    ];
    assert_eq!(tokens("1..3 // rest").unwrap(), one_to_three);
    assert_eq!(tokens("1/* x */..3").unwrap(), one_to_three);
    assert!(tokens("'open").is_err());
    assert!(is_reserved("Filter") && !is_reserved("count") && !is_reserved("on"));
}
