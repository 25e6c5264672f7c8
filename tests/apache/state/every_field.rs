//! One start of Apache with many control files, each damaged differently: Apache starts, says what
//! it found in each, and serves the recorded slot if the damage does not matter, and otherwise the
//! default.

use super::site;
use mod_slot::ops::flip::{Conditions, flip};
use mod_slot::state::Dirs;
use mod_slot::state::actor::Actor;
use mod_slot::state::control::{Control, PAGE, entry_offset};
use std::fs;

/// Damage to a control file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Length(usize),
    Bit(usize, u8),
}

impl Damage {
    fn of(self, page: &[u8]) -> Vec<u8> {
        let mut bytes = page.to_vec();
        match self {
            Self::Length(len) => bytes.resize(len, 0),
            Self::Bit(at, bit) => bytes[at] ^= 1 << bit,
        }
        bytes
    }
}

/// Each length at which a field begins or ends, and longer ones; one bit of each byte of the
/// header; each bit of the word; bits of each part of the names, of the gaps, and of the rest.
fn damages() -> Vec<Damage> {
    let (first, second) = (entry_offset(0), entry_offset(1));
    let lengths = [0, 1, 8, 12, 16, 32, 40, 44, 64, 68, 72, first, first + 9, second, 4095];
    let mut all: Vec<_> =
        lengths.into_iter().chain([4097, 8192, 1 << 20]).map(Damage::Length).collect();
    all.extend((0..44).map(|at| Damage::Bit(at, (at % 8) as u8)));
    all.extend((0..64).map(|bit| Damage::Bit(64 + bit / 8, (bit % 8) as u8)));
    for entry in [first, second, entry_offset(2)] {
        all.extend([0, 1, 3, 4, 5, 7, 8, 9, 20, 55].map(|at| Damage::Bit(entry + at, 2)));
    }
    all.extend([first, second, entry_offset(2)].map(|entry| Damage::Bit(entry, 0)));
    all.extend(
        [44, 50, 63, 72, 100, 127, 135, 160, 191, 192, 208, 224, 511, entry_offset(63), 4095]
            .map(|at| Damage::Bit(at, 5)),
    );
    all
}

#[test]
fn apache_starts_with_any_field_of_a_control_file_damaged() {
    let mut site = site();
    let damages = damages();
    let apps: Vec<_> = (0..damages.len()).map(|n| format!("g{n:03}")).collect();
    let groups: String = apps
        .iter()
        .map(|app| {
            format!(
                "<SlotGroup {app}>\nSlot a - docroot=ROOT/a\nSlot b - docroot=ROOT/b\n</SlotGroup>\n\
                 <VirtualHost *>\nServerName {app}.example\nSlotDocumentRoot {app}\n</VirtualHost>\n"
            )
        })
        .collect();
    site.start(&format!("{groups}<Directory ROOT>\nRequire all granted\n</Directory>\n"));
    let dirs = Dirs { state: site.path().join("state"), runtime: site.path().join("run") };
    for app in &apps {
        flip(&dirs, app, Some("b"), &Conditions::default(), &Actor::default()).unwrap();
    }
    site.stop();

    let mut found = Vec::new();
    for (app, damage) in apps.iter().zip(&damages) {
        let page = fs::read(dirs.control(app)).unwrap();
        let bytes = damage.of(&page);
        let whole: Result<&[u8; PAGE], _> = bytes.as_slice().try_into();
        let means_nothing = whole.is_ok_and(|page| Control::decode(page).is_ok());
        fs::write(dirs.control(app), &bytes).unwrap();
        found.push((app, damage, bytes, means_nothing));
    }
    let damaged = found.iter().filter(|(.., means_nothing)| !means_nothing).count();
    println!("{} control files, {damaged} of them unusable", found.len());
    assert!(damaged > 120 && found.len() - damaged > 15, "{damaged} of {}", found.len());

    let said = |args: &[&str]| {
        let out = site.slotctl(args).output().unwrap();
        (out.status.code(), crate::site::text(&out))
    };
    let (code, status) = said(&["status"]);
    assert_eq!(code, Some(1), "{status}");
    let (code, doctor) = said(&["doctor"]);
    assert_eq!(code, Some(1), "{doctor}");
    for (app, damage, _, means_nothing) in &found {
        let says = format!("{app}.slot is unusable");
        assert_eq!(status.matches(&says).count(), usize::from(!means_nothing), "{app}: {damage:?}");
        // If only the name of the idle slot is lost, a flip to it must wait for a start.
        let page = fs::read(dirs.control(app)).unwrap();
        let read = page.try_into().ok().and_then(|page| Control::decode(&page).ok());
        let is_lost = read.is_none_or(|control| control.index_of("a").is_none());
        let is_error =
            |line: &&str| line.starts_with("error: ") && line.contains(&format!("{app}.slot"));
        assert_eq!(doctor.lines().any(|line| is_error(&line)), is_lost, "{app}: {damage:?}");
    }

    let logged = site.log().len();
    site.start_again();
    let log = site.log().split_off(logged);
    for (app, damage, bytes, means_nothing) in &found {
        let answer = site.ask("GET", "/name.txt", &[&format!("Host: {app}.example")]);
        let slot = if *means_nothing { "b" } else { "a" };
        assert_eq!(answer.text(), format!("slot={slot}\n"), "{app}: {damage:?}: {log}");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("{app}."))).collect();
        let aside = fs::read(dirs.state.join(format!("{app}.slot.damaged"))).ok();
        if *means_nothing {
            assert_eq!((&lines[..], aside), (&[][..], None), "{app}: {damage:?}");
        } else {
            assert!(lines.len() == 1 && lines[0].contains("is unusable ("), "{app}: {lines:?}");
            assert!(aside.as_ref() == Some(bytes), "{app}: {damage:?}");
        }
    }
    assert!(!log.contains("exit signal"), "{log}");
}
