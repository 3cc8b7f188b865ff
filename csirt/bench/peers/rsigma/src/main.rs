//! One measured run of rsigma-eval: `csirt-bench-rsigma MODE RULES EVENTS BATCH PAIRS`.
//!
//! MODE `columns`: events are parsed before the clock starts. `ndjson`: parsing counts. `correlate`: events are parsed
//! before, and every event passes the correlation engine at its `ts` in seconds. RULES is one file of Sigma documents,
//! EVENTS is NDJSON. PAIRS is written after the clock has stopped: one line `index<TAB>rule id` per match, so that
//! both sides of a comparison can be held against each other. One JSON document on stdout says the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::time::Instant;

use rsigma_eval::event::JsonEvent;
use rsigma_eval::{CorrelationConfig, CorrelationEngine, Engine, EvaluationResult};
use serde_json::{json, Value};

/// What a run found and how long its parts took.
#[derive(Default)]
struct Found {
    pairs: Vec<(u32, String)>,
    batches: Vec<f64>,
    cpu: f64,
}

impl Found {
    fn take(&mut self, index: usize, results: Vec<EvaluationResult>) {
        for result in results {
            let name = result.header.rule_id.unwrap_or(result.header.rule_title);
            self.pairs.push((index as u32, name));
        }
    }
}

/// CPU seconds of this process, as the kernel counts them for its threads.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

/// Calls `step` for every event, and keeps the time of every batch of them.
fn timed<T>(items: &[T], batch: usize, found: &mut Found, mut step: impl FnMut(usize, &T, &mut Found)) {
    let before = cpu();
    for (number, part) in items.chunks(batch).enumerate() {
        let start = Instant::now();
        for (offset, item) in part.iter().enumerate() {
            step(number * batch + offset, item, found);
        }
        found.batches.push(start.elapsed().as_secs_f64());
    }
    found.cpu = cpu() - before;
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, rules, events, batch, pairs] = &arguments[..] else {
        eprintln!("usage: csirt-bench-rsigma columns|ndjson|correlate RULES EVENTS BATCH PAIRS");
        std::process::exit(2);
    };
    let text = fs::read_to_string(events).expect("events");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let size: usize = batch.parse().expect("batch");
    let collection = rsigma_parser::parse_sigma_yaml(&fs::read_to_string(rules).expect("rules")).expect("Sigma");
    let mut found = Found::default();
    let mut refused: Vec<String> = collection.errors().map(|error| error.to_string()).collect();
    let mut loaded: Vec<String> = Vec::new();
    if mode == "correlate" {
        let mut engine = CorrelationEngine::new(CorrelationConfig::default());
        engine.add_collection(&collection).expect("rules");
        loaded.extend(collection.correlations.iter().map(|rule| rule.id.clone().unwrap_or(rule.title.clone())));
        let values: Vec<Value> = lines.iter().map(|line| parse(line)).collect();
        timed(&values, size, &mut found, |index, value, found| {
            let seconds = value.get("ts").and_then(Value::as_f64).unwrap_or(0.0) as i64;
            found.take(index, engine.process_event_at(&JsonEvent::borrow(value), seconds));
        });
    } else {
        let mut engine = Engine::new();
        let errors = engine.add_rules(collection.rules.iter());
        let broken: Vec<usize> = errors.iter().map(|(index, _)| *index).collect();
        for (index, rule) in collection.rules.iter().enumerate() {
            if !broken.contains(&index) {
                loaded.push(rule.id.clone().unwrap_or(rule.title.clone()));
            }
        }
        refused.extend(errors.iter().map(|(index, error)| format!("{}: {error}", collection.rules[*index].title)));
        if mode == "ndjson" {
            timed(&lines, size, &mut found, |index, line, found| {
                let value = parse(line);
                found.take(index, engine.evaluate(&JsonEvent::borrow(&value)));
            });
        } else {
            let values: Vec<Value> = lines.iter().map(|line| parse(line)).collect();
            timed(&values, size, &mut found, |index, value, found| {
                found.take(index, engine.evaluate(&JsonEvent::borrow(value)));
            });
        }
    }
    let mut counts: BTreeMap<&str, u64> = loaded.iter().map(|name| (name.as_str(), 0)).collect();
    for (_, name) in &found.pairs {
        *counts.entry(name).or_default() += 1;
    }
    let document = json!({
        "rules": loaded.len(),
        "refused": refused,
        "events": lines.len(),
        "matches": found.pairs.len(),
        "wall_s": found.batches.iter().sum::<f64>(),
        "cpu_s": found.cpu,
        "batch_s": found.batches,
        "counts": counts,
    });
    println!("{document}");
    found.pairs.sort();
    let mut out = BufWriter::new(fs::File::create(pairs).expect("pairs"));
    for (index, name) in &found.pairs {
        writeln!(out, "{index}\t{name}").expect("pairs");
    }
}
