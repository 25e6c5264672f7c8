//! Limits of a hold that reach across its end, and across groups.

use super::{Asked, Holding, LONG, Stage};
use crate::backend::Backend;
use crate::site::{Mpm, Site, until};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_request_whose_turn_does_not_come_within_its_time_gets_a_503() {
    if Mpm::from_environment() == Mpm::Prefork {
        // Each process sends its first request at once.
        return;
    }
    let one = "StartServers 1\nServerLimit 1\nThreadsPerChild 32\nMaxRequestWorkers 32\nMaxSpareThreads 32\n";
    // In one process, four have their turn within three seconds.
    let stage = Stage::with("SlotHold rate=1 timeout=3s\n", one);
    let holding = stage.hold(LONG);
    let began = Instant::now();
    let asked: Vec<_> = (0..10).map(|_| stage.begin("GET", "/api/a", vec![])).collect();
    stage.waits(10);
    stage.unhold();
    let answers: Vec<_> = asked.into_iter().map(Asked::answer).collect();
    assert_eq!(holding.end().0, 0);
    let with = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert_eq!(with(200) + with(503), 10);
    assert!((1..=4).contains(&with(200)), "{} answers", with(200));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn half_of_the_processes_of_prefork_stay_free_when_two_groups_are_held() {
    if Mpm::from_environment() != Mpm::Prefork {
        return;
    }
    let mut site = Site::new();
    let backends = ["blue", "green"].map(Backend::named);
    site.docroots(&["blue"]);
    site.start(&format!(
        "<SlotGroup app>\nSlot blue http://{0} docroot=ROOT/blue\n</SlotGroup>\n\
         <SlotGroup other>\nSlot blue http://{0}\n</SlotGroup>\n<Directory ROOT>\nRequire all granted\n</Directory>\n\
         ProxyPass /api/ slot://app/api/\nProxyPass /other/ slot://other/\nSlotDocumentRoot app\n\
         StartServers 10\nServerLimit 10\nMaxRequestWorkers 10\nMaxSpareServers 10\n\
         LogFormat \"%s %U\" held\nCustomLog held.log held\n",
        backends[0].address
    ));
    let stage = Stage { site, backends };
    let hold = |group: &str| {
        let mut slotctl = stage.site.slotctl(&["hold", group, "--timeout", LONG]);
        let child = slotctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until(|| !stage.site.run(&["status", group, "--json"]).contains("\"held\":null")).unwrap();
        Holding(Some(child))
    };
    let _holds = ["app", "other"].map(hold);
    let paths = ["/api/a", "/other/a"];
    let asked: Vec<_> =
        paths.iter().cycle().take(30).map(|path| stage.begin("GET", path, vec![])).collect();
    // All others are refused, because a process is free for them.
    let refused = || stage.held_log().matches("503 ").count();
    until(|| refused() >= 30 - 5).unwrap_or_else(|| panic!("{} refused", refused()));
    assert_eq!(stage.site.get("/name.txt").text(), "slot=blue\n");
    ["app", "other"].iter().for_each(|group| drop(stage.site.run(&["unhold", group])));
    let statuses: Vec<_> = asked.into_iter().map(|asked| asked.answer().status()).collect();
    assert!(statuses.contains(&200) && statuses.iter().all(|status| [200, 503].contains(status)));
}
