//! The documents say what is true: each command in them is run, what they quote exists, what they link to is there.
//!
//! A block marked `sh` is run, from the first to the last of its document, in a directory where an agent runs and an
//! example has been logged. A block marked `sh system` changes a whole machine (users, services): its syntax is
//! checked, the files it names must exist, and its `logagent` verbs must be known.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::examples::Place;
use crate::harness::python_with_loguru;
use crate::harness::say;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All documents of `docs/`, by name.
fn documents() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|e| format!("docs/{}", e.unwrap().file_name().to_str().unwrap()))
        .filter(|n| n.ends_with(".md"))
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// The fenced blocks with this mark, each with the line where it begins.
fn blocks(text: &str, mark: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (i, line) in text.lines().enumerate() {
        match &mut open {
            None => {
                if let Some(info) = line.strip_prefix("```") {
                    open = Some((i + 2, info == mark, String::new()));
                }
            }
            Some((at, wanted, block)) => {
                if line == "```" {
                    if *wanted {
                        found.push((*at, block.clone()));
                    }
                    open = None;
                } else {
                    block.push_str(line);
                    block.push('\n');
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// Runs every `sh` block of a document where an agent runs.
fn run_blocks(document: &str) {
    let place = Place::new();
    for shared in ["examples", "config.example.toml", "systemd"] {
        std::os::unix::fs::symlink(root().join(shared), place.path(shared)).unwrap();
    }
    let agent = place.start();
    place.python("every_bound_value.py", &[]);
    for (line, block) in blocks(&read(document), "sh") {
        let out = place.shell(&block);
        assert!(
            out.code == 0,
            "{document}:{line} ended with {}:\n{block}\n{}{}\n{}",
            out.code,
            out.out,
            out.err,
            place.agent_log()
        );
    }
    agent.stop();
}

#[test]
fn the_readme_s_script_and_commands_work_as_they_stand() {
    let place = Place::new();
    let text = read("README.md");
    let script = blocks(&text, "python").remove(0).1;
    fs::write(place.path("etl.py"), script).unwrap();
    let agent = place.start();
    let done = place.shell("python etl.py");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let ended = "select status s from script_runs where script_name = 'etl'";
    crate::harness::eventually("the script's run is stored", || {
        let rows = place.rows(ended);
        rows.iter().any(|r| r["s"] == "failed").then_some(())
    });
    let mut run = 0;
    for (line, block) in blocks(&text, "sh") {
        let out = place.shell(&block);
        assert_eq!(out.code, 0, "README.md:{line}:\n{block}\n{}{}", out.out, out.err);
        run += 1;
    }
    assert!(run >= 3, "{run}");
    for (line, block) in blocks(&text, "sh system") {
        let out = Command::new("sh").args(["-n", "-c", &block]).output().unwrap();
        assert!(
            out.status.success(),
            "README.md:{line}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    agent.stop();
}

#[test]
fn every_command_of_the_operations_guide_works() {
    run_blocks("docs/operations.md");
}

#[test]
fn every_command_of_the_scripts_guide_works() {
    run_blocks("docs/scripts.md");
}

#[test]
fn every_command_of_the_other_documents_works() {
    for document in documents() {
        if document != "docs/operations.md" && document != "docs/scripts.md" {
            run_blocks(&document);
        }
    }
}

#[test]
fn commands_that_change_a_machine_are_valid_and_name_files_that_exist() {
    let mut checked = 0;
    for document in documents() {
        for (line, block) in blocks(&read(&document), "sh system") {
            let out = Command::new("sh").args(["-n", "-c", &block]).output().unwrap();
            assert!(out.status.success(), "{document}:{line}");
            for word in block.split_whitespace() {
                if word.starts_with("systemd/") || word.ends_with(".toml") && !word.starts_with('/') {
                    assert!(root().join(word).exists(), "{document}:{line}: {word}");
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn every_verb_that_a_document_names_exists() {
    let dir = tempfile::tempdir().unwrap();
    let help = say(dir.path(), &["--help"]).out;
    let known: BTreeSet<&str> = help
        .lines()
        .filter_map(|l| l.strip_prefix("  "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(known.contains("dead-letter") && known.contains("run"), "{help}");
    for document in documents()
        .into_iter()
        .chain(["CONTRIBUTING.md".into(), "examples/README.md".into()])
    {
        let text = read(&document);
        for (at, _) in text.match_indices("`logagent ") {
            let verb: String = text[at + "`logagent ".len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            assert!(
                verb.starts_with('-') || known.contains(verb.as_str()),
                "{document}: logagent {verb}"
            );
        }
    }
}

#[test]
fn what_a_document_links_to_is_there() {
    for document in documents()
        .into_iter()
        .chain(["CONTRIBUTING.md".into(), "examples/README.md".into()])
    {
        let text = read(&document);
        let dir = Path::new(&document).parent().unwrap();
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')').collect();
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or_default();
            assert!(root().join(dir).join(file).exists(), "{document}: {target}");
        }
    }
}

#[test]
fn the_tests_that_the_coverage_names_exist_and_every_item_is_there_once() {
    let tests = sources_of(&["src", "tests/it"]);
    let (mut items, mut named) = (Vec::new(), 0);
    for line in read("docs/coverage-of-the-plan.md").lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [numbers, _, _, shown] = cells[..] else { continue };
        for part in numbers.split(", ") {
            let (first, last) = part.split_once('–').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
                items.extend(first..=last);
            }
        }
        for name in shown.split('`').skip(1).step_by(2) {
            assert!(tests.contains(&format!("fn {name}(")), "no test is called {name}");
            named += 1;
        }
    }
    items.sort_unstable();
    assert_eq!(items, (1..=94).collect::<Vec<u32>>());
    assert!(named > 40, "{named}");
}

/// All sources as one text, with strings that go on behind a `\` joined.
fn sources() -> String {
    sources_of(&["src"])
}

/// The same of these directories.
fn sources_of(dirs: &[&str]) -> String {
    fn collect(dir: &Path, all: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for line in text.lines() {
                    match line.strip_suffix('\\') {
                        Some(part) => all.push_str(part.trim_start()),
                        None => {
                            all.push_str(line.trim_start());
                            all.push('\n');
                        }
                    }
                }
            }
        }
    }
    let mut all = String::new();
    dirs.iter().for_each(|dir| collect(&root().join(dir), &mut all));
    all
}

#[test]
fn messages_that_the_troubleshooting_guide_quotes_are_messages_of_the_program() {
    let sources = sources();
    let mut quoted = 0;
    for heading in read("docs/troubleshooting.md")
        .lines()
        .filter_map(|l| l.strip_prefix("### "))
    {
        for (i, message) in heading.split('`').enumerate() {
            if i % 2 == 1 && message.contains(' ') {
                assert!(sources.contains(message), "no message says: {message}");
                quoted += 1;
            }
        }
    }
    assert!(quoted >= 10, "{quoted}");
}

/// The configuration reference, made from the example file: its comments are the documentation.
fn reference(example: &str) -> String {
    let mut out = String::from(
        "# Configuration\n\n<!-- Made from config.example.toml by tests/it/docs.rs. Write it anew with: LOGAGENT_BLESS=1 \
         cargo test --test it docs:: -->\n\n\
         What follows is `config.example.toml`, key by key.\n",
    );
    let mut comment: Vec<&str> = Vec::new();
    let mut last = String::new();
    let mut section = String::new();
    let mut begun = false;
    for line in example.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if line.is_empty() {
            if !begun {
                out.push_str(&format!("\n{}\n\n## Without a section\n", paragraphs(&comment)));
                begun = true;
            }
            comment.clear();
        } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
            out.push_str(&format!("\n## `[{name}]`\n"));
        } else if let Some((key, value)) = line.split_once(" = ") {
            if !comment.is_empty() {
                last = paragraphs(&comment);
                comment.clear();
            }
            let name = format!("{section}{key}");
            let variable = name.replace('.', "_").to_uppercase();
            out.push_str(&format!(
                "\n### `{name}`\n\nDefault `{value}` · variable `LOGAGENT_{variable}`\n\n{last}\n"
            ));
        }
    }
    out
}

/// Comment lines as paragraphs.
fn paragraphs(lines: &[&str]) -> String {
    lines.iter().map(|l| l.trim_end()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_configuration_reference_is_made_from_the_example_file() {
    let wanted = reference(&read("config.example.toml"));
    let path: PathBuf = root().join("docs/configuration.md");
    if std::env::var_os("LOGAGENT_BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let have = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have == wanted,
        "docs/configuration.md is old: LOGAGENT_BLESS=1 cargo test --test it docs::"
    );
    assert!(wanted.matches("### `").count() > 40);
}

#[test]
fn blocks_are_found_by_their_mark() {
    let text = "a\n```sh\nx\ny\n```\n```sh system\nz\n```\n```\nw\n```\n";
    assert_eq!(blocks(text, "sh"), [(3, "x\ny\n".to_owned())]);
    assert_eq!(blocks(text, "sh system"), [(7, "z\n".to_owned())]);
}

#[test]
fn the_interpreter_of_the_documents_has_loguru() {
    let out = Command::new(python_with_loguru())
        .args(["-c", "import loguru, structlog"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
