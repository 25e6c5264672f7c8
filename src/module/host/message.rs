//! The lines that the module writes to Apache's error log: one number for each, which never changes its meaning.
//! The guide to troubleshooting says what to do about each of them.

use super::sys;
use std::fmt;

macro_rules! messages {
    ($($number:literal $name:ident $level:ident $meaning:literal;)+) => {
        /// The number of a line in the error log. Its `Display` is `SLOT0001`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub(crate) enum Message {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl Message {
            pub(super) fn level(self) -> i32 {
                match self {
                    $(Self::$name => sys::$level,)+
                }
            }

            /// All numbers, each with its meaning.
            #[cfg(test)]
            const ALL: &[(Self, &str)] = &[$((Self::$name, $meaning)),+];
        }
    };
}

// A number is never used again. The compiler refuses a number that is here twice, and warns of one that no line
// has.
messages! {
    1 Panic APLOG_CRIT "A hook of mod_slot failed: its request got a 500, and the process goes on";
    2 PathOutside APLOG_ERR "The path of a request leads out of the slot's docroot; it got a 403";
    3 Unprintable APLOG_ERR "The URL for the backend has control characters or spaces; the request got a 403";

    10 UnknownSlot APLOG_ERR "This process has an older configuration, without the active slot; the request got a 503";
    11 DamagedWord APLOG_ERR "The control file of a group is damaged; the process serves the last slot that it knows";
    12 NoGroup APLOG_ERR "A slot:// URL names a group that does not exist; the request got a 500";
    13 NoBackend APLOG_ERR "A slot:// URL leads to a slot that has only a docroot; the request got a 503";
    14 UrlFromText APLOG_ERR "A rule has made a slot:// URL of text that a client may have sent; the request got a 500";
    15 UrlUnnamed APLOG_ERR "A URL begins like one of mod_slot, but no rule has named its group; the request got a 500";
    16 SlotInPath APLOG_ERR "The URL of a backend has /slot: in its path; the request got a 500";
    17 ForeignWorker APLOG_ERR "Another module has changed the worker of a slot:// request; the request got a 500";
    18 NotEvaluated APLOG_ERR "The expression in allow= of SlotMaintenance failed; the request got a 503";
    19 Held APLOG_WARNING "A request was held, and got a 503: its group was held for too long, or too many waited";

    20 ControlCut APLOG_ERR "The control file of a group was cut short while Apache ran";
    21 CountsCut APLOG_ERR "The counts of a group were cut short, or their file system is full";
    22 NotProtected APLOG_ERR "Apache's processes will end when a file of a group is cut short";
    23 SharedRow APLOG_ERR "A process shares its counts with other processes";
    24 InFlightUncounted APLOG_ERR "The requests of a process are not counted";
    25 NoOwnLocks APLOG_ERR "A process could not lock the names of its slots for itself";
    26 NoConnections APLOG_ERR "mod_proxy made no connection pool for the backend of a slot";
    27 NotParked APLOG_WARNING "SlotHold park=on has no effect here: requests of a held group wait in threads";

    30 NoRuntimeDir APLOG_ERR "SlotRuntimeDir cannot be used; slotctl counts no requests";
    31 NoRowLocks APLOG_ERR "rows.lock cannot be used; slotctl counts no requests";
    32 NoCounts APLOG_ERR "The requests of a group are not counted";
    33 StaleGroupFile APLOG_ERR "slotctl still lists a group that is no longer configured";
    34 Claim APLOG_ERR "The mark of this Apache in SlotStateDir could not be read or written";
    35 InUse APLOG_ERR "Another Apache uses the same SlotStateDir; this one goes on, because this was a restart";
    36 Unclaimed APLOG_ERR "A second Apache with the same SlotStateDir would not be noticed";
    37 StateInMemory APLOG_WARNING "SlotStateDir is in memory; flips are lost at a reboot";
    38 Published APLOG_ERR "The file of a group needs attention: the line says what, and what works meanwhile";
    39 NoDocroot APLOG_WARNING "The docroot of a slot is not a directory";
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SLOT{:04}", *self as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::Message;
    use std::collections::BTreeMap;

    /// The rows of the guide's table: the number, and what it means.
    fn rows(guide: &str) -> BTreeMap<String, Vec<String>> {
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in guide.lines() {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            if let [id, meaning, to_do] = cells[..]
                && let Some(id) = id.strip_prefix("`SLOT").and_then(|id| id.strip_suffix('`'))
            {
                assert!(!to_do.is_empty(), "SLOT{id} says nothing about what to do");
                rows.entry(format!("SLOT{id}")).or_default().push(meaning.replace('`', ""));
            }
        }
        rows
    }

    #[test]
    fn the_guide_to_troubleshooting_explains_each_message_once_and_no_others() {
        let rows = rows(include_str!("../../../apache/guides/troubleshooting.md"));
        let all = Message::ALL.iter().map(|(id, text)| (id.to_string(), vec![(*text).to_owned()]));
        assert_eq!(rows, all.collect());
    }
}
