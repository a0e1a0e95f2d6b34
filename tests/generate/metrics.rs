//! docs/metrics.md: what stands between its marks.

use std::fmt::Write;

use secrets_sync::observe::metrics::families;

/// The table of all metrics.
pub fn table() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for family in families() {
        let labels: Vec<String> = family.labels.iter().map(|it| format!("`{it}`")).collect();
        let labels = match labels.as_slice() {
            [] => "–".to_owned(),
            labels => labels.join(", "),
        };
        let (name, kind, help) = (&family.name, family.kind, &family.help);
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    }
    table
}
