//! The rules of the house that no compiler knows, kept by reading the sources: who may import whom, which libraries
//! have one door, how long files and functions are, and words that do not belong into the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of the production part of a file, at most.
const FILE_LINES: usize = 500;
/// Lines of a function without blank ones and comments, at most.
const FUNCTION_LINES: usize = 70;

/// Which modules of the crate a module may name. `main` is not a module; it names `cli` alone.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("record", &["config"]),
    ("source", &["record", "config", "telemetry"]),
    ("runs", &["record", "store", "config"]),
    ("state", &["record", "source", "store", "config"]),
    ("store", &["record", "config"]),
    ("telemetry", &["record", "config"]),
    (
        "pipeline",
        &["record", "source", "runs", "state", "store", "telemetry", "config"],
    ),
    (
        "agent",
        &[
            "record",
            "source",
            "pipeline",
            "runs",
            "state",
            "store",
            "telemetry",
            "config",
        ],
    ),
    ("query", &["record", "store"]),
    ("mcp", &["query", "store", "record", "config"]),
    (
        "cli",
        &[
            "agent",
            "query",
            "mcp",
            "store",
            "record",
            "state",
            "telemetry",
            "config",
        ],
    ),
];

/// Libraries that only one module may name.
const DOORS: &[(&str, &[&str])] = &[
    ("sled", &["state"]),
    ("rusqlite", &["store"]),
    ("reqwest", &["store"]),
    ("rmcp", &["mcp"]),
];

/// One source file of the crate.
struct Source {
    /// Below `src`.
    path: PathBuf,
    /// The first part of its module path; `lib` and `main` for the roots.
    module: String,
    /// Its lines above the tests, without comments.
    code: Vec<String>,
    /// All lines above the tests.
    production: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20);
    let is_test = |p: &Path| {
        p.components()
            .any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
    };
    files
        .into_iter()
        .map(|file| file.strip_prefix(&src).unwrap().to_owned())
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = fs::read_to_string(src.join(&path)).unwrap();
            let production: Vec<String> = text
                .lines()
                .take_while(|l| l.trim() != "#[cfg(test)]")
                .map(str::to_owned)
                .collect();
            let code = production
                .iter()
                .filter(|l| !l.trim_start().starts_with("//"))
                .cloned()
                .collect();
            let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
            Source {
                module: first.trim_end_matches(".rs").to_owned(),
                path,
                code,
                production,
            }
        })
        .collect()
}

/// The names that follow `crate::` in a line: `crate::{a::b, c}` gives `a` and `c`.
fn crate_names(line: &str) -> Vec<String> {
    let name = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        found.push(name(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth < 0 {
                    break;
                }
            }
        } else {
            found.push(name(rest));
        }
    }
    found
}

#[test]
fn modules_import_only_what_they_may() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        if source.module == "lib" || source.module == "main" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(m, _)| *m == source.module) else {
            wrong.insert(format!(
                "{}: module {} has no rule",
                source.path.display(),
                source.module
            ));
            continue;
        };
        // A `use` over several lines is joined, so that a group is seen whole.
        let text = source.code.join(" ");
        for name in crate_names(&text) {
            let is_module = MAY_IMPORT.iter().any(|(m, _)| *m == name);
            if is_module && name != source.module && !allowed.contains(&name.as_str()) {
                wrong.insert(format!(
                    "{}: {} may not import {name}",
                    source.path.display(),
                    source.module
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_library_with_one_door_is_named_only_there() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (library, doors) in DOORS {
            if doors.contains(&source.module.as_str()) {
                continue;
            }
            for line in &source.code {
                let named = line.contains(&format!("{library}::")) || line.contains(&format!("use {library};"));
                if named {
                    wrong.push(format!("{}: names {library}: {}", source.path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.production.len() > FILE_LINES {
            wrong.push(format!("{}: {} lines", source.path.display(), source.production.len()));
        }
        wrong.extend(
            long_functions(&source.production)
                .into_iter()
                .map(|(name, lines)| format!("{}: {name} has {lines} lines", source.path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Functions that are too long. The sources are formatted, so a function ends at a brace of its own indentation.
fn long_functions(lines: &[String]) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(at) = trimmed.find("fn ") else { continue };
        let head = &trimmed[..at];
        let is_head = head
            .split_whitespace()
            .all(|w| matches!(w, "pub" | "async" | "const" | "unsafe" | "extern" | "\"C\"") || w.starts_with("pub("));
        if !is_head || trimmed.ends_with(';') {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let end = format!("{}}}", " ".repeat(indent));
        let body = lines.iter().skip(i).take_while(|l| **l != end);
        let count = body
            .filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with("//"))
            .count();
        if count > FUNCTION_LINES + 1 {
            let name = trimmed[at + 3..].split(['(', '<']).next().unwrap_or_default();
            long.push((name.to_owned(), count));
        }
    }
    long
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    for source in sources() {
        for part in source.path.components() {
            let name = part.as_os_str().to_str().unwrap().trim_end_matches(".rs");
            assert!(
                !["util", "utils", "common", "helpers", "helper", "types", "misc"].contains(&name),
                "{}",
                source.path.display()
            );
        }
    }
}

#[test]
fn production_code_does_not_unwrap_and_leaves_nothing_unfinished() {
    let mut wrong = Vec::new();
    for source in sources() {
        for line in &source.code {
            for word in [".unwrap()", "todo!(", "unimplemented!(", "panic!(", "dbg!("] {
                if line.contains(word) {
                    wrong.push(format!("{}: {}", source.path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Files that belong to the repository: those that git knows, and where it does not answer, all.
fn repository_files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    match listed {
        Ok(out) if out.status.success() && !out.stdout.is_empty() => String::from_utf8_lossy(&out.stdout)
            .split('\0')
            .filter(|p| !p.is_empty())
            .map(|p| root().join(p))
            .filter(|p| p.exists())
            .collect(),
        _ => {
            let mut files = Vec::new();
            for dir in ["src", "tests", "benches", "examples"] {
                if root().join(dir).is_dir() {
                    rust_files(&root().join(dir), &mut files);
                }
            }
            files
        }
    }
}

#[test]
fn the_repository_names_no_place_outside_itself_and_skips_no_test() {
    // Put together here, so that this file does not contain them.
    let paths = [concat!("/wo", "rk/")];
    let words = [
        concat!("#[ign", "ore]"),
        concat!("#[ign", "ore ="),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let mut wrong = Vec::new();
    for file in repository_files() {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (i, line) in text.lines().enumerate() {
            let place = || format!("{}:{}: {}", file.display(), i + 1, line.trim());
            for path in paths {
                // `/home/me/` before it makes it part of another path.
                let absolute = line
                    .match_indices(path)
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~$}*".contains(c)));
                if absolute {
                    wrong.push(place());
                }
            }
            if words.iter().any(|w| line.contains(w)) {
                wrong.push(place());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crate_names_are_found_in_single_and_grouped_imports() {
    assert_eq!(crate_names("use crate::a::B; x(crate::c::d())"), ["a", "c"]);
    assert_eq!(crate_names("use crate::{a::{B, C}, d, e::F};"), ["a", "d", "e"]);
    assert!(crate_names("use other_crate::a;").is_empty());
}
