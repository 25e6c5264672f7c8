//! Reads `apache/mod_slot.xml`, the page of the directives in httpd's modulesynopsis form.

use roxmltree::{Document, Node, ParsingOptions};

/// The page, as it is in the source tree.
pub(super) const PAGE: &str = include_str!("../../../../apache/mod_slot.xml");

/// Blocks and their parts.
const BLOCKS: [&str; 10] =
    ["p", "ul", "li", "table", "tr", "th", "td", "highlight", "example", "note"];
/// Elements inside a line of text.
const INLINES: [&str; 8] = ["a", "code", "dfn", "directive", "em", "module", "program", "var"];
/// The frame of the page.
const FRAME: [&str; 18] = [
    "modulesynopsis",
    "name",
    "description",
    "status",
    "sourcefile",
    "identifier",
    "compatibility",
    "summary",
    "seealso",
    "section",
    "title",
    "directivesynopsis",
    "syntax",
    "default",
    "context",
    "contextlist",
    "usage",
    "override",
];

/// Parses the page. An element that the renderers do not know is an error, so that they lose no text.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let page = Document::parse_with_options(text, options).map_err(|e| e.to_string())?;
    let names = page.descendants().filter(Node::is_element).map(|node| node.tag_name().name());
    let known = |name: &&str| [&BLOCKS[..], &INLINES, &FRAME].iter().any(|of| of.contains(name));
    match names.into_iter().find(|name| !known(name)) {
        Some(name) => Err(format!("<{name}> is not rendered: add it to generate/synopsis.rs")),
        None => Ok(page),
    }
}

/// Returns the directives, in the order of the page.
pub(super) fn directives<'a, 'i>(
    page: &'a Document<'i>,
) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i> {
    elements(page.root_element()).filter(|node| node.has_tag_name("directivesynopsis"))
}

/// Returns the sections of text before the directives.
pub(super) fn sections<'a, 'i>(
    page: &'a Document<'i>,
) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i> {
    elements(page.root_element()).filter(|node| node.has_tag_name("section"))
}

/// Returns the elements directly inside one.
pub(super) fn elements<'a, 'i>(
    node: Node<'a, 'i>,
) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i> {
    node.children().filter(Node::is_element)
}

/// Returns the first element of this name directly inside one.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    elements(node).find(|child| child.has_tag_name(name))
}

/// Returns the text of the child element `name`, with each run of white space as one blank; empty without such an element.
pub(super) fn text(node: Node<'_, '_>, name: &str) -> String {
    child(node, name).map(plain).unwrap_or_default()
}

/// Returns the whole text in an element, with each run of white space as one blank.
pub(super) fn plain(node: Node<'_, '_>) -> String {
    let text: String = node.descendants().filter_map(|node| node.text_of()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the text of a directive's name in running text: a section has angle brackets.
pub(super) fn directive(node: Node<'_, '_>) -> String {
    let name = match node.has_tag_name("directivesynopsis") {
        true => text(node, "name"),
        false => plain(node),
    };
    match node.attribute("type") {
        Some("section") => format!("<{name}>"),
        _ => name,
    }
}

/// Returns the context of a directive.
pub(super) fn context(directive: Node<'_, '_>) -> String {
    let list = child(directive, "contextlist").into_iter().flat_map(elements);
    list.map(plain).collect::<Vec<_>>().join(", ")
}

/// Returns the lines of a block that is not filled.
pub(super) fn literal(block: Node<'_, '_>) -> String {
    block.text().unwrap_or_default().trim_matches('\n').trim_end().to_owned()
}

/// Text nodes only: `Node::text` of an element repeats its first child.
trait TextOf<'a> {
    fn text_of(&self) -> Option<&'a str>;
}

impl<'a> TextOf<'a> for Node<'a, '_> {
    fn text_of(&self) -> Option<&'a str> {
        if self.is_text() { self.text() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directive_is_described_completely() {
        let page = parse(PAGE).unwrap();
        let mut without_default = Vec::new();
        for directive in directives(&page) {
            let name = text(directive, "name");
            for part in ["description", "syntax", "contextlist", "compatibility", "usage"] {
                assert!(!text(directive, part).is_empty(), "{name} has no <{part}>");
            }
            let compatibility = text(directive, "compatibility");
            assert!(compatibility.starts_with("mod_slot 0."), "{name}: {compatibility}");
            let syntax = text(directive, "syntax");
            assert!(syntax.trim_start_matches('<').starts_with(&name), "{name}: {syntax}");
            let usage = child(directive, "usage").unwrap();
            let mut examples = usage.descendants().filter(|node| node.has_tag_name("highlight"));
            assert!(examples.any(|block| literal(block).contains(&name)), "{name}: no example");
            if text(directive, "default").is_empty() {
                without_default.push(name);
            }
        }
        assert_eq!(without_default, ["SlotGroup", "Slot", "SlotHook", "SlotDocumentRoot"]);
    }

    #[test]
    fn an_element_that_is_not_rendered_is_an_error() {
        let said = parse("<modulesynopsis><blink>x</blink></modulesynopsis>").unwrap_err();
        assert!(said.contains("<blink>"), "{said}");
    }
}
