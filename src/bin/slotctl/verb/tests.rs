//! The JSON shapes in the help texts are those of the types.

use super::{active, doctor, drain, flip, history, idle, list, lock, status, unlock, wait};
use serde_json::Value;

/// The keys of the JSON shapes in a help text, in the order of the text.
fn shapes(help: &str) -> Vec<Value> {
    let (_, rest) = help.split_once("JSON: ").expect("the help shows JSON");
    let (mut shapes, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    shapes.push(parse(&rest[start..=at]));
                }
            }
            _ => {}
        }
    }
    shapes
}

/// `{"app", "slots": []}` is short for `{"app": null, "slots": []}`.
fn parse(shape: &str) -> Value {
    let mut json = String::new();
    let mut parts = shape.split('"');
    json += parts.next().unwrap();
    while let (Some(key), Some(behind)) = (parts.next(), parts.next()) {
        let value = if behind.trim_start().starts_with(':') { "" } else { ": null" };
        json += &format!("\"{key}\"{value}{behind}");
    }
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// Fails unless both have the same keys; a shape that says nothing of a value allows any.
fn assert_same(shape: &Value, value: &Value, at: &str) {
    match (shape, value) {
        (Value::Object(shape), Value::Object(value)) => {
            if let Some(each) = shape.get("NAME") {
                return value.values().for_each(|value| assert_same(each, value, at));
            }
            let keys = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(keys(shape), keys(value), "{at}");
            for (key, shape) in shape {
                assert_same(shape, &value[key], &format!("{at}.{key}"));
            }
        }
        (Value::Array(shape), Value::Array(value)) => {
            if let Some(shape) = shape.first() {
                assert!(!value.is_empty(), "{at}: the sample has no element");
                value.iter().for_each(|value| assert_same(shape, value, at));
            }
        }
        (Value::Array(_) | Value::Object(_), _) => panic!("{at}: {shape} and {value}"),
        (Value::Null, Value::Object(_)) => panic!("{at}: the help does not show its keys"),
        _ => {}
    }
}

#[test]
fn the_help_of_each_verb_shows_the_keys_of_its_json() {
    for (verb, help, samples) in [
        ("flip", flip::HELP, vec![flip::sample()]),
        ("status", status::HELP, vec![status::sample()]),
        ("list", list::HELP, vec![list::sample()]),
        ("active", active::HELP, vec![active::sample()]),
        ("idle", idle::HELP, idle::samples()),
        ("history", history::HELP, vec![history::sample()]),
        ("drain", drain::HELP, vec![drain::sample()]),
        ("wait", wait::HELP, vec![wait::sample()]),
        ("lock", lock::HELP, vec![lock::sample()]),
        ("unlock", unlock::HELP, vec![unlock::sample()]),
        ("doctor", doctor::HELP, vec![doctor::sample()]),
    ] {
        let shapes = shapes(help);
        assert_eq!(shapes.len(), samples.len(), "{verb}");
        for (shape, sample) in shapes.iter().zip(&samples) {
            assert_same(shape, sample, verb);
        }
    }
}

#[test]
#[should_panic(expected = "a.b")]
fn a_key_that_the_help_does_not_show_is_found() {
    assert_same(
        &parse("{\"a\": {\"b\": {\"c\"}}}"),
        &serde_json::json!({"a": {"b": {"c": 1, "d": 2}}}),
        "",
    );
}
