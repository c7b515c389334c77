use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::defaults;
use super::env::variable_of;
use super::keys::KEYS;
use super::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// An empty directory with the sources of a process that works there.
fn place() -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let sources = Sources {
        dir: dir.path().to_owned(),
        host: "here".into(),
        ..Sources::default()
    };
    (dir, sources)
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let (dir, sources) = place();
    fs::write(dir.path().join("logagent.toml"), text).unwrap();
    (dir, sources)
}

fn settings(sources: &Sources) -> Settings {
    Settings::load(sources).unwrap().0
}

/// The problems, without the directory in which the test runs.
fn problems(sources: &Sources) -> String {
    let dir = format!("{}/", sources.dir.display());
    Settings::load(sources).unwrap_err().to_string().replace(&dir, "")
}

fn env(sources: &Sources, vars: &[(&str, &str)]) -> Sources {
    Sources {
        env: vars.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..sources.clone()
    }
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let (dir, sources) = place();
    let (s, warnings) = Settings::load(&sources).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(s.data_dir, dir.path().join(".logagent"));
    assert_eq!(s.host, "here");
    assert_eq!(s.socket.path, Some(dir.path().join(".logagent/logagent.sock")));
    assert_eq!(s.store.sqlite_path, dir.path().join(".logagent/logs.db"));
    assert_eq!(s.files, defaults::settings().files);
}

#[test]
fn the_example_file_is_complete_and_equals_the_defaults() {
    let (_dir, sources) = place();
    let expected = settings(&sources);
    let (_dir, with_example) = with_file(EXAMPLE);
    let mut got = settings(&with_example);
    got.data_dir.clone_from(&expected.data_dir);
    got.socket.path.clone_from(&expected.socket.path);
    got.store.sqlite_path.clone_from(&expected.store.sqlite_path);
    assert!(got.batch_bytes_given, "it names each key");
    got.batch_bytes_given = false;
    assert_eq!(got, expected);

    let given = super::file::read(Path::new("x"), EXAMPLE, &mut Vec::new());
    let mut named: Vec<&str> = given.0.iter().map(|g| g.key.as_str()).collect();
    let mut known: Vec<&str> = KEYS.iter().map(|k| k.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}

#[test]
fn every_key_of_the_example_has_a_comment_above_it() {
    let mut above_is_comment = false;
    for line in EXAMPLE.lines() {
        let is_key = line.contains('=') && !line.starts_with('#');
        // `replication_factor` shares the comment of `shards`.
        if is_key && !line.starts_with("replication_factor") {
            assert!(above_is_comment, "{line}");
        }
        above_is_comment = line.starts_with('#');
    }
}

#[test]
fn each_place_wins_over_the_weaker_ones() {
    let (dir, sources) = with_file("host = \"file\"\n[batch]\nmax_records = 1\nin_flight = 3\n[retention]\ndays = 7\n");
    fs::write(
        dir.path().join(".env"),
        "LOGAGENT_HOST=dotenv\nLOG_RETENTION_DAYS=8\nLOG_BATCH_SIZE=2\n",
    )
    .unwrap();
    let sources = env(
        &sources,
        &[("LOG_BATCH_SIZE", "5"), ("LOGAGENT_BATCH_MAX_RECORDS", "6")],
    );
    let s = settings(&sources);
    assert_eq!(s.host, "dotenv");
    assert_eq!(s.retention.days, 8);
    assert_eq!(s.batch.max_records, 6, "the particular variable wins over its alias");
    assert_eq!(s.batch.in_flight, 3);
    let mut flagged = sources.clone();
    flagged.store = Some("sqlite:/x/y.db".into());
    assert_eq!(settings(&flagged).store.sqlite_path, PathBuf::from("/x/y.db"));
}

#[test]
fn the_real_environment_wins_over_dotenv_by_whichever_name() {
    let (dir, sources) = place();
    fs::write(
        dir.path().join(".env"),
        "LOGAGENT_BATCH_MAX_RECORDS=2\nLOGAGENT_HOST=dotenv\n",
    )
    .unwrap();
    let s = settings(&env(&sources, &[("LOG_BATCH_SIZE", "5")]));
    assert_eq!((s.batch.max_records, s.host.as_str()), (5, "dotenv"));
}

#[test]
fn every_key_can_be_given_by_its_variable() {
    let (_dir, sources) = place();
    for key in KEYS {
        let text = EXAMPLE
            .lines()
            .filter(|l| !l.starts_with('#'))
            .find_map(|l| l.strip_prefix(&format!("{} = ", key.name.rsplit('.').next().unwrap())))
            .unwrap()
            .trim_matches('"');
        let sources = env(&sources, &[(&variable_of(key.name), text)]);
        let (_, warnings) = Settings::load(&sources).unwrap_or_else(|e| panic!("{}: {e}", key.name));
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn the_file_is_looked_for_in_four_places() {
    let (dir, mut sources) = place();
    let write = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("host = \"{name}\"")).unwrap();
        path
    };
    sources.system_config = write("etc.toml");
    assert_eq!(settings(&sources).host, "etc.toml");
    write("logagent.toml");
    assert_eq!(settings(&sources).host, "logagent.toml");
    let by_variable = write("var.toml");
    let mut sources = env(&sources, &[("LOGAGENT_CONFIG", by_variable.to_str().unwrap())]);
    assert_eq!(settings(&sources).host, "var.toml");
    sources.config = Some(write("flag.toml"));
    assert_eq!(settings(&sources).host, "flag.toml");
    sources.config = Some(dir.path().join("none.toml"));
    assert_eq!(
        problems(&sources),
        "none.toml (named by --config): the configuration file cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let (_dir, sources) = with_file(
        "hots = 1\n[files]\nhodl = \"2m\"\nmax-line = \"1MiB\"\n[socket]\nmax_records = 3\n[store]\npath = \"x\"\n\
         [zebra]\nstripes = 1\n[bach]\n",
    );
    assert_eq!(
        problems(&sources),
        "logagent.toml:1: unknown key hots; did you mean host?\n\
         logagent.toml:3: unknown key files.hodl; did you mean files.hold?\n\
         logagent.toml:4: unknown key files.max-line; did you mean files.max_line?\n\
         logagent.toml:6: unknown key socket.max_records; did you mean batch.max_records?\n\
         logagent.toml:8: unknown key store.path; did you mean store.sqlite.path?\n\
         logagent.toml:10: unknown key zebra.stripes; config.example.toml lists all keys\n\
         logagent.toml:11: unknown section bach; did you mean batch?"
    );
}

#[test]
fn every_wrong_value_is_said_at_once_with_its_place() {
    let (_dir, sources) = with_file(
        "files = 3\n[batch]\nflush_interval = 2\nmax_bytes = \"2\"\n[retry]\ninitial = \"2m\"\n[redact]\npatterns = [\"(\"]\n",
    );
    let sources = env(&sources, &[("LOGAGENT_FILES_COMPRESSED", "perhaps")]);
    let got = problems(&sources);
    for want in [
        "logagent.toml:1: files is a section: write [files] and its keys below",
        "logagent.toml:3: batch.flush_interval: a duration needs its unit in quotes: \"2s\", \"2m\" or \"2ms\", not 2",
        "logagent.toml:4: batch.max_bytes: \"2\" has no unit: write \"2B\" for bytes, or for example \"2MiB\"",
        "logagent.toml:8: redact.patterns: not a regular expression:",
        "environment variable LOGAGENT_FILES_COMPRESSED: expected true or false, found \"perhaps\"",
        "retry.max is shorter than retry.initial",
    ] {
        assert!(got.contains(want), "{want}\nis not in\n{got}");
    }
}

#[test]
fn faulty_toml_is_refused_with_its_line() {
    let (_dir, sources) = with_file("host = \"a\"\n[files\n");
    assert!(problems(&sources).starts_with("logagent.toml:2: not valid TOML: "));
    let (dir, sources) = place();
    fs::write(dir.path().join("logagent.toml"), b"host = \"a\"\n# \xff\n").unwrap();
    assert!(problems(&sources).starts_with("logagent.toml:2: not valid UTF-8"));
}

#[test]
fn a_misspelt_variable_is_warned_about_with_a_suggestion() {
    let (_dir, sources) = place();
    let sources = env(
        &sources,
        &[
            ("LOGAGENT_FILES_MAXLINE", "1MiB"),
            ("LOGAGENT_MAX_LINE", "1MiB"),
            ("LOGAGENT_COLOUR_OF_THE_SKY", "blue"),
            ("LOGAGENT_LOG", "debug"),
            ("LOGAGENT_TEST_ARANGO_URL", "x"),
        ],
    );
    let warnings = Settings::load(&sources).unwrap().1;
    let text: Vec<&str> = warnings.iter().map(|w| w.0.as_str()).collect();
    assert_eq!(
        text,
        [
            "environment variable LOGAGENT_COLOUR_OF_THE_SKY is not known and has no effect",
            "environment variable LOGAGENT_FILES_MAXLINE is not known and has no effect; did you mean \
             LOGAGENT_FILES_MAX_LINE?",
            "environment variable LOGAGENT_MAX_LINE is not known and has no effect; did you mean \
             LOGAGENT_FILES_MAX_LINE?",
        ]
    );
}

#[test]
fn arango_url_selects_the_server_and_takes_several_endpoints() {
    let (_dir, sources) = with_file("[store.arangodb]\nusername = \"me\"\n");
    let sources = env(
        &sources,
        &[
            ("ARANGO_URL", "http://a:8529, http://b:8529/"),
            ("ARANGO_PASSWORD", "p w"),
            ("ARANGO_DATABASE", ""),
        ],
    );
    let store = settings(&sources).store;
    assert_eq!(store.kind, StoreKind::Arangodb);
    assert_eq!(store.arangodb.endpoints, ["http://a:8529", "http://b:8529"]);
    assert_eq!(store.arangodb.username, "me");
    assert_eq!(store.arangodb.password, "p w");
    assert_eq!(
        store.arangodb.database, "script_logs",
        "an empty variable counts as unset"
    );
    let sources = env(
        &sources,
        &[("ARANGO_URL", "http://a"), ("LOGAGENT_STORE_KIND", "sqlite")],
    );
    assert_eq!(settings(&sources).store.kind, StoreKind::Sqlite);
}

#[test]
fn the_variables_of_the_plan_have_their_units() {
    let (_dir, sources) = place();
    let sources = env(
        &sources,
        &[
            ("LOG_FLUSH_INTERVAL", "0.5"),
            ("LOG_MAX_BUFFER_SIZE_MB", "20"),
            ("LOG_BUFFER_DIR", "/d"),
            ("MONITORING_INTERVAL", "5"),
            ("ALERT_LOG_FAILURE_THRESHOLD", "12.5"),
        ],
    );
    let s = settings(&sources);
    assert_eq!(s.batch.flush_interval, Duration::from_millis(500));
    assert_eq!(s.spool.max_size, 20_000_000);
    assert_eq!(s.store.sqlite_path, PathBuf::from("/d/logs.db"));
    assert_eq!(s.monitoring.interval, Duration::from_secs(5));
    assert!((s.monitoring.alert_failure_percent - 12.5).abs() < f64::EPSILON);
    let off = env(
        &sources,
        &[("MONITORING_INTERVAL", "5"), ("ENABLE_MONITORING", "false")],
    );
    assert_eq!(settings(&off).monitoring.interval, Duration::ZERO);
}

#[test]
fn the_password_comes_from_a_file_or_a_credential_and_the_stronger_place_wins() {
    let (dir, sources) = with_file("[store]\nkind = \"arangodb\"\n[store.arangodb]\npassword_file = \"PW\"\n");
    let pw = dir.path().join("secret");
    fs::write(&pw, "geheim \n").unwrap();
    fs::write(dir.path().join("arango_password"), "credential").unwrap();
    let credentials = ("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap());
    let password = |s: &Sources| settings(s).store.arangodb.password;

    let by_variable = env(
        &sources,
        &[
            ("LOGAGENT_STORE_ARANGODB_PASSWORD_FILE", pw.to_str().unwrap()),
            credentials,
        ],
    );
    assert_eq!(password(&by_variable), "geheim ");
    assert_eq!(password(&env(&sources, &[("ARANGO_PASSWORD", "x"), credentials])), "x");
    assert!(
        problems(&sources).contains("logagent.toml:4: store.arangodb.password_file: PW: the password cannot be read")
    );

    let (_dir2, plain) = with_file("[store]\nkind = \"arangodb\"\n");
    assert_eq!(password(&env(&plain, &[credentials])), "credential");
    assert_eq!(password(&env(&plain, &[("CREDENTIALS_DIRECTORY", "/nowhere")])), "");

    let (_dir3, both) = with_file("[store.arangodb]\npassword = \"a\"\npassword_file = \"b\"\n");
    assert!(problems(&both).contains("both password and password_file"));
}

#[test]
fn a_password_that_others_can_see_is_warned_about_and_never_shown() {
    let (_dir, mut sources) = with_file("[store.arangodb]\npassword = \"geheim\"\n");
    sources.store = Some("http://u:geheim@h:1/db".into());
    let (s, warnings) = Settings::load(&sources).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].0.contains("chmod 640"));
    assert!(warnings[1].0.starts_with("--store holds a password"));
    assert!(!format!("{s:?}{warnings:?}").contains("geheim"));
    assert_eq!(s.store.arangodb.database, "db");
    assert_eq!(s.store.arangodb.endpoints, ["http://h:1"]);
}

#[test]
fn directories_of_systemd_and_a_socket_that_is_off_are_honoured() {
    let (_dir, sources) = with_file("[socket]\npath = \"off\"\nmode = \"0600\"\n");
    let s = settings(&env(&sources, &[("STATE_DIRECTORY", "/var/lib/logagent:/other")]));
    assert_eq!(s.data_dir, PathBuf::from("/var/lib/logagent"));
    assert_eq!(s.socket.path, None);
    assert_eq!(s.socket.mode, 0o600);
    let (_dir, wrong) = with_file("[socket]\nmode = 660\n");
    assert!(problems(&wrong).contains("logagent.toml:2: socket.mode: expected permissions in quotes, in octal"));
}

#[test]
fn a_line_of_dotenv_that_is_not_ours_is_only_warned_about() {
    let (dir, sources) = place();
    fs::write(dir.path().join(".env"), "what is this\nLOGAGENT_HOST=x\n").unwrap();
    let (s, warnings) = Settings::load(&sources).unwrap();
    assert_eq!(s.host, "x");
    assert_eq!(warnings.len(), 1);
}
