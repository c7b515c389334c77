//! Hides what the expressions of `redact.patterns` match, in time that grows with the length of the text.
//!
//! One search of the `regex` crate is linear, many are not: an expression such as `a(.*b)?` reads the whole rest for each
//! `a` that it finds. So only so many bytes of a text are read freely. Behind that each search sees a window; what
//! matches in more than half of one is found only if it reaches the window's end, in which case the window grows.

use regex::Regex;

/// Stands for what matched.
const MARK: &str = "[REDACTED:pattern]";

/// How often a text may be read before searches are confined to windows.
const READINGS: usize = 64;

/// Bytes that a confined search sees.
const WINDOW: usize = 4096;

/// The text with everything hidden that `pattern` matches; `None` where nothing does.
pub(super) fn hide(pattern: &Regex, text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut done, mut from) = (0, 0);
    let mut left = text.len().saturating_mul(READINGS);
    let mut window = WINDOW;
    let mut any = false;
    while from <= text.len() {
        let free = left > 0;
        left = left.saturating_sub(text.len() - from + 1);
        let end = if free {
            text.len()
        } else {
            super::text::ceil(text, from.saturating_add(window))
        };
        let found = text.get(..end).and_then(|seen| pattern.find_at(seen, from));
        let Some(found) = found else {
            if end == text.len() {
                break;
            }
            from = super::text::ceil(text, from + WINDOW / 2);
            window = WINDOW;
            continue;
        };
        if found.end() == end && end < text.len() {
            // It may go on, or match only because the window ends here.
            window = window.saturating_mul(2);
            continue;
        }
        window = WINDOW;
        let behind = |at: usize| super::text::ceil(text, at + 1).max(at + 1);
        if found.is_empty() && any && found.start() == done {
            from = behind(done);
            continue;
        }
        any = true;
        out.push_str(text.get(done..found.start()).unwrap_or_default());
        out.push_str(MARK);
        done = found.end();
        // As everywhere, an empty match counts once, and not right behind another one.
        from = if found.is_empty() { behind(done) } else { done };
    }
    if !any {
        return None;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(pattern: &str, text: &str) -> Option<String> {
        let hidden = hide(&Regex::new(pattern).expect("valid"), text);
        hidden.map(|h| h.replace(MARK, "#"))
    }

    #[test]
    fn all_that_matches_is_hidden_as_the_regex_crate_would_replace_it() {
        for (pattern, text) in [
            (r"cust-\d+", "cust-1, cust-22 and cust-"),
            (r"x*", "axxbé"),
            (r"^a", "aaa"),
            (r"b$", "bbb"),
            (r"\bé+\b", "é éé aé é"),
            ("", "é1"),
        ] {
            let regex = Regex::new(pattern).expect("valid");
            let expected = regex.replace_all(text, "#");
            assert_eq!(
                hidden(pattern, text).as_deref(),
                Some(&*expected),
                "{pattern} in {text}"
            );
        }
        assert_eq!(hidden("q", "nothing"), None);
    }

    #[test]
    fn behind_many_matches_long_and_short_ones_are_hidden_still() {
        let many = "k1 ".repeat(5000);
        let long = format!("k{}", "7".repeat(20_000));
        let text = format!("{many}{}{long}{}k9 é{long}", "é".repeat(3000), ".".repeat(WINDOW - 1));
        let regex = Regex::new(r"\bk\d+\b").expect("valid");
        assert_eq!(
            hidden(r"\bk\d+\b", &text).as_deref(),
            Some(&*regex.replace_all(&text, "#"))
        );
    }
}
