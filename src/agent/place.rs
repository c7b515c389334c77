//! The data directory under a running agent.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the data directory was when the agent took its lock.
pub struct Place {
    dir: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    /// Remembers what `dir` leads to now.
    #[must_use]
    pub fn of(dir: &Path) -> Place {
        Place {
            dir: dir.to_owned(),
            identity: identity(dir),
        }
    }

    /// What happened, if the path leads to something else than it did: to go on would be to write a part here and a part
    /// there, and a second agent could start beside this one.
    #[must_use]
    pub fn moved(&self) -> Option<String> {
        let was = self.identity?;
        if identity(&self.dir) == Some(was) {
            return None;
        }
        Some(format!(
            "the data directory {} was moved, removed or replaced while the agent runs; stop the agent before that is \
             done, and start it again now",
            self.dir.display()
        ))
    }
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(dir).ok().map(|m| (m.dev(), m.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_moved_removed_or_replaced_is_noticed_and_one_that_fills_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        let place = Place::of(&dir);
        std::fs::write(dir.join("file"), "x").unwrap();
        assert_eq!(place.moved(), None);
        std::fs::rename(&dir, scratch.path().join("elsewhere")).unwrap();
        assert!(place.moved().is_some_and(|text| text.contains("data")));
        std::fs::create_dir(&dir).unwrap();
        assert!(place.moved().is_some());
        std::fs::remove_dir(&dir).unwrap();
        std::fs::rename(scratch.path().join("elsewhere"), &dir).unwrap();
        assert_eq!(place.moved(), None);
    }
}
