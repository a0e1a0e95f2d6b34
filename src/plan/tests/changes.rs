//! What a reload finds changed.

use super::*;
use crate::plan::{Diff, diff};

const BASE: &str = "
secretStore: {address: 'https://v', token: t, credentials: {b: {token: u}}}
secretStores: {lab: {address: 'https://lab', token: l}}
secrets:
  - {name: a, key: k, files: [{path: /s/a, field: x}]}
  - {name: b, key: k, credentials: b, files: [{path: /s/b, field: x}]}
  - {name: c, key: k, store: lab, files: [{path: /s/c, field: x}]}
";

fn changed(from: &str, to: &str) -> Diff {
    diff(
        &run(BASE, &[]).unwrap(),
        &run(&BASE.replace(from, to), &[]).unwrap(),
    )
}

#[test]
fn only_what_a_secret_goes_by_changes_it() {
    for (from, to, expected) in [
        ("\n", "\n# a comment\n", ""),
        (
            "key: k, files: [{path: /s/a",
            "key: l, files: [{path: /s/a",
            "a",
        ),
        ("field: x}]}\n", "field: x, mode: 0640}]}\n", "a b c"),
        ("https://lab", "https://lab2", "c"),
        ("token: u", "token: w", "b"),
        ("token: t,", "token: t2,", "a"),
        ("token: t,", "token: t, maxConcurrent: 3,", "a b"),
        ("token: t,", "token: t, namespace: n,", "a b"),
    ] {
        let diff = changed(from, to);
        assert_eq!(diff.changed.join(" "), expected, "{from} -> {to}");
        assert_eq!(diff.unchanged.len() + diff.changed.len(), 3);
        assert!(diff.added.is_empty() && diff.removed.is_empty());
    }
}

#[test]
fn a_new_name_is_a_new_secret() {
    let diff = changed("name: b,", "name: d,");
    assert_eq!(diff.added, ["d"]);
    assert_eq!(diff.removed, ["b"]);
    assert_eq!(diff.unchanged, ["a", "c"]);
}
