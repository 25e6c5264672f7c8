//! The history `APP.history`: one line of JSON for each change, appended.

use serde::{Deserialize, Serialize};

/// A change of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What was done: `flip`, or `default` where Apache fell back to `SlotDefault`.
    pub action: String,
    /// The slot that was active before.
    pub from: String,
    /// The slot that is active since.
    pub to: String,
    /// The generation that the change made.
    pub generation: u32,
    /// The user's number.
    pub uid: u32,
    /// The user's login name, where the system knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who became this user by sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// `--reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads the lines of a history, oldest first. A line that is none (a torn one, after a power cut)
/// is left out.
pub fn parse(text: &str) -> Vec<Entry> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_itself_only() {
        let line = r#"{"time":"2026-01-01T00:00:00Z","action":"flip","from":"a","to":"b","generation":2,"uid":0}"#;
        let read = parse(&format!("{line}\n{}\n{line}\n", &line[..20]));
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].to, "b");
    }
}
