//! Renders the manual as HTML to read offline: the directives from XML, the manual and the guides from Markdown.

mod frame;
mod markdown;

use super::synopsis::{self, child, elements, literal, plain, text};
use frame::{Page, escaped, framed, index};
use markdown::{markdown, page_of};
use roxmltree::{Document, Node};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

const STYLE: &str = include_str!("style.css");

/// Files of the source tree that pages link to, and that are copied as they are.
const COPIED: [&str; 2] = ["apache/example-vhost.conf", "apache/slot.conf"];

/// Other Markdown files that pages link to.
const OTHERS: [&str; 2] = ["CHANGELOG.md", "benches/RESULTS.md"];

/// Returns the Markdown files: the manual first, then the guides in the order in which the manual names them.
pub(super) fn documents(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let manual = tree.join("apache/manual.md");
    let text = fs::read_to_string(&manual)?;
    let mut guides = Vec::new();
    for entry in fs::read_dir(tree.join("apache/guides"))? {
        guides.push(entry?.path());
    }
    guides.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let table = text.find("\n## Guides\n").map_or("", |at| &text[at..]);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    guides.sort_by_key(|path| table.find(&format!("(guides/{})", name(path))));
    guides.insert(0, manual);
    Ok(guides)
}

/// Writes all pages from the source tree to the directory.
pub(super) fn write(tree: &Path, synopsis: &Document<'_>, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir.join("plots"))?;
    fs::write(dir.join("style.css"), STYLE)?;
    for file in COPIED {
        let path = Path::new(file);
        fs::copy(tree.join(path), dir.join(path.file_name().unwrap_or_default()))?;
    }
    for plot in fs::read_dir(tree.join("benches/plots"))? {
        let plot = plot?;
        fs::copy(plot.path(), dir.join("plots").join(plot.file_name()))?;
    }
    let mut pages =
        documents(tree)?.iter().map(|path| Page::read(path)).collect::<io::Result<Vec<_>>>()?;
    pages.insert(1, Page::new("mod_slot.html", "The directives", module(synopsis)));
    let index = Page::new("index.html", "mod_slot", index(&pages));
    for page in pages.iter().chain([&index]) {
        fs::write(dir.join(&page.file), framed(page, &pages))?;
    }
    for file in OTHERS {
        let source = fs::read_to_string(tree.join(file))?;
        let page = Page::new(&page_of(file), file, markdown(&source));
        fs::write(dir.join(&page.file), framed(&page, &pages))?;
    }
    Ok(())
}

/// Renders the page of the directives.
fn module(synopsis: &Document<'_>) -> String {
    let root = synopsis.root_element();
    let mut page = format!("<h1>mod_slot</h1>\n<p>{}.</p>\n", escaped(&text(root, "description")));
    page += "<table>\n";
    for (head, part) in
        [("Status", "status"), ("Identifier", "identifier"), ("Compatibility", "compatibility")]
    {
        row(&mut page, head, &escaped(&text(root, part)));
    }
    page += "</table>\n";
    if let Some(summary) = child(root, "summary") {
        blocks(&mut page, summary);
    }
    page += "<h2 id=\"directives\">Directives</h2>\n<ul>\n";
    for directive in synopsis::directives(synopsis) {
        let name = escaped(&synopsis::directive(directive));
        let anchor = text(directive, "name").to_lowercase();
        let about = child(directive, "description").map(inline).unwrap_or_default();
        let _ = writeln!(page, "<li><a href=\"#{anchor}\"><code>{name}</code></a>: {about}</li>");
    }
    page += "</ul>\n";
    for section in synopsis::sections(synopsis) {
        let id = section.attribute("id").unwrap_or_default();
        let _ = writeln!(page, "<h2 id=\"{id}\">{}</h2>", escaped(&text(section, "title")));
        blocks(&mut page, section);
    }
    for directive in synopsis::directives(synopsis) {
        let anchor = text(directive, "name").to_lowercase();
        let name = escaped(&synopsis::directive(directive));
        let _ = writeln!(page, "<h2 id=\"{anchor}\"><code>{name}</code></h2>\n<table>");
        for (head, part) in [
            ("Description", "description"),
            ("Syntax", "syntax"),
            ("Default", "default"),
            ("Context", ""),
            ("Compatibility", "compatibility"),
        ] {
            let value = child(directive, part).map(inline).unwrap_or_default();
            match head {
                "Context" => row(&mut page, head, &escaped(&synopsis::context(directive))),
                "Syntax" | "Default" if !value.is_empty() => {
                    row(&mut page, head, &format!("<code>{value}</code>"));
                }
                _ if value.is_empty() => {}
                _ => row(&mut page, head, &value),
            }
        }
        page += "</table>\n";
        if let Some(usage) = child(directive, "usage") {
            blocks(&mut page, usage);
        }
    }
    page
}

fn row(page: &mut String, head: &str, value: &str) {
    let _ = writeln!(page, "<tr><th>{head}</th><td>{value}</td></tr>");
}

/// Renders the blocks directly inside an element.
fn blocks(page: &mut String, node: Node<'_, '_>) {
    for block in elements(node) {
        let tag = block.tag_name().name();
        match tag {
            "p" | "li" | "th" | "td" => {
                let _ = writeln!(page, "<{tag}>{}</{tag}>", inline(block));
            }
            "ul" | "table" | "tr" => {
                let _ = writeln!(page, "<{tag}>");
                blocks(page, block);
                let _ = writeln!(page, "</{tag}>");
            }
            "highlight" | "example" => {
                let _ = writeln!(page, "<pre><code>{}</code></pre>", escaped(&literal(block)));
            }
            "note" => {
                page.push_str("<div class=\"note\">\n");
                blocks(page, block);
                page.push_str("</div>\n");
            }
            _ => {}
        }
    }
}

/// Renders the text in an element.
fn inline(node: Node<'_, '_>) -> String {
    let mut line = String::new();
    for part in node.children() {
        let tag = part.tag_name().name();
        match tag {
            "" if part.is_text() => line += &escaped(part.text().unwrap_or_default()),
            "code" | "var" | "em" | "dfn" => {
                let _ = write!(line, "<{tag}>{}</{tag}>", inline(part));
            }
            "program" => {
                let _ = write!(line, "<code>{}</code>", inline(part));
            }
            "a" => {
                let to = escaped(part.attribute("href").unwrap_or_default());
                let _ = write!(line, "<a href=\"{to}\">{}</a>", inline(part));
            }
            "module" => {
                let name = plain(part);
                match &*name {
                    "mod_slot" => line += "<code>mod_slot</code>",
                    _ => line += &link(&format!("{HTTPD}{name}.html"), &name),
                }
            }
            "directive" => {
                let anchor = plain(part).to_lowercase();
                let to = match part.attribute("module") {
                    Some("mod_slot") | None => format!("#{anchor}"),
                    Some(module) => format!("{HTTPD}{module}.html#{anchor}"),
                };
                line += &link(&to, &synopsis::directive(part));
            }
            _ => line += &inline(part),
        }
    }
    line
}

/// Where httpd's own modules are described.
const HTTPD: &str = "https://httpd.apache.org/docs/2.4/mod/";

fn link(to: &str, name: &str) -> String {
    format!("<a href=\"{to}\"><code>{}</code></a>", escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pages() -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let synopsis = synopsis::parse(synopsis::PAGE).unwrap();
        write(Path::new(env!("CARGO_MANIFEST_DIR")), &synopsis, dir.path()).unwrap();
        let files = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.is_file());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
    }

    #[test]
    fn each_link_of_the_manual_and_of_readme_leads_to_a_page_and_a_heading() {
        let mut pages = pages();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
        let readme = markdown(&fs::read_to_string(tree.join("README.md")).unwrap());
        assert!(readme.contains(" href=\"manual.html"));
        pages.extend([("README.html".to_owned(), readme), ("LICENSE".to_owned(), String::new())]);
        assert!(pages.len() > 5, "{:?}", pages.keys());
        let mut broken = Vec::new();
        for (name, page) in &pages {
            for link in page.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                if link.contains("://") {
                    continue;
                }
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() { Some(page) } else { pages.get(file) };
                let there = target.is_some_and(|target| {
                    anchor.is_empty() || target.contains(&format!(" id=\"{anchor}\""))
                });
                if !there {
                    broken.push(format!("{name}: {link}"));
                }
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn the_manual_names_each_directive_and_links_to_its_description() {
        let pages = pages();
        let synopsis = synopsis::parse(synopsis::PAGE).unwrap();
        for directive in synopsis::directives(&synopsis) {
            let name = text(directive, "name");
            let anchor = name.to_lowercase();
            let syntax = child(directive, "syntax").map(inline).unwrap();
            let module = &pages["mod_slot.html"];
            assert!(module.contains(&format!("<h2 id=\"{anchor}\">")), "{name}");
            assert!(module.contains(&syntax), "{name}: {syntax}");
            let link = format!("<a href=\"mod_slot.html#{anchor}\">");
            assert!(pages["manual.html"].contains(&link), "manual.md does not list {name}");
        }
    }

    #[test]
    fn the_manual_and_the_index_link_to_each_guide() {
        let pages = pages();
        for page in pages.keys().filter(|page| page.ends_with(".html")) {
            let link = format!("href=\"{page}");
            for from in ["index.html", "manual.html"] {
                let own = from == page.as_str() || page == "index.html";
                let own = own || OTHERS.iter().any(|other| page_of(other) == *page);
                let (_, content) = pages[from].split_once("<main>").unwrap();
                assert!(own || content.contains(&link), "{from} does not link to {page}");
            }
        }
    }

    #[test]
    fn each_page_lists_all_pages_and_its_own_sections_beside_its_content() {
        let pages = pages();
        let (beside, content) = pages["rollback.html"].split_once("<main>").unwrap();
        for link in ["manual.html", "mod_slot.html", "tomcat.html", "#automatically"] {
            assert!(beside.contains(&format!("href=\"{link}\"")), "{link}: {beside}");
        }
        let place = |page: &str| beside.find(page).unwrap();
        assert!(place("quick-start.html") < place("first-deploy.html"), "{beside}");
        assert!(!content.contains("<!-- run"), "{content}");
    }
}
