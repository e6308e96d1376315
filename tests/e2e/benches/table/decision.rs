//! The webhook's decision and its patch, on one core. Their allocations have a limit in `webhook/inject/tests/allocations.rs`,
//! because an allocator that counts would slow down all that is measured here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use inject::{Question, Settings, decide};

use crate::admission::stateful_set::{settings, stateful_set};
use crate::row::{Goal, Row};

pub(crate) fn measure() -> Vec<Row> {
    let settings = settings();
    let object = stateful_set().to_string();
    let mut rows = vec![Row::number(
        "decide and patch, a CREATE of 8 kB",
        micros(median(&settings, &object)),
        " us",
        Goal::AtMost(15.0),
    )];
    for variables in [100, 1000, 5000] {
        let object = with_variables(variables);
        rows.push(Row::point(
            &format!("decide and patch, an object of {} kB", object.len() / 1000),
            format!("{:.0} us", micros(median(&settings, &object))),
        ));
    }
    rows
}

/// The median of the times of single decisions.
fn median(settings: &Settings, object: &str) -> Duration {
    let question = Question { object, old: None, namespace: Some("shop") };
    let end = Instant::now() + SPENT;
    let mut times = vec![];
    while Instant::now() < end {
        let begun = Instant::now();
        black_box(decide(settings, black_box(&question)));
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// The usual object, with this many variables more.
fn with_variables(count: usize) -> String {
    let mut object = stateful_set();
    let env = object["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    env.extend((0..count).map(|i| serde_json::json!({ "name": format!("MORE_{i}"), "value": "some value" })));
    object.to_string()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

const SPENT: Duration = Duration::from_secs(3);
