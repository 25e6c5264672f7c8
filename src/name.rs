//! Names of groups and slots: which are valid, and which of them a typed name was meant to be.

use strsim::osa_distance;

/// The longest name of a group or a slot, in bytes.
pub const MAX_NAME: usize = 48;

/// Why a name is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// Longer than [`MAX_NAME`].
    #[error("the name is longer than {MAX_NAME} bytes")]
    Long,
    /// It does not start with a letter or a digit.
    #[error("a name starts with a letter or a digit")]
    Start,
    /// It has a byte that a name must not have.
    #[error("a name holds letters, digits, '_', '-' and '.' only")]
    Letter,
}

/// Checks the name of a group or a slot: `[A-Za-z0-9][A-Za-z0-9_.-]*`, at most [`MAX_NAME`] bytes.
///
/// Such a name is safe in a file name, in the authority of a URL and in an environment variable.
///
/// # Errors
///
/// Why the name is not valid.
pub fn check_name(name: &str) -> Result<(), BadName> {
    let first = *name.as_bytes().first().ok_or(BadName::Empty)?;
    if name.len() > MAX_NAME {
        return Err(BadName::Long);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(BadName::Start);
    }
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.as_bytes().iter().all(fits) { Ok(()) } else { Err(BadName::Letter) }
}

/// Finds the names that `typed` was probably meant to be: those with the fewest letters to change,
/// at most one in three, and at most two. A name that begins with `typed` is as near as one with a single
/// wrong letter. Returns several names if they are equally near.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut nearest = (usize::MAX, Vec::new());
    for (distance, name) in
        names.into_iter().filter_map(|name| Some((distance(typed, name)?, name)))
    {
        if distance < nearest.0 {
            nearest = (distance, Vec::new());
        }
        if distance == nearest.0 {
            nearest.1.push(name);
        }
    }
    nearest.1
}

/// Writes ` (did you mean "app"?)`, or nothing if none of `names` is near to what was typed.
pub fn meant(typed: &str, names: &[String]) -> String {
    let near = nearest(typed, names.iter().map(String::as_str));
    if near.is_empty() {
        return String::new();
    }
    let near: Vec<_> = near.iter().map(|name| format!("{name:?}")).collect();
    format!(" (did you mean {}?)", near.join(" or "))
}

/// How many letters differ; `None` if the two have little in common.
fn distance(typed: &str, name: &str) -> Option<usize> {
    // No name is longer than a few dozen letters; what is typed may be.
    if typed.len() > 2 * MAX_NAME {
        return None;
    }
    let [typed, name] = [typed, name].map(str::to_lowercase);
    if typed == name {
        return Some(0);
    }
    if typed.len() > 1 && name.starts_with(&typed) {
        return Some(1);
    }
    let longest = typed.chars().count().max(name.chars().count());
    Some(osa_distance(&typed, &name)).filter(|distance| *distance <= (longest / 3).min(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_urls() {
        for good in ["app", "resin_standby", "a.b-c", "7", &"x".repeat(MAX_NAME)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".hidden", "-", "_x", "a/b", "a b", "ä", "a\n", &"x".repeat(MAX_NAME + 1)]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["app", "shop", "shop_two", "resin", "resin_standby", "a", "b"];
        for (typed, wanted) in [
            ("ap", &["app"][..]),
            ("App", &["app"]),
            ("shpo", &["shop"]),
            ("rosin", &["resin"]),
            ("resin_standyb", &["resin_standby"]),
            ("resin_", &["resin", "resin_standby"]),
            ("sho", &["shop", "shop_two"]),
            ("c", &[]),
            ("", &[]),
            ("nobody", &[]),
            ("shopping", &[]),
        ] {
            assert_eq!(nearest(typed, names), wanted, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), names), Vec::<&str>::new());
    }
}
