use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::model::{Answers, Key, Model};
use super::view::{Look, draw};
use crate::store::stored::{Event, Exception, Run};
use crate::telemetry::snapshot::{Snapshot, SourceStatus, StoreState};

fn screen(m: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let look = Look {
        color: false,
        utc: true,
        now: 1_795_227_724,
    };
    terminal.draw(|frame| draw(frame, m, look)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += row.trim_end();
        text.push('\n');
    }
    text
}

fn busy() -> Model {
    let mut s = Snapshot {
        started_at: "2026-11-21T02:20:24.000000Z".into(),
        host: "web1".into(),
        dead_letters: 2,
        open_runs: 1,
        alerts: vec!["the spool holds 900 of 1000 MB".into()],
        ..Snapshot::default()
    };
    s.store.kind = "sqlite".into();
    s.store.place = ".logagent/logs.db".into();
    s.store.state = StoreState::Away;
    s.store.since = "2026-11-21T02:21:24.000000Z".into();
    s.store.last_error = Some("database is locked".into());
    s.rates.stored_per_second = 12.5;
    s.set_sources(vec![
        SourceStatus {
            kind: "file".into(),
            path: "logs/etl.jsonl".into(),
            position: 1_000_000,
            size: 3_000_000,
            lag_bytes: 2_000_000,
            state: "reading".into(),
        },
        SourceStatus {
            kind: "socket".into(),
            path: ".logagent/logagent.sock".into(),
            position: 7,
            state: "listening".into(),
            ..SourceStatus::default()
        },
    ]);
    let mut m = Model::default();
    m.take_status(Some(4711), Some(s), 1_795_227_724);
    m.take_answers(Answers {
        active: 1,
        levels: vec![("ERROR".into(), 3), ("INFO".into(), 1234)],
        runs: vec![Run {
            execution_id: "etl_20261121_022024_1f2e3d4c".into(),
            script_name: "etl".into(),
            status: "running".into(),
            start_time: "2026-11-21T02:20:24.000000Z".into(),
            ..Run::default()
        }],
        run_errors: [("etl_20261121_022024_1f2e3d4c".to_owned(), 3)].into(),
        errors: vec![Event {
            key: "k".into(),
            timestamp: "2026-11-21T02:22:00.000000Z".into(),
            level: "ERROR".into(),
            message: "import\x1b[2J failed\nbadly".into(),
            script_name: Some("etl".into()),
            exception: Some(Exception {
                kind: Some("KeyError".into()),
                value: Some("'user'".into()),
                ..Exception::default()
            }),
            ..Event::default()
        }],
        trouble: None,
    });
    m
}

#[test]
fn everything_of_a_busy_agent_is_on_a_small_screen() {
    let text = screen(&busy(), 80, 24);
    for part in [
        "running, pid 4711, for 1m 40s  on web1",
        "store     sqlite .logagent/logs.db  away for 40s  database is locked",
        "2 dead letters",
        "2.0 MB not yet read",
        "ALERT     the spool holds 900 of 1000 MB",
        "stored 12.5/s",
        "ERROR                  3",
        "INFO               1,234",
        "sources: 2, by lag",
        "logs/etl.jsonl",
        "active runs: 1",
        "3 errors   etl",
        "02:22:00 ERROR    etl              import\\u{1b}[2J failed badly",
        "q quit",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert_eq!(text.lines().count(), 24);
}

#[test]
fn any_size_of_screen_is_drawn() {
    let mut m = busy();
    for (width, height) in [(1, 1), (10, 3), (20, 8), (40, 12), (80, 24), (200, 60), (300, 2)] {
        screen(&m, width, height);
    }
    m.press(Key::Help);
    for (width, height) in [(1, 1), (10, 3), (80, 24)] {
        screen(&m, width, height);
    }
}

#[test]
fn without_an_agent_the_screen_says_how_to_start_one() {
    let text = screen(&Model::default(), 80, 24);
    assert!(
        text.contains("no agent runs here; start one with: logagent run"),
        "{text}"
    );
    assert!(text.contains("nothing was logged"), "{text}");
}

#[test]
fn help_and_details_cover_the_panels() {
    let mut m = busy();
    m.press(Key::Help);
    assert!(screen(&m, 80, 24).contains("sort sources by lag, path, size"));
    m.press(Key::Back);
    m.panel = super::model::Panel::Sources;
    m.press(Key::Enter);
    let text = screen(&m, 80, 24);
    assert!(
        text.contains("source logs/etl.jsonl") && text.contains("lag       2000000 bytes"),
        "{text}"
    );
    assert!(text.contains("Esc back") && !text.contains("active runs"), "{text}");
    m.press(Key::Pause);
    assert!(screen(&m, 80, 24).contains("PAUSED"));
}
