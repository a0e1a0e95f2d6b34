//! What a bad configuration is told.

use super::*;

#[test]
fn many_problems_are_told_at_once_in_order() {
    let text = refused(
        "secretStore:\n  adress: https://v\n  tokn: hunter2\nsecrets:\n  - name: a b\n    key: ../x\n    refreshInterval: 0\n    files:\n      - path: /s/a\n        fild: x\n        mode: [1]\n",
        &[],
    );
    println!("{text}");
    panic!()
}
