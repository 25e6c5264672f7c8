//! The pages of the manual, and the links around the content of each of them.

use super::markdown::{markdown, page_of};
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

/// A page of the manual: its file, its title and its content.
pub(super) struct Page {
    pub(super) file: String,
    title: String,
    body: String,
}

impl Page {
    pub(super) fn new(file: &str, title: &str, body: String) -> Self {
        Self { file: file.to_owned(), title: title.to_owned(), body }
    }

    /// The page of a Markdown file.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let source = fs::read_to_string(path)?;
        let title = source.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("mod_slot");
        Ok(Self::new(&page_of(&path.to_string_lossy()), title, markdown(&source)))
    }
}

/// How many pages come before the guides: the manual, and the directives.
const BEFORE_GUIDES: usize = 2;

/// Renders the list of all pages.
pub(super) fn index(pages: &[Page]) -> String {
    let list = |pages: &[Page]| -> String {
        let item = |page: &Page| {
            format!("<li><a href=\"{}\">{}</a></li>\n", page.file, escaped(&page.title))
        };
        pages.iter().map(item).collect()
    };
    let (first, guides) = pages.split_at(BEFORE_GUIDES);
    format!(
        "<h1>mod_slot</h1>\n<ul>\n{}</ul>\n<h2 id=\"guides\">Guides</h2>\n<ul>\n{}</ul>\n",
        list(first),
        list(guides)
    )
}

/// Renders the links beside a page: all pages, and below the page itself its sections.
fn sidebar(page: &Page, pages: &[Page]) -> String {
    let mut list = String::new();
    for other in pages {
        let title = escaped(&other.title);
        if other.file == page.file {
            let _ = writeln!(list, "<li><b>{title}</b>\n<ul>\n{}</ul></li>", sections(&page.body));
        } else {
            let _ = writeln!(list, "<li><a href=\"{}\">{title}</a></li>", other.file);
        }
    }
    format!("<aside>\n<ul>\n{list}</ul>\n</aside>")
}

/// Renders links to the sections of a page.
fn sections(body: &str) -> String {
    let headings = body.split("<h2 id=\"").skip(1).filter_map(|rest| {
        let (anchor, rest) = rest.split_once("\">")?;
        Some((anchor, rest.split_once("</h2>")?.0))
    });
    let item = |(anchor, title)| format!("<li><a href=\"#{anchor}\">{title}</a></li>\n");
    headings.map(item).collect()
}

/// Puts a page into its frame.
pub(super) fn framed(page: &Page, pages: &[Page]) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n\
         <nav><a href=\"index.html\">mod_slot {}</a> <a href=\"manual.html\">Manual</a> \
         <a href=\"mod_slot.html\">Directives</a> <a href=\"index.html#guides\">Guides</a> \
         <a href=\"troubleshooting.html\">Troubleshooting</a></nav>\n{}\n<main>\n{}</main>\n</body>\n</html>\n",
        escaped(&page.title),
        env!("CARGO_PKG_VERSION"),
        sidebar(page, pages),
        page.body,
    )
}

/// Returns a text as HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
