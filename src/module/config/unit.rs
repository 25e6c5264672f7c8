//! `unit=` of a `Slot`: the systemd service of its backend.

/// The longest name of a unit, as systemd has it.
const LONGEST: usize = 255;

/// The kinds of units that are not services.
const OTHERS: [&str; 10] = [
    ".socket",
    ".target",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".slice",
    ".scope",
    ".device",
];

/// Checks the name of a service, and appends `.service` if it is left out.
///
/// # Errors
///
/// What is wrong with the name, and what to write.
pub(super) fn parse(name: &str) -> Result<String, String> {
    let fits = |c: &char| c.is_ascii_alphanumeric() || ":_.@-\\".contains(*c);
    if name.is_empty() {
        return Err("it needs the name of a systemd service, as in unit=app-a.service".into());
    }
    if name.starts_with('-') {
        return Err("the name of a unit must not begin with '-'".into());
    }
    if let Some(odd) = name.chars().find(|c| !fits(c)) {
        return Err(format!(
            "{odd:?} is not allowed in it; the name of a unit has letters, digits and : _ . @ - \\"
        ));
    }
    if OTHERS.iter().any(|kind| name.ends_with(kind)) {
        return Err("it is not a service; name the .service that is the backend".into());
    }
    let stem = name.strip_suffix(".service").unwrap_or(name);
    if stem.is_empty() {
        return Err("there is no name before .service".into());
    }
    if stem.ends_with('@') {
        return Err(format!(
            "it is a template; name an instance of it, as in unit={stem}a.service"
        ));
    }
    let unit = format!("{stem}.service");
    match unit.len() {
        0..=LONGEST => Ok(unit),
        _ => Err(format!("it is longer than {LONGEST} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_or_without_its_suffix() {
        for (name, unit) in [
            ("app", "app.service"),
            ("app.service", "app.service"),
            ("app@1.2", "app@1.2.service"),
            ("a:b_c-d\\x2d.service", "a:b_c-d\\x2d.service"),
        ] {
            assert_eq!(parse(name).as_deref(), Ok(unit));
        }
        let longest = "x".repeat(LONGEST - ".service".len());
        assert!(parse(&longest).is_ok());
        for (name, why) in [
            ("", "needs the name"),
            ("-app.service", "begin with '-'"),
            ("a/b", "'/' is not allowed"),
            ("a b", "' ' is not allowed"),
            ("app.socket", "not a service"),
            (".service", "no name before"),
            ("app@.service", "as in unit=app@a.service"),
            (&*format!("{longest}x"), "longer than 255"),
        ] {
            let said = parse(name).unwrap_err();
            assert!(said.contains(why), "{name}: {said}");
        }
    }
}
