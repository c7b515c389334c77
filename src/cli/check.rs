//! `check`: everything that `run` needs, looked at without leaving anything behind; what to do about each failure.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Access, access};

use super::Context;
use super::exit::{Exit, Failure};
use super::init;
use super::show::{self, GREEN, RED, YELLOW};
use crate::config::{Settings, StoreKind};
use crate::state::lock::{self, Holder};
use crate::store::SchemaAction;
use crate::store::meaning::{Embedder, Meaning};

/// Bytes that the system allows for the path of a Unix socket, with its final NUL.
const SOCKET_PATH: usize = 108;

/// How one thing was found.
enum Found {
    Good(String),
    /// Works, but should be looked at.
    Doubtful(String),
    /// Keeps `run` from working; the exit code that it would end with.
    Bad(Exit, String),
}

/// Looks at everything; one line each. The exit code is that of the worst: 2 before 3.
///
/// # Errors
/// Only where standard output cannot be written.
pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let s = &context.settings;
    let store = store(s);
    let mut lines = vec![
        ("configuration", configuration(context)),
        ("data directory", data_dir(&s.data_dir)),
        ("agent", agent(&s.data_dir)),
        ("files", files(s)),
        ("socket", socket(s)),
        ("store", store.0),
        ("schema", store.1),
    ];
    lines.extend(embeddings(s).map(|found| ("embeddings", found)));
    let color = show::color(false);
    let mut out = io::stdout().lock();
    let mut exit = Exit::Done;
    for (what, found) in lines {
        let (mark, text) = match found {
            Found::Good(text) => (show::paint(color, GREEN, "ok  "), text),
            Found::Doubtful(text) => (show::paint(color, YELLOW, "note"), text),
            Found::Bad(code, text) => {
                if exit != Exit::Usage {
                    exit = code;
                }
                (show::paint(color, RED, "FAIL"), text)
            }
        };
        writeln!(out, "{mark}  {what:14}  {}", show::plain(&text).replace('\n', "; "))?;
    }
    Ok(exit)
}

/// It has been read already, or this would not run.
fn configuration(context: &Context) -> Found {
    Found::Good(match context.sources.config_file() {
        Some(path) => format!("{} is valid", path.display()),
        None => "no file, the defaults are used".to_owned(),
    })
}

fn data_dir(dir: &Path) -> Found {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(m) if !m.is_dir() => Found::Bad(Exit::Usage, format!("{shown} is no directory; set data_dir")),
        Ok(_) => match takes_files(dir) {
            Ok(()) => Found::Good(format!("{shown} is writable")),
            Err(e) => Found::Bad(
                Exit::Usage,
                format!("{shown} is not writable ({e}); give it to the agent's user with chown, or set data_dir"),
            ),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound && can_be_made(dir) => {
            Found::Good(format!("{shown} will be created"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Bad(
            Exit::Usage,
            format!("{shown} does not exist and cannot be created by this user; create it, or set data_dir"),
        ),
        Err(e) => Found::Bad(Exit::Usage, format!("{shown} cannot be looked at: {e}")),
    }
}

/// Whether a directory or file that does not exist could be created here.
fn can_be_made(path: &Path) -> bool {
    nearest_existing(path).is_some_and(|p| p.is_dir() && takes_files(p).is_ok())
}

/// Whether files can be made in a directory, by making one and removing it: permissions alone say yes to the
/// superuser for places such as /proc, too.
fn takes_files(dir: &Path) -> io::Result<()> {
    access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    let path = dir.join(format!(".logagent-check-{}", std::process::id()));
    let made = fs::OpenOptions::new().write(true).create_new(true).open(&path);
    made.and_then(|_| fs::remove_file(&path))
}

fn nearest_existing(path: &Path) -> Option<&Path> {
    path.ancestors()
        .skip(1)
        .map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p })
        .find(|p| p.exists())
}

fn agent(dir: &Path) -> Found {
    match lock::holder(dir) {
        Holder::Nobody => Found::Good("none runs on this data directory".to_owned()),
        Holder::Agent(pid) => {
            let pid = pid.map_or(String::new(), |p| format!(", pid {p}"));
            Found::Good(format!(
                "runs on this data directory{pid}; a second one would be refused"
            ))
        }
    }
}

/// Whether what the patterns name can be read: the fixed beginnings of the patterns, as far as they exist.
fn files(s: &Settings) -> Found {
    if s.files.include.is_empty() {
        return match s.socket.path {
            Some(_) => Found::Good("none are followed (files.include is empty)".to_owned()),
            None => Found::Bad(
                Exit::Usage,
                "files.include is empty and socket.path is \"off\": there is nothing to read".to_owned(),
            ),
        };
    }
    let mut missing = Vec::new();
    for pattern in &s.files.include {
        let dir = fixed_part(pattern);
        match fs::read_dir(dir) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(dir.display().to_string()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {}
            Err(e) => {
                return Found::Bad(
                    Exit::Usage,
                    format!(
                        "{} cannot be read: {e}; let the agent's user in (chmod, or a group)",
                        dir.display()
                    ),
                );
            }
        }
    }
    missing.dedup();
    let patterns = s.files.include.join(", ");
    if missing.is_empty() {
        Found::Good(format!("{patterns} can be read"))
    } else {
        Found::Doubtful(format!("{patterns}: {} does not exist yet", missing.join(", ")))
    }
}

/// The directories of a pattern before its first wildcard.
fn fixed_part(pattern: &str) -> &Path {
    let end = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let fixed = pattern.get(..end).unwrap_or_default();
    let dir = fixed.rsplit_once('/').map_or("", |(dir, _)| dir);
    match dir {
        "" if pattern.starts_with('/') => Path::new("/"),
        "" => Path::new("."),
        dir => Path::new(dir),
    }
}

fn socket(s: &Settings) -> Found {
    let Some(path) = &s.socket.path else {
        return Found::Good("off".to_owned());
    };
    let shown = path.display();
    if path.as_os_str().len() >= SOCKET_PATH {
        return Found::Bad(
            Exit::Usage,
            format!(
                "{shown} is longer than the {} bytes that a socket's path may have; set socket.path",
                SOCKET_PATH - 1
            ),
        );
    }
    if !s.socket.group.is_empty() && !group_exists(&s.socket.group) {
        return Found::Bad(
            Exit::Usage,
            format!(
                "group {:?} does not exist; create it, or set socket.group",
                s.socket.group
            ),
        );
    }
    if !can_be_made(path) {
        let parent = nearest_existing(path).unwrap_or(Path::new("/"));
        return Found::Bad(
            Exit::Usage,
            format!(
                "{shown} cannot be made: {} is no directory that this user may write to; set socket.path, or use \
                 systemd's socket unit",
                parent.display()
            ),
        );
    }
    Found::Good(format!("{shown}, mode {:04o}", s.socket.mode))
}

/// Groups of directories other than the local file are the system's to know; a number always passes.
fn group_exists(name: &str) -> bool {
    let listed = fs::read_to_string("/etc/group").unwrap_or_default();
    name.parse::<u32>().is_ok() || listed.lines().any(|l| l.split(':').next() == Some(name))
}

/// The embedding endpoint, where one is configured. Nothing depends on it, so that its failure is a note.
fn embeddings(s: &Settings) -> Option<Found> {
    let endpoint = Embedder::new(&s.embeddings)?;
    Some(match endpoint.vectors(&["logagent check".to_owned()]) {
        Ok(vectors) => Found::Good(format!(
            "{} answers with vectors of {} numbers",
            s.embeddings.url,
            vectors.first().map_or(0, Vec::len)
        )),
        Err(why) => Found::Doubtful(format!("{why}; answers are ranked without it")),
    })
}

/// Reachability and login, then the schema, by asking what `init` would do.
fn store(s: &Settings) -> (Found, Found) {
    let place = match s.store.kind {
        StoreKind::Sqlite => format!("sqlite {}", s.store.sqlite_path.display()),
        StoreKind::Arangodb => {
            let a = &s.store.arangodb;
            format!("arangodb {} database {}", a.endpoints.join(", "), a.database)
        }
    };
    let objects = match super::block_on(init::ensure(s, true)) {
        Ok(Ok(objects)) => objects,
        Ok(Err(e)) | Err(e) => {
            let unknown = Found::Doubtful("not looked at: the store cannot be used".to_owned());
            return (Found::Bad(Exit::Store, format!("{place}: {e}")), unknown);
        }
    };
    let todo = objects.iter().filter(|o| o.action != SchemaAction::Unchanged).count();
    let schema = match todo {
        0 => Found::Good(format!("up to date, {} objects", objects.len())),
        n => Found::Doubtful(format!(
            "{n} of {} objects are missing or old; `logagent init` creates them, and so does `run`",
            objects.len()
        )),
    };
    if s.store.kind == StoreKind::Sqlite {
        let path = &s.store.sqlite_path;
        if !path.exists() {
            let found = if can_be_made(path) {
                Found::Good(format!("{place} will be created"))
            } else {
                Found::Bad(
                    Exit::Store,
                    format!("{place} does not exist and cannot be created by this user; set store.sqlite.path"),
                )
            };
            return (found, schema);
        }
        if let Err(e) = access(path, Access::WRITE_OK) {
            let text = format!("{place} is not writable ({e}); give it to the agent's user, or set store.sqlite.path");
            return (Found::Bad(Exit::Store, text), schema);
        }
    }
    (Found::Good(format!("{place} answers")), schema)
}
