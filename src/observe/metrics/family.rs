//! The metrics as a list, for the documentation.

use prometheus::core::Collector;
use prometheus::proto::MetricType;

use super::{Metrics, process};

/// One metric, as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, without the suffixes of a histogram's series.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its help.
    pub help: String,
}

impl Family {
    /// What a collector says of itself.
    pub(super) fn of(collector: &impl Collector) -> Option<Self> {
        let desc = collector.desc().into_iter().next()?;
        let kind = match collector.collect().first()?.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        Some(Self {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        })
    }
}

/// Every metric that a daemon may show, by name.
#[must_use]
pub fn families() -> Vec<Family> {
    let mut families = Vec::new();
    Metrics::declare(&mut families);
    families.extend(process::FAMILIES.iter().map(|(name, kind, help)| Family {
        name: (*name).to_owned(),
        kind,
        labels: Vec::new(),
        help: (*help).to_owned(),
    }));
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_listed_with_its_kind_and_labels() {
        let families = families();
        let of = |name: &str| families.iter().find(|it| it.name == name).unwrap();
        let duration = of("secret_sync_duration_seconds");
        assert_eq!(duration.kind, "histogram");
        assert_eq!(duration.labels, ["secret_name", "store"]);
        assert_eq!(of("secret_fetch_total").kind, "counter");
        assert_eq!(of("secrets_synced").kind, "gauge");
        assert_eq!(of("process_threads").help, "How many threads there are.");
        // What every page has is in the list, and of the same kind.
        for line in Metrics::new().encode().lines() {
            if let Some(type_) = line.strip_prefix("# TYPE ") {
                let (name, kind) = type_.split_once(' ').unwrap();
                assert_eq!(of(name).kind, kind, "{name}");
            }
        }
    }
}
