//! The examples that the package ships, as an administrator copies them.

use std::fs;
use std::path::Path;

/// Reads a file of the package.
pub fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the configuration of a whole site that each of these files shows.
pub fn sites() -> [(&'static str, String); 4] {
    let manual = blocks("apache/manual.md").into_iter().find(|block| is_site(block));
    [
        ("README.md", blocks("README.md").remove(0)),
        ("apache/manual.md", manual.expect("it shows a site")),
        ("apache/mod_slot.xml", synopsis()),
        ("apache/example-vhost.conf", file("apache/example-vhost.conf")),
    ]
}

/// Tells a whole site from a fragment.
pub fn is_site(block: &str) -> bool {
    block.contains("<SlotGroup") && block.contains("<VirtualHost")
}

/// Returns the blocks of a Markdown file that are marked as Apache's configuration.
pub fn blocks(name: &str) -> Vec<String> {
    let text = file(name);
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(fence) = lines.find(|line| line.trim_start() == "```apache") {
        let indent = fence.len() - fence.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        blocks.push(
            block.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect(),
        );
    }
    blocks
}

/// Returns the first example of the module's page for Apache's documentation.
fn synopsis() -> String {
    let text = file("apache/mod_slot.xml");
    let (_, rest) = text.split_once("<highlight language=\"config\">\n").expect("an example");
    let (block, _) = rest.split_once("</highlight>").expect("its end");
    block.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Returns the directives of a configuration, one a line, without comments and indentation; blanks
/// between words count once.
pub fn directives(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Takes the outer comment signs off the commented directives of a configuration. Prose, which begins
/// after one blank, stays a comment.
pub fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    text.lines().map(line).collect()
}
