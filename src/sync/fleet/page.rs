//! What docs/scaling.md says of fleets, and its charts.

use std::path::PathBuf;

use super::chart::{Panel, chart};
use super::phases::{Phases, SECRETS, SPAN};
use super::recovery::{self, Recovery};
use super::{Histogram, INTERVAL, MEAN, number};
use crate::store::breaker::Found;

/// Set by `make phases`: page and charts are written.
const WRITE: &str = "SECRETS_SYNC_GENERATE";

const FLEETS: [u32; 3] = [10, 1_000, 100_000];

#[test]
fn the_page_of_scaling_says_what_the_schedule_and_the_breaker_do() {
    let together = Phases::simulate(1.0);
    let [gone, sealed] = [Found::Nobody, Found::Answer(503)]
        .map(|found| [30.0, 150.0, 600.0].map(|outage| Recovery::simulate(outage, found)));
    is_between("load", &load());
    is_between("phases", &phases(&together));
    is_between("recovery", &recovered(gone.iter().chain(&sealed)));
    is("docs/phases.svg", &phases_chart(&together));
    is("docs/recovery.svg", &recovery_chart(&gone[2], &sealed[2]));
}

/// Requests a second without any trouble: reads, and what a login needs.
fn load() -> String {
    // A token of an hour is renewed after two thirds of it.
    const RENEWAL: f64 = 2400.0;
    let mut text = "| hosts | secrets on each | reads a second, interval 1 m | 5 m | 1 h | renewals a second, \
                    tokens of 1 h | tokens on the server |\n|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for hosts in FLEETS {
        for secrets in [1, 10, 100] {
            let reads = |interval: f64| f64::from(hosts) * f64::from(secrets) / (0.95 * interval);
            text += &format!(
                "| {} | {secrets} | {} | {} | {} | {} | {} |\n",
                thousands(f64::from(hosts)),
                rate(reads(60.0)),
                rate(reads(300.0)),
                rate(reads(3600.0)),
                rate(f64::from(hosts) / RENEWAL),
                thousands(f64::from(hosts)),
            );
        }
    }
    text
}

fn phases(together: &Phases) -> String {
    let minute = Phases::simulate(60.0);
    let interval = Phases::simulate(INTERVAL);
    let mut text = "| refresh | after | all started in 1 s: busiest ten seconds | quietest | started over 1 min: \
                    busiest | started over 5 min: busiest |\n|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for refresh in [0, 1, 2, 5, 10, 20, 50, 100] {
        let wave = together.wave(refresh);
        let name = match refresh {
            0 => "start".to_owned(),
            number => number.to_string(),
        };
        text += &format!(
            "| {name} | {} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
            span(f64::from(refresh) * MEAN),
            wave.busiest,
            wave.quietest,
            minute.wave(refresh).busiest,
            interval.wave(refresh).busiest,
        );
    }
    text + "\nIn multiples of the mean, which is 3.5 reads a second for 1,000 secrets.\n"
}

fn recovered<'a>(recoveries: impl Iterator<Item = &'a Recovery>) -> String {
    let mut text = "| outage | meanwhile | secrets that came due in it | health questions a second meanwhile: 1,000 hosts | \
                    100,000 hosts | reads in the busiest second after it: 1,000 hosts | 100,000 hosts | half of \
                    them current after | all |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for recovery in recoveries {
        text += &format!(
            "| {} | {} | {:.0} % | {} | {} | {} | {} | {:.1} s | {:.1} s |\n",
            span(recovery.outage),
            meanwhile(recovery),
            100.0 * recovery.failed(),
            rate(1_000.0 * recovery.questions()),
            rate(100_000.0 * recovery.questions()),
            rate(1_000.0 * recovery.busiest()),
            rate(100_000.0 * recovery.busiest()),
            recovery.current(0.5),
            recovery.current(1.0),
        );
    }
    text
}

fn phases_chart(phases: &Phases) -> String {
    let top = 10.0;
    let panel = |first: u32, last: u32| {
        let (from, to) = (f64::from(first) * MEAN, f64::from(last) * MEAN);
        let count = f64::from(last - first);
        Panel {
            title: format!(
                "refreshes {first} to {last} ({} to {} after the start)",
                span(from),
                span(to)
            ),
            series: vec![("one", phases.between((from / SPAN).floor() * SPAN, to))],
            top,
            levels: vec![(1.0, "mean".to_owned()), (top, format!("{top} ×"))],
            below: (first..=last)
                .map(|refresh| (f64::from(refresh - first) / count, refresh.to_string()))
                .collect(),
        }
    };
    let told = format!(
        "{} secrets with an interval of 5 minutes that are first read within one second: reads in spans of ten \
         seconds, as multiples of the mean. The start reaches {:.0} times the mean.",
        thousands(number(SECRETS)),
        phases.wave(0).busiest,
    );
    chart(
        "Reads of a fleet that starts at once",
        &told,
        &[panel(0, 6), panel(18, 24), panel(94, 100)],
    )
}

fn meanwhile(recovery: &Recovery) -> &'static str {
    match recovery.found {
        Found::Nobody => "nothing listens",
        _ => "it is sealed",
    }
}

fn recovery_chart(gone: &Recovery, sealed: &Recovery) -> String {
    let scale = 100.0 / f64::from(recovery::HOSTS);
    let panel = |recovery: &Recovery, what: &str, class, histogram: &Histogram, top: f64| {
        let (from, to) = (recovery.outage - 20.0, recovery.outage + 20.0);
        let rates = histogram.rates(from, to);
        Panel {
            title: format!("{}: {what}", meanwhile(recovery)),
            series: vec![(class, rates.iter().map(|rate| rate * scale).collect())],
            top,
            levels: vec![(top, format!("{top}"))],
            below: [-20, -10, 0, 10, 20]
                .map(|second| (f64::from(second + 20) / 40.0, format!("{second} s")))
                .into(),
        }
    };
    let health = "health questions a second, of 100 hosts";
    let reads = format!(
        "reads a second, of 100 hosts with {} secrets each",
        recovery::SECRETS
    );
    let told = format!(
        "A hundred hosts with {} secrets each before and after the end of an outage of {}: questions after the \
         health of the server, and reads, by the second; of a server that was gone, and of one that was sealed.",
        recovery::SECRETS,
        span(gone.outage),
    );
    chart(
        "Requests of a fleet at the end of an outage",
        &told,
        &[
            panel(gone, health, "two", &gone.health, 60.0),
            panel(gone, &reads, "one", &gone.reads, 600.0),
            panel(sealed, health, "two", &sealed.health, 60.0),
            panel(sealed, &reads, "one", &sealed.reads, 600.0),
        ],
    )
}

/// As people say it.
fn span(seconds: f64) -> String {
    if seconds < 180.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

fn rate(rate: f64) -> String {
    if rate < 0.1 {
        format!("{rate:.3}")
    } else if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        thousands(rate)
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The file holds this; or is written.
#[track_caller]
fn is(path: &str, wanted: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found != wanted && std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, wanted).unwrap();
        return;
    }
    assert!(
        found == wanted,
        "{path} is not what the simulation gives: `make phases` writes it anew"
    );
}

/// The page holds this between the marks of that name.
#[track_caller]
fn is_between(name: &str, wanted: &str) {
    let path = "docs/scaling.md";
    let begin = format!("<!-- {name}: made by `make phases` from here -->\n");
    let end = format!("<!-- {name}: to here -->\n");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the first mark");
    let (_, after) = rest.split_once(&end).expect("the second mark");
    is(path, &format!("{before}{begin}\n{wanted}\n{end}{after}"));
}
