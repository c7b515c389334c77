//! The picture: a model drawn on a terminal of any size. Nothing here changes the model.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::model::{Model, Panel};
use crate::cli::show;
use crate::store::stored::{Event, Run};
use crate::telemetry::snapshot::{Snapshot, StoreState};

/// What drawing depends on beside the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) color: bool,
    pub(super) utc: bool,
    /// Seconds since the epoch.
    pub(super) now: i64,
}

impl Look {
    fn fg(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn level(self, level: &str) -> Style {
        match level {
            "CRITICAL" => self.fg(Color::Red).add_modifier(Modifier::BOLD),
            "ERROR" => self.fg(Color::Red),
            "WARNING" => self.fg(Color::Yellow),
            "SUCCESS" => self.fg(Color::Green),
            "DEBUG" | "TRACE" => self.fg(Color::DarkGray),
            _ => Style::new(),
        }
    }

    fn time(self, text: &str) -> String {
        show::instant(text, self.utc).chars().skip(11).take(8).collect()
    }

    fn age(self, text: &str) -> String {
        chrono::DateTime::parse_from_rfc3339(text)
            .map_or_else(|_| "-".to_owned(), |t| show::duration(self.now - t.timestamp()))
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, m: &Model, look: Look) {
    let area = frame.area();
    let alerts = m.snapshot.as_ref().map_or(0, |s| s.alerts.len().min(2)) as u16;
    let [head, alert, middle, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(alerts),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(m, look)), head);
    alert_lines(frame, alert, m, look);
    match &m.detail {
        Some(detail) => {
            let lines: Vec<Line<'_>> = detail.lines.iter().map(|l| Line::from(l.as_str())).collect();
            let block = Block::new().borders(Borders::ALL).title(format!(" {} ", detail.title));
            let top = u16::try_from(detail.top).unwrap_or(u16::MAX);
            let text = Paragraph::new(lines)
                .block(block)
                .wrap(Wrap { trim: false })
                .scroll((top, 0));
            frame.render_widget(text, middle);
        }
        None => panels(frame, middle, m, look),
    }
    frame.render_widget(Paragraph::new(footer(m, look)), foot);
    if m.help {
        help(frame, area);
    }
}

fn header<'a>(m: &'a Model, look: Look) -> Vec<Line<'a>> {
    let Some(s) = &m.snapshot else {
        let text = match m.pid {
            Some(pid) => format!("logagent  starting, pid {pid}"),
            None => "logagent  no agent runs here; start one with: logagent run".to_owned(),
        };
        return vec![Line::from(text)];
    };
    let state = match m.pid {
        Some(pid) => Span::styled(
            format!("running, pid {pid}, for {}", look.age(&s.started_at)),
            look.fg(Color::Green),
        ),
        None => Span::styled(
            format!("not running, last seen {} ago", look.age(&s.updated_at)),
            look.fg(Color::Red),
        ),
    };
    let mut first = vec![Span::raw("logagent  "), state, Span::raw(format!("  on {}", s.host))];
    if m.paused {
        first.push(Span::styled("  PAUSED", Style::new().add_modifier(Modifier::REVERSED)));
    }
    vec![Line::from(first), store_line(s, look), amounts(s, look)]
}

fn store_line(s: &Snapshot, look: Look) -> Line<'_> {
    let color = match s.store.state {
        StoreState::Up => Color::Green,
        StoreState::Away => Color::Yellow,
        StoreState::Refusing => Color::Red,
    };
    let state = format!("{} for {}", s.store.state.as_str(), look.age(&s.store.since));
    let mut spans = vec![
        Span::raw(format!("store     {} {}  ", s.store.kind, s.store.place)),
        Span::styled(state, look.fg(color)),
    ];
    if let Some(error) = &s.store.last_error {
        spans.push(Span::raw(format!("  {}", one_line(error))));
    }
    Line::from(spans)
}

fn amounts(s: &Snapshot, look: Look) -> Line<'_> {
    let dead = format!("{} dead letters", show::count(s.dead_letters));
    let dead = if s.dead_letters > 0 {
        Span::styled(dead, look.fg(Color::Red))
    } else {
        Span::raw(dead)
    };
    Line::from(vec![
        Span::raw(format!(
            "spool     {} of {}   ",
            show::size(s.spool.bytes),
            show::size(s.spool.max_bytes)
        )),
        dead,
        Span::raw(format!(
            "   {} not yet read   {} runs open",
            show::size(s.lag_bytes),
            show::count(s.open_runs)
        )),
    ])
}

fn alert_lines(frame: &mut Frame<'_>, area: Rect, m: &Model, look: Look) {
    let alerts = m.snapshot.iter().flat_map(|s| &s.alerts).take(area.height.into());
    let style = look.fg(Color::Red).add_modifier(Modifier::BOLD);
    let lines: Vec<Line<'_>> = alerts
        .map(|a| Line::styled(format!("ALERT     {}", one_line(a)), style))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn panels(frame: &mut Frame<'_>, area: Rect, m: &Model, look: Look) {
    // Where there is little room, it goes to what can be acted on.
    let chart = match area.height {
        20.. => 6,
        15..20 => 4,
        _ => 0,
    };
    let [top, sources, runs, errors] = Layout::vertical([
        Constraint::Length(chart),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    let wide = area.width >= 56;
    let [left, right] = Layout::horizontal(match wide {
        true => [Constraint::Min(20), Constraint::Length(28)],
        false => [Constraint::Length(0), Constraint::Min(0)],
    })
    .areas(top);
    if wide && chart > 0 {
        throughput(frame, left, m, look);
    }
    if chart > 0 {
        levels(frame, right, m, look);
    }
    list(frame, sources, m, Panel::Sources, look);
    list(frame, runs, m, Panel::Runs, look);
    list(frame, errors, m, Panel::Errors, look);
}

fn throughput(frame: &mut Frame<'_>, area: Rect, m: &Model, look: Look) {
    let wide = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = m.throughput.iter().rev().take(wide).rev().copied().collect();
    let most = shown.iter().copied().max().unwrap_or(0);
    let now = m.snapshot.as_ref().map_or(0.0, |s| s.rates.stored_per_second);
    let title = format!(" stored {now:.1}/s, at most {} ", show::count(most));
    let block = Block::new().borders(Borders::ALL).title(title);
    // The newest second stands at the right edge.
    let padded: Vec<u64> = std::iter::repeat_n(0, wide - shown.len()).chain(shown).collect();
    let sparkline = Sparkline::default()
        .block(block)
        .data(&padded)
        .style(look.fg(Color::Cyan));
    frame.render_widget(sparkline, area);
}

fn levels(frame: &mut Frame<'_>, area: Rect, m: &Model, look: Look) {
    let block = Block::new().borders(Borders::ALL).title(" levels, 5 minutes ");
    let lines: Vec<Line<'_>> = match &m.answers.trouble {
        Some(trouble) => vec![Line::from(one_line(trouble))],
        None if m.answers.levels.is_empty() => vec![Line::from("nothing was logged")],
        None => m
            .answers
            .levels
            .iter()
            .map(|(level, n)| Line::styled(format!("{level:<10}{:>14}", show::count(*n)), look.level(level)))
            .collect(),
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}

fn list(frame: &mut Frame<'_>, area: Rect, m: &Model, panel: Panel, look: Look) {
    let n = m.len(panel);
    let (title, widths, rows): (String, Vec<Constraint>, Vec<Row<'_>>) = match panel {
        Panel::Sources => (
            format!(
                " sources: {}, by {} ",
                m.snapshot.as_ref().map_or(0, |s| s.sources_total),
                m.sort.word()
            ),
            vec![
                Constraint::Length(10),
                Constraint::Length(10),
                Constraint::Length(10),
                Constraint::Min(10),
            ],
            source_rows(m),
        ),
        Panel::Runs => (
            format!(" active runs: {}, then the newest ", m.answers.active),
            vec![
                Constraint::Length(8),
                Constraint::Length(10),
                Constraint::Length(16),
                Constraint::Min(10),
            ],
            m.answers.runs.iter().map(|r| run_row(r, m, look)).collect(),
        ),
        Panel::Errors => (
            " newest errors ".to_owned(),
            vec![
                Constraint::Length(8),
                Constraint::Length(8),
                Constraint::Length(16),
                Constraint::Min(10),
            ],
            m.answers.errors.iter().map(|e| error_row(e, look)).collect(),
        ),
    };
    let focused = m.panel == panel;
    let border = if focused {
        Style::new().add_modifier(Modifier::BOLD)
    } else {
        look.fg(Color::DarkGray)
    };
    let block = Block::new().borders(Borders::TOP).border_style(border).title(title);
    let mut state = TableState::default().with_selected((focused && n > 0).then(|| m.selected(panel)));
    let table = Table::new(rows, widths)
        .block(block)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut state);
}

fn source_rows(m: &Model) -> Vec<Row<'_>> {
    let sources = m.snapshot.iter().flat_map(|s| &s.sources);
    sources
        .map(|s| {
            let at = if s.kind == "socket" {
                show::count(s.position)
            } else {
                show::size(s.position)
            };
            Row::new([
                Cell::from(format!("{:>10}", show::size(s.lag_bytes))),
                Cell::from(format!("{at:>10}")),
                Cell::from(s.state.as_ref()),
                Cell::from(show::plain(&s.path)),
            ])
        })
        .collect()
}

fn run_row<'a>(r: &'a Run, m: &Model, look: Look) -> Row<'a> {
    let errors = m.answers.run_errors.get(&r.execution_id).copied().unwrap_or(0);
    let bad = errors > 0 || matches!(r.status.as_str(), "failed" | "crashed");
    let style = if bad { look.fg(Color::Red) } else { Style::new() };
    let word = if errors == 1 { "error" } else { "errors" };
    Row::new([
        Cell::from(format!("{:>8}", look.age(&r.start_time))),
        Cell::from(match (r.status.as_str(), errors) {
            ("running", 0) => String::new(),
            ("running", _) => format!("{errors} {word}"),
            (status, _) => show::plain(status),
        })
        .style(style),
        Cell::from(show::plain(&r.script_name)),
        Cell::from(show::plain(&r.execution_id)),
    ])
}

fn error_row<'a>(e: &'a Event, look: Look) -> Row<'a> {
    let cause = e.exception.as_ref().map(|x| {
        let (kind, value) = x.root();
        format!(" ({kind}: {value})")
    });
    let text = format!("{}{}", one_line(&e.message), one_line(&cause.unwrap_or_default()));
    Row::new([
        Cell::from(look.time(&e.timestamp)),
        match e.resolved {
            Some(true) => Cell::from("fixed").style(look.fg(Color::Green)),
            _ => Cell::from(e.level.as_str()).style(look.level(&e.level)),
        },
        Cell::from(show::plain(e.script_name.as_deref().unwrap_or(""))),
        Cell::from(text),
    ])
}

fn one_line(text: &str) -> String {
    show::plain(text).replace(['\n', '\t'], " ")
}

fn footer(m: &Model, look: Look) -> Line<'static> {
    let keys = if m.detail.is_some() {
        "Esc back   ↑↓ PgUp PgDn scroll   ? help   q quit"
    } else {
        "q quit   ? help   p pause   s sort   Tab panel   ↑↓ select   Enter look"
    };
    Line::styled(keys, look.fg(Color::DarkGray))
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = [
        "q, Ctrl-C      quit",
        "p, space       pause: the picture stays as it is",
        "s              sort sources by lag, path, size",
        "Tab            next panel: sources, runs, errors",
        "↑ ↓ j k        select; PgUp PgDn by ten",
        "Enter          look at the selected run, error or source",
        "Esc            back",
        "",
        "Status is read once a second, the store asked every two.",
        "Any key closes this.",
    ];
    let width = 62.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(text).block(Block::new().borders(Borders::ALL).title(" keys ")),
        place,
    );
}
