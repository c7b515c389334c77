//! `monitor`: a live dashboard of the agent, the runs and the newest errors.
//!
//! It reads what others publish, the agent's status file once a second and the store every two, and writes nothing. The
//! picture is drawn only when a key was pressed or new data came, at least every [`LONGEST`], and the terminal gets only
//! what changed: that is bearable over a slow line.

mod feed;
mod model;
mod view;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use self::feed::{Ask, News};
use self::model::{Detail, Key, Model, Wish};
use self::view::Look;
use super::Context;
use super::args;
use super::exit::{Exit, Failure};
use super::show;
use super::status;

/// The picture is never older.
const LONGEST: Duration = Duration::from_secs(2);
/// Keys are looked for this often while nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// Shows the dashboard until `q`.
///
/// # Errors
/// Standard output is no terminal, or stops being one.
pub(super) fn run(args: &args::Monitor, context: &Context) -> Result<Exit, Failure> {
    if !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "monitor needs a terminal; for a program there is: logagent status -o json",
        ));
    }
    let (ask, news) = feed::start(context.settings.clone(), args.utc)
        .map_err(|e| Failure::usage(format!("the dashboard cannot start: {e}")))?;
    let dashboard = Dashboard {
        context,
        look: Look {
            color: show::color(args.no_color),
            utc: args.utc,
            now: 0,
        },
        interval: args.interval.clamp(TICK, LONGEST),
        ask,
        news,
    };
    let ended_from_outside = signals().map_err(|e| Failure::usage(format!("the dashboard cannot start: {e}")))?;
    // Restores the terminal in a panic too.
    let mut terminal = ratatui::try_init().map_err(|e| Failure::usage(format!("the terminal cannot be used: {e}")))?;
    let ended = dashboard.show(&mut terminal, &ended_from_outside);
    ratatui::restore();
    ended.map_err(|e| Failure::usage(format!("the terminal is gone: {e}")))?;
    Ok(Exit::Done)
}

/// Is set when a signal asks the program to end: then the terminal is left as it was found.
fn signals() -> io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let flag = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut hangup, mut interrupt) = {
        let _within = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}

struct Dashboard<'a> {
    context: &'a Context,
    look: Look,
    interval: Duration,
    ask: Sender<Ask>,
    news: Receiver<News>,
}

impl Dashboard<'_> {
    fn show(mut self, terminal: &mut DefaultTerminal, ended: &AtomicBool) -> io::Result<()> {
        let mut model = Model::default();
        let mut next_status = Instant::now();
        let mut changed = true;
        while !ended.load(Ordering::Relaxed) {
            if Instant::now() >= next_status {
                next_status = Instant::now() + self.interval;
                self.look.now = chrono::Utc::now().timestamp();
                self.take_status(&mut model);
                changed = true;
            }
            changed |= self.take_news(&mut model);
            if changed {
                let look = self.look;
                terminal.draw(|frame| view::draw(frame, &model, look))?;
                changed = false;
            }
            let wait = next_status.saturating_duration_since(Instant::now()).min(TICK);
            if !event::poll(wait)? {
                continue;
            }
            changed = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && !self.grant(model.press(key_of(key.code, key.modifiers)), &mut model)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_status(&self, model: &mut Model) {
        match status::look(&self.context.settings.data_dir) {
            Ok((pid, snapshot)) => model.take_status(pid, snapshot, self.look.now),
            // Replaced just now, or damaged: the next look tells.
            Err(e) => tracing::debug!("{e}"),
        }
    }

    fn take_news(&self, model: &mut Model) -> bool {
        let mut any = false;
        while let Ok(news) = self.news.try_recv() {
            any = true;
            match news {
                News::Answers(answers) => model.take_answers(answers),
                // Not if Esc was faster.
                News::Detail(detail) if model.detail.is_some() => model.detail = Some(detail),
                News::Detail(_) => {}
            }
        }
        any
    }

    /// Does what a key asked for; false ends the dashboard.
    fn grant(&self, wish: Wish, model: &mut Model) -> bool {
        let ask = match wish {
            Wish::Nothing => return true,
            Wish::Quit => return false,
            Wish::LookAtRun(id) => Ask::Run(id),
            Wish::LookAtEvent(key) => Ask::Event(key),
        };
        model.detail = Some(Detail {
            title: "asking the store".to_owned(),
            ..Detail::default()
        });
        self.ask.send(ask).is_ok()
    }
}

fn key_of(code: KeyCode, modifiers: KeyModifiers) -> Key {
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Char('?') | KeyCode::Char('h') => Key::Help,
        KeyCode::Char('p') | KeyCode::Char(' ') => Key::Pause,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Tab => Key::Panel,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc | KeyCode::Backspace => Key::Back,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests;
