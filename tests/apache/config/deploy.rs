//! The directives of deploys: wrong lines are refused, right ones pass.

use super::wrong::{GROUPS, Wrong};
use crate::site::Site;

const UNIT: &str = "letters, digits and : _ . @ - \\";
const TWO_STARTERS: &str = "<SlotGroup g>: SlotHook |unit=b.service of slot \"b\"|both say how backends are started and stopped\
     |remove the SlotHook lines start and stop, or unit= from each Slot";

/// Lines in a group that already has `Slot one http://127.0.0.1:8`.
const MEMBERS: [Wrong<'static>; 45] = [
    ("!SlotHealthCheck /up", "SlotHealthCheck: \"/up\" has no value; it takes uri=, expect="),
    ("!SlotHealthCheck uir=/up", "\"uir\" is unknown; it takes uri=|did you mean \"uri\"?"),
    ("!SlotHealthCheck uri=/a uri=/b", "SlotHealthCheck: uri= is there twice; remove one"),
    ("!SlotHealthCheck uri=up", "uri=up: it must begin with a slash, as in uri=/up"),
    ("!SlotHealthCheck \"uri=/a b\"", "' ' is not allowed in it"),
    ("!SlotHealthCheck expect=20", "it must be statuses from 100 to 599"),
    ("!SlotHealthCheck timeout=0", "timeout=0: it must be longer than 0"),
    ("!SlotHealthCheck uri=/up off", "off is its only word; remove it, or the other words"),
    (
        "SlotHealthCheck off\n!SlotHealthCheck uri=/up",
        "SlotHealthCheck is already set in <SlotGroup g>; remove one of the lines",
    ),
    ("!SlotWarmUp", "SlotWarmUp: it needs uri=, a path to request, or log="),
    ("!SlotWarmUp count=3", "it needs uri="),
    ("!SlotWarmUp uri=/ count=0", "count=0: it must be a number from 1 to"),
    ("!SlotWarmUp log=access.log", "log=access.log: the path is not absolute"),
    ("!SlotWarmUp uri=/ max5xx=lots", "SlotWarmUp: max5xx=lots: "),
    ("!SlotWarmUp off uri=/", "SlotWarmUp: off is its only word"),
    ("SlotWarmUp uri=/\n!SlotWarmUp uri=/", "SlotWarmUp is already set in <SlotGroup g>"),
    ("!SlotAutoRollback on", "SlotAutoRollback: \"on\" has no value; it takes window=, max5xx="),
    ("!SlotAutoRollback window=0s", "window=0s: it must be longer than 0"),
    ("!SlotAutoRollback max5xx=101%", "SlotAutoRollback: max5xx=101%: "),
    ("!SlotAutoRollback minrequests=-1", "it must be a number from 1 to"),
    ("!SlotAutoRollback off off", "SlotAutoRollback: off is its only word"),
    ("SlotAutoRollback off\n!SlotAutoRollback off", "SlotAutoRollback is already set"),
    ("!SlotDrain 60", "SlotDrain: \"60\" has no value; it takes timeout=, tunnels="),
    ("!SlotDrain timeout=soon", "SlotDrain: timeout=soon: "),
    ("!SlotDrain timout=5s", "did you mean \"timeout\"?"),
    ("SlotDrain tunnels=0\n!SlotDrain tunnels=0", "SlotDrain is already set in <SlotGroup g>"),
    ("!SlotHook", "SlotHook takes an event and a program; the events are prepare, start"),
    ("!SlotHook befor-flip /bin/true", "there is no such event|did you mean \"before-flip\"?"),
    ("!SlotHook start", "SlotHook start: it needs the path of a program"),
    ("!SlotHook start bin/start", "SlotHook start: \"bin/start\" is not an absolute path"),
    ("!SlotHook start timeout=0 /bin/true", "SlotHook start timeout=0: it must be longer than 0"),
    ("!Slot c http://127.0.0.1:4 unit=", "Slot c: unit=: it needs the name of a systemd service"),
    ("!Slot c http://127.0.0.1:4 unit=-x", "Slot c: unit=-x: the name of a unit must not begin"),
    ("!Slot c http://127.0.0.1:4 unit=a/b.service", UNIT),
    ("!Slot c http://127.0.0.1:4 \"unit=a b\"", UNIT),
    ("!Slot c http://127.0.0.1:4 unit=a.socket", "it is not a service; name the .service"),
    ("!Slot c http://127.0.0.1:4 unit=a@", "it is a template; name an instance of it"),
    ("!Slot c http://127.0.0.1:4 unit=a unit=b", "Slot c: it has two units; remove one"),
    ("!Slot c - docroot=/srv/c unit=a", "Slot c: unit=a.service is the service of a backend"),
    (
        "Slot c http://127.0.0.1:4 unit=a\n!Slot d http://127.0.0.1:5 unit=a.service",
        "Slot d: a.service is already the unit of slot \"c\"|give each slot a unit of its own",
    ),
    ("SlotHook start timeout=5 /x\n!Slot one http://x unit=y", "already has a slot \"one\""),
    ("SlotDrain timeout=5m tunnels=0\n!SlotDrain off", "SlotDrain is already set"),
    ("SlotHook stop /x\n!SlotHook stopp /x", "did you mean \"stop\"?"),
    ("!SlotHealthCheck proto=ftp", "proto=ftp: it can be http or https"),
    ("!SlotHealthCheck host=", "SlotHealthCheck: host=: "),
];

/// Whole groups. What a group says as a whole is refused at its first line.
const WHOLE: [Wrong<'static>; 5] = [
    (
        "!<SlotGroup g>\nSlot a http://127.0.0.1:4\nSlot b http://127.0.0.1:5 unit=b\n\
         SlotHook start /bin/true\n</SlotGroup>",
        TWO_STARTERS,
    ),
    (
        "!<SlotGroup g>\nSlotHook stop /bin/true\nSlot b http://127.0.0.1:5 unit=b\n</SlotGroup>",
        TWO_STARTERS,
    ),
    ("!SlotHealthCheck uri=/up", "SlotHealthCheck is only allowed inside <SlotGroup>"),
    ("!SlotHook start /bin/true", "SlotHook is only allowed inside <SlotGroup>"),
    (
        "<VirtualHost *:80>\n!SlotDrain off\n</VirtualHost>",
        "SlotDrain is only allowed inside <SlotGroup>",
    ),
];

#[test]
fn a_wrong_line_about_deploys_is_refused() {
    let site = Site::new();
    let within = |(line, words): &Wrong<'static>| {
        (format!("<SlotGroup g>\nSlot one http://127.0.0.1:8\n{line}\n</SlotGroup>"), *words)
    };
    let wrongs: Vec<_> = MEMBERS.iter().map(within).collect();
    let wrongs: Vec<_> = wrongs.iter().map(|(lines, words)| (&**lines, *words)).collect();
    super::assert_refused(&site, &wrongs);
    super::assert_refused(&site, &WHOLE);
}

#[test]
fn a_group_has_at_most_64_hooks() {
    let site = Site::new();
    let hooks = "SlotHook after-flip /bin/true\n".repeat(64);
    let group =
        |lines: &str| format!("<SlotGroup g>\nSlot a http://127.0.0.1:4\n{lines}</SlotGroup>");
    let more = group(&format!("{hooks}!SlotHook after-flip /bin/true\n"));
    super::assert_refused(
        &site,
        &[(&more, "<SlotGroup g> already has 64 of them|which is the most")],
    );
    let (passed, said) = site.configtest(&group(&hooks));
    assert!(passed, "{said}");
}

#[test]
fn right_lines_about_deploys_pass() {
    let site = Site::new();
    for lines in [
        "SlotHealthCheck",
        "SlotHealthCheck OFF\nSlotWarmUp off\nSlotAutoRollback off\nSlotDrain off",
        "SlotHealthCheck uri=/up expect=200-299,304 \"body=I am up\" host=www.example.com proto=https",
        "SlotWarmUp uri=/ uri=/a?b=1 count=50 concurrency=2",
        "SlotAutoRollback window=2min max5xx=1.5% minrequests=50\nSlotDrain timeout=5min tunnels=0",
        "SlotHook prepare timeout=10m /no/such/program \"one word\"\nSlotHook start /x\nSlotHook stop /x",
        "Slot b http://127.0.0.1:5 unit=app@b.service\nSlot c http://127.0.0.1:6 unit=app@c\n\
         SlotHook before-flip /x",
    ] {
        let group =
            format!("{GROUPS}<SlotGroup g>\nSlot a http://127.0.0.1:4\n{lines}\n</SlotGroup>");
        let (passed, said) = site.configtest(&group);
        assert!(passed && said.contains("Syntax OK"), "{lines}: {said}");
    }
}
