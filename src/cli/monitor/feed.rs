//! What the dashboard asks of the store: few questions every two seconds, on a thread of its own, so that a slow store
//! slows nothing down but its own panels.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::model::{Answers, Detail};
use crate::cli::show;
use crate::config::Settings;
use crate::query::{Asking, Clock};
use crate::record::Micros;
use crate::store::search::{By, CountAsk, EventAsk, FieldIs, Filter, Order, ReadError, RunAsk, Search, Sign, Stop};
use crate::store::stored::Event;

/// How often the store is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// The window of level counts.
const WINDOW: Micros = 300 * 1_000_000;
/// Errors older than a day are no news.
const NEWS: Micros = 24 * 3600 * 1_000_000;
/// Rows that are fetched for each panel.
const ROWS: usize = 50;
/// Events of a run that are shown.
const EVENTS: usize = 500;
/// loguru's number of ERROR.
const ERROR: i64 = 40;

/// What the dashboard asks for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Run(String),
    Event(String),
}

/// What comes back.
#[derive(Debug)]
pub(super) enum News {
    Answers(Answers),
    Detail(Detail),
}

/// Starts the thread. It ends when either end of its channels is gone.
/// Details show times in local time, or in UTC.
pub(super) fn start(settings: Settings, utc: bool) -> std::io::Result<(Sender<Ask>, Receiver<News>)> {
    let (ask, asked) = mpsc::channel();
    let (tell, news) = mpsc::channel();
    std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || serve(&settings, utc, &asked, &tell))?;
    Ok((ask, news))
}

fn serve(settings: &Settings, utc: bool, asked: &Receiver<Ask>, tell: &Sender<News>) {
    let mut store: Option<Box<dyn Search>> = None;
    loop {
        let answers = with(&mut store, settings, |s| answers(s, now())).unwrap_or_else(|e| Answers {
            trouble: Some(e.to_string()),
            ..Answers::default()
        });
        if tell.send(News::Answers(answers)).is_err() {
            return;
        }
        match asked.recv_timeout(INTERVAL) {
            Ok(ask) => {
                let detail = with(&mut store, settings, |s| detail(s, &ask, utc)).unwrap_or_else(|e| Detail {
                    title: "no answer".to_owned(),
                    lines: vec![e.to_string()],
                    top: 0,
                });
                if tell.send(News::Detail(detail)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Asks the store, opening it first where it is not; after an error it is opened anew the next time.
fn with<T>(
    store: &mut Option<Box<dyn Search>>,
    settings: &Settings,
    ask: impl FnOnce(&dyn Search) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let opened = match store.take() {
        Some(opened) => opened,
        None => crate::store::open_reader(settings)?,
    };
    let answer = ask(&*opened)?;
    *store = Some(opened);
    Ok(answer)
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

fn answers(store: &dyn Search, now: Micros) -> Result<Answers, ReadError> {
    let mut levels: Vec<(i64, String, u64)> = Vec::new();
    let by_level = CountAsk {
        filter: Filter {
            since: Some(now - WINDOW),
            ..Filter::default()
        },
        by: vec![By::Field(vec!["level".to_owned()])],
        newest: false,
    };
    store.counts(&by_level, &mut |c| {
        let level = c.by.into_iter().next().flatten().unwrap_or_default();
        levels.push((severity(&level), level, c.count));
        true
    })?;
    levels.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let runs = store.runs(&RunAsk {
        status: Some("running"),
        limit: ROWS,
        ..RunAsk::default()
    })?;
    let executions: Vec<String> = runs.items.iter().map(|r| r.execution_id.clone()).collect();
    let errors = store.events(&EventAsk {
        filter: Filter {
            min_level: Some(ERROR),
            since: Some(now - NEWS),
            ..Filter::default()
        },
        words: None,
        order: Order::Newest,
        after: None,
        limit: ROWS,
        count: false,
    })?;
    let mut errors: Vec<Event> = errors.items.into_iter().map(|(event, _)| event).collect();
    let asking = Asking {
        store,
        clock: Clock::system(true),
        meaning: None,
        stop: Stop::default(),
    };
    // Without knowing which are fixed they are shown all the same.
    if let Err(e) = crate::query::events::resolve(&asking, errors.iter_mut()) {
        tracing::debug!("{e}");
    }
    let over = store.runs(&RunAsk {
        fields: vec![FieldIs {
            path: vec!["status".to_owned()],
            values: vec!["running".to_owned()],
            sign: Sign::IsNot,
        }],
        limit: ROWS.saturating_sub(runs.items.len()),
        ..RunAsk::default()
    })?;
    Ok(Answers {
        active: runs.items.len(),
        levels: levels.into_iter().map(|(_, level, n)| (level, n)).collect(),
        run_errors: run_errors(store, executions)?,
        runs: runs.items.into_iter().chain(over.items).collect(),
        errors,
        trouble: None,
    })
}

fn run_errors(store: &dyn Search, executions: Vec<String>) -> Result<HashMap<String, u64>, ReadError> {
    let mut found = HashMap::new();
    if executions.is_empty() {
        return Ok(found);
    }
    let ask = CountAsk {
        filter: Filter {
            min_level: Some(ERROR),
            executions,
            ..Filter::default()
        },
        by: vec![By::Field(vec!["execution_id".to_owned()])],
        newest: false,
    };
    store.counts(&ask, &mut |c| {
        if let Some(id) = c.by.into_iter().next().flatten() {
            found.insert(id, c.count);
        }
        true
    })?;
    Ok(found)
}

/// loguru's numbers; others stand between DEBUG and INFO.
fn severity(level: &str) -> i64 {
    match level {
        "CRITICAL" => 50,
        "ERROR" => 40,
        "WARNING" => 30,
        "SUCCESS" => 25,
        "INFO" => 20,
        "DEBUG" => 10,
        "TRACE" => 5,
        _ => 15,
    }
}

fn detail(store: &dyn Search, ask: &Ask, utc: bool) -> Result<Detail, ReadError> {
    match ask {
        Ask::Event(key) => Ok(match store.event(key)? {
            Some(event) => of_event(&event, utc),
            None => Detail {
                title: key.clone(),
                lines: vec!["this event is no longer stored".to_owned()],
                top: 0,
            },
        }),
        Ask::Run(execution) => {
            let mut lines = Vec::new();
            let filter = Filter {
                executions: vec![execution.clone()],
                ..Filter::default()
            };
            // The newest ones, shown oldest first.
            store.scan(&filter, false, &mut |e| {
                lines.push(event_line(&e, utc));
                lines.len() < EVENTS
            })?;
            lines.reverse();
            Ok(Detail {
                title: format!("run {execution}, last {} events", lines.len()),
                top: lines.len().saturating_sub(10),
                lines,
            })
        }
    }
}

fn event_line(e: &Event, utc: bool) -> String {
    let time = Clock::system(utc).show(&e.timestamp);
    let message = show::plain(&e.message).replace('\n', " ");
    format!("{time} {:<8} {message}", e.level)
}

fn of_event(e: &Event, utc: bool) -> Detail {
    let mut lines = vec![
        format!("time       {}", show::instant(&e.timestamp, utc)),
        format!("level      {}", e.level),
        format!("script     {}", e.script_name.as_deref().unwrap_or("-")),
        format!("execution  {}", e.execution_id),
    ];
    if let (Some(file), Some(line)) = (&e.file_path, e.line_number) {
        lines.push(format!("at         {file}:{line}"));
    }
    if let Some(fix) = &e.fix_description {
        lines.push(format!("fixed      {fix}"));
    }
    lines.push(String::new());
    lines.extend(show::plain(&e.message).lines().map(str::to_owned));
    if let Some(traceback) = e.exception.as_ref().and_then(|x| x.traceback.as_deref()) {
        lines.push(String::new());
        lines.extend(show::plain(traceback).lines().map(|l| l.replace('\t', "    ")));
    }
    Detail {
        title: format!("event {}", e.key),
        lines,
        top: 0,
    }
}
