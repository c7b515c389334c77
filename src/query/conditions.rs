//! `FIELD=VALUE` conditions as they are typed, with `!=`, `>`, `>=`, `<` and `<=`.

use super::AskError;
use super::naming::nearest;
use super::scope::level_no;
use crate::record::level;
use crate::store::search::{FieldIs, Sign};

/// Takes `FIELD=VALUE` conditions out of `terms`; conditions on one field are joined to "any of the values", those with
/// `!=` to "none of them". A term of several words is taken apart where one of them is a condition: a shell or a model
/// may have put all of them into one text.
///
/// # Errors
/// A condition on a field that is not stored, with the nearest one that is.
pub fn split_terms(terms: &[String], known: &[&str]) -> Result<(Vec<String>, Vec<FieldIs>), AskError> {
    let mut texts = Vec::new();
    let mut fields: Vec<FieldIs> = Vec::new();
    for term in terms {
        // A value may hold spaces where the condition is a term of its own: message='disk full'.
        let parts = parts(term);
        let conditions = parts.iter().filter(|p| is_condition(p, known)).count();
        if conditions == 0 || (parts.len() > 1 && conditions == 1 && is_whole(term, &parts, known)) {
            match condition(term, known)? {
                Some(field) => join(&mut fields, field),
                None => texts.push(term.clone()),
            }
            continue;
        }
        let mut text = Vec::new();
        for part in parts {
            match condition(part, known)? {
                Some(field) => join(&mut fields, field),
                None => text.push(part),
            }
        }
        if !text.is_empty() {
            texts.push(text.join(" "));
        }
    }
    Ok((texts, fields))
}

/// Adds a condition to those that are there.
fn join(fields: &mut Vec<FieldIs>, field: FieldIs) {
    let joined = matches!(field.sign, Sign::Is | Sign::IsNot);
    let same = |f: &&mut FieldIs| joined && f.path == field.path && f.sign == field.sign;
    match fields.iter_mut().find(same) {
        Some(f) => f.values.extend(field.values),
        None => fields.push(field),
    }
}

/// The words of a term; what stands in quotes is one.
fn parts(term: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (None, false);
    for (at, c) in term.char_indices() {
        if c == '"' {
            quoted = !quoted;
        }
        match start {
            Some(from) if c.is_whitespace() && !quoted => {
                parts.push(&term[from..at]);
                start = None;
            }
            None if !c.is_whitespace() => start = Some(at),
            _ => {}
        }
    }
    parts.extend(start.map(|from| &term[from..]));
    parts
}

/// Whether a term of several words is one condition whose value holds spaces. It is not where the field's values hold
/// none: a level, a name, a number.
fn is_whole(term: &str, parts: &[&str], known: &[&str]) -> bool {
    const OF_ONE_WORD: [&str; 13] = [
        "_key",
        "level",
        "level_no",
        "execution_id",
        "script_name",
        "function_name",
        "line_number",
        "pid",
        "host",
        "fingerprint",
        "event",
        "status",
        "module",
    ];
    let first = parts.first().is_some_and(|p| is_condition(p, known));
    let Some((path, _, value)) = first.then(|| cut(term)).flatten() else {
        return false;
    };
    // Quotes say where it ends.
    if value.starts_with('"') {
        return false;
    }
    let path = known_path(path, known).unwrap_or_default();
    path.first().is_some_and(|name| !OF_ONE_WORD.contains(&name.as_str()))
}

/// Whether a word is a condition on a field that is stored.
fn is_condition(part: &str, known: &[&str]) -> bool {
    cut(part).is_some_and(|(path, _, _)| known_path(path, known).is_ok())
}

/// The condition that a term is, if it is one.
///
/// # Errors
/// An unknown field.
fn condition(term: &str, known: &[&str]) -> Result<Option<FieldIs>, AskError> {
    let Some((path, sign, value)) = cut(term) else {
        return Ok(None);
    };
    let path = match known_path(path, known) {
        Ok(path) => path,
        // `a->b` and `List<String>` are texts, too.
        Err(e)
            if matches!(sign, Sign::Is | Sign::IsNot)
                || path.contains('.')
                || nearest(path, known.iter().copied()).is_some() =>
        {
            return Err(e);
        }
        Err(_) => return Ok(None),
    };
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    let (path, value) = match (path.as_slice(), sign) {
        ([one], Sign::Is | Sign::IsNot) if one == "level" => (path, level(value).0.into_owned()),
        ([one], _) if one == "level" => (vec!["level_no".to_owned()], level_no(value)?.to_string()),
        _ => (path, value.to_owned()),
    };
    Ok(Some(FieldIs {
        path,
        values: vec![value],
        sign,
    }))
}

/// Conditions alone; `instead` says what to do with a text.
///
/// # Errors
/// A text that is no condition, and what [`split_terms`] refuses.
pub fn conditions(terms: &[String], known: &[&str], instead: &str) -> Result<Vec<FieldIs>, AskError> {
    let (texts, fields) = split_terms(terms, known)?;
    match texts.first() {
        Some(text) => Err(AskError::usage(format!(
            "'{text}' is no FIELD=VALUE condition{instead}"
        ))),
        None => Ok(fields),
    }
}

/// Path, sign and value of `name.name=value`, else nothing: a text that merely contains a sign of equality stays a text.
fn cut(term: &str) -> Option<(&str, Sign, &str)> {
    let mut quoted = false;
    let at = term.find(|c: char| {
        quoted ^= c == '"';
        !quoted && matches!(c, '=' | '!' | '<' | '>')
    })?;
    let (path, rest) = term.split_at(at);
    let (sign, value) = [
        (Sign::IsNot, "!="),
        (Sign::AtLeast, ">="),
        (Sign::AtMost, "<="),
        (Sign::Above, ">"),
        (Sign::Below, "<"),
        (Sign::Is, "="),
    ]
    .into_iter()
    .find_map(|(sign, text)| Some((sign, rest.strip_prefix(text)?)))?;
    let name_ok = |n: &str| {
        let plain = n.chars().all(|c| c.is_alphanumeric() || "_-@".contains(c));
        !n.is_empty() && (plain || (n.len() > 2 && n.starts_with('"') && n.ends_with('"')))
    };
    let ordered = !matches!(sign, Sign::Is | Sign::IsNot);
    let well_formed = !path.starts_with('-') && !path.ends_with('-') && names(path).iter().all(|n| name_ok(n));
    (well_formed && !(ordered && value.is_empty())).then_some((path, sign, value))
}

/// The names of a dotted path; dots within quotes do not part them.
fn names(path: &str) -> Vec<&str> {
    let mut quoted = false;
    path.split(|c: char| {
        quoted ^= c == '"';
        c == '.' && !quoted
    })
    .collect()
}

/// Splits a dotted path whose first name must be known.
///
/// # Errors
/// An unknown first name.
pub fn known_path(path: &str, known: &[&str]) -> Result<Vec<String>, AskError> {
    let names: Vec<String> = names(path)
        .into_iter()
        .map(|n| n.trim_matches('"').to_owned())
        .collect();
    let first = names.first().map_or("", String::as_str);
    let alias = match first {
        "script" => "script_name",
        "execution" => "execution_id",
        "function" => "function_name",
        "tag" => "tags",
        "file" => "file_path",
        "line" => "line_number",
        "key" => "_key",
        "extra" => "extra_data",
        "start" => "start_time",
        "end" => "end_time",
        "duration" => "duration_seconds",
        "time" => "timestamp",
        other => other,
    };
    if !known.contains(&alias) {
        let near = known
            .iter()
            .max_by(|a, b| strsim::jaro(a, first).total_cmp(&strsim::jaro(b, first)));
        let own = if known.contains(&"extra_data") {
            format!("; a bound value of your own is extra_data.{path}")
        } else if known.contains(&"metadata") {
            format!("; a value of the run's metadata is metadata.{path}")
        } else {
            String::new()
        };
        return Err(AskError::usage(format!(
            "unknown field '{first}': did you mean {}?{own}",
            near.unwrap_or(&"message")
        )));
    }
    Ok(std::iter::once(alias.to_owned())
        .chain(names.into_iter().skip(1))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::scope::EVENT_FIELDS;
    use super::*;

    fn split(terms: &[&str]) -> Result<(Vec<String>, Vec<FieldIs>), AskError> {
        split_terms(&terms.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(), EVENT_FIELDS)
    }

    #[test]
    fn conditions_on_different_fields_and_the_same_field_are_told_apart() {
        let (texts, fields) = split(&[
            "disk full",
            "level=error",
            "extra_data.user=7",
            "level=CRITICAL",
            "a b=c",
        ])
        .expect("valid");
        assert_eq!(texts, ["disk full", "a b=c"]);
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].values, ["ERROR", "CRITICAL"]);
        assert_eq!(fields[1].path, ["extra_data", "user"]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_known_one() {
        let text = split(&["mesage=x"]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("did you mean message?"), "{text}");
        assert!(text.contains("extra_data.mesage"), "{text}");
    }

    #[expect(clippy::type_complexity, reason = "words and conditions, as a test compares them")]
    fn read(terms: &[&str]) -> (Vec<String>, Vec<(String, &'static str, Vec<String>)>) {
        let (texts, fields) = split(terms).expect("readable");
        let shown = |f: FieldIs| (f.path.join("|"), f.sign.as_str(), f.values);
        (texts, fields.into_iter().map(shown).collect())
    }

    fn is(path: &str, sign: &'static str, values: &[&str]) -> (String, &'static str, Vec<String>) {
        (path.to_owned(), sign, values.iter().map(|v| (*v).to_owned()).collect())
    }

    #[test]
    fn a_text_with_conditions_in_it_is_taken_apart() {
        for (text, words) in [
            ("level=ERROR timeout", "timeout"),
            ("timeout level=error", "timeout"),
            ("disk level=ERROR full", "disk full"),
        ] {
            assert_eq!(
                read(&[text]),
                (vec![words.to_owned()], vec![is("level", "=", &["ERROR"])]),
                "{text}"
            );
        }
        assert_eq!(
            read(&["level=ERROR script=etl extra_data.user=7 lost"]),
            (
                vec!["lost".to_owned()],
                vec![
                    is("level", "=", &["ERROR"]),
                    is("script_name", "=", &["etl"]),
                    is("extra_data|user", "=", &["7"])
                ]
            )
        );
        assert_eq!(
            read(&["message=disk is full"]).1,
            [is("message", "=", &["disk is full"])]
        );
        assert_eq!(
            read(&["extra_data.title=\"a b\" x"]),
            (vec!["x".into()], vec![is("extra_data|title", "=", &["a b"])])
        );
        let quoted = "said \"level=ERROR here\"";
        assert_eq!(read(&[quoted]), (vec![quoted.to_owned()], vec![]));
    }

    #[test]
    fn signs_other_than_equality_are_read() {
        assert_eq!(
            read(&["level!=debug", "level!=INFO"]).1,
            [is("level", "!=", &["DEBUG", "INFO"])]
        );
        assert_eq!(read(&["level>=warning"]).1, [is("level_no", ">=", &["30"])]);
        let range = read(&["extra_data.n>5", "extra_data.n<=9"]).1;
        assert_eq!(
            range,
            [is("extra_data|n", ">", &["5"]), is("extra_data|n", "<=", &["9"])]
        );
        for text in ["a->b", "List<String>", "x > 5", "latency>5s", "!=", "-level!=x"] {
            assert_eq!(read(&[text]), (vec![text.to_owned()], vec![]), "{text}");
        }
        assert!(split(&["levle>=30"]).is_err(), "a slip of the finger is no text");
        assert_eq!(
            read(&["extra_data.\"http.status\".x=1"]).1,
            [is("extra_data|http.status|x", "=", &["1"])]
        );
    }
}
