//! A strict reader of the text format of Prometheus, and its own checker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Name and labels of a series.
type Series = (String, BTreeMap<String, String>);

/// The samples of an answer.
#[derive(Debug, Default)]
pub struct Metrics {
    samples: BTreeMap<Series, f64>,
    /// The type of each metric.
    pub types: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads an answer.
    ///
    /// # Panics
    ///
    /// If it is not in the format, has a series twice, or a sample outside of its metric.
    pub fn read(text: &str) -> Self {
        let mut metrics = Self::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end: {text:?}");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap().to_owned();
                assert!(helped.insert(family.clone()), "twice: {line}");
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').expect(line);
                assert_eq!(name, family, "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                metrics.types.insert(name.to_owned(), kind.to_owned());
            } else {
                let ((name, labels), value) = sample(line);
                let endings: &[&str] = match metrics.types[&family].as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => &[""],
                };
                assert!(endings.iter().any(|end| name == format!("{family}{end}")), "{line}");
                let before = metrics.samples.insert((name, labels), value);
                assert_eq!(before, None, "twice: {line}");
            }
        }
        metrics
    }

    /// The value of a series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(label, value)| ((*label).into(), (*value).into()));
        self.samples.get(&(name.to_owned(), labels.collect())).copied()
    }

    /// The names of the series that have this label.
    pub fn names_with(&self, label: &str, value: &str) -> BTreeSet<&str> {
        let has = |labels: &BTreeMap<_, String>| labels.get(label).is_some_and(|v| v == value);
        let series = self.samples.keys().filter(|(_, labels)| has(labels));
        series.map(|(name, _)| name.as_str()).collect()
    }

    /// The buckets of a histogram with these labels and `le`: ends and counts, by their ends.
    pub fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let is_of = |of: &BTreeMap<String, String>| {
            of.len() == labels.len() + 1
                && labels.iter().all(|(label, value)| of.get(*label).is_some_and(|v| v == value))
        };
        let of = self.samples.iter().filter(|((of, labels), _)| of == name && is_of(labels));
        let mut buckets: Vec<_> =
            of.map(|((_, labels), count)| (number(&labels["le"]), *count)).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        buckets
    }
}

/// Reads `name{label="value",...} number`.
fn sample(line: &str) -> (Series, f64) {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (name, mut rest) = line.split_once('{').expect(line);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    loop {
        let (label, behind) = rest.split_once("=\"").expect(line);
        assert!(is_name(label), "{line}");
        let (mut value, mut chars) = (String::new(), behind.chars());
        loop {
            match chars.next().expect(line) {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("{other:?} is escaped: {line}"),
                }),
                c => value.push(c),
            }
        }
        assert_eq!(labels.insert(label.to_owned(), value), None, "{line}");
        rest = chars.as_str();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").expect(line);
    ((name.to_owned(), labels), number(value))
}

fn number(text: &str) -> f64 {
    if text == "+Inf" { f64::INFINITY } else { text.parse().expect(text) }
}

/// Checks an answer with `promtool check metrics`. `None` if there is no promtool; otherwise what it complains about,
/// which is empty if all is well.
pub fn promtool(text: &str) -> Option<String> {
    let mut promtool = Command::new("promtool");
    let piped = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let spawned = piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some(if out.status.success() { said } else { format!("{}: {said}", out.status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_format_is_refused() {
        let head = "# HELP x_total X.\n# TYPE x_total counter\n";
        let metrics = Metrics::read(&format!("{head}x_total{{a=\"q\\\"\\\\\\n\"}} 1.5\n"));
        assert_eq!(metrics.value("x_total", &[("a", "q\"\\\n")]), Some(1.5));
        for wrong in [
            "x_total{a=\"1\"} 1",
            "x_total{a=\"1\"} 1\nx_total{a=\"1\"} 2\n",
            "y{a=\"1\"} 1\n",
            "x_total{a=\"1\"} one\n",
            "x_total{a=\"\\x\"} 1\n",
            "x_total{a=\"1} 1\n",
            "# HELP x_total Y.\n",
        ] {
            let text = format!("{head}{wrong}");
            assert!(std::panic::catch_unwind(|| Metrics::read(&text)).is_err(), "{wrong}");
        }
    }
}
