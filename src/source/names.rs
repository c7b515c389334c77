//! What file names say: whether a file is wanted, where to look, which script wrote it. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Endings of compressed files and containers, as found in the wild.
const COMPRESSED: [&str; 14] = [
    ".gz", ".bz2", ".xz", ".lzma", ".zst", ".zip", ".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst", ".gzip", ".zstd",
];
const LOGS: [&str; 10] = [
    ".jsonl", ".ndjson", ".json", ".log", ".logs", ".txt", ".out", ".err", ".stdout", ".stderr",
];

/// A pattern that cannot be used, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the file pattern {pattern:?}: {reason}")]
pub struct BadPattern {
    pub pattern: String,
    pub reason: String,
}

/// The include and exclude patterns, made absolute.
#[derive(Clone, Debug)]
pub struct Patterns {
    include: GlobSet,
    exclude: GlobSet,
    roots: Vec<Root>,
    /// A hash of the texts.
    hash: u64,
}

/// Where files of a pattern can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub base: PathBuf,
    /// Levels of directories below `base`.
    pub depth: usize,
}

impl Patterns {
    /// Compiles glob patterns (`*` and `?` stay within a directory, `**` crosses them, `{a,b}` and `[…]` as usual);
    /// relative ones are taken from `cwd`.
    ///
    /// # Errors
    ///
    /// If a pattern is no glob.
    pub fn new(cwd: &Path, include: &[String], exclude: &[String]) -> Result<Patterns, BadPattern> {
        let mut roots: Vec<Root> = include.iter().map(|p| root(cwd, p)).collect();
        roots.sort_by(|a, b| (&a.base, b.depth).cmp(&(&b.base, a.depth)));
        roots.dedup_by(|b, a| a.base == b.base && a.depth >= b.depth);
        Ok(Patterns {
            include: compile(cwd, include)?,
            exclude: compile(cwd, exclude)?,
            roots,
            hash: xxhash_rust::xxh3::xxh3_64(format!("{cwd:?} {include:?} {exclude:?}").as_bytes()),
        })
    }

    /// Whether a file of this absolute path is wanted.
    #[must_use]
    pub fn wants(&self, path: &Path) -> bool {
        self.include.is_match(path) && !self.exclude.is_match(path)
    }

    /// Whether the file was rotated away from a wanted name: `app.log.1` by `*.log`. What nobody read while it had
    /// that name (the agent was down, or it all happened between two looks) is in no other place.
    #[must_use]
    pub fn wants_rotated(&self, path: &Path) -> bool {
        !self.exclude.is_match(path) && unstamped(path).is_some_and(|p| self.wants(&p))
    }

    /// Whether an archive of this absolute path is of a wanted name, once its endings, and a rotation stamp, are taken
    /// off.
    #[must_use]
    pub fn wants_archive(&self, path: &Path) -> bool {
        if self.exclude.is_match(path) {
            return false;
        }
        let mut name = path.file_name().unwrap_or_default();
        while let Some(bare) = without_compression(name) {
            let plain = path.with_file_name(bare);
            if self.wants(&plain) || self.wants_rotated(&plain) {
                return true;
            }
            name = bare;
        }
        false
    }

    /// Whether a member of an archive is wanted: as if it lay beside the archive.
    #[must_use]
    pub fn wants_member(&self, archive: &Path, member: &Path) -> bool {
        let beside = archive.parent().unwrap_or(Path::new("/"));
        let wants = |path: &Path| self.wants(path) || self.wants_rotated(path);
        wants(&beside.join(member)) || member.file_name().is_some_and(|name| wants(&beside.join(name)))
    }

    /// Whether anything in this directory may be looked at.
    #[must_use]
    pub fn excludes_all_of(&self, dir: &Path) -> bool {
        self.exclude.is_match(dir)
    }

    /// Tells these patterns from others.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Whether the directory can hold wanted files.
    #[must_use]
    pub fn reaches(&self, dir: &Path) -> bool {
        self.roots.iter().any(|r| {
            dir.strip_prefix(&r.base)
                .is_ok_and(|rest| rest.components().count() <= r.depth)
        })
    }
}

fn compile(cwd: &Path, patterns: &[String]) -> Result<GlobSet, BadPattern> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |e: globset::Error| BadPattern {
            pattern: pattern.clone(),
            reason: e.kind().to_string(),
        };
        let glob = GlobBuilder::new(&absolute(cwd, pattern))
            .literal_separator(true)
            .build()
            .map_err(bad)?;
        set.add(glob);
    }
    set.build().map_err(|e| BadPattern {
        pattern: patterns.join(", "),
        reason: e.to_string(),
    })
}

/// The pattern from the root of the file system. `./` and `../` in front are resolved.
fn absolute(cwd: &Path, pattern: &str) -> String {
    if pattern.starts_with('/') {
        return pattern.to_string();
    }
    let (mut base, mut rest) = (cwd, pattern);
    loop {
        if let Some(r) = rest.strip_prefix("./") {
            rest = r.trim_start_matches('/');
        } else if let Some(r) = rest.strip_prefix("../") {
            rest = r.trim_start_matches('/');
            base = base.parent().unwrap_or(base);
        } else {
            break;
        }
    }
    let base = globset::escape(&base.to_string_lossy());
    format!("{}/{rest}", base.trim_end_matches('/'))
}

fn root(cwd: &Path, pattern: &str) -> Root {
    let absolute = absolute(Path::new("/"), pattern);
    let mut base = if pattern.starts_with('/') {
        PathBuf::from("/")
    } else {
        PathBuf::from(cwd)
    };
    if !pattern.starts_with('/') {
        let mut rest = pattern;
        while let Some(r) = rest.strip_prefix("./").or_else(|| rest.strip_prefix("../")) {
            if rest.starts_with("../") {
                base.pop();
            }
            rest = r.trim_start_matches('/');
        }
    }
    let parts: Vec<&str> = absolute.split('/').filter(|p| !p.is_empty()).collect();
    let dirs = parts.len().saturating_sub(1);
    let literal = parts
        .iter()
        .take(dirs)
        .take_while(|p| !p.contains(['*', '?', '[', '{', '\\']))
        .count();
    base.extend(parts.iter().take(literal));
    let deep = parts.iter().any(|p| p.contains("**"));
    Root {
        base,
        depth: if deep { usize::MAX } else { dirs - literal },
    }
}

fn without_compression(name: &OsStr) -> Option<&OsStr> {
    let bytes = name.as_bytes();
    let end = COMPRESSED
        .iter()
        .find(|e| bytes.len() > e.len() && ends_with(bytes, e))?;
    bytes.get(..bytes.len() - end.len()).map(OsStr::from_bytes)
}

fn ends_with(name: &[u8], end: &str) -> bool {
    name.len() >= end.len()
        && name
            .get(name.len() - end.len()..)
            .is_some_and(|e| e.eq_ignore_ascii_case(end.as_bytes()))
}

/// Whether the name alone says that this is an archive.
#[must_use]
pub fn is_archive_name(name: &OsStr) -> bool {
    without_compression(name).is_some()
}

/// The script that writes a file of this name: the name without extensions and rotation stamps.
#[must_use]
pub fn script(name: &OsStr) -> String {
    let mut name = name;
    while let Some(bare) = without_compression(name) {
        name = bare;
    }
    let text = name.to_string_lossy();
    let (mut stem, mut plain) = (text.as_ref(), true);
    loop {
        let before = stem;
        if let Some(end) = LOGS
            .iter()
            .find(|e| stem.len() > e.len() && ends_with(stem.as_bytes(), e))
        {
            stem = &stem[..stem.len() - end.len()];
            plain = false;
        }
        stem = without_stamp(stem);
        if stem == before {
            break;
        }
    }
    if plain && let Some((bare, end)) = stem.rsplit_once('.') {
        let extension = (1..=6).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_alphanumeric());
        if extension && !bare.is_empty() {
            stem = bare;
        }
    }
    stem.to_string()
}

/// The path without the rotation stamp at its end, where there is one: `app.log.1` was `app.log`.
#[must_use]
pub fn unstamped(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let bare = without_stamp(name);
    (bare != name).then(|| path.with_file_name(bare))
}

/// Takes a rotation stamp off the end: `.2`, `-20261121`, `.2026-11-21_02-20-24_054432` and the like.
fn without_stamp(stem: &str) -> &str {
    let stamp = |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | 'T' | 'Z');
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    // A date, with whatever of a time follows it; the name ends before its separator.
    for (at, c) in stem.char_indices().skip(1) {
        let Some(tail) = stem.get(at + 1..) else { continue };
        if matches!(c, '.' | '-' | '_') && tail.chars().all(stamp) && is_date(tail.as_bytes()) {
            return &stem[..at];
        }
    }
    if let Some((bare, end)) = stem.rsplit_once('.')
        && !bare.is_empty()
        && digits(end)
        && end.len() <= 5
    {
        return bare;
    }
    stem
}

/// `2026-11-21…` or `20261121…`.
fn is_date(s: &[u8]) -> bool {
    let number = |range: std::ops::Range<usize>| s.get(range).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    let dashed = number(0..4) && s.get(4) == Some(&b'-') && number(5..7) && s.get(7) == Some(&b'-') && number(8..10);
    let solid = number(0..8) && s.first().is_some_and(|b| matches!(b, b'1' | b'2'));
    dashed || solid
}

/// Whether the name bears a rotation stamp of which `live` is free, so that it has been the rotated form of it.
#[must_use]
pub fn is_rotated_of(name: &OsStr, live: &OsStr) -> bool {
    name != live && name.len() > live.len() && script(name) == script(live)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let own = |p: &[&str]| p.iter().map(ToString::to_string).collect::<Vec<_>>();
        Patterns::new(Path::new("/srv/a[b]"), &own(include), &own(exclude)).unwrap()
    }

    #[test]
    fn patterns_mean_what_users_of_ripgrep_expect() {
        let p = patterns(&["logs/**/*.jsonl", "/var/log/*.log", "./x/../y.log"], &["**/old/**"]);
        for yes in ["/srv/a[b]/logs/a.jsonl", "/srv/a[b]/logs/d/e/a.jsonl", "/var/log/a.log"] {
            assert!(p.wants(Path::new(yes)), "{yes}");
        }
        for no in [
            "/srv/a[b]/a.jsonl",
            "/var/log/d/a.log",
            "/srv/a[b]/logs/old/a.jsonl",
            "/srv/a[b]/logs/a.jsonl.gz",
        ] {
            assert!(!p.wants(Path::new(no)), "{no}");
        }
        assert!(Patterns::new(Path::new("/"), &["a[".into()], &[]).is_err());
    }

    #[test]
    fn roots_are_the_literal_beginnings() {
        let p = patterns(
            &["logs/**/*.jsonl", "logs/**/*.log", "/var/*/app/*.log", "../up.log"],
            &[],
        );
        let root = |base: &str, depth| Root {
            base: base.into(),
            depth,
        };
        assert_eq!(
            p.roots(),
            [root("/srv", 0), root("/srv/a[b]/logs", usize::MAX), root("/var", 2)]
        );
        assert!(p.reaches(Path::new("/var/x/app")) && !p.reaches(Path::new("/var/x/app/y")));
    }

    #[test]
    fn a_rotation_stamp_does_not_make_a_wanted_file_unwanted() {
        let p = patterns(&["/l/*.log"], &["/l/*.9"]);
        for yes in ["/l/app.log.1", "/l/app.log-20261121", "/l/app.log.2026-11-21"] {
            assert!(p.wants_rotated(Path::new(yes)), "{yes}");
        }
        for no in ["/l/app.log.9", "/l/app.txt.1", "/l/app.log.bak", "/l/app.log"] {
            assert!(!p.wants_rotated(Path::new(no)), "{no}");
        }
    }

    #[test]
    fn archives_are_wanted_by_their_name_without_endings() {
        let p = patterns(&["logs/*.jsonl"], &[]);
        assert!(p.wants_archive(Path::new("/srv/a[b]/logs/a.jsonl.gz")));
        assert!(p.wants_archive(Path::new("/srv/a[b]/logs/a.2026-11-21_02-20-24_054432.jsonl.tar.gz")));
        for stamped in [
            "a.jsonl.2.gz",
            "a.jsonl-20261121.gz",
            "a.jsonl.20261121-1700000000.xz",
            "a.jsonl.3.zip",
        ] {
            let path = Path::new("/srv/a[b]/logs").join(stamped);
            assert!(p.wants_archive(&path), "{stamped}");
        }
        assert!(!p.wants_archive(Path::new("/srv/a[b]/logs/a.jsonl")));
        assert!(!p.wants_archive(Path::new("/srv/a[b]/logs/backup.tar.gz")));
        assert!(p.wants_member(Path::new("/srv/a[b]/logs/backup.tar.gz"), Path::new("logs/a.jsonl")));
    }

    #[test]
    fn a_script_is_the_name_without_extensions_and_stamps() {
        for (name, stem) in [
            ("app.jsonl", "app"),
            ("app.2026-11-21_02-20-24_054432.jsonl.gz", "app"),
            ("app.2026-11-21_02-20-24_054432.2.jsonl", "app"),
            ("app_2026-11-21_02-20-24_054432.log", "app"),
            ("app.log.1", "app"),
            ("app.log-20261121.gz", "app"),
            ("app.log.1.tar.gz", "app"),
            ("app.v2.log", "app.v2"),
            ("etl-worker_3.jsonl", "etl-worker_3"),
            ("20261121.log", "20261121"),
            (".log", ".log"),
            ("notes.data", "notes"),
            ("plain", "plain"),
        ] {
            assert_eq!(script(OsStr::new(name)), stem, "{name}");
        }
    }
}
