//! The words of a directive, as in `uri=/up expect=200`. slotctl's options take the same words.

use crate::duration;
use crate::name::meant;
use std::fmt::Display;
use std::time::Duration;

/// Calls `set` with the key and the value of each word.
///
/// # Errors
///
/// A sentence that names the directive: a word without `=`, a key that is not one of `keys`, one that stands twice
/// and is not one of `many`, and what `set` says.
pub(super) fn each(
    directive: &str,
    (keys, many): (&[&str], &[&str]),
    words: &[&str],
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut seen = Vec::new();
    for word in words {
        let takes = || keys.iter().map(|key| format!("{key}=")).collect::<Vec<_>>().join(", ");
        let Some((key, value)) = word.split_once('=') else {
            return Err(format!("{directive}: {word:?} has no value; it takes {}", takes()));
        };
        if !keys.contains(&key) {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            let meant = meant(key, &keys);
            return Err(format!("{directive}: {key:?} is unknown; it takes {}{meant}", takes()));
        }
        if seen.contains(&key) && !many.contains(&key) {
            return Err(format!("{directive}: {key}= is there twice; remove one"));
        }
        seen.push(key);
        set(key, value).map_err(|why| format!("{directive}: {word}: {why}"))?;
    }
    Ok(())
}

/// Parses a duration that is not zero.
pub(super) fn time(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        Duration::ZERO => Err("it must be longer than 0".into()),
        time => Ok(time),
    }
}

/// Parses a number of at least one and at most `most`.
pub(super) fn number(value: &str, most: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("it must be a number from 1 to {most}")),
    }
}

/// Parses `on` and `off`.
pub(super) fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it can be on or off".into()),
    }
}

/// Checks a URI: the path, with its query string.
pub(super) fn uri(value: &str) -> Result<String, String> {
    let is_odd = |c: char| !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>' | '\\' | '`');
    if !value.starts_with('/') {
        return Err("it must begin with a slash, as in uri=/up".into());
    }
    match value.chars().find(|c| is_odd(*c)) {
        Some(odd) => Err(format!("{odd:?} is not allowed in it; write it as in %20")),
        None => Ok(value.to_owned()),
    }
}

/// Shows a list, as in `200-399, 404`.
pub(super) fn list(all: impl IntoIterator<Item = impl Display>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// Durations in JSON: whole milliseconds.
pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(in crate::group) fn serialize<S: Serializer>(
        time: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(in crate::group) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
