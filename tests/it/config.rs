//! The configuration as a person meets it: through the program, from each place, with its errors.

use std::fs;

use crate::harness::{logagent, say};

#[test]
fn a_configuration_with_mistakes_is_refused_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[files]\ninclud = [\"a\"]\nhold = 120\n[spol]\nmax_size = \"1000\"\n";
    fs::write(dir.path().join("logagent.toml"), text).unwrap();
    let said = say(dir.path(), &["check"]);
    assert_eq!(said.code, 2);
    assert_eq!(said.out, "");
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(
        lines,
        [
            "error: logagent.toml:2: unknown key files.includ; did you mean files.include?",
            "logagent.toml:3: files.hold: a duration needs its unit in quotes: \"120s\", \"120m\" or \"120ms\", not 120",
            "logagent.toml:5: unknown key spol.max_size; did you mean spool.max_size?",
        ]
    );
}

#[test]
fn the_example_file_is_valid_and_check_names_the_file_it_uses() {
    let dir = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let said = say(dir.path(), &["check", "-c", example]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("config.example.toml is valid"), "{}", said.out);
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_an_unnamed_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(say(dir.path(), &["check"]).code, 0);
    let said = say(dir.path(), &["--config", "none.toml", "check"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("none.toml (named by --config)"), "{}", said.err);
}

#[test]
fn a_misspelt_variable_is_warned_about_and_a_wrong_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = logagent(dir.path())
        .arg("check")
        .env("LOGAGENT_FILES_INCLUDES", "x")
        .output()
        .unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(err.contains("did you mean LOGAGENT_FILES_INCLUDE?"), "{err}");

    let out = logagent(dir.path())
        .arg("check")
        .env("LOG_BATCH_SIZE", "many")
        .output()
        .unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(
        err.contains("environment variable LOG_BATCH_SIZE: expected a whole number"),
        "{err}"
    );
}

#[test]
fn a_variable_in_dotenv_counts_and_the_environment_wins() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".env"), "LOGAGENT_DATA_DIR=from-dotenv\n").unwrap();
    assert!(say(dir.path(), &["check"]).out.contains("from-dotenv will be created"));
    let out = logagent(dir.path())
        .arg("check")
        .env("LOGAGENT_DATA_DIR", "from-env")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .contains("from-env will be created")
    );
}

#[test]
fn a_password_on_the_command_line_is_warned_about_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let said = say(dir.path(), &["check", "--store", "http://me:geheim@127.0.0.1:1/db"]);
    assert!(said.err.contains("--store holds a password"), "{}", said.err);
    assert!(!format!("{}{}", said.out, said.err).contains("geheim"));
}
