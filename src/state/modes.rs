//! Who may look into the data directory: `data_mode` and `data_group`, whatever the umask, also for what stands there
//! from before. Logs hold what nobody else should read.
//!
//! New files get their mode from the umask, which is set once, before the first file is made: sled and SQLite make files
//! of their own at any time. What stands there already is changed at each start, by its own names alone: somebody may
//! have put other things into the directory.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Mode;

use super::files;
use crate::config::Settings;
use crate::source::socket::group_id;

/// What the agent itself puts into the data directory: names begin so.
const OWN: &[&str] = &[
    "agent.lock",
    "status.json",
    ".status.json",
    ".gitignore",
    "logs.db",
    "state",
    "spool",
    "dead-letters",
    "damaged-",
    "exec",
];

/// Directories below the data directory that are gone into.
const DEPTH: u32 = 8;

/// From now on this process makes its files as `data_mode` says.
pub fn confine(settings: &Settings) {
    files::make_as(settings.data_mode);
    rustix::process::umask(Mode::from_raw_mode(!settings.data_mode & 0o777));
}

/// Creates the data directory where it is missing, and gives it, and what is ours in it, the configured mode and group.
///
/// # Errors
/// A directory that cannot be made, that all users share, or whose name is somebody else's link; a group that does not
/// exist or that this user is not in.
pub fn prepare(settings: &Settings) -> io::Result<()> {
    let dir = &settings.data_dir;
    confine(settings);
    let group = match settings.data_group.as_str() {
        "" => None,
        name => Some(group_id(name).ok_or_else(|| other(format!("there is no group {name:?} (data_group)")))?),
    };
    create(dir, settings.data_mode)?;
    let found = fs::metadata(dir)?;
    if found.mode() & 0o1002 == 0o1002 {
        return Err(other(
            "all users share it; set data_dir to a directory of its own".to_owned(),
        ));
    }
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me && me != 0 {
        // Its owner says who may look into it.
        return Ok(());
    }
    if let Some(gid) = group {
        rustix::fs::chown(dir, None, Some(gid)).map_err(|e| {
            other(format!(
                "it cannot be given to the group {:?}: {e}; this user must be a member of it",
                settings.data_group
            ))
        })?;
    }
    // New files belong to the group of such a directory.
    let inherit = if group.is_some() { 0o2000 } else { 0 };
    fs::set_permissions(dir, Permissions::from_mode(settings.data_mode | inherit))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = |own: &&str| name.as_encoded_bytes().starts_with(own.as_bytes());
        if OWN.iter().any(ours) {
            tighten(&entry.path(), settings.data_mode, group, DEPTH);
        }
    }
    Ok(())
}

/// Makes the directory, and one note in it: nobody wants it in a repository.
fn create(dir: &Path, mode: u32) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Ok(m) if m.is_symlink() => {
            let mine = [0, rustix::process::geteuid().as_raw()].contains(&m.uid());
            return if mine {
                Ok(())
            } else {
                Err(other("it is a link of another user".to_owned()))
            };
        }
        Ok(_) => return Ok(()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Err(_) => {}
    }
    DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    let note = files::create_private(&dir.join(".gitignore"));
    note.and_then(|mut f| f.write_all(b"*\n"))
}

/// Gives one file or directory of ours the mode that it should have. What fails is as it was: another user's file in a
/// directory of ours is nothing that we could have made.
fn tighten(path: &Path, mode: u32, group: Option<rustix::fs::Gid>, depth: u32) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    if found.is_dir() && depth > 0 {
        regroup(path, group);
        let inherit = found.mode() & 0o2000 | if group.is_some() { 0o2000 } else { 0 };
        let _ = fs::set_permissions(path, Permissions::from_mode(mode | inherit));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            tighten(&entry.path(), mode, group, depth - 1);
        }
    } else if found.is_file() {
        regroup(path, group);
        let had = found.mode() & 0o777;
        // A file that somebody made unwritable stays so, for everybody.
        let wanted = had & mode & 0o600 | mode & (had >> 3 | had >> 6) & 0o066;
        if wanted != had {
            let _ = fs::set_permissions(path, Permissions::from_mode(wanted));
        }
    }
}

fn regroup(path: &Path, group: Option<rustix::fs::Gid>) {
    if let Some(gid) = group {
        let _ = rustix::fs::chown(path, None, Some(gid));
    }
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn settings(dir: &Path) -> Settings {
        let sources = crate::config::Sources {
            env: vec![("LOGAGENT_DATA_DIR".into(), dir.to_string_lossy().into_owned())],
            dir: "/nonexistent".into(),
            ..Default::default()
        };
        Settings::load(&sources).unwrap().0
    }

    #[test]
    fn what_stood_there_before_is_closed_and_what_is_not_ours_is_left() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("data");
        fs::create_dir_all(dir.join("state/blobs")).unwrap();
        for name in ["agent.lock", "logs.db", "logs.db-wal", "state/db", "mine.txt"] {
            fs::write(dir.join(name), "x").unwrap();
            fs::set_permissions(dir.join(name), Permissions::from_mode(0o666)).unwrap();
        }
        fs::set_permissions(dir.join("logs.db"), Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(dir.join("mine.txt"), dir.join("status.json")).unwrap();
        tighten_all(&settings(&dir));
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("state/blobs")), 0o700);
        assert_eq!(mode(&dir.join("logs.db")), 0o400, "unwritable, as its owner made it");
        assert_eq!(mode(&dir.join("mine.txt")), 0o666, "not ours, nor behind a link");
        for name in ["agent.lock", "logs.db-wal", "state/db"] {
            assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
        }
        let mut shared = settings(&dir);
        shared.data_mode = 0o750;
        tighten_all(&shared);
        assert_eq!(mode(&dir), 0o750);
        assert_eq!(mode(&dir.join("state/db")), 0o640);
    }

    #[test]
    fn a_directory_that_all_users_share_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = prepare_in(&settings(place.path())).unwrap_err();
        assert!(error.to_string().contains("data_dir"), "{error}");
        assert_eq!(mode(place.path()), 0o1777);
    }

    /// The umask is the whole process's, and other tests make files meanwhile.
    fn prepare_in(settings: &Settings) -> io::Result<()> {
        let before = rustix::process::umask(Mode::from_raw_mode(0o022));
        let done = prepare(settings);
        rustix::process::umask(before);
        done
    }

    fn tighten_all(settings: &Settings) {
        prepare_in(settings).unwrap();
    }
}
