//! Names that are nearly what somebody typed.

use strsim::osa_distance;

/// Finds the names that `typed` was probably meant to be: those with the fewest letters to change,
/// at most one in three and two altogether. A name that `typed` is the beginning of is as near as
/// one with a single wrong letter. Several are returned if they are equally near, none if nothing is.
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
    if typed.len() > 2 * crate::slot::MAX_NAME {
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
    fn only_what_is_near_is_offered() {
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
