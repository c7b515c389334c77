//! What a directory may say, and who may look into what the agent keeps.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::harness::{eventually, logagent, say};

fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a scratch directory");
    fs::create_dir(dir.path().join("logs")).expect("logs/");
    fs::write(dir.path().join("logs/a.log"), "{\"message\":\"one\"}\n").expect("a log");
    dir
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("exists").permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// All files and directories of the data directory are the owner's alone; the socket has a mode of its own.
fn assert_private(dir: &Path) {
    assert_eq!(mode(dir), 0o700, "{}", dir.display());
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            assert_private(&entry.path());
        } else if kind.is_file() {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        }
    }
}

/// The program under this umask.
fn under(umask: u32, dir: &Path, args: &[&str]) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    let program = logagent(dir);
    shell.args(["-c", &format!("umask {umask:03o}; exec \"$0\" \"$@\"")]);
    shell.arg(program.get_program()).args(args).current_dir(dir);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn the_data_directory_is_its_owners_alone_whatever_the_umask_and_what_stood_there() {
    for umask in [0o000, 0o022, 0o077] {
        let dir = scratch();
        let data = dir.path().join(".logagent");
        let done = under(umask, dir.path(), &["init"]).status().expect("init");
        assert!(done.success());
        assert_private(&data);
        assert_eq!(
            fs::read_to_string(data.join(".gitignore")).expect("a note for git"),
            "*\n"
        );
        assert!(
            under(umask, dir.path(), &["learn", "it works"])
                .status()
                .expect("learn")
                .success()
        );
        assert_private(&data);
        for name in ["", "logs.db"] {
            chmod(&data.join(name), 0o755);
        }
        assert!(
            under(umask, dir.path(), &["run", "--once"])
                .status()
                .expect("run")
                .success()
        );
        assert_private(&data);
        let mut agent = under(umask, dir.path(), &["run"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("run");
        eventually("the agent runs", || {
            fs::read_to_string(data.join("status.json"))
                .ok()?
                .contains("\"running\":true")
                .then_some(())
        });
        assert_private(&data);
        agent.kill().expect("kill");
        agent.wait().expect("wait");
    }
}

#[test]
fn a_group_is_let_in_where_data_mode_and_data_group_say_so() {
    let dir = scratch();
    let gid = fs::metadata(dir.path())
        .map(|m| std::os::unix::fs::MetadataExt::gid(&m))
        .expect("a group")
        .to_string();
    let mut command = logagent(dir.path());
    command
        .env("LOGAGENT_DATA_MODE", "0750")
        .env("LOGAGENT_DATA_GROUP", gid);
    assert!(command.args(["run", "--once"]).status().expect("run").success());
    assert_eq!(mode(&dir.path().join(".logagent")), 0o750);
    assert_eq!(mode(&dir.path().join(".logagent/logs.db")), 0o640);
    for (wrong, said) in [("0600", "locks the agent out"), ("0777", "every user")] {
        let out = logagent(dir.path())
            .env("LOGAGENT_DATA_MODE", wrong)
            .arg("status")
            .output()
            .expect("status");
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&out.stderr).contains(said));
    }
}

#[test]
fn files_that_others_may_write_are_not_used_and_one_warning_says_how_to_allow_it() {
    for name in ["logagent.toml", ".env"] {
        let dir = scratch();
        let file = dir.path().join(name);
        let text = if name == ".env" {
            "LOGAGENT_HOST=planted\n"
        } else {
            "host = \"planted\"\n"
        };
        fs::write(&file, text).expect("written");
        let host = |dir: &Path| {
            let _ = fs::remove_dir_all(dir.join(".logagent"));
            let said = say(dir, &["run", "--once"]);
            assert_eq!(said.code, 0, "{}", said.err);
            (say(dir, &["search", "-o", "jsonl"]).out.contains("planted"), said.err)
        };
        assert!(host(dir.path()).0, "{name}: mine alone");
        chmod(&file, 0o666);
        let (planted, err) = host(dir.path());
        assert!(!planted, "{name}: every user may write it");
        assert_eq!(err.matches("is not used").count(), 1, "{err}");
        assert!(
            err.contains(name) && err.contains("LOGAGENT_CONFIG") != err.contains("environment"),
            "{err}"
        );
        chmod(&file, 0o600);
        chmod(dir.path(), 0o777);
        assert!(!host_of_new(dir.path()), "{name}: every user may replace it");
    }
}

/// Whether a planted host is taken, asked without a store.
fn host_of_new(dir: &Path) -> bool {
    let _ = fs::remove_dir_all(dir.join(".logagent"));
    let mut run = logagent(dir);
    run.args(["run", "--once"]);
    assert!(run.output().expect("run").status.success());
    let mut search = logagent(dir);
    search
        .env("LOGAGENT_DATA_DIR", dir.join(".logagent"))
        .args(["search", "-o", "jsonl"]);
    String::from_utf8_lossy(&search.output().expect("search").stdout).contains("planted")
}

#[test]
fn fifos_endless_and_huge_files_are_refused_at_once() {
    for name in ["logagent.toml", ".env"] {
        let dir = scratch();
        let file = dir.path().join(name);
        let refused = || {
            let said = say(dir.path(), &["run", "--once"]);
            assert_eq!(said.code, 0, "{}", said.err);
            assert!(
                said.err.contains(name) && said.err.contains("is not used"),
                "{}",
                said.err
            );
            fs::remove_file(&file).expect("removed");
        };
        let made = std::process::Command::new("mkfifo")
            .arg(&file)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        refused();
        symlink("/dev/zero", &file).expect("a link");
        refused();
        fs::write(&file, "# much\n".repeat(1 << 18)).expect("written");
        refused();
    }
}

#[test]
fn a_found_file_names_no_command_no_other_host_and_no_file_outside() {
    let outside = tempfile::tempdir().expect("a scratch directory");
    let secret = outside.path().join("secret");
    fs::write(&secret, "the secret").expect("written");
    let shown = outside.path().display();
    let toml = format!(
        "data_dir = \"{shown}/data\"\n[files]\ninclude = [\"{shown}/*\"]\n[monitoring]\non_alert = \"touch {shown}/ran\"\n\
         [embeddings]\nurl = \"http://192.0.2.1/v1\"\n[store]\nkind = \"arangodb\"\n[store.arangodb]\n\
         endpoints = [\"http://192.0.2.1:8529\"]\npassword_file = \"{shown}/secret\"\nca_file = \"{shown}/secret\"\n"
    );
    let keys = [
        "data_dir",
        "files.include",
        "monitoring.on_alert",
        "embeddings.url",
        "endpoints",
        "password_file",
        "ca_file",
    ];
    let dir = scratch();
    fs::write(dir.path().join("logagent.toml"), &toml).expect("written");
    let said = say(dir.path(), &["run", "--once"]);
    assert_eq!(said.code, 0, "the embedded store is used: {}", said.err);
    for key in keys {
        assert!(said.err.contains(key), "{key} is named: {}", said.err);
    }
    assert!(said.err.contains("--config"), "{}", said.err);
    assert!(dir.path().join(".logagent/logs.db").exists() && !outside.path().join("data").exists());
    // Named, it is taken whole.
    let named = say(dir.path(), &["check", "--config", "logagent.toml"]);
    assert!(named.out.contains("192.0.2.1:8529"), "{}", named.out);

    let dir = scratch();
    symlink(outside.path(), dir.path().join("link")).expect("a link");
    let env = "ARANGO_URL=http://192.0.2.1:8529\nLOGAGENT_MONITORING_ON_ALERT=x\nLOGAGENT_CONFIG=other.toml\n\
               LOGAGENT_DATA_DIR=link/data\nSTATE_DIRECTORY=/nonexistent/x\n";
    fs::write(dir.path().join(".env"), env).expect("written");
    let said = say(dir.path(), &["run", "--once"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for key in [
        "store.arangodb.endpoints",
        "monitoring.on_alert",
        "LOGAGENT_CONFIG",
        "data_dir",
        "STATE_DIRECTORY",
    ] {
        assert!(said.err.contains(key), "{key} is named: {}", said.err);
    }
    assert!(dir.path().join(".logagent/logs.db").exists() && !outside.path().join("data").exists());
}

#[test]
fn a_data_directory_of_another_user_is_not_used_nor_are_links_in_ones_own_followed() {
    let dir = scratch();
    let data = dir.path().join(".logagent");
    fs::create_dir(&data).expect("a directory");
    let precious = dir.path().join("precious");
    fs::write(&precious, "keep").expect("written");
    for name in ["agent.lock", ".status.json.new"] {
        symlink(&precious, data.join(name)).expect("a link");
    }
    let said = say(dir.path(), &["run", "--once"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert_eq!(fs::read_to_string(&precious).expect("there"), "keep");
    fs::remove_file(data.join("agent.lock")).expect("removed");
    assert_eq!(say(dir.path(), &["run", "--once"]).code, 0);
    assert_eq!(fs::read_to_string(&precious).expect("there"), "keep");

    chmod(&data, 0o777);
    for verb in [&["run", "--once"][..], &["errors"], &["learn", "x"]] {
        let said = say(dir.path(), verb);
        assert_eq!(said.code, 2, "{verb:?}: {}", said.err);
        assert!(said.err.contains("LOGAGENT_DATA_DIR"), "{}", said.err);
    }
    if rustix::process::geteuid().is_root() {
        chmod(&data, 0o700);
        std::os::unix::fs::chown(&data, Some(65534), None).expect("chown");
        let said = say(dir.path(), &["errors"]);
        assert!(said.code == 2 && said.err.contains("uid 65534"), "{}", said.err);
    }
}

#[test]
fn a_project_is_found_from_its_sub_directories_and_by_directory() {
    let dir = scratch();
    fs::write(dir.path().join("logagent.toml"), "host = \"projects\"\n").expect("written");
    assert_eq!(say(dir.path(), &["run", "--once"]).code, 0);
    let deep = dir.path().join("src/deep");
    fs::create_dir_all(&deep).expect("directories");
    let elsewhere = tempfile::tempdir().expect("a scratch directory");
    let to = deep.display().to_string();
    for (from, args) in [
        (deep.as_path(), vec!["search", "-o", "jsonl"]),
        (elsewhere.path(), vec!["-C", &to, "search", "-o", "jsonl"]),
        (elsewhere.path(), vec!["search", "-o", "jsonl", "-C", &to]),
        (elsewhere.path(), vec!["search", "-o", "jsonl", "--directory", &to]),
    ] {
        let said = say(from, &args);
        assert!(
            said.code == 0 && said.out.contains("\"projects\""),
            "{args:?}: {} {}",
            said.out,
            said.err
        );
    }
    assert_eq!(say(&deep, &["learn", "found from below"]).code, 0);
    assert!(!deep.join(".logagent").exists());
    assert!(say(dir.path(), &["learnings"]).out.contains("found from below"));

    let said = say(elsewhere.path(), &["learn", "nowhere"]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(
        said.err.contains("-C DIR") && !elsewhere.path().join(".logagent").exists(),
        "{}",
        said.err
    );

    if rustix::process::geteuid().is_root() {
        // Above the directories of this user nobody looks.
        std::os::unix::fs::chown(dir.path(), Some(65534), None).expect("chown");
        let mut command = logagent(&deep);
        let out = command.arg("search").uid(0).output().expect("search");
        assert!(!String::from_utf8_lossy(&out.stdout).contains("one"));
    }
}
