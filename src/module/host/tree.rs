//! The tree of directives that Apache has read: all files and sections, in order.

use super::{Pool, Server, pool, sys};
use std::ffi::CStr;
use std::fmt;

/// A directive, its arguments and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a str,
    /// The section around the directive, as `<Name`, and its arguments; both empty at the top level.
    section: (&'a str, &'a str),
    file: &'a str,
    number: i32,
    /// File and line of the `<VirtualHost>` around the directive.
    host: Option<(&'a str, i32)>,
}

impl Line<'_> {
    /// Whether the directive is one of `server`, and not of another virtual host.
    pub(crate) fn is_of(&self, server: Server) -> bool {
        self.host == server.defined_at()
    }

    /// Whether the directive has this name, in any case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The section around the directive, as `<Name`, and its arguments without quotes; both empty at the top level.
    pub(crate) fn section(&self) -> (&str, &str) {
        let (section, args) = self.section;
        (section, opened(args))
    }

    /// The arguments of a section that this line opens, without quotes.
    pub(crate) fn opens(&self) -> &str {
        opened(self.args)
    }

    /// The arguments of the section around the directive, if that is `name`.
    pub(crate) fn within(&self, name: &str) -> Option<&str> {
        let (section, args) = self.section();
        let inside = section.strip_prefix('<').is_some_and(|s| s.eq_ignore_ascii_case(name));
        inside.then_some(args)
    }
}

/// As Apache names a place in its own messages.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.number, self.file)
    }
}

/// Calls `see` with each directive of the configuration, until it returns an error. Skips lines that are not UTF-8,
/// because names of groups are ASCII.
pub(crate) fn for_each_directive<E>(
    mut see: impl FnMut(Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    // SAFETY: the tree lives as long as its configuration; this is the thread that reads it, and `see`
    // cannot write the tree.
    unsafe { walk(sys::ap_conftree, None, &mut see) }
}

/// The arguments of a section's first line, without its `>` and quotes.
fn opened(args: &str) -> &str {
    args.trim_end().trim_end_matches('>').trim_matches('"')
}

/// Replaces the arguments of each directive `name` for which `edit` has an answer.
pub(crate) fn edit_directives(pool: Pool, name: &str, edit: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    // SAFETY: the tree lives as long as its configuration; this is the thread that reads it, and nothing borrows from
    // the tree.
    let mut next = vec![unsafe { sys::ap_conftree }];
    while let Some(node) = next.pop() {
        if node.is_null() {
            continue;
        }
        // SAFETY: a live node. Its strings are C strings or null, and its neighbours are live or null.
        unsafe {
            next.extend([(*node).next, (*node).first_child]);
            let known = pool::borrow((*node).directive).map_or(&b""[..], CStr::to_bytes);
            let is_it = known.eq_ignore_ascii_case(name.as_bytes());
            let args = pool::borrow((*node).args).filter(|_| is_it);
            if let Some(edited) = args.and_then(|args| edit(args.to_bytes())) {
                (*node).args = pool::concat(pool.raw(), &[&edited]);
            }
        }
    }
}

/// # Safety
///
/// `node` is null or a live node of a tree that nobody writes.
unsafe fn walk<E>(
    mut node: *mut sys::ap_directive_t,
    host: Option<(&str, i32)>,
    see: &mut impl FnMut(Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    // SAFETY: the caller promises the tree; its strings are C strings or null.
    while let Some(directive) = unsafe { node.as_ref() } {
        // SAFETY: as above.
        let text = |text| unsafe { pool::borrow(text) }.map_or(Some(""), |t| t.to_str().ok());
        let parts = (text(directive.directive), text(directive.args), text(directive.filename));
        // SAFETY: as above; a node's parent is null or live as well.
        let section = match unsafe { directive.parent.as_ref() } {
            Some(parent) => (text(parent.directive), text(parent.args)),
            None => (Some(""), Some("")),
        };
        if let ((Some(name), Some(args), Some(file)), (Some(section), Some(of))) = (parts, section)
        {
            let section = (section, of);
            see(Line { name, args, section, file, number: directive.line_num, host })?;
        }
        let opens_host = parts.0.is_some_and(|name| name.eq_ignore_ascii_case("<VirtualHost"));
        let inside = match opens_host {
            true => parts.2.map(|file| (file, directive.line_num)),
            false => host,
        };
        // SAFETY: a child of a live node is one.
        unsafe { walk(directive.first_child, inside, see) }?;
        node = directive.next;
    }
    Ok(())
}
