//! Reports the rounds under load: tables, plots, targets, and which rival is better in what.

use super::rivals::{RIVALS, Rival};
use super::traffic::{Answers, Flip, Found};
use crate::plot::{Kind, Plot};
use crate::report::{Chapter, Table, Verdict};
use crate::stats::{Spread, millis};
use std::fmt::Write as _;

/// Reports all rivals, in their order.
pub(super) fn tell(chapter: &mut Chapter, found: &[Found]) {
    chapter.tables.extend(tables(found));
    chapter.plots.extend(plots(found));
    chapter.reading = reading(found);
    targets(chapter, &found[0]);
}

fn pairs(found: &[Found]) -> impl Iterator<Item = (&Rival, &Found)> {
    RIVALS.iter().zip(found)
}

fn tables(found: &[Found]) -> [Table; 3] {
    let table = |caption: &str, head: &[&str], rows| Table {
        caption: caption.into(),
        head: head.iter().map(|head| (*head).to_owned()).collect(),
        rows,
    };
    let done = |rival: &Rival| {
        [rival.name, rival.how, rival.keeps].map(str::to_owned).into_iter().collect()
    };
    [
        table(
            "The command of a flip, and what stores its result.",
            &["", "command", "stored in"],
            RIVALS.iter().map(done).collect(),
        ),
        table(
            "Flips under load. Times are: median, p99.",
            &[
                "",
                "flips",
                "lost per 100 flips",
                "stale per 100 flips",
                "time of the command",
                "first new answer after its start",
                "after its return",
            ],
            pairs(found).map(|(rival, found)| flips(rival, found)).collect(),
        ),
        table(
            "The slowest answers with flips and without, medians of the rounds.",
            &[
                "",
                "p99.9 with flips",
                "without",
                "ratio",
                "worst with flips",
                "without",
                "ratio",
                "lost without flips",
            ],
            pairs(found).map(|(rival, found)| slowest(rival, found)).collect(),
        ),
    ]
}

fn flips(rival: &Rival, found: &Found) -> Vec<String> {
    let median_and_p99 = |figure: fn(&Flip) -> f64| {
        let [median, p99] = [0.5, 0.99].map(|share| millis(found.of_flips(figure, share)));
        format!("{median}, {p99}")
    };
    vec![
        rival.name.to_owned(),
        found.flips.len().to_string(),
        format!("{:.1}", found.per_hundred(found.lost)),
        format!("{:.1}", found.per_hundred(found.stale)),
        median_and_p99(|flip| flip.command),
        median_and_p99(|flip| flip.from_start),
        median_and_p99(|flip| flip.from_return),
    ]
}

fn slowest(rival: &Rival, found: &Found) -> Vec<String> {
    let both = |figure: fn(&Answers) -> f64| {
        let sides = [&found.with, &found.without];
        let [with, without] = sides.map(|side| millis(Found::medians(side, figure)));
        [with, without, format!("{:.2}", found.ratios(figure).median)]
    };
    let mut row = vec![rival.name.to_owned()];
    row.extend(both(|answers| answers.p999));
    row.extend(both(|answers| answers.worst));
    row.push(found.lost_without.to_string());
    row
}

fn plots(found: &[Found]) -> [Plot; 3] {
    let plot = |caption: &str, unit: &str, figure: &dyn Fn(&Found) -> f64| {
        let bar = |(rival, found): (&Rival, &Found)| (rival.name.to_owned(), figure(found));
        let kind = Kind::Bars(pairs(found).map(bar).collect());
        Plot { caption: caption.into(), unit: unit.into(), kind }
    };
    [
        plot(
            "From the start of the command to the first answer of the new slot (median)",
            "milliseconds",
            &|found| found.of_flips(|flip| flip.from_start, 0.5),
        ),
        plot("Requests lost or stale per 100 flips", "requests", &|found| {
            found.per_hundred(found.lost + found.stale)
        }),
        plot("The worst answer during flips (median of the rounds)", "milliseconds", &|found| {
            Found::medians(&found.with, |answers| answers.worst)
        }),
    ]
}

/// Judges the first rival, which is mod_slot.
fn targets(chapter: &mut Chapter, ours: &Found) {
    let flips = ours.flips.len();
    let of = |count: u64| format!("{count} of {} in {flips} flips", ours.requests);
    let none_lost = ours.lost == 0 && ours.stuck == 0;
    chapter.target("requests lost by flips under load: none", of(ours.lost), none_lost);
    chapter.target("requests stale after flips under load: none", of(ours.stale), ours.stale == 0);
    let slowest = [ours.ratios(|answers| answers.p999), ours.ratios(|answers| answers.worst)];
    let met = slowest.iter().all(|ratio| ratio.median <= NOISE);
    let may_be = slowest.iter().all(|ratio| ratio.low <= NOISE);
    let [p999, worst] = slowest.map(|Spread { median, low, high, .. }| {
        format!("{median:.2} (95 %: {low:.2} to {high:.2})")
    });
    chapter.judge(
        "slowest answers during flips no slower than without (a tenth is noise): p99.9, worst",
        format!("{p999} and {worst} times, medians of the rounds"),
        Verdict::of(met, may_be),
    );
}

/// The highest ratio that still counts as equal.
const NOISE: f64 = 1.1;

/// Reads a rival's figure, in milliseconds.
type Figure = fn(&Found) -> f64;

const FIGURES: [(&str, Figure); 4] = [
    ("time of the command", |found| found.of_flips(|flip| flip.command, 0.5)),
    ("first new answer after its start", |found| found.of_flips(|flip| flip.from_start, 0.5)),
    ("p99.9 with flips", |found| Found::medians(&found.with, |answers| answers.p999)),
    ("worst with flips", |found| Found::medians(&found.with, |answers| answers.worst)),
];

/// Lists where a rival is better by more than a tenth, and what it loses.
fn reading(found: &[Found]) -> String {
    let mut text = String::from("Rivals that are at least a tenth faster than `slotctl flip`:\n\n");
    let before = text.len();
    for (name, figure) in FIGURES {
        let ours = figure(&found[0]);
        let ahead: Vec<_> = pairs(found)
            .skip(1)
            .filter(|(_, found)| figure(found) * 1.1 <= ours)
            .map(|(rival, found)| format!("{} {}", rival.name, millis(figure(found))))
            .collect();
        if !ahead.is_empty() {
            let _ = writeln!(text, "- {name}, {}: {}", millis(ours), ahead.join(", "));
        }
    }
    if text.len() == before {
        text += "- nowhere\n";
    }
    let losers = |count: fn(&Found) -> u64| {
        let names: Vec<_> = pairs(found)
            .filter(|(_, found)| count(found) > 0)
            .map(|(rival, _)| rival.name)
            .collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    };
    let _ = write!(
        text,
        "\nRequests were lost by: {}. Stale after the command's return: {}.",
        losers(|found| found.lost),
        losers(|found| found.stale)
    );
    for (rival, found) in pairs(found).filter(|(_, found)| found.stuck > 0) {
        let (name, rounds) = (rival.name, found.stuck);
        let _ = write!(text, "\n{name}: in {rounds} rounds, a flip had no effect within 20 s.");
    }
    text
}
