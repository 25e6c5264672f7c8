//! Renders the page of the directives as the man page mod_slot(5).

use super::synopsis::{self, child, elements, literal, plain, text};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use roxmltree::{Document, Node};

/// Renders the whole page.
pub(super) fn page(synopsis: &Document<'_>, date: &str, source: &str) -> String {
    let root = synopsis.root_element();
    let mut roff = Roff::new();
    roff.control("TH", ["mod_slot", "5", date, source, "Apache HTTP Server"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("mod_slot - {}", text(root, "description")))]);
    roff.control("SH", ["SYNOPSIS"]);
    let load = format!("LoadModule {} modules/mod_slot.so", text(root, "identifier"));
    roff.text([bold(load)]);
    roff.control("SH", ["DESCRIPTION"]);
    if let Some(summary) = child(root, "summary") {
        blocks(&mut roff, summary);
    }
    roff.control("PP", []).text([roman("Needs: "), roman(text(root, "compatibility")), roman(".")]);
    for section in synopsis::sections(synopsis) {
        roff.control("SH", [text(section, "title").to_uppercase().as_str()]);
        blocks(&mut roff, section);
    }
    roff.control("SH", ["DIRECTIVES"]);
    for directive in synopsis::directives(synopsis) {
        roff.control("SS", [synopsis::directive(directive).as_str()]);
        roff.text([roman(text(directive, "description")), roman(".")]);
        let rows = [
            ("Syntax", text(directive, "syntax")),
            ("Default", text(directive, "default")),
            ("Context", synopsis::context(directive)),
            ("Compatibility", text(directive, "compatibility")),
        ];
        for (head, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
            roff.control("TP", ["15"]).text([roman(format!("{head}:"))]);
            roff.text([match *head {
                "Syntax" | "Default" => bold(value),
                _ => roman(value),
            }]);
        }
        if let Some(usage) = child(directive, "usage") {
            blocks(&mut roff, usage);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("slotctl"), roman("(8), "), bold("apachectl"), roman("(8)")]);
    roff.render()
}

/// Renders the blocks directly inside an element.
fn blocks(roff: &mut Roff, node: Node<'_, '_>) {
    for (n, block) in elements(node).filter(|block| !block.has_tag_name("title")).enumerate() {
        match block.tag_name().name() {
            // The head of a section has begun a paragraph.
            "p" if n == 0 && !node.has_tag_name("usage") => {
                roff.text(inlines(block));
            }
            "p" => {
                roff.control("PP", []).text(inlines(block));
            }
            "ul" => elements(block).for_each(|item| {
                roff.control("IP", ["\\(bu", "2"]).text(inlines(item));
            }),
            "table" => table(roff, block),
            "highlight" | "example" => {
                if n > 0 {
                    roff.control("PP", []);
                }
                roff.control("RS", ["4"]).control("nf", []);
                for line in literal(block).lines() {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []).control("RE", []);
            }
            "note" => blocks(roff, block),
            _ => {}
        }
    }
}

/// Renders a row as an item: the first cell is its name, the other cells are lines below it. Where there are
/// more than two columns, a line begins with the head of its column.
fn table(roff: &mut Roff, table: Node<'_, '_>) {
    let mut heads = Vec::new();
    for row in elements(table) {
        let cells: Vec<_> = elements(row).collect();
        let Some((first, rest)) = cells.split_first() else { continue };
        if first.has_tag_name("th") {
            heads = cells.iter().map(|head| plain(*head)).collect();
            continue;
        }
        roff.control("TP", []).text(inlines(*first));
        let rest = rest.iter().zip(heads.iter().skip(1));
        let mut rest: Vec<_> = rest.filter(|(cell, _)| !plain(**cell).is_empty()).collect();
        rest.sort_by_key(|(_, head)| *head != "meaning");
        for (n, (cell, head)) in rest.into_iter().enumerate() {
            if n > 0 {
                roff.control("br", []);
            }
            let mut line = inlines(*cell);
            if heads.len() > 2 && head != "meaning" {
                line.insert(0, roman(format!("{head}: ")));
            }
            roff.text(line);
        }
    }
}

/// Renders a line of text.
fn inlines(node: Node<'_, '_>) -> Vec<Inline> {
    let mut all = Vec::new();
    collect(node, roman, &mut all);
    trim(&mut all);
    all
}

fn collect(node: Node<'_, '_>, style: fn(String) -> Inline, all: &mut Vec<Inline>) {
    for part in node.children() {
        match part.tag_name().name() {
            "" if part.is_text() => all.push(style(single(part.text().unwrap_or_default()))),
            "code" | "module" | "program" => collect(part, bold, all),
            "directive" => all.push(bold(synopsis::directive(part))),
            "var" | "em" | "dfn" => collect(part, italic, all),
            "ul" | "table" | "highlight" | "example" | "note" => {}
            _ => collect(part, style, all),
        }
    }
}

/// Replaces runs of blanks and line ends by one blank.
fn single(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_whitespace() {
            true if single.ends_with(' ') => {}
            true => single.push(' '),
            false => single.push(char),
        }
    }
    single
}

/// Removes blanks at both ends of a line.
fn trim(line: &mut [Inline]) {
    let edit = |inline: &mut Inline, cut: fn(&str) -> &str| match inline {
        Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => {
            *text = cut(text).to_owned()
        }
        Inline::LineBreak => {}
    };
    if let Some(first) = line.first_mut() {
        edit(first, str::trim_start);
    }
    if let Some(last) = line.last_mut() {
        edit(last, str::trim_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_explains_each_directive() {
        let synopsis = synopsis::parse(synopsis::PAGE).unwrap();
        let page = page(&synopsis, "2026-01-31", "mod_slot 1");
        for head in ["NAME", "SYNOPSIS", "DESCRIPTION", "DIRECTIVES", "\"SEE ALSO\""] {
            assert!(page.contains(&format!(".SH {head}\n")), "{head}: {page}");
        }
        for directive in synopsis::directives(&synopsis) {
            let name = synopsis::directive(directive);
            let (_, rest) = page.split_once(&format!("\n.SS {name}\n")).unwrap_or_else(|| {
                panic!("no section {name}: {page}");
            });
            let own = rest.split("\n.SS ").next().unwrap();
            for part in ["Syntax:", "Context:", "Compatibility:", ".nf\n"] {
                assert!(own.contains(part), "{name} has no {part}: {own}");
            }
        }
    }
}
