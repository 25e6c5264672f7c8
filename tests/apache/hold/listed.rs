//! `status --requests` during a hold.

use super::{LONG, Stage};
use crate::site::until;
use serde_json::{Value, json};

/// The requests that `status` lists, each with its slot and its path; and how many more there are.
fn listed(stage: &Stage) -> (Vec<(Value, Value)>, Value, Value) {
    let said = stage.site.run(&["status", "app", "--json", "--requests"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let seen = &said["groups"][0]["in_flight"];
    let listed = seen["listed"].as_array().unwrap().iter();
    let listed = listed.map(|of| (of["slot"].clone(), of["path"].clone())).collect();
    (listed, seen["unlisted"].clone(), seen["unlisted_waiting"].clone())
}

#[test]
fn status_names_the_path_of_a_request_that_waits_until_the_end_of_the_hold() {
    let stage = Stage::new();
    let holding = stage.hold(LONG);
    let asked = stage.begin("GET", "/api/orders?secret", vec![]);
    stage.waits(1);
    assert_eq!(listed(&stage), (vec![(Value::Null, json!("/api/orders"))], json!(0), json!(0)));
    let text = stage.site.run(&["status", "app", "--requests"]);
    let line = text.lines().find(|line| line.contains("/api/orders")).expect("it is listed");
    assert!(line.starts_with("  (waiting) ") && !text.contains("secret"), "{text}");
    stage.unhold();
    assert_eq!((asked.answer().status(), holding.end().0), (200, 0));
    until(|| listed(&stage) == (vec![], json!(0), json!(0))).expect("no request is listed");
}
