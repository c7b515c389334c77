//! Tracebacks as people paste them.

use crate::record::Fingerprint;

/// The fingerprint of a traceback as a person pastes it: as the terminal showed it, or indented or quoted as a whole.
#[must_use]
pub fn pasted(text: &str) -> Option<String> {
    let found = Fingerprint::of_text(text);
    let bare = || {
        let header = text.lines().find(|l| l.contains(HEADER))?;
        let margin = header.find(HEADER).filter(|n| *n > 0)?;
        let margin = header.get(..margin)?;
        let lines: Vec<&str> = text.lines().map(|l| l.strip_prefix(margin).unwrap_or(l)).collect();
        Fingerprint::of_text(&lines.join("\n"))
    };
    // Where every line is set in alike, the frames are not where they should be.
    let set_in = text.lines().any(|l| l.contains(HEADER) && !l.starts_with(HEADER));
    let print = if set_in { bare().or(found) } else { found };
    print.map(|p| p.to_string())
}

/// How a traceback of Python begins.
const HEADER: &str = "Traceback (most recent call last):";

/// The exceptions of a traceback, a line each: what stands at its margin and is neither a heading nor a frame. Empty
/// for other text.
#[must_use]
pub fn exceptions(text: &str) -> String {
    let Some(start) = text.find(HEADER) else {
        return String::new();
    };
    let rules = ["The above exception", "During handling of the above"];
    let lines = text.get(start..).unwrap_or_default().lines();
    let bare = lines.map(|l| l.trim_start_matches(['>', '|', '+', ' ']));
    let mut within = false;
    let mut out: Vec<&str> = Vec::new();
    for line in bare {
        let heading = line.contains(HEADER) || rules.iter().any(|r| line.starts_with(r));
        let frame = line.starts_with("File \"");
        // Behind a frame stands its line of code.
        let code = std::mem::replace(&mut within, frame);
        if !heading && !frame && !code && is_exception(line) {
            out.push(line);
        }
    }
    out.join("\n")
}

/// `Type`, `Type: value`, `package.Type: value`.
fn is_exception(line: &str) -> bool {
    let kind = line.split(':').next().unwrap_or("");
    let named = kind.split('.').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
    });
    let last = kind.rsplit('.').next().unwrap_or("");
    named && last.chars().next().is_some_and(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str =
        "Traceback (most recent call last):\n  File \"/srv/a.py\", line 8, in go\n    x\nKeyError: 'user'";

    #[test]
    fn a_traceback_is_known_as_the_terminal_showed_it_and_set_in_or_quoted_as_a_whole() {
        let print = pasted(TRACE);
        assert!(print.is_some());
        for margin in ["    ", "> ", "| "] {
            let quoted: Vec<String> = TRACE.lines().map(|l| format!("{margin}{l}")).collect();
            assert_eq!(pasted(&quoted.join("\n")), print, "{margin:?}");
        }
        assert_eq!(pasted(&format!("it said:\n{TRACE}")), print);
        assert_eq!(pasted("KeyError: 'user'"), None);
    }

    #[test]
    fn what_is_looked_for_are_its_exceptions_not_its_frames() {
        let chained = format!(
            "{TRACE}\n\nDuring handling of the above exception, another exception occurred:\n\n{TRACE}\nos.Gone: away"
        );
        assert_eq!(
            exceptions(&chained),
            "KeyError: 'user'\nKeyError: 'user'\nos.Gone: away"
        );
        assert_eq!(exceptions("plain text"), "");
    }
}
