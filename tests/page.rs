//! The page of measurements is generated from the committed figures: one part can be measured
//! again, and the others stay. Statements about series of figures are true. All examples show the
//! same site.

#[path = "../benches/compare/plot.rs"]
mod plot;
#[path = "../benches/compare/report.rs"]
mod report;
#[path = "../benches/compare/stats.rs"]
#[allow(dead_code, reason = "shared with the bench, which says more of its figures")]
mod stats;

use plot::{Kind, Plot};
use report::{Chapter, Page, Table, Verdict};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::shipped;
use tempfile::TempDir;

const NAMES: [&str; 6] = ["lease", "flip", "deploy", "instructions", "throughput", "scale"];

fn tree() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches"))
}

fn chapter(title: &str, figure: &str) -> Chapter {
    let mut chapter =
        Chapter { title: title.into(), when: "2026-01-31".into(), ..Chapter::default() };
    chapter.machine = "| | |\n|---|---|\n| processor | 2 x one |\n".into();
    chapter.target("at most 1", figure.into(), true);
    chapter.tables.push(Table {
        caption: "Figures".into(),
        head: vec!["".into(), "median".into()],
        rows: vec![vec!["row".into(), figure.into()]],
    });
    let kind = Kind::Bars(vec![("row".into(), 1.0)]);
    chapter.plots.push(Plot { caption: "A plot".into(), unit: "ms".into(), kind });
    chapter
}

fn page(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("RESULTS.md")).unwrap()
}

#[test]
fn measuring_one_chapter_again_keeps_the_others() {
    let dir = TempDir::new().unwrap();
    let old = Page::at(dir.path());
    old.keep("lease", &chapter("Leases", "lease-old")).unwrap();
    old.keep("flip", &chapter("Flips", "flip-old")).unwrap();
    // A later program, which knows only the folder.
    let new = Page::at(dir.path());
    let mut missed = chapter("Flips", "flip-new");
    missed.judge("at most 2", "3".into(), Verdict::of(false, false));
    missed.judge("at most 4", "4.1".into(), Verdict::of(false, true));
    new.keep("flip", &missed).unwrap();
    assert_eq!(new.write(&NAMES, "beyond\n").unwrap(), dir.path().join("RESULTS.md"));

    let page = page(&dir);
    for there in [
        "| met | at most 1 | lease-old |",
        "| met | at most 1 | flip-new |",
        "| **missed** | at most 2 | 3 |",
        "| *undecided* | at most 4 | 4.1 |",
        "Measured on 2026-01-31: `make bench CHAPTERS=lease`",
        "![A plot](plots/lease-1.svg)",
        "![A plot](plots/flip-1.svg)",
    ] {
        assert!(page.contains(there), "no {there:?} in:\n{page}");
    }
    assert!(!page.contains("flip-old"), "{page}");
    assert_eq!(page.matches("| processor |").count(), 1, "the same machine, told once:\n{page}");
    assert!(dir.path().join("plots/lease-1.svg").exists());
    assert!(page.find("## Leases") < page.find("## Flips") && page.ends_with("beyond\n"), "{page}");
}

#[test]
fn a_chapter_names_the_machine_that_measured_it() {
    let dir = TempDir::new().unwrap();
    let out = Page::at(dir.path());
    out.keep("lease", &chapter("Leases", "1")).unwrap();
    let mut flip = chapter("Flips", "1");
    flip.machine = flip.machine.replace("2 x one", "8 x other");
    out.keep("flip", &flip).unwrap();
    out.write(&NAMES, "").unwrap();
    let page = page(&dir);
    let flips = page.find("## Flips").unwrap();
    assert!(page[..flips].contains("2 x one") && !page[..flips].contains("8 x other"), "{page}");
    assert!(
        page[flips..]
            .contains("On another machine:\n\n| | |\n|---|---|\n| processor | 8 x other |")
    );
}

#[test]
fn torn_figures_are_reported_and_the_page_stays() {
    let dir = TempDir::new().unwrap();
    let out = Page::at(dir.path());
    out.keep("lease", &chapter("Leases", "1")).unwrap();
    out.write(&NAMES, "").unwrap();
    let before = page(&dir);
    let torn = dir.path().join("figures/flip.json");
    fs::write(&torn, "{\"title\": \"Fl").unwrap();
    let why = out.write(&NAMES, "").unwrap_err();
    assert!(
        why.contains(torn.to_str().unwrap()) && why.contains("make bench CHAPTERS=flip"),
        "{why}"
    );
    assert_eq!(page(&dir), before);
}

#[test]
fn the_committed_page_matches_the_committed_figures() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("figures")).unwrap();
    for name in NAMES {
        let file = format!("figures/{name}.json");
        fs::copy(tree().join(&file), dir.path().join(&file)).unwrap();
    }
    let beyond = fs::read_to_string(tree().join("compare/beyond.md")).unwrap();
    Page::at(dir.path()).write(&NAMES, &beyond).unwrap();
    let in_tree = fs::read_to_string(tree().join("RESULTS.md")).unwrap();
    assert!(page(&dir) == in_tree, "RESULTS.md was changed by hand, or its figures were");
}

#[test]
fn equal_series_have_the_ratio_one_however_skewed() {
    // Exponentials of evenly spaced numbers, in three orders without a tie between them.
    let series = |step: usize| -> Vec<f64> {
        (0..4001).map(|at| (3.0 * ((at * step + 7) % 4001) as f64 / 4001.0).exp()).collect()
    };
    let [one, two, three] = [1, 1234, 2718].map(series);
    let ratio = stats::ratio(&one, &[&two, &three]);
    assert!((ratio - 1.0).abs() < 0.01, "{ratio}");
    let to_mean = stats::ratio(&one, &[&stats::means(&[&two, &three])]);
    assert!(to_mean < 0.95, "the series are not skewed: {to_mean}");
    let half: Vec<f64> = one.iter().map(|value| value / 2.0).collect();
    assert!((stats::ratio(&half, &[&two, &three]) - 0.5).abs() < 0.005);
}

#[test]
fn the_shipped_examples_show_one_and_the_same_site() {
    let [(_, readme), rest @ ..] = shipped::sites();
    let site = shipped::directives(&readme);
    assert!(site.len() > 20, "{site:#?}");
    for (name, text) in &rest {
        let other = shipped::directives(text);
        if *name == "apache/example-vhost.conf" {
            // The same lines in the same order, among others.
            let mut lines = other.iter();
            for line in &site {
                assert!(lines.any(|other| other == line), "{name} lacks, or has elsewhere: {line}");
            }
        } else {
            assert_eq!(&other, &site, "{name} differs from README.md");
        }
    }
    let conf = shipped::uncommented(&shipped::file("apache/slot.conf"));
    let conf = shipped::directives(&conf);
    let own =
        |line: &&String| line.starts_with("SlotStateDir ") || line.starts_with("SlotRuntimeDir ");
    let shared: Vec<_> = conf.iter().filter(|line| !own(line)).collect();
    let before_host = site.iter().take_while(|line| !line.starts_with("<VirtualHost"));
    assert_eq!(shared, before_host.collect::<Vec<_>>(), "slot.conf differs from README.md");
}

#[test]
fn the_sites_of_the_guides_have_all_protections() {
    let site = |guide: &str| {
        let blocks = shipped::blocks(&format!("apache/guides/{guide}.md"));
        blocks.into_iter().find(|block| shipped::is_site(block)).expect("it shows a site")
    };
    let [site, bare, php] = ["servlet-files", "tomcat", "php-fpm"].map(site);
    let types = |block: &str| {
        let lines = shipped::directives(block);
        let line = lines.into_iter().find(|line| line.starts_with("Define "));
        line.map(|line| line.split_once('"').unwrap().1.to_owned())
    };
    assert_eq!(types(&site), types(&php));
    let walls = |block: &str| {
        let lines = shipped::directives(block).into_iter();
        lines.skip_while(|line| !line.starts_with("<LocationMatch")).take(3).collect::<Vec<_>>()
    };
    assert_eq!(walls(&bare), walls(&site));
    assert_eq!(walls(&php).last().map(String::as_str), Some("</LocationMatch>"));
}

#[test]
fn the_synopsis_lists_exactly_the_directives_of_the_module() {
    let table = shipped::file("src/module/mod.rs");
    let literals = table.split("c\"").skip(1).filter_map(|rest| rest.split('"').next());
    let own = literals.map(|name| name.trim_start_matches('<')).filter(|name| {
        name.starts_with("Slot") && name.chars().all(|char| char.is_ascii_alphanumeric())
    });
    let own: BTreeSet<_> = own.collect();
    let synopsis = shipped::file("apache/mod_slot.xml");
    let described: Vec<_> = synopsis_names(&synopsis).collect();
    assert_eq!(described.iter().copied().collect::<BTreeSet<_>>(), own);
    assert_eq!(described.len(), own.len(), "one is described twice: {described:?}");
}

/// The names of directives in mod_slot.xml.
fn synopsis_names(synopsis: &str) -> impl Iterator<Item = &str> {
    let names = synopsis.lines().filter_map(|line| {
        line.strip_prefix("<name>").and_then(|rest| rest.strip_suffix("</name>"))
    });
    names.filter(|name| name.starts_with("Slot"))
}

#[test]
fn the_shipped_examples_use_only_directives_that_exist() {
    let synopsis = shipped::file("apache/mod_slot.xml");
    let names: Vec<_> = synopsis_names(&synopsis).collect();
    assert!(names.contains(&"SlotGroup") && names.len() > 5, "{names:?}");
    let conf = shipped::uncommented(&shipped::file("apache/slot.conf"));
    let mut texts: Vec<_> = shipped::sites().into_iter().map(|(_, text)| text).collect();
    texts.push(conf);
    texts.extend(shipped::documents().into_iter().flat_map(|(_, blocks)| blocks));
    for line in texts.iter().flat_map(|text| shipped::directives(text)) {
        let word = line.split(' ').next().unwrap().trim_matches(['<', '>', '/']);
        assert!(!word.starts_with("Slot") || names.contains(&word), "{line}");
        // Apache treats a comment at the end of a line as arguments.
        assert!(!line.contains(" # "), "{line}");
        if let Some(slot) = line.strip_prefix("Slot ") {
            let more = slot.split(' ').skip(2);
            let known = |word: &str| word.starts_with("docroot=") || word.starts_with("unit=");
            assert!(more.into_iter().all(known), "{line}");
        }
    }
}

#[test]
fn the_table_of_the_readme_has_the_measured_figures() {
    let readme = shipped::file("README.md");
    let results = shipped::file("benches/RESULTS.md");
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
        rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
    };
    let (readme, results) = (rows(&readme), rows(&results));
    let shown = |label: &str| {
        let row = readme.iter().find(|row| row[0] == label);
        let cells = &row.unwrap_or_else(|| panic!("README has no row {label:?}"))[1..6];
        cells.iter().map(|cell| number(cell)).collect::<Vec<_>>()
    };
    // Each way has a row in two tables: one with the flips, then one with the slowest answers.
    let measured = |table: usize, column: usize| {
        ["slotctl flip", "copy, graceful", "balancer-manager", "nginx reload", "HAProxy socket"]
            .map(|way| {
                let mut of_way =
                    results.iter().filter(|row| row[0] == way && number(&row[1]).is_some());
                number(&of_way.nth(table).unwrap_or_else(|| panic!("RESULTS has no {way}"))[column])
            })
    };
    for (label, table, column) in [
        ("requests lost in 100 switches under load", 0, 2),
        ("requests that the old slot answered after the command returned", 0, 3),
        ("time of the command", 0, 4),
        ("slowest answer during the switches", 1, 4),
    ] {
        for (shown, measured) in shown(label).into_iter().zip(measured(table, column)) {
            let (shown, measured) = (shown.expect(label), measured.expect(label));
            assert!(
                (shown - measured).abs() <= 0.035 * measured,
                "{label}: {shown} for {measured}"
            );
        }
    }
    let more = |what: &str| {
        let row = results.iter().find(|row| row[0] == what && row[2] == "1");
        number(&row.unwrap_or_else(|| panic!("RESULTS has no {what}"))[4])
    };
    let instructions = shown("instructions of a request, compared with ProxyPass");
    assert_eq!(instructions[0], more("slot"));
    assert_eq!(instructions[2], more("balancer"));
}

/// The number at the start of a table's cell.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.replace(['*', ','], "").replace('\u{2212}', "-");
    cell.split_whitespace().next()?.parse().ok()
}
