//! `SlotMaintenance`: how the requests of a group are answered while its maintenance is on.

use super::words::{self, number, switch};

/// A `SlotMaintenance`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// The file of the page; `None` for Apache's own answer.
    pub page: Option<String>,
    /// The expression of Apache that is true for requests that go on.
    pub allow: Option<String>,
    /// The seconds in Retry-After.
    pub retryafter: u32,
    /// Whether the files of `SlotDocumentRoot` are served all the same.
    pub serves_files: bool,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { page: None, allow: None, retryafter: 120, serves_files: false }
    }
}

impl Maintenance {
    /// Changes what `words` say.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the words.
    pub fn set(&mut self, directive: &str, words: &[&str]) -> Result<(), String> {
        let keys = ["page", "allow", "retryafter", "static"];
        words::each(directive, (&keys, &[]), words, |key, value| {
            match key {
                "page" if value.is_empty() => return Err("it needs the path of a file".into()),
                "page" => self.page = Some(value.into()),
                "allow" if value.trim().is_empty() => {
                    return Err("it needs an expression; write \"allow=-R '192.0.2.0/24'\"".into());
                }
                "allow" => self.allow = Some(value.into()),
                "retryafter" => self.retryafter = number(value, 31_536_000)?,
                _ => self.serves_files = switch(value)?,
            }
            Ok(())
        })
    }
}
