//! What the dashboard shows, and how keys change it. Pure: time comes as an argument, data from [`super::feed`].

use std::collections::{HashMap, VecDeque};

use crate::store::stored::{Event, Run};
use crate::telemetry::snapshot::Snapshot;

/// Seconds of throughput that are kept.
pub(super) const HISTORY: usize = 300;

/// What the store answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Level and count of the last five minutes, most severe first.
    pub(super) levels: Vec<(String, u64)>,
    /// Runs that have not ended, then the others, newest first.
    pub(super) runs: Vec<Run>,
    /// How many of them have not ended.
    pub(super) active: usize,
    /// Errors of each of them, by execution.
    pub(super) run_errors: HashMap<String, u64>,
    /// Newest first.
    pub(super) errors: Vec<Event>,
    /// Why there is no answer.
    pub(super) trouble: Option<String>,
}

/// Lines about one thing, over the whole screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    /// First line shown.
    pub(super) top: usize,
}

/// A list that keys act on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Panel {
    Sources,
    #[default]
    Runs,
    Errors,
}

impl Panel {
    pub(super) const ALL: [Panel; 3] = [Panel::Sources, Panel::Runs, Panel::Errors];

    fn next(self) -> Panel {
        match self {
            Panel::Sources => Panel::Runs,
            Panel::Runs => Panel::Errors,
            Panel::Errors => Panel::Sources,
        }
    }
}

/// The order of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Lag,
    Path,
    Size,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Lag => "lag",
            Sort::Path => "path",
            Sort::Size => "size",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Lag => Sort::Path,
            Sort::Path => Sort::Size,
            Sort::Size => Sort::Lag,
        }
    }
}

/// A key, as far as the dashboard knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Back,
    Help,
    Pause,
    Sort,
    Panel,
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    /// Any other.
    Other,
}

/// What a key asks of the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Fetch the events of this execution.
    LookAtRun(String),
    /// Fetch this event whole.
    LookAtEvent(String),
}

/// Everything on the screen.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) pid: Option<u32>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) answers: Answers,
    /// Records stored in each of the last seconds, oldest first.
    pub(super) throughput: VecDeque<u64>,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) panel: Panel,
    pub(super) sort: Sort,
    selected: [usize; 3],
    pub(super) detail: Option<Detail>,
    /// (second, stored) of the last sample.
    last_sample: Option<(i64, u64)>,
}

impl Model {
    /// Takes the agent's status at `now`, in seconds. While paused it is let go.
    pub(super) fn take_status(&mut self, pid: Option<u32>, snapshot: Option<Snapshot>, now: i64) {
        if self.paused {
            return;
        }
        if let Some(s) = &snapshot {
            self.sample(now, s.records.stored);
        }
        self.pid = pid;
        self.snapshot = snapshot;
        self.order_sources();
        self.keep_selection();
    }

    pub(super) fn take_answers(&mut self, answers: Answers) {
        if self.paused {
            return;
        }
        self.answers = answers;
        self.keep_selection();
    }

    /// One column of throughput for each second that has gone by.
    fn sample(&mut self, now: i64, stored: u64) {
        let Some((then, before)) = self.last_sample else {
            self.last_sample = Some((now, stored));
            return;
        };
        if now <= then {
            return;
        }
        let seconds = u64::try_from(now - then).unwrap_or(1);
        // A new agent counts from 0.
        let each = stored.checked_sub(before).unwrap_or(stored) / seconds;
        for _ in 0..seconds.min(HISTORY as u64) {
            self.throughput.push_back(each);
        }
        while self.throughput.len() > HISTORY {
            self.throughput.pop_front();
        }
        self.last_sample = Some((now, stored));
    }

    fn order_sources(&mut self) {
        let Some(s) = &mut self.snapshot else { return };
        match self.sort {
            Sort::Lag => s
                .sources
                .sort_by(|a, b| b.lag_bytes.cmp(&a.lag_bytes).then_with(|| a.path.cmp(&b.path))),
            Sort::Path => s.sources.sort_by(|a, b| a.path.cmp(&b.path)),
            Sort::Size => s
                .sources
                .sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path))),
        }
    }

    pub(super) fn len(&self, panel: Panel) -> usize {
        match panel {
            Panel::Sources => self.snapshot.as_ref().map_or(0, |s| s.sources.len()),
            Panel::Runs => self.answers.runs.len(),
            Panel::Errors => self.answers.errors.len(),
        }
    }

    pub(super) fn selected(&self, panel: Panel) -> usize {
        self.selected[panel as usize]
    }

    fn keep_selection(&mut self) {
        for panel in Panel::ALL {
            let last = self.len(panel).saturating_sub(1);
            let selected = &mut self.selected[panel as usize];
            *selected = (*selected).min(last);
        }
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: Key) -> Wish {
        if self.help {
            self.help = false;
            return if key == Key::Quit { Wish::Quit } else { Wish::Nothing };
        }
        match (key, &mut self.detail) {
            (Key::Quit, _) => return Wish::Quit,
            (Key::Help, _) => self.help = true,
            (Key::Back, detail) => *detail = None,
            (Key::Pause, _) => self.paused = !self.paused,
            (Key::Up, Some(d)) => d.top = d.top.saturating_sub(1),
            (Key::Down, Some(d)) => d.top = (d.top + 1).min(d.lines.len().saturating_sub(1)),
            (Key::PageUp, Some(d)) => d.top = d.top.saturating_sub(15),
            (Key::PageDown, Some(d)) => d.top = (d.top + 15).min(d.lines.len().saturating_sub(1)),
            (_, Some(_)) | (Key::Other, None) => {}
            (Key::Sort, None) => {
                self.sort = self.sort.next();
                self.order_sources();
            }
            (Key::Panel, None) => self.panel = self.panel.next(),
            (Key::Up, None) => self.select(-1),
            (Key::Down, None) => self.select(1),
            (Key::PageUp, None) => self.select(-10),
            (Key::PageDown, None) => self.select(10),
            (Key::Enter, None) => return self.look(),
        }
        Wish::Nothing
    }

    fn select(&mut self, by: isize) {
        let selected = &mut self.selected[self.panel as usize];
        *selected = selected.saturating_add_signed(by);
        self.keep_selection();
    }

    fn look(&mut self) -> Wish {
        let at = self.selected(self.panel);
        match self.panel {
            Panel::Runs => self
                .answers
                .runs
                .get(at)
                .map_or(Wish::Nothing, |r| Wish::LookAtRun(r.execution_id.clone())),
            Panel::Errors => self
                .answers
                .errors
                .get(at)
                .map_or(Wish::Nothing, |e| Wish::LookAtEvent(e.key.clone())),
            Panel::Sources => {
                let source = self.snapshot.as_ref().and_then(|s| s.sources.get(at));
                self.detail = source.map(|s| Detail {
                    title: format!("source {}", s.path),
                    lines: vec![
                        format!("kind      {}", s.kind),
                        format!("state     {}", s.state),
                        format!("position  {}", s.position),
                        format!("size      {}", s.size),
                        format!("lag       {} bytes", s.lag_bytes),
                    ],
                    top: 0,
                });
                Wish::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::snapshot::SourceStatus;

    fn with_sources(paths: &[(&str, u64, u64)]) -> Snapshot {
        let mut s = Snapshot::default();
        let sources = paths.iter().map(|(path, lag, size)| SourceStatus {
            path: (*path).to_owned(),
            lag_bytes: *lag,
            size: *size,
            ..SourceStatus::default()
        });
        s.set_sources(sources.collect());
        s
    }

    fn paths(m: &Model) -> Vec<&str> {
        let sources = &m.snapshot.as_ref().unwrap().sources;
        sources.iter().map(|s| s.path.as_str()).collect()
    }

    #[test]
    fn sources_are_sorted_as_asked_and_stay_so() {
        let mut m = Model::default();
        let s = with_sources(&[("b", 0, 9), ("a", 0, 1), ("c", 5, 3)]);
        m.take_status(Some(1), Some(s.clone()), 0);
        assert_eq!(paths(&m), ["c", "a", "b"]);
        m.press(Key::Sort);
        assert_eq!(paths(&m), ["a", "b", "c"]);
        m.press(Key::Sort);
        m.take_status(Some(1), Some(s), 1);
        assert_eq!(paths(&m), ["b", "c", "a"]);
    }

    #[test]
    fn throughput_has_one_column_a_second_and_survives_a_new_agent() {
        let mut m = Model::default();
        let stored = |n| {
            let mut s = Snapshot::default();
            s.records.stored = n;
            Some(s)
        };
        m.take_status(Some(1), stored(100), 10);
        m.take_status(Some(1), stored(150), 11);
        m.take_status(Some(1), stored(150), 11);
        m.take_status(Some(1), stored(250), 13);
        m.take_status(Some(2), stored(7), 14);
        assert_eq!(m.throughput, [50, 50, 50, 7]);
        m.take_status(Some(2), stored(7), 10_000);
        assert_eq!(m.throughput.len(), HISTORY);
    }

    #[test]
    fn a_paused_screen_does_not_change() {
        let mut m = Model::default();
        m.press(Key::Pause);
        m.take_status(Some(1), Some(Snapshot::default()), 0);
        assert!(m.snapshot.is_none());
        m.press(Key::Pause);
        m.take_status(Some(1), Some(Snapshot::default()), 0);
        assert!(m.snapshot.is_some());
    }

    #[test]
    fn keys_select_and_look_and_come_back() {
        let mut m = Model::default();
        let runs = ["one", "two"].map(|id| Run {
            execution_id: id.into(),
            ..Run::default()
        });
        m.take_answers(Answers {
            runs: runs.to_vec(),
            ..Answers::default()
        });
        assert_eq!(m.press(Key::Up), Wish::Nothing);
        m.press(Key::Down);
        m.press(Key::Down);
        assert_eq!(m.press(Key::Enter), Wish::LookAtRun("two".into()));
        m.detail = Some(Detail {
            lines: vec![String::new(); 3],
            ..Detail::default()
        });
        m.press(Key::PageDown);
        assert_eq!(m.detail.as_ref().unwrap().top, 2);
        m.press(Key::Back);
        assert_eq!(m.detail, None);
        m.press(Key::Help);
        assert_eq!(m.press(Key::Down), Wish::Nothing);
        assert!(!m.help, "any key closes the help");
        assert_eq!(m.press(Key::Quit), Wish::Quit);
    }

    #[test]
    fn the_selection_stays_on_the_list_when_it_shrinks() {
        let mut m = Model::default();
        m.press(Key::Panel);
        m.press(Key::Panel);
        m.take_status(None, Some(with_sources(&[("a", 0, 0), ("b", 0, 0)])), 0);
        m.press(Key::PageDown);
        assert_eq!(m.selected(Panel::Sources), 1);
        m.take_status(None, Some(with_sources(&[("a", 0, 0)])), 1);
        assert_eq!(m.selected(Panel::Sources), 0);
        assert_eq!(m.press(Key::Enter), Wish::Nothing);
        assert!(m.detail.as_ref().unwrap().title.contains('a'));
    }
}
