//! The JSON shapes in the help texts are those of the types.

use super::{
    active, check, deploy, doctor, drain, flip, history, hold, idle, list, lock, maint, metrics,
    rollback, status, unhold, unlock, wait, warm,
};
use crate::args::Args;
use clap::CommandFactory;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Finds the JSON shapes in a help text, in its order.
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

/// Parses a shape: `{"app", "slots": []}` is short for `{"app": null, "slots": []}`.
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

/// Fails unless a value has exactly the keys of its shape; `null` stands for any text, number or null.
fn assert_same(shape: &Value, value: &Value, at: &str) {
    match (shape, value) {
        (Value::Object(shape), Value::Object(value)) => {
            if let Some(each) = shape.get("NAME") {
                return value.values().for_each(|value| assert_same(each, value, at));
            }
            let keys = |object: &Map<_, _>| object.keys().cloned().collect::<BTreeSet<String>>();
            assert_eq!(keys(shape), keys(value), "{at}");
            for (key, shape) in shape {
                assert_same(shape, &value[key], &format!("{at}.{key}"));
            }
        }
        (Value::Array(shape), Value::Array(value)) => {
            let each = shape.first().unwrap_or(&Value::Null);
            assert!(each.is_null() || !value.is_empty(), "{at}: the sample has no element");
            value.iter().for_each(|value| assert_same(each, value, at));
        }
        (Value::Array(_) | Value::Object(_), _) => panic!("{at}: {shape} and {value}"),
        (_, Value::Array(_) | Value::Object(_)) => panic!("{at}: the help does not show {value}"),
        _ => {}
    }
}

#[test]
fn the_help_of_each_verb_shows_the_keys_of_its_json() {
    for verb in Args::command().get_subcommands() {
        let name = verb.get_name();
        let samples = match name {
            "deploy" => vec![deploy::sample()],
            "flip" => vec![flip::sample()],
            "rollback" => vec![rollback::sample()],
            "status" => vec![status::sample()],
            "list" => vec![list::sample()],
            "active" => vec![active::sample()],
            "check" => vec![check::sample()],
            "idle" => idle::samples(),
            "history" => vec![history::sample()],
            "drain" => vec![drain::sample()],
            "warm" => warm::samples(),
            "wait" => vec![wait::sample()],
            "hold" => vec![hold::sample()],
            "unhold" => vec![unhold::sample()],
            "lock" => vec![lock::sample()],
            "unlock" => vec![unlock::sample()],
            "maint" => vec![maint::sample()],
            "metrics" => vec![metrics::sample()],
            "doctor" => vec![doctor::sample()],
            _ => panic!("{name} has no sample of its JSON"),
        };
        let shapes = shapes(&verb.get_after_help().expect("it has a help text").to_string());
        assert_eq!(shapes.len(), samples.len(), "{name}");
        for (shape, sample) in shapes.iter().zip(&samples) {
            assert_same(shape, sample, name);
        }
    }
}

#[test]
fn a_key_that_the_help_does_not_show_is_found() {
    let shape = parse(r#"{"a": [{"b"}], "c": []}"#);
    let is_same = |value| std::panic::catch_unwind(|| assert_same(&shape, &value, "")).is_ok();
    assert!(is_same(json!({"a": [{"b": 1}], "c": ["x"]})));
    for other in [
        json!({"a": [{"b": 1, "d": 2}], "c": []}),
        json!({"a": [{"b": {"d": 2}}], "c": []}),
        json!({"a": [{"b": 1}], "c": [{"d": 2}]}),
        json!({"a": [], "c": []}),
    ] {
        assert!(!is_same(other.clone()), "{other}");
    }
}
