//! Lays what every place gives over the defaults, and checks the whole.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::env::{self, Variables};
use super::found::{REAL_ONLY, read_file, restrict};
use super::keys::{Draft, Given, KEYS, Origin, nearest};
use super::store_url::{self, StoreUrl};
use super::trust::{self, Look};
use super::value::Value;
use super::{Settings, StoreKind, defaults, file};

/// Something worth saying that does not keep the program from working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that is wrong, with its place: `logagent.toml:12: files.hold: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    pub(super) fn at(origin: &Origin, what: impl fmt::Display) -> Problem {
        Problem(format!("{origin}: {what}"))
    }
}

/// Why the settings cannot be used. Display shows every problem, one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn one(text: String) -> ConfigError {
        ConfigError {
            problems: vec![Problem(text)],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.0)?;
        }
        Ok(())
    }
}

/// The places where settings may stand. [`Sources::from_process`] takes those of this process; tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--store`.
    pub store: Option<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Where `logagent.toml` and `.env` are looked for.
    pub dir: PathBuf,
    /// Whether `logagent.toml`, `.env` and `.logagent` are looked for above `dir` too.
    pub upward: bool,
    /// Looked for last.
    pub system_config: PathBuf,
    /// `host` where none is given.
    pub host: String,
}

impl Sources {
    /// The places of this process. Variables that are not valid UTF-8 are none of ours.
    #[must_use]
    pub fn from_process(config: Option<PathBuf>, store: Option<String>) -> Sources {
        Sources {
            config,
            store,
            env: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            dir: PathBuf::new(),
            upward: false,
            system_config: PathBuf::from("/etc/logagent/logagent.toml"),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
        }
    }

    /// The variables of the environment, over those of `.env`.
    fn variables(&self, warnings: &mut Vec<Warning>) -> Variables {
        let mut vars = Variables::new();
        let root = self.root();
        let mut places = vec![root.join(".env")];
        if root != self.dir {
            places.push(self.dir.join(".env"));
        }
        for path in places {
            match trust::read_found(&path) {
                Look::Bytes(bytes) => {
                    for entry in dotenvy::from_read_iter(bytes.as_slice()) {
                        match entry {
                            Ok((name, _)) if REAL_ONLY.contains(&name.as_str()) => warnings.push(Warning(format!(
                                "{}: {name} has no effect here, as the file may have come with a repository; \
                                 set it in the environment",
                                path.display()
                            ))),
                            Ok((name, text)) => drop(vars.insert(name, (text, Some(path.clone())))),
                            // Other programs read this file too, and by other rules: what they understand is no error.
                            Err(e) => warnings.push(Warning(format!("{}: a line was ignored: {e}", path.display()))),
                        }
                    }
                }
                Look::Absent => {}
                Look::Refused(why) => warnings.push(Warning(format!(
                    "{} is not used: {why}; to use it, give it to this user (chown) and take the right to write from \
                     others (chmod go-w), or put its variables into the environment",
                    path.display()
                ))),
            }
        }
        for (name, text) in &self.env {
            vars.insert(name.clone(), (text.clone(), None));
        }
        vars
    }

    /// The directory whose `logagent.toml`, `.env` and `.logagent` are meant: `dir`, or one above it that has any.
    pub(super) fn root(&self) -> PathBuf {
        let home = self
            .env
            .iter()
            .find(|(name, _)| name == "HOME")
            .map(|(_, home)| Path::new(home));
        let above = if self.upward {
            trust::upwards(&self.dir, home)
        } else {
            None
        };
        above.unwrap_or_else(|| self.dir.clone())
    }

    /// The configuration file that is used, if any: `--config`, `$LOGAGENT_CONFIG`, `./logagent.toml`,
    /// `/etc/logagent/logagent.toml`. The first two must exist when they are given.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        let named = self.find_file(&self.variables(&mut Vec::new())).map(|(path, _)| path);
        named.filter(|path| !self.was_found(path) || matches!(trust::read_found(path), Look::Bytes(_)))
    }

    /// Whether a configuration file was only found in or above the working directory.
    fn was_found(&self, path: &Path) -> bool {
        let named = self.config.is_some() || self.env.iter().any(|(n, t)| n == "LOGAGENT_CONFIG" && !t.is_empty());
        !named && path == self.root().join("logagent.toml")
    }

    /// The text of one variable, if it is set and not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let mut vars = self.variables(&mut Vec::new());
        vars.remove(name).map(|(text, _)| text).filter(|text| !text.is_empty())
    }

    /// The file, and how it was named where it must exist.
    fn find_file(&self, vars: &Variables) -> Option<(PathBuf, Option<&'static str>)> {
        if let Some(path) = &self.config {
            return Some((path.clone(), Some("--config")));
        }
        let var = vars.get("LOGAGENT_CONFIG").filter(|(text, _)| !text.is_empty());
        if let Some((text, _)) = var {
            return Some((PathBuf::from(text), Some("LOGAGENT_CONFIG")));
        }
        [self.root().join("logagent.toml"), self.system_config.clone()]
            .into_iter()
            .find(|path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_ok())
            .map(|path| (path, None))
    }
}

impl Settings {
    /// The settings that `sources` give, over the defaults: file, then environment, then flags.
    ///
    /// # Errors
    /// Every value that is unknown or wrong, each with its place.
    pub fn load(sources: &Sources) -> Result<(Settings, Vec<Warning>), ConfigError> {
        let mut warnings = Vec::new();
        let mut problems = Vec::new();
        let vars = sources.variables(&mut warnings);
        warnings.extend(env::misspelt(&vars));

        let (mut given, mut formats) = (Vec::new(), Vec::new());
        let mut found_file = None;
        if let Some((path, named_by)) = sources.find_file(&vars) {
            let found = sources.was_found(&path);
            if let Some(text) = read_file(&path, named_by, found, &mut warnings)? {
                (given, formats) = file::read(&path, &text, &mut problems);
                warnings.extend(readable_password(&path, &given));
            }
            found_file = Some(path).filter(|_| found);
        }
        given.extend(env::read(&vars, &mut problems));
        restrict(&mut given, sources, found_file.as_deref(), &mut warnings);
        if let Some(store) = &sources.store {
            match store_url::parse(store) {
                Ok(url) => given.extend(from_flag(url, &mut warnings)),
                Err(wrong) => problems.push(Problem::at(&Origin::Flag("--store"), wrong)),
            }
        }

        let mut draft = Draft {
            settings: defaults::settings(),
            socket_path: PathBuf::new(),
            ca_file: PathBuf::new(),
            password_file: PathBuf::new(),
            origins: HashMap::new(),
        };
        draft.settings.formats = formats;
        for one in &given {
            apply(&mut draft, one, &mut problems);
        }
        finish(&mut draft, sources, &vars, &mut problems);
        if problems.is_empty() {
            Ok((draft.settings, warnings))
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// A password in a file that every user of the machine may read.
fn readable_password(path: &Path, given: &[Given]) -> Option<Warning> {
    let secrets = ["store.arangodb.password", "embeddings.api_key"];
    let holds = given
        .iter()
        .any(|g| secrets.contains(&g.key.as_str()) && !matches!(&g.value, Value::Text(t) if t.is_empty()));
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (holds && mode & 0o004 != 0).then(|| {
        Warning(format!(
            "{} holds a secret and every user may read it: chmod 640, or use password_file or api_key_file",
            path.display()
        ))
    })
}

fn from_flag(url: StoreUrl, warnings: &mut Vec<Warning>) -> Vec<Given> {
    let mut given = Vec::new();
    let mut push = |key: &str, text: String| {
        given.push(Given {
            key: key.to_owned(),
            value: Value::Text(text),
            origin: Origin::Flag("--store"),
        });
    };
    match url {
        StoreUrl::Sqlite(path) => {
            push("store.kind", "sqlite".to_owned());
            if let Some(path) = path {
                push("store.sqlite.path", path.to_string_lossy().into_owned());
            }
        }
        StoreUrl::Arangodb {
            endpoint,
            database,
            username,
            password,
        } => {
            push("store.kind", "arangodb".to_owned());
            if let Some(database) = database {
                push("store.arangodb.database", database);
            }
            if let Some(username) = username {
                push("store.arangodb.username", username);
            }
            if let Some(password) = password {
                warnings.push(Warning(
                    "--store holds a password, which other users of this machine can see; \
                     ARANGO_PASSWORD or store.arangodb.password_file keep it to yourself"
                        .to_owned(),
                ));
                push("store.arangodb.password", password);
            }
            given.push(Given {
                key: "store.arangodb.endpoints".to_owned(),
                value: Value::List(vec![Value::Text(endpoint)]),
                origin: Origin::Flag("--store"),
            });
        }
    }
    given
}

/// Puts one given value into the draft, or says why not.
fn apply(draft: &mut Draft, given: &Given, problems: &mut Vec<Problem>) {
    let Some(key) = KEYS.iter().find(|k| k.name == given.key) else {
        problems.extend(unknown(given));
        return;
    };
    if let Err(wrong) = (key.put)(draft, &given.value) {
        let name = match &given.origin {
            // The variable's name says it already.
            Origin::Variable { .. } => String::new(),
            _ => format!("{}: ", key.name),
        };
        problems.push(Problem::at(&given.origin, format!("{name}{wrong}")));
        return;
    }
    // Of password and password_file the one that is given in the stronger place counts.
    if given.key == "store.arangodb.password" && !draft.settings.store.arangodb.password.is_empty() {
        replaces(draft, given, "store.arangodb.password_file", problems);
    } else if given.key == "store.arangodb.password_file" && !draft.password_file.as_os_str().is_empty() {
        replaces(draft, given, "store.arangodb.password", problems);
    }
    draft.origins.insert(key.name, given.origin.clone());
}

/// `given` takes the place of `other`, unless both stand in the same file.
fn replaces(draft: &mut Draft, given: &Given, other: &str, problems: &mut Vec<Problem>) {
    let both_in_file = matches!(
        (&given.origin, draft.origins.get(other)),
        (Origin::File { .. }, Some(Origin::File { .. }))
    );
    let set = if other.ends_with("_file") {
        !draft.password_file.as_os_str().is_empty()
    } else {
        !draft.settings.store.arangodb.password.is_empty()
    };
    if both_in_file && set {
        problems.push(Problem::at(
            &given.origin,
            "store.arangodb: both password and password_file are given; keep one",
        ));
    }
    if other.ends_with("_file") {
        draft.password_file = PathBuf::new();
    } else {
        draft.settings.store.arangodb.password.clear();
    }
}

fn unknown(given: &Given) -> Option<Problem> {
    let name = &given.key;
    let sections = || {
        KEYS.iter()
            .filter_map(|k| k.name.rsplit_once('.'))
            .map(|(section, _)| section)
    };
    let is_section = sections().any(|s| s == name || s.starts_with(&format!("{name}.")));
    if is_section {
        // An empty section gives nothing and is no mistake.
        let empty = given.value == Value::Other("an empty section");
        return (!empty).then(|| {
            Problem::at(
                &given.origin,
                format!("{name} is a section: write [{name}] and its keys below"),
            )
        });
    }
    let mut what = "unknown key";
    let near = if given.value == Value::Other("an empty section") {
        what = "unknown section";
        nearest(name, sections())
    } else {
        nearest(name, KEYS.iter().map(|k| k.name))
    };
    let hint = near.map_or_else(
        || "; config.example.toml lists all keys".to_owned(),
        |k| format!("; did you mean {k}?"),
    );
    Some(Problem::at(&given.origin, format!("{what} {name}{hint}")))
}

/// Fills in what depends on other keys and on the place, and checks what only the whole shows.
fn finish(draft: &mut Draft, sources: &Sources, vars: &Variables, problems: &mut Vec<Problem>) {
    let var = |name: &str| {
        vars.get(name)
            .map(|(text, _)| text.as_str())
            .filter(|text| !text.is_empty())
    };
    let s = &mut draft.settings;
    if s.data_dir.as_os_str().is_empty() {
        // systemd lists several directories with colons; the first is ours.
        let state = var("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next());
        s.data_dir = match state {
            Some(dir) => PathBuf::from(dir),
            None => {
                let dir = sources.root().join(".logagent");
                if let Err(why) = trust::directory(&dir) {
                    problems.push(Problem(format!(
                        "{} is not used: {why}; to use it all the same, name it: LOGAGENT_DATA_DIR={}",
                        dir.display(),
                        dir.display()
                    )));
                }
                dir
            }
        };
    }
    if s.host.is_empty() {
        s.host.clone_from(&sources.host);
    }
    s.socket.path = match draft.socket_path.to_str() {
        Some("") => Some(s.data_dir.join("logagent.sock")),
        Some("off") => None,
        _ => Some(draft.socket_path.clone()),
    };
    if s.store.sqlite_path.as_os_str().is_empty() {
        s.store.sqlite_path = s.data_dir.join("logs.db");
    }
    if !draft.ca_file.as_os_str().is_empty() {
        s.store.arangodb.ca_file = Some(draft.ca_file.clone());
    }
    let place = |key: &str| match draft.origins.get(key) {
        Some(origin) => format!("{origin}: {key}"),
        None => key.to_owned(),
    };
    let mut wrong = |text: String| problems.push(Problem(text));
    if s.retry.max < s.retry.initial {
        wrong(format!("{} is shorter than retry.initial", place("retry.max")));
    }
    for (key, size) in [
        ("truncate.message", s.truncate.message),
        ("truncate.string", s.truncate.string),
    ] {
        if size > s.truncate.document {
            wrong(format!("{} is larger than truncate.document", place(key)));
        }
    }
    s.batch_bytes_given = draft.origins.contains_key("batch.max_bytes");
    if s.batch.max_bytes > s.spool.max_size {
        wrong(format!("{} is larger than spool.max_size", place("batch.max_bytes")));
    }
    if s.store.kind == StoreKind::Arangodb
        && s.store.arangodb.password.is_empty()
        && let Err(e) = read_password(draft, var("CREDENTIALS_DIRECTORY"))
    {
        problems.push(e);
    }
}

/// The password from `password_file`, else from systemd's credentials.
fn read_password(draft: &mut Draft, credentials: Option<&str>) -> Result<(), Problem> {
    let named = !draft.password_file.as_os_str().is_empty();
    let path = if named {
        draft.password_file.clone()
    } else {
        match credentials {
            Some(dir) => Path::new(dir).join("arango_password"),
            None => return Ok(()),
        }
    };
    match trust::read_named(&path).and_then(|b| String::from_utf8(b).map_err(std::io::Error::other)) {
        Ok(text) => {
            // Editors end the file with a line feed that is no part of the password.
            text.trim_end_matches(['\r', '\n'])
                .clone_into(&mut draft.settings.store.arangodb.password);
            Ok(())
        }
        Err(e) if !named && e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => {
            let place = draft.origins.get("store.arangodb.password_file");
            let place = place.map_or(String::new(), |o| format!("{o}: store.arangodb.password_file: "));
            Err(Problem(format!(
                "{place}{}: the password cannot be read: {e}",
                path.display()
            )))
        }
    }
}
