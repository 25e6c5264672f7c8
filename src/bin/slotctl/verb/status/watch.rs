//! `status --watch`: the state again and again, until a signal.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Answer, complain, styled, write};
use crate::render::style::{BAD, DETAIL, NOTABLE, paint};
use crate::render::{self, Format, wrapped};
use console::Term;
use mod_slot::duration;
use nix::sys::signal::{SigSet, Signal};
use std::env;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

/// The shortest interval, so that a typo does not make slotctl read the files of all groups without a pause.
const SHORTEST: Duration = Duration::from_millis(100);

/// Parses the interval.
///
/// # Errors
///
/// It is no duration, or too short.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short < SHORTEST => Err("it is shorter than 100ms".into()),
        interval => Ok(interval),
    }
}

/// Shows what `look` answers each `interval`. Ends with success after SIGINT, SIGTERM, or if nobody reads on.
pub(super) fn run(
    interval: Duration,
    format: Format,
    look: impl Fn() -> Result<Answer, Failure>,
) -> Answer {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    let is_screen = format == Format::Text && io::stdout().is_terminal() && !is_dumb;
    if is_screen {
        // Ctrl-Z would leave the shell on the other screen.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTSTP);
        let _ = stop.thread_block();
    }
    let interrupt = Interrupt::watch(|| {});
    let screen = is_screen.then(Screen::enter);
    let mut last = String::new();
    while !interrupt.is_set() {
        let answer = look().unwrap_or_else(Answer::from);
        let is_read = match &screen {
            Some(screen) => {
                last = frame(&answer);
                screen.show(&last, interval)
            }
            None => pass_on(answer, format),
        };
        if is_read.is_err() {
            return Answer::default();
        }
        let next = Instant::now() + interval;
        while !interrupt.is_set() && Instant::now() < next {
            thread::sleep(Duration::from_millis(50).min(interval));
        }
    }
    drop(screen);
    // What was seen last stays readable on the terminal.
    last.into()
}

/// What a terminal shows: warnings and failures stand in the text, because another stream would mix with it.
fn frame(answer: &Answer) -> String {
    let mut text = answer.text.clone();
    let warnings = answer.warnings.iter().map(|warning| (NOTABLE, format!("warning: {warning}")));
    let failures = answer.failures.iter().map(|failure| (BAD, failure.to_string()));
    for (style, sentence) in warnings.chain(failures) {
        text += &paint(style, &wrapped(&render::lines(&sentence), "  "));
    }
    text
}

/// Writes an answer, for a program or a file. An empty line follows each answer for people.
fn pass_on(mut answer: Answer, format: Format) -> io::Result<()> {
    if format == Format::Text {
        answer.text.push('\n');
    }
    for failure in &answer.failures {
        complain(&failure.to_string());
    }
    answer.write_on()
}

/// The other screen of a terminal, which leaves the first one as it was.
struct Screen;

impl Screen {
    fn enter() -> Self {
        // Without a cursor, and without a second line for what is too wide.
        let _ = write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l");
        Self
    }

    /// Shows as many lines as there is room for.
    fn show(&self, text: &str, interval: Duration) -> io::Result<()> {
        let (rows, _) = Term::stdout().size();
        let room = usize::from(rows).saturating_sub(2).max(1);
        let interval = render::duration(interval);
        let head = format!("{}, each {interval}; Ctrl-C ends it", render::now());
        let mut lines = format!("{}\n", paint(DETAIL, &head));
        lines.extend(text.split_inclusive('\n').take(room));
        let hidden = text.lines().count().saturating_sub(room);
        if hidden != 0 {
            lines += &paint(DETAIL, &format!("{hidden} more lines"));
        }
        // Over the last frame, whose rest is cleared: a cleared screen would flicker.
        let lines = styled(&lines).replace('\n', "\u{1b}[K\n");
        write(&format!("\u{1b}[H{lines}\u{1b}[J"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l");
    }
}
