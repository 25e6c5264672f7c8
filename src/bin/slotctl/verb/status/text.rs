//! The status of a group for people, in at most 80 columns.

use crate::render::style::{BAD, DETAIL, GOOD, NORMAL, NOTABLE, TITLE, paint};
use crate::render::{self, Align, Cell, Table, WIDTH, plain, wrapped};
use crate::verb::lock;
use anstyle::Style;
use mod_slot::ops::hold::Held;
use mod_slot::ops::requests::InFlight;
use mod_slot::ops::status::{LastDeploy, Maintenance, Slot, Status};
use mod_slot::state::story::{Ending, Outcome, Story};
use std::time::Duration;

pub(super) fn text(status: &Status) -> String {
    let mut text = headline(status);
    let mut add = |style, line: &str| text += &paint(style, &wrapped(line, "  "));
    if let Some(flip) = last_flip(status) {
        add(NORMAL, &flip);
    }
    if let Some(lock) = &status.locked {
        add(NOTABLE, &lock::shown(lock));
    }
    if let Some(maintenance) = &status.maintenance {
        add(NOTABLE, &maintained(maintenance));
    }
    if let Some(held) = &status.held {
        add(NOTABLE, &held_text(held));
    }
    if let Some(deploy) = &status.deploy {
        let (style, line) = deployed(&status.app, deploy);
        add(style, &line);
    }
    text += &slots(&status.slots);
    if let Some(in_flight) = &status.in_flight {
        text += &requests(in_flight);
    }
    for note in &status.notes {
        text += &paint(NOTABLE, &wrapped(&format!("! {}", plain(note)), "  "));
    }
    text
}

fn headline(status: &Status) -> String {
    let active = match &status.active {
        Some(active) => format!("{} is active", paint(GOOD, &plain(active))),
        None => "-".to_owned(),
    };
    let generation = status.generation.map(|generation| format!(", generation {generation}"));
    format!("{}: {active}{}\n", paint(TITLE, &plain(&status.app)), generation.unwrap_or_default())
}

/// Describes the last change of the active slot, as in "since … by alice: release 4.2".
fn last_flip(status: &Status) -> Option<String> {
    let since = status.since.as_ref().map(|since| format!("since {}", render::local_time(since)));
    let by = status.by.as_ref().map(|by| format!("by {}", by.shown));
    let mut line = [since, by].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if let Some(reason) = &status.reason {
        line += &format!(": {reason}");
    }
    (!line.is_empty()).then(|| plain(&line))
}
/// Describes the maintenance, as in "in maintenance since … by alice: database".
fn maintained(maintenance: &Maintenance) -> String {
    let Maintenance { since, by, reason, .. } = maintenance;
    let mut line = "in maintenance".to_owned();
    if let Some(since) = since {
        line += &format!(" since {}", render::local_time(since));
    }
    if let Some(by) = by {
        line += &format!(" by {}", by.shown);
    }
    if let Some(reason) = reason {
        line += &format!(": {reason}");
    }
    render::plain(&line)
}

/// Describes a hold, as in "held by alice since … until …: 12 requests wait".
fn held_text(held: &Held) -> String {
    let mut text = "held".to_owned();
    if let Some(by) = &held.by {
        text += &format!(" by {by}");
    }
    if let Some(since) = &held.since {
        text += &format!(" since {}", render::local_time(since));
    }
    if let Some(until) = &held.until {
        text += &format!(" until {}", render::local_time(until));
    }
    text += &match held.waiting {
        Some(1) => ": 1 request waits".to_owned(),
        Some(waiting) => format!(": {waiting} requests wait"),
        None => String::new(),
    };
    if let Some(reason) = held.by.as_ref().and_then(|by| by.reason.as_ref()) {
        text += &format!(" ({reason})");
    }
    render::plain(&text)
}

/// Describes the last deploy in one sentence.
fn deployed(app: &str, deploy: &LastDeploy) -> (Style, String) {
    let LastDeploy { story, step, running } = deploy;
    let Story { by, since, result, .. } = story;
    let what = format!("{} by {by}", story.what());
    let (style, text) = match (result, running) {
        (Some(Ending { time, result, detail }), _) => {
            let detail = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            let time = render::local_time(time);
            let style = match result {
                Outcome::Done => NORMAL,
                Outcome::RolledBack | Outcome::Failing => BAD,
                _ => NOTABLE,
            };
            (style, format!("last {what}: {} at {time}{detail}", result.as_str()))
        }
        (None, true) => {
            (NOTABLE, format!("{what} since {}: step {step}", render::local_time(since)))
        }
        (None, false) => {
            (BAD, format!("{what} died at the step {step}; to go on: slotctl deploy {app}"))
        }
    };
    (style, plain(&text))
}

/// The least width of a slot's name in the table, if numbers need the space.
const LEAST_NAME: usize = 8;

/// Shows the slots with exact numbers if they fit in [`WIDTH`], otherwise with short ones. A name that does not fit either
/// is cut, and whole in the line below.
fn slots(slots: &[Slot]) -> String {
    let exact = table(slots, exact, usize::MAX);
    if exact.width() <= WIDTH {
        return exact.to_string();
    }
    let short = table(slots, short, usize::MAX);
    let longest = slots.iter().map(|slot| slot.name.len()).max().unwrap_or(0);
    let room = (longest + WIDTH).saturating_sub(short.width()).max(LEAST_NAME);
    table(slots, self::short, room).to_string()
}

/// Makes the table of the slots, with names of at most `room` characters.
fn table(slots: &[Slot], number: fn(u64) -> String, room: usize) -> Table {
    let has_tunnels = slots.iter().any(|slot| slot.tunnels.is_some());
    let mut columns = vec![("", Align::Left), ("SLOT", Align::Left), ("IN FLIGHT", Align::Right)];
    columns.extend(has_tunnels.then_some(("TUNNELS", Align::Right)));
    columns
        .extend(["REQUESTS", "4XX", "5XX", "SINCE FLIP", "5XX"].map(|head| (head, Align::Right)));
    let mut table = Table::new(&columns);
    for slot in slots {
        let is_active = slot.active == Some(true);
        let name = cut(&slot.name, room);
        let counted = |n: Option<u64>| n.map_or_else(|| "-".into(), number).into();
        let mut row = vec![
            Cell::new(if is_active { "*" } else { "" }, GOOD),
            Cell::new(&name, if is_active { GOOD } else { NORMAL }),
            counted(slot.in_flight),
        ];
        row.extend(has_tunnels.then(|| counted(slot.tunnels)));
        let errors = slot.since_flip.map(|since| since.server_errors);
        let style = if errors.is_some_and(|errors| errors != 0) { BAD } else { NORMAL };
        row.extend([
            counted(slot.requests),
            counted(slot.classes.map(|classes| classes.client_errors)),
            counted(slot.classes.map(|classes| classes.server_errors)),
            counted(slot.since_flip.map(|since| since.requests)),
            Cell::new(&errors.map_or_else(|| "-".into(), number), style),
        ]);
        table.row(row);
        let whole = (name != slot.name).then_some(&slot.name);
        // "-" is a slot without a backend.
        let address = slot.address.as_ref().filter(|address| *address != "-");
        table.line(details([whole, address, slot.docroot.as_ref()]));
    }
    table
}

/// Lines below a slot: what is known of it, in one line if it fits, otherwise in a line each.
fn details(parts: [Option<&String>; 3]) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().map(|part| plain(part)).collect();
    let line = format!("     {}", parts.join("  "));
    let lines = match parts.len() {
        0 => return String::new(),
        _ if line.chars().count() <= WIDTH => line + "\n",
        _ => parts.iter().map(|part| format!("     {part}\n")).collect(),
    };
    paint(DETAIL, &lines)
}

fn exact(n: u64) -> String {
    n.to_string()
}

/// Shows a number in at most 5 characters, as 99999, 123k, 1.23M, 12.3G or 18.4E. Rounds down.
fn short(n: u64) -> String {
    if n < 100_000 {
        return n.to_string();
    }
    let mut unit = 1;
    for prefix in ["k", "M", "G", "T", "P", "E"] {
        unit *= 1000;
        if n / unit < 1000 {
            let (whole, rest) = (n / unit, n % unit);
            return match whole {
                100.. => format!("{whole}{prefix}"),
                10.. => format!("{whole}.{}{prefix}", rest / (unit / 10)),
                _ => format!("{whole}.{:02}{prefix}", rest / (unit / 100)),
            };
        }
    }
    unreachable!("a u64 is less than 19 times 10 to the power of 18")
}

/// Cuts a name that is longer than `room` characters, and ends it with an ellipsis. Names are ASCII.
fn cut(name: &str, room: usize) -> String {
    if name.len() <= room {
        return name.to_owned();
    }
    let kept: String = name.chars().take(room - 1).collect();
    kept + "\u{2026}"
}

/// Shows the requests in flight, those that wait, and how many more there are.
fn requests(in_flight: &InFlight) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("SLOT", Align::Left),
        ("PID", Align::Right),
        ("AGE", Align::Right),
        ("METHOD", Align::Left),
        ("PATH", Align::Left),
    ]);
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    for request in &in_flight.listed {
        table.row([
            String::new(),
            request.slot.clone().unwrap_or_else(|| "(waiting)".into()),
            known(request.pid.map(|pid| pid.to_string())),
            known(request.age_ms.map(|age| render::duration(Duration::from_millis(age)))),
            request.method.clone(),
            request.path.clone(),
        ]);
    }
    let InFlight { listed, unlisted, unlisted_waiting } = in_flight;
    let more = [(*unlisted, "in flight"), (*unlisted_waiting, "waiting")];
    let more = more.iter().filter(|(count, _)| *count != 0);
    let more: Vec<_> = more.map(|(count, what)| format!("{count} {what}")).collect();
    let more = more.join(", and ");
    match (listed.is_empty(), more.is_empty()) {
        (true, true) => "  no request is in flight\n".into(),
        (false, true) => table.to_string(),
        (true, false) => format!("  {more}, and Apache has noted none of them\n"),
        (false, false) => format!("{table}  besides, {more}, which Apache has not noted\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_at_most_five_characters_and_round_down() {
        for (n, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100k"),
            (999_999, "999k"),
            (1_000_000, "1.00M"),
            (1_239_999, "1.23M"),
            (12_399_999, "12.3M"),
            (5_060_000_000, "5.06G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(n), text);
        }
    }

    fn slot(name: &str, n: u64) -> Slot {
        Slot {
            name: name.into(),
            active: Some(true),
            address: Some("http://127.0.0.1:8081".into()),
            docroot: Some("/home/httpd/app".into()),
            in_flight: Some(n),
            tunnels: Some(n),
            requests: Some(n),
            classes: Some([n; mod_slot::state::counts::CLASSES].into()),
            micros: None,
            failed: None,
            aborted: None,
            since_flip: Some(mod_slot::state::history::Totals {
                requests: n,
                server_errors: n,
                ..Default::default()
            }),
        }
    }

    #[test]
    fn a_table_of_long_names_and_large_numbers_has_80_columns_and_lacks_nothing() {
        let long = "x".repeat(mod_slot::name::MAX_NAME);
        for (name, n) in
            [("blue", 9_999), ("resin_standby", u64::MAX), (&*long, 0), (&*long, u64::MAX)]
        {
            let text = slots(&[slot(name, n), slot("a", 1)]);
            let text = anstream::adapter::strip_str(&text).to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            for whole in [name, "http://127.0.0.1:8081", "/home/httpd/app"] {
                assert!(text.split_whitespace().any(|word| word == whole), "no {whole} in {text}");
            }
        }
        let text = slots(&[slot("resin", 1_234_567)]);
        assert!(text.contains("1234567"), "exact numbers fit: {text}");
    }

    #[test]
    fn only_errors_since_the_flip_are_red() {
        let count = |text: &str| text.matches(&BAD.to_string()).count();
        assert_eq!(count(&slots(&[slot("a", 0)])), 0);
        assert_eq!(count(&slots(&[slot("a", 1)])), 1);
    }
}
