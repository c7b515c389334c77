//! The configuration file's text, and what one that was only found is not taken at its word for.

use std::path::Path;

use super::keys::{Given, Origin};
use super::load::{ConfigError, Sources, Warning};
use super::trust::{self, Look};

/// Variables that `.env` cannot set: they would have it name a file of its own, or what systemd grants.
pub(super) const REAL_ONLY: [&str; 3] = ["LOGAGENT_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"];

/// Takes away what files that were only found may not say, and says so.
pub(super) fn restrict(given: &mut Vec<Given>, sources: &Sources, toml: Option<&Path>, warnings: &mut Vec<Warning>) {
    let base = sources.root();
    let moved = base != sources.dir;
    if let Some(path) = toml {
        let of_file = |o: &Origin| matches!(o, Origin::File { .. });
        let keys = trust::restrict(given, &base, moved, of_file);
        if !keys.is_empty() {
            warnings.push(Warning(format!(
                "{}: not taken, as the file was only found here and may have come with a repository: {}; if it is yours, \
                 name it with --config or LOGAGENT_CONFIG",
                path.display(),
                keys.join(", ")
            )));
        }
    }
    let of_env = |o: &Origin| matches!(o, Origin::Variable { dotenv: Some(_), .. });
    let keys = trust::restrict(given, &base, moved, of_env);
    if !keys.is_empty() {
        warnings.push(Warning(format!(
            "{}: not taken, as the file was only found here and may have come with a repository: {}; if it is yours, set \
             the variables in the environment",
            base.join(".env").display(),
            keys.join(", ")
        )));
    }
}

/// The text of the file; `None` where it was found and is not to be trusted.
pub(super) fn read_file(
    path: &Path,
    named_by: Option<&str>,
    found: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Option<String>, ConfigError> {
    let read = if found {
        match trust::read_found(path) {
            Look::Bytes(bytes) => Ok(bytes),
            Look::Absent => return Ok(None),
            Look::Refused(why) => {
                warnings.push(Warning(format!(
                    "{} is not used: {why}; to use it all the same, name it with --config or LOGAGENT_CONFIG",
                    path.display()
                )));
                return Ok(None);
            }
        }
    } else {
        trust::read_named(path)
    };
    let bytes = read.map_err(|e| {
        let by = named_by.map_or(String::new(), |n| format!(" (named by {n})"));
        ConfigError::one(format!(
            "{}{by}: the configuration file cannot be read: {e}",
            path.display()
        ))
    })?;
    String::from_utf8(bytes).map(Some).map_err(|e| {
        let line = 1 + e
            .as_bytes()
            .iter()
            .take(e.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        ConfigError::one(format!(
            "{}:{line}: not valid UTF-8; save the file as UTF-8",
            path.display()
        ))
    })
}
