//! Renders Markdown, with links between the pages of the manual.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Renders Markdown. Headings get the anchors that GitHub gives them; links between files of the source tree become
/// links between the pages.
pub(super) fn markdown(source: &str) -> String {
    let parser = Parser::new_ext(source, Options::ENABLE_TABLES);
    // Without the commands of a guide that only its test runs.
    let is_shown =
        |event: &Event<'_>| !matches!(event, Event::Html(text) if text.starts_with("<!-- run: "));
    let mut events: Vec<_> = parser.filter(is_shown).collect();
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => {
                let of = events[at..].iter();
                let of = of.take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
                let title: String = of
                    .filter_map(|event| match event {
                        Event::Text(text) | Event::Code(text) => Some(&**text),
                        _ => None,
                    })
                    .collect();
                if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                    *id = Some(CowStr::from(anchor(&title)));
                }
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                let page = page_of(dest_url);
                if let Event::Start(Tag::Link { dest_url, .. }) = &mut events[at] {
                    *dest_url = CowStr::from(page);
                }
            }
            _ => {}
        }
    }
    let mut page = String::new();
    html::push_html(&mut page, events.into_iter());
    page
}

/// Returns the anchor of a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// Returns the link to the page of a file: all pages are in one directory.
pub(super) fn page_of(link: &str) -> String {
    if link.contains("://") || link.starts_with('#') {
        return link.to_owned();
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.strip_suffix(".md").or_else(|| name.strip_suffix(".xml"));
    let page = stem.map_or_else(|| name.to_owned(), |stem| format!("{stem}.html"));
    page + &anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default()
}

#[test]
fn headings_have_the_anchors_of_github() {
    for (title, expected) in [
        ("What moves from mod_jk", "what-moves-from-mod_jk"),
        ("The scheme slot://", "the-scheme-slot"),
        ("systemd: a unit for each slot", "systemd-a-unit-for-each-slot"),
    ] {
        assert_eq!(anchor(title), expected);
    }
}
