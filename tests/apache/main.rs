//! mod_slot in a real Apache, one file for each subject. Each test has a private Apache in a
//! temporary directory, on free loopback ports.

mod asks;
mod choice;
mod config;
mod contexts;
mod crowd;
mod daemon;
mod deploy;
mod differential;
mod docroot;
mod documents;
mod drain;
mod examples;
mod failures;
mod faults;
mod flips;
mod foreign;
mod golden;
mod guides;
mod hold;
mod hostile;
mod instances;
mod kernel;
mod kill;
mod look;
mod maint;
mod metrics;
mod older;
mod protocols;
mod restarts;
mod routing;
mod site;
mod soak;
mod state;
mod tomcat;

mod multiplexed;
mod websocket;

use support::{apache, backend, http, load, prometheus, shipped, skip};
