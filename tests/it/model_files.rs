//! Random sets of files over a small alphabet of lines, so that common beginnings, equal files and repeated lines are the
//! rule, against a naive model that knows how often each line was written. `LOGAGENT_SEED=n` replays one schedule,
//! `LOGAGENT_SCHEDULES=n` runs so many.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::recorder::{Rig, append, gz};

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// What a log file of the model holds, and whether all of it was delivered.
#[derive(Clone, Debug)]
struct Plain {
    lines: Vec<String>,
    delivered: bool,
    /// Rewritten with what it held: with more behind it, it would look as if it had grown.
    said_again: bool,
}

struct Model {
    rig: Rig,
    random: Random,
    files: BTreeMap<String, Plain>,
    /// How often each line was written.
    births: BTreeMap<String, usize>,
    names: u64,
    log: Vec<String>,
    /// What the state held some time ago: where a kill goes back to.
    kept: Snapshot,
}

type Snapshot = (
    std::collections::HashMap<u64, logagent::source::StreamEntry>,
    std::collections::HashMap<u64, logagent::source::Cursor>,
);

impl Model {
    fn lines(&mut self) -> Vec<String> {
        const ALPHABET: [&str; 4] = ["=== job starts ===", "ok", "a", "done"];
        // Most begin alike.
        let mut lines = vec![ALPHABET[0].to_owned()];
        for _ in 0..self.random.below(4) {
            lines.push(ALPHABET[self.random.below(4) as usize].to_owned());
        }
        lines
    }

    fn born(&mut self, lines: &[String]) {
        for line in lines {
            *self.births.entry(line.clone()).or_default() += 1;
        }
    }

    fn any(&mut self, delivered: bool) -> Option<String> {
        let names: Vec<String> = self
            .files
            .iter()
            .filter(|(_, f)| f.delivered || !delivered)
            .map(|(name, _)| name.clone())
            .collect();
        let n = names.len() as u64;
        (n > 0).then(|| names[self.random.below(n) as usize].clone())
    }

    /// The clock of the file system goes on.
    fn tick(&self) {
        let path = self.rig.dir.path().join("tick");
        let now = || {
            fs::write(&path, "x").unwrap();
            fs::metadata(&path).unwrap().modified().unwrap()
        };
        let before = now();
        while now() == before {
            std::thread::yield_now();
        }
    }

    fn create(&mut self, name: String) {
        let lines = self.lines();
        self.tick();
        self.rig.write(&name, text(&lines));
        self.log.push(format!("create {name} {lines:?}"));
        self.born(&lines);
        self.put(name, lines, false);
    }

    fn put(&mut self, name: String, lines: Vec<String>, said_again: bool) {
        let plain = Plain {
            lines,
            delivered: false,
            said_again,
        };
        self.files.insert(name, plain);
    }

    fn step(&mut self) {
        match self.random.below(11) {
            0..=2 => {
                self.names += 1;
                let name = format!("job{}.log", self.names);
                self.create(name);
            }
            3 | 4 => {
                let Some(name) = self.any(false).filter(|n| !n.ends_with(".gz")) else {
                    return;
                };
                if self.files[&name].said_again {
                    return;
                }
                let more = self.lines();
                self.tick();
                append(&self.rig.path(&name), text(&more));
                self.log.push(format!("append {name} {more:?}"));
                self.born(&more);
                let file = self.files.get_mut(&name).unwrap();
                file.lines.extend(more);
                file.delivered = false;
            }
            5 => {
                let Some(name) = self.any(false).filter(|n| !n.ends_with(".gz")) else {
                    return;
                };
                self.names += 1;
                let to = format!(
                    "{}.{}",
                    name.split(".log").next().unwrap().to_owned() + ".log",
                    self.names
                );
                self.rig.rename(&name, &to);
                self.log.push(format!("rename {name} {to}"));
                let file = self.files.remove(&name).unwrap();
                self.files.insert(to, file);
            }
            6 => self.compress(),
            7 => {
                let Some(name) = self.any(true) else { return };
                fs::remove_file(self.rig.path(&name)).unwrap();
                self.log.push(format!("remove {name}"));
                self.files.remove(&name);
            }
            8 => self.rewrite(),
            _ => self.live(),
        }
    }

    /// As gzip does: the times are kept.
    fn compress(&mut self) {
        let Some(name) = self.any(false).filter(|n| !n.ends_with(".gz")) else {
            return;
        };
        let written = fs::metadata(self.rig.path(&name)).unwrap().modified().unwrap();
        let to = format!("{name}.gz");
        self.tick();
        self.rig.write(&to, gz(&fs::read(self.rig.path(&name)).unwrap()));
        set_modified(&self.rig, &to, written);
        fs::remove_file(self.rig.path(&name)).unwrap();
        self.log.push(format!("gzip {name}"));
        let file = self.files.remove(&name).unwrap();
        self.files.insert(to, file);
    }

    /// `> job.log`, with what another night says, or with what it said the night before. What only goes on behind what
    /// was there looks as if the file had grown.
    fn rewrite(&mut self) {
        let Some(name) = self.any(true).filter(|n| !n.ends_with(".gz")) else {
            return;
        };
        let old = self.files[&name].lines.clone();
        let lines = if self.random.below(2) == 0 {
            old.clone()
        } else {
            self.lines()
        };
        if lines.len() > old.len() && lines.starts_with(&old) {
            return;
        }
        self.tick();
        self.rig.write(&name, text(&lines));
        self.log.push(format!("rewrite {name} {lines:?}"));
        self.born(&lines);
        self.put(name, lines.clone(), lines.starts_with(&old));
    }

    /// A life of the agent, which may end by a kill or lose its state.
    fn live(&mut self) {
        self.rig.once();
        self.files
            .values_mut()
            .for_each(|f| (f.delivered, f.said_again) = (true, false));
        self.log.push("once".into());
        self.check();
        let book = self.rig.recorder.book();
        let now: Snapshot = (book.entries.clone(), book.cursors.clone());
        drop(book);
        match self.random.below(5) {
            0 => {
                let mut book = self.rig.recorder.book();
                (book.entries, book.cursors) = self.kept.clone();
                drop(book);
                self.log.push("killed, back to an older state".into());
                // Before anything else happens to the files: what was deleted or rewritten meanwhile is the same.
                self.rig.once();
                self.check();
            }
            1 => {
                self.rig.lose_state();
                self.log.push("state lost".into());
                self.rig.once();
                self.check();
            }
            2 => self.kept = now,
            _ => {}
        }
        let book = self.rig.recorder.book();
        self.kept = (book.entries.clone(), book.cursors.clone());
    }

    /// Each line is stored as often as it was written.
    fn check(&self) {
        let mut stored: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.rig.lines() {
            *stored.entry(line).or_default() += 1;
        }
        assert_eq!(
            stored,
            self.births,
            "stored and written, after\n  {}",
            self.log.join("\n  ")
        );
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|l| l.clone() + "\n").collect()
}

fn set_modified(rig: &Rig, name: &str, time: SystemTime) {
    fs::File::options()
        .write(true)
        .open(rig.path(name))
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn schedule(seed: u64) {
    let mut rig = Rig::new();
    rig.settings.finish_line_after = Duration::ZERO;
    let mut model = Model {
        rig,
        random: Random(seed),
        files: BTreeMap::new(),
        births: BTreeMap::new(),
        names: 0,
        log: vec![format!("LOGAGENT_SEED={seed}")],
        kept: Snapshot::default(),
    };
    for _ in 0..30 {
        model.step();
    }
    model.live();
}

#[test]
fn whatever_files_begin_with_each_line_is_stored_as_often_as_it_was_written() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let seeds = match number("LOGAGENT_SEED") {
        Some(seed) => {
            // What the tailer decided, and why.
            let log = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_test_writer();
            let _ = log.try_init();
            seed..seed + 1
        }
        None => 1..1 + number("LOGAGENT_SCHEDULES").unwrap_or(150),
    };
    println!("seeds {seeds:?}");
    seeds.for_each(schedule);
}
