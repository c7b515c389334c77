//! What a working directory may say. It may be another user's, or have come with a repository.
//!
//! `logagent.toml`, `.env` and `.logagent` that were only *found*, in or above the working directory, are used if they and
//! their directory belong to this user or root and nobody else may write them. Even then they name no command, no other
//! host and no file outside their directory: what `git clone` brought belongs to this user as well.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::keys::{Given, Origin};
use super::value::Value;

/// Bytes of a configuration file, a `.env` or a file with one secret.
const LIMIT: u64 = 1 << 20;

/// A file that was looked for.
pub(super) enum Look {
    Absent,
    Bytes(Vec<u8>),
    /// Not used, and why.
    Refused(String),
}

/// Reads a file that was only found.
pub(super) fn read_found(path: &Path) -> Look {
    // A FIFO would block; and what a name leads to is asked of what was opened.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Look::Absent,
        Err(e) => return Look::Refused(e.to_string()),
    };
    let outcome = file.metadata().map_err(|e| e.to_string()).and_then(|m| {
        if !m.is_file() {
            return Err("it is no regular file".to_owned());
        }
        owned(&m)?;
        directory_of(path)?;
        read_limited(file).map_err(|e| e.to_string())
    });
    outcome.map_or_else(Look::Refused, Look::Bytes)
}

/// Reads a file that a person named: of any kind, but not without end.
pub(super) fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    read_limited(fs::File::open(path)?)
}

fn read_limited(file: fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Whether a data directory that was only found may be used; one that does not exist may.
pub(super) fn directory(path: &Path) -> Result<(), String> {
    let Ok(link) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if link.is_symlink() {
        owner(&link)?;
    }
    let target = fs::metadata(path).map_err(|e| e.to_string())?;
    if !target.is_dir() {
        return Err("it is no directory".to_owned());
    }
    owned(&target)?;
    directory_of(path)
}

fn directory_of(path: &Path) -> Result<(), String> {
    let dir = path
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let found = fs::metadata(dir).map_err(|e| e.to_string())?;
    // In a sticky directory nobody replaces what is not theirs.
    let sticky = found.mode() & 0o1000 != 0;
    let checked = if sticky { owner(&found) } else { owned(&found) };
    checked.map_err(|why| format!("of its directory: {why}"))
}

fn owner(found: &Metadata) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if found.uid() == me || found.uid() == 0 {
        return Ok(());
    }
    Err(format!("it belongs to another user (uid {})", found.uid()))
}

fn owned(found: &Metadata) -> Result<(), String> {
    owner(found)?;
    if found.mode() & 0o002 != 0 {
        return Err("every user may write it".to_owned());
    }
    if found.mode() & 0o020 != 0 && !is_private_group(found.gid(), found.uid()) {
        return Err(format!("its group (gid {}) may write it", found.gid()));
    }
    Ok(())
}

/// Whether a group has no member but this user: many systems give each user a group, and a umask of 002.
fn is_private_group(gid: u32, uid: u32) -> bool {
    let column = |line: &str, n: usize| line.split(':').nth(n).unwrap_or_default().to_owned();
    let id = |line: &str, n: usize| column(line, n).parse::<u32>().ok();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = users.lines().find(|l| id(l, 2) == Some(uid)).map(|l| column(l, 0));
    let Some(group) = groups.lines().find(|l| id(l, 2) == Some(gid)) else {
        return false;
    };
    let members = column(group, 3);
    let listed = members
        .split(',')
        .map(str::trim)
        .all(|m| m.is_empty() || Some(m) == name.as_deref());
    listed
        && users
            .lines()
            .filter(|l| id(l, 3) == Some(gid))
            .all(|l| id(l, 2) == Some(uid))
}

/// Where settings are looked for: the nearest directory, from `dir` upwards, that has `.logagent` or `logagent.toml`.
/// `None`: none has, or it is `dir` itself.
///
/// Goes up to `home`, within one file system, and only through directories of this user.
pub(super) fn upwards(dir: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let start = fs::canonicalize(if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    })
    .ok()?;
    let has = |d: &Path| {
        let toml = || fs::symlink_metadata(d.join("logagent.toml")).is_ok();
        fs::symlink_metadata(d.join(".logagent")).is_ok() || toml()
    };
    if has(&start) {
        return None;
    }
    let device = fs::metadata(&start).ok()?.dev();
    let me = rustix::process::geteuid().as_raw();
    let home = home.and_then(|h| fs::canonicalize(h).ok());
    let mut below = start.as_path();
    while let Some(above) = below.parent().filter(|_| home.as_deref() != Some(below)) {
        let found = fs::metadata(above).ok()?;
        if found.dev() != device || found.uid() != me {
            return None;
        }
        if has(above) {
            return Some(above.to_owned());
        }
        below = above;
    }
    None
}

/// Takes out of what a found file gives what it may not say; tells the keys. Relative paths are meant from `root`,
/// where the file was found; where that is not the working directory (`moved`) they are rewritten so.
pub(super) fn restrict(
    given: &mut Vec<Given>,
    root: &Path,
    moved: bool,
    found: impl Fn(&Origin) -> bool,
) -> Vec<String> {
    let mut refused = Vec::new();
    let mut elsewhere = false;
    given.retain_mut(|g| {
        if !found(&g.origin) {
            return true;
        }
        let keep = match g.key.as_str() {
            "monitoring.on_alert" | "store.arangodb.ca_file" => is_empty(&g.value),
            key if key.starts_with("embeddings.") => is_empty(&g.value),
            "store.arangodb.endpoints" => {
                let local = g.value.texts().map_or(true, |all| all.iter().all(|e| is_local(e)));
                elsewhere |= !local;
                local
            }
            "data_dir" | "store.sqlite.path" | "socket.path" | "store.arangodb.password_file" => {
                inside(&mut g.value, root, moved)
            }
            "files.include" | "files.exclude" => inside_all(&mut g.value, root, moved),
            _ => true,
        };
        if !keep {
            refused.push(g.key.clone());
        }
        keep
    });
    if elsewhere {
        // Without its endpoint the server's kind would mean another server.
        given.retain(|g| g.key != "store.kind" || !found(&g.origin));
    }
    refused
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(t) | Value::Untyped(t) => t.trim().is_empty(),
        Value::Other(_) => true,
        _ => false,
    }
}

/// Whether an endpoint is of this machine.
fn is_local(endpoint: &str) -> bool {
    let endpoint = endpoint.trim();
    let whole = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("http://{endpoint}")
    };
    let Ok(url) = url::Url::parse(&whole.replacen("tcp://", "http://", 1)) else {
        // It is refused for what it is.
        return true;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => true,
    }
}

/// Whether a path lies below `root`; one that is relative is then meant from there.
fn inside(value: &mut Value, root: &Path, moved: bool) -> bool {
    let Ok(path) = value.path() else { return true };
    let text = path.to_str().unwrap_or_default();
    if path.as_os_str().is_empty() || text == "off" {
        return true;
    }
    let rooted = root.join(&path);
    if !below(&rooted, root) {
        return false;
    }
    if moved {
        *value = Value::Text(rooted.to_string_lossy().into_owned());
    }
    true
}

fn inside_all(value: &mut Value, root: &Path, moved: bool) -> bool {
    let Ok(patterns) = value.texts() else { return true };
    let rooted = |p: &String| root.join(p).to_string_lossy().into_owned();
    // What stands before the first wildcard says where the files are; none leads up behind it.
    let fixed = |p: &String| {
        let end = p.find(['*', '?', '[', '{']).unwrap_or(p.len());
        let (before, behind) = p.split_at(end);
        (before.to_owned(), behind.split('/').any(|part| part == ".."))
    };
    let all = patterns.iter().all(|p| {
        let (before, leads_up) = fixed(p);
        !leads_up && below(&root.join(before), root)
    });
    if all && moved {
        *value = Value::List(patterns.iter().map(|p| Value::Text(rooted(p))).collect());
    }
    all
}

/// Whether `path` lies below `root`, or is it, whatever links stand in it.
fn below(path: &Path, root: &Path) -> bool {
    let root = if root.as_os_str().is_empty() {
        Path::new(".")
    } else {
        root
    };
    let Ok(root) = fs::canonicalize(root) else {
        return path.is_relative();
    };
    resolved(&root.join(path)).starts_with(&root)
}

/// The path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut done = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(done.pop()),
            part => {
                done.push(part);
                match fs::canonicalize(&done) {
                    Ok(real) => done = real,
                    // A link that leads nowhere yet may lead anywhere.
                    Err(_) if fs::symlink_metadata(&done).is_ok() => return PathBuf::from("/"),
                    Err(_) => {}
                }
            }
        }
    }
    done
}
