//! Stack traces of other languages than Python: what was thrown, what caused it, and where.
//!
//! Works on plain text: such traces are rare beside loguru's. Each reader looks for the one line that only its language
//! writes, and takes the rest from around it:
//!
//! | language | known by | root cause |
//! |---|---|---|
//! | Java, Kotlin, Scala | `at pkg.Class.method(File.java:42)` | the last `Caused by:` |
//! | JavaScript | `at fn (/srv/a.js:3:9)` | the innermost `[cause]:` |
//! | .NET | `at Ns.Class.Method(…) in /src/F.cs:line 42` | the last `--->` |
//! | Go | `panic:` or `fatal error:`, `goroutine 1 [running]:`, a tab and `/src/main.go:9 +0x1d` | |
//! | Rust | `thread 'main' panicked at src/main.rs:3:5:`; anyhow's `Caused by:` | the last of the list |
//! | Ruby | `a.rb:3:in 'take': message (Type)` | |
//! | PHP | `Uncaught Type: message in /srv/a.php:3` | |
//! | C++ | `terminate called after throwing an instance of 'Type'` | |

use super::crash;

/// What a stack trace says. Plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stack {
    /// (type without its package, value) of each link, what was thrown first, its root cause last.
    pub links: Vec<(String, String)>,
    /// The root cause's innermost frame of the program's own code: (path, function).
    pub frame: Option<(String, String)>,
}

/// Longer chains keep their outermost links.
const CHAIN: usize = 64;

/// Reads a stack trace; `None` if the text is none.
pub(super) fn read(text: &str) -> Option<Stack> {
    let lines: Vec<&str> = text.lines().map(|l| l.strip_suffix('\r').unwrap_or(l)).collect();
    go(&lines)
        .or_else(|| rust(&lines))
        .or_else(|| ruby(&lines))
        .or_else(|| php(&lines))
        .or_else(|| cpp(&lines))
        .or_else(|| at_lines(&lines))
        .or_else(|| anyhow(&lines))
}

/// Type without its package, and value, of a line that names what was thrown.
fn thrown(line: &str) -> (String, String) {
    let line = line.trim();
    let line = [
        "Unhandled exception. ",
        "Unhandled Exception: ",
        "Uncaught ",
        "(in promise) ",
        "---> ",
    ]
    .iter()
    .fold(line, |line, lead| line.strip_prefix(lead).unwrap_or(line));
    let line = match line.strip_prefix("Exception in thread \"") {
        Some(rest) => rest.split_once("\" ").map_or(rest, |(_, rest)| rest),
        None => line,
    };
    // `request failed: TypeError: x is undefined`
    let named = std::iter::once(0).chain(line.match_indices(' ').map(|(at, _)| at + 1));
    let named = named
        .filter_map(|at| line.get(at..))
        .find(|rest| crash::is_thrown(rest));
    let line = named.unwrap_or(line);
    let (kind, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
    // Node's `TypeError [ERR_X]: …`
    let kind = kind.split(" [").next().unwrap_or(kind);
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | ':' | '`');
    if kind.is_empty() || !kind.chars().all(word) || kind.starts_with(|c: char| c.is_ascii_digit()) {
        return (String::new(), line.to_owned());
    }
    (
        kind.rsplit(['.', ':']).next().unwrap_or(kind).to_owned(),
        value.to_owned(),
    )
}

/// Function and path of a frame such as `at com.acme.Db.q(Db.java:9)`, `at foo (/app/a.js:3:9)`,
/// `at Shop.Run() in /src/Shop.cs:line 4`.
fn at(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start();
    if rest.len() == line.len() {
        return None;
    }
    let rest = rest.strip_prefix("at ")?.trim_end_matches(" {");
    if let Some((function, place)) = rest.rsplit_once(" in ").filter(|(f, _)| f.contains('(')) {
        let path = place.split(":line ").next().unwrap_or(place);
        return Some((function.split('(').next().unwrap_or(function), path));
    }
    if let Some((function, place)) = rest.strip_suffix(')').and_then(|r| r.rsplit_once('(')) {
        let function = function.trim_end();
        return Some((
            function.strip_prefix("async ").unwrap_or(function),
            without_place(place),
        ));
    }
    // `at /app/a.js:7:1`
    let bare = rest.strip_prefix("async ").unwrap_or(rest);
    (!bare.contains(' ') && without_place(bare).len() < bare.len()).then(|| ("", without_place(bare)))
}

/// A path without `:line:column` behind it.
fn without_place(path: &str) -> &str {
    path.trim_end_matches(|c: char| c == ':' || c.is_ascii_digit())
}

/// Code of the language itself or of its packages.
fn is_foreign(function: &str, path: &str) -> bool {
    const FUNCTIONS: [&str; 12] = [
        "java.",
        "javax.",
        "jdk.",
        "sun.",
        "kotlin.",
        "scala.",
        "System.",
        "Microsoft.",
        "org.springframework.",
        "java.base/",
        "org.apache.",
        "com.sun.",
    ];
    const PATHS: [&str; 4] = ["node:", "node_modules", "internal/", "<anonymous>"];
    FUNCTIONS.iter().any(|f| function.starts_with(f))
        || PATHS
            .iter()
            .any(|p| path.starts_with(p) || path.contains("/node_modules/"))
}

/// The frames of one link of a chain, as they come by.
#[derive(Default)]
struct Frames {
    own: Option<(String, String)>,
    any: Option<(String, String)>,
}

impl Frames {
    fn take(&mut self, function: &str, path: &str) {
        let frame = || Some((path.to_owned(), function.to_owned()));
        if self.any.is_none() {
            self.any = frame();
        }
        if self.own.is_none() && !is_foreign(function, path) {
            self.own = frame();
        }
    }

    fn best(self) -> Option<(String, String)> {
        self.own.or(self.any)
    }
}

/// Traces whose frames begin with `at`: Java, JavaScript and .NET.
fn at_lines(lines: &[&str]) -> Option<Stack> {
    let first = lines
        .iter()
        .position(|l| at(l).is_some() || l.trim_start().starts_with("---> "))?;
    let mut stack = Stack::default();
    let mut frames = Frames::default();
    // The message may go over several lines; the nearest one that names a type begins it.
    let head = lines.get(..first)?;
    let begins = head
        .iter()
        .rposition(|l| crash::names_error(l))
        .or_else(|| head.len().checked_sub(1));
    if let Some(begins) = begins {
        let (kind, mut value) = thrown(head.get(begins)?);
        for line in head.iter().skip(begins + 1) {
            value.push('\n');
            value.push_str(line);
        }
        stack.links.push((kind, value));
    }
    let mut inner = false;
    for line in lines.iter().skip(first) {
        let bare = line.trim_start();
        let cause = bare
            .strip_prefix("Caused by: ")
            .filter(|_| bare.len() == line.len())
            .or_else(|| bare.strip_prefix("[cause]: "))
            .or_else(|| bare.strip_prefix("---> "));
        if let Some(cause) = cause {
            if stack.links.len() < CHAIN {
                stack.links.push(thrown(cause.trim_end_matches(" {")));
            }
            frames = Frames::default();
            inner = bare.starts_with("---> ");
        } else if bare.starts_with("--- End of inner exception") {
            // .NET prints the innermost frames first: what follows are those of the exceptions around it.
            if inner && frames.any.is_some() {
                break;
            }
        } else if let Some((function, path)) = at(line) {
            frames.take(function, path);
        }
    }
    stack.frame = frames.best();
    (!stack.links.is_empty() || stack.frame.is_some()).then_some(stack)
}

fn go(lines: &[&str]) -> Option<Stack> {
    let head = |l: &&str| l.starts_with("panic: ") || l.starts_with("fatal error: ");
    let panic = lines.iter().position(|l| head(&l.trim_start()));
    let goroutine = lines.iter().any(|l| l.starts_with("goroutine ") && l.contains(" ["));
    let place = |l: &&str| l.starts_with('\t') && l.contains(".go:");
    if panic.is_none() && !goroutine && !lines.iter().any(place) {
        return None;
    }
    let mut stack = Stack::default();
    if let Some(line) = panic.and_then(|at| lines.get(at)) {
        let (kind, value) = line.trim_start().split_once(": ")?;
        stack
            .links
            .push((kind.to_owned(), value.trim_end_matches(" [recovered]").to_owned()));
    }
    let mut frames = Frames::default();
    for pair in lines.windows(2) {
        let &[function, path] = pair else { continue };
        if !place(&path) || function.starts_with("runtime.") || function.starts_with("panic(") {
            continue;
        }
        let function = function.strip_prefix("created by ").unwrap_or(function);
        let function = function.rsplit_once('(').map_or(function, |(f, _)| f);
        let path = path.trim().split(" +0x").next().unwrap_or_default();
        frames.take(function, without_place(path));
    }
    stack.frame = frames.best();
    Some(stack)
}

fn rust(lines: &[&str]) -> Option<Stack> {
    let at = lines
        .iter()
        .position(|l| l.starts_with("thread '") && l.contains(" panicked at "))?;
    let (_, told) = lines.get(at)?.split_once(" panicked at ")?;
    let (value, place) = match told.strip_suffix(':') {
        // Since 1.73 the message stands below.
        Some(place) => {
            let below = lines.iter().skip(at + 1);
            let message: Vec<&str> = below
                .take_while(|l| !l.starts_with("note: ") && !l.starts_with("stack backtrace:"))
                .copied()
                .collect();
            (message.join("\n").trim_end().to_owned(), place)
        }
        None => {
            let (value, place) = told.rsplit_once(", ").unwrap_or((told, ""));
            (value.trim_matches('\'').to_owned(), place)
        }
    };
    // `   4: shop::take` behind what the runtime itself does.
    let function = lines.iter().skip(at).find_map(|l| {
        let (n, name) = l.trim_start().split_once(": ")?;
        let runtime = ["core::", "std::", "rust_begin_unwind", "__rust", "<"];
        let own = n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty() && l.starts_with("  ");
        (own && !runtime.iter().any(|r| name.starts_with(r))).then_some(name)
    });
    Some(Stack {
        links: vec![("panic".to_owned(), value)],
        frame: Some((without_place(place).to_owned(), function.unwrap_or_default().to_owned())),
    })
}

/// anyhow's and eyre's report: `Error: top`, then a list of causes.
fn anyhow(lines: &[&str]) -> Option<Stack> {
    let at = lines.iter().position(|l| l.starts_with("Error: "))?;
    let caused = lines
        .iter()
        .position(|l| l.trim_end() == "Caused by:")
        .filter(|c| *c > at)?;
    let mut links = vec![("Error".to_owned(), lines.get(at)?.get(7..)?.to_owned())];
    for line in lines
        .iter()
        .skip(caused + 1)
        .take_while(|l| l.starts_with("    "))
        .take(CHAIN)
    {
        let line = line.trim();
        let numbered = line
            .split_once(": ")
            .filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()));
        links.push(("Error".to_owned(), numbered.map_or(line, |(_, text)| text).to_owned()));
    }
    Some(Stack { links, frame: None })
}

fn ruby(lines: &[&str]) -> Option<Stack> {
    let line = lines.iter().find(|l| crash::is_ruby(l))?;
    let (place, rest) = line.split_once(":in ")?;
    let (function, told) = rest.split_once("': ").or_else(|| rest.split_once("`: "))?;
    let (value, kind) = told.rsplit_once(" (").unwrap_or((told, ""));
    let kind = kind.trim_end_matches(')');
    Some(Stack {
        links: vec![(kind.rsplit("::").next().unwrap_or(kind).to_owned(), value.to_owned())],
        frame: Some((
            without_place(place).to_owned(),
            function.trim_start_matches(['`', '\'']).to_owned(),
        )),
    })
}

fn php(lines: &[&str]) -> Option<Stack> {
    let (_, told) = lines
        .iter()
        .find_map(|l| l.split_once("Uncaught ").filter(|(lead, _)| lead.contains("rror")))?;
    let (told, path) = told.rsplit_once(" in ").unwrap_or((told, ""));
    let function = lines
        .iter()
        .find_map(|l| l.strip_prefix("#0 ")?.rsplit_once(": ").map(|(_, f)| f))
        .unwrap_or_default();
    Some(Stack {
        links: vec![thrown(&told.replace('\\', "."))],
        frame: Some((
            without_place(path).to_owned(),
            function.split('(').next().unwrap_or_default().to_owned(),
        )),
    })
}

fn cpp(lines: &[&str]) -> Option<Stack> {
    let kind = lines
        .iter()
        .find_map(|l| l.strip_prefix("terminate called after throwing an instance of '"))?;
    let what = lines.iter().find_map(|l| l.trim_start().strip_prefix("what():"));
    Some(Stack {
        links: vec![(
            kind.trim_end_matches('\'').to_owned(),
            what.unwrap_or_default().trim().to_owned(),
        )],
        frame: None,
    })
}

#[cfg(test)]
#[path = "tests/stacks.rs"]
mod tests;
