//! mod_slot in a real Apache, one file a story. Each test has an Apache of its own, in a temporary
//! directory and on free ports of the loopback device.

mod choice;
mod config;
mod contexts;
mod daemon;
mod differential;
mod docroot;
mod drain;
mod examples;
mod faults;
mod flips;
mod foreign;
mod hostile;
mod instances;
mod kernel;
mod kill;
mod look;
mod older;
mod protocols;
mod restarts;
mod routing;
mod site;
mod soak;
mod state;
mod tomcat;

#[path = "../support/apache.rs"]
#[allow(dead_code, reason = "shared with the examples, which need other parts of it")]
mod apache;
mod backend;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/load.rs"]
#[allow(dead_code, reason = "shared with the demo, which shows when the first answer came")]
mod load;
mod multiplexed;
#[path = "../support/shipped.rs"]
#[allow(dead_code, reason = "shared with the tests of the pages, which compare the examples")]
mod shipped;
#[path = "../support/skip.rs"]
mod skip;
mod websocket;
