//! The author of a change.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The author of a change, and the reason. `Display` shows the person only, without control
/// characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user's number.
    pub uid: u32,
    /// The user's login name.
    pub user: Option<String>,
    /// `SUDO_USER`: the user who called sudo.
    pub sudo_user: Option<String>,
    /// `--reason`.
    pub reason: Option<String>,
}

impl Actor {
    /// Whether both are the same person. Two users who became root with sudo are two persons, and a
    /// user who became root is still that user. Only sudo can prove this: a user who sets SUDO_USER
    /// without being root is not the user of that name.
    pub fn is(&self, other: &Self) -> bool {
        let same = self.uid == other.uid && self.origin() == other.origin();
        same || self.was(other) || other.was(self)
    }

    /// Whether this is root with sudo, called by `plain`.
    fn was(&self, plain: &Self) -> bool {
        let by_name = self.origin().is_some() && self.origin() == plain.user.as_deref();
        self.uid == 0 && plain.origin().is_none() && by_name
    }

    /// The user who became this one.
    fn origin(&self) -> Option<&str> {
        self.sudo_user.as_deref().filter(|origin| Some(*origin) != self.user.as_deref())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.clone().unwrap_or_else(|| format!("uid {}", self.uid));
        match self.origin() {
            Some(origin) => write!(f, "{} (as {})", origin.escape_debug(), user.escape_debug()),
            None => write!(f, "{}", user.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32, user: &str, sudo_user: Option<&str>) -> Actor {
        let user = (!user.is_empty()).then(|| user.to_owned());
        Actor { uid, user, sudo_user: sudo_user.map(str::to_owned), reason: None }
    }

    #[test]
    fn two_users_who_became_root_are_two_persons() {
        let (root, alice) = (who(0, "root", None), who(1000, "alice", None));
        let sudo = |name| who(0, "root", Some(name));
        assert!(sudo("alice").is(&sudo("alice")) && !sudo("alice").is(&sudo("bob")));
        assert!(alice.is(&sudo("alice")) && sudo("alice").is(&alice) && !sudo("bob").is(&alice));
        assert!(!root.is(&sudo("alice")) && root.is(&sudo("root")));
        assert!(!root.is(&alice) && alice.is(&alice));
        let deploy = |name| who(1001, "deploy", Some(name));
        assert!(deploy("alice").is(&deploy("alice")) && !deploy("alice").is(&deploy("bob")));
        let nameless = |uid| who(uid, "", None);
        assert!(nameless(7).is(&nameless(7)) && !nameless(7).is(&nameless(8)));
    }

    #[test]
    fn a_forged_sudo_user_is_not_that_user() {
        let mallory = who(1002, "mallory", Some("alice"));
        for alice in [who(1000, "alice", None), who(0, "root", Some("alice"))] {
            assert!(!mallory.is(&alice) && !alice.is(&mallory), "{alice}");
        }
    }

    #[test]
    fn a_person_is_shown_by_the_known_names() {
        assert_eq!(who(0, "root", Some("alice")).to_string(), "alice (as root)");
        assert_eq!(who(0, "root", Some("root")).to_string(), "root");
        assert_eq!(who(7, "", None).to_string(), "uid 7");
        assert_eq!(who(0, "a\nb", None).to_string(), "a\\nb");
    }
}
