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
    [
        ("README.md", blocks("README.md").remove(0)),
        ("apache/guides/servlet-files.md", blocks("apache/guides/servlet-files.md").remove(0)),
        ("apache/mod_slot.xml", synopsis().remove(0)),
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
    let is_fence = |line: &&str| ["```apache", "```apache run"].contains(&line.trim_start());
    while let Some(fence) = lines.find(is_fence) {
        let indent = fence.len() - fence.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
        blocks.push(
            block.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect(),
        );
    }
    blocks
}

/// Returns all documents, each with its blocks of Apache's configuration.
pub fn documents() -> Vec<(String, Vec<String>)> {
    let mut all = vec![("apache/mod_slot.xml".to_owned(), synopsis())];
    let mut names = vec!["README.md".to_owned(), "apache/manual.md".to_owned()];
    names.extend(guides().into_iter().map(|guide| format!("apache/guides/{guide}.md")));
    all.extend(names.into_iter().map(|name| (name.clone(), blocks(&name))));
    all.sort();
    all
}

/// Returns the names of the guides.
///
/// # Panics
///
/// If their directory cannot be read.
pub fn guides() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apache/guides");
    let names = fs::read_dir(dir).expect("it is there").flatten().map(|guide| guide.file_name());
    names.map(|name| name.to_string_lossy().trim_end_matches(".md").to_owned()).collect()
}

/// Returns the examples of the module's page for Apache's documentation.
fn synopsis() -> Vec<String> {
    let text = file("apache/mod_slot.xml");
    let blocks = text.split("<highlight language=\"config\">\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("</highlight>").expect("its end").0);
    blocks
        .map(|block| block.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        .collect()
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
