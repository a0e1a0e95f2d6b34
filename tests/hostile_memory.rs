//! How much of the memory a server can take up by its answers, and how deep the stack can get.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod support;

use std::fs;

use serde_json::json;
use support::{Daemon, Response, SOON, ScriptedServer};

/// Of data that is nested and divided as far as it may be, everything can be made, on a worker's small
/// stack.
#[test]
fn data_at_the_limits_of_depth_and_number_is_rendered_in_every_form() {
    let nest = format!("{}1{}", "{\"a\":[".repeat(31), "]}".repeat(31));
    let wide = format!("[{}]", vec!["\"v\""; 20_000].join(","));
    let body = format!(
        r#"{{"data":{{"data":{{"x":{nest},"w":{wide},"j":{}}},"metadata":{{"version":1}}}}}}"#,
        json!(nest)
    );
    let server = ScriptedServer::start(move |request| {
        let mut response = Response::json(200, &json!({}));
        if request.target.contains("/data/") {
            response.body = body.clone().into_bytes();
        }
        response.act()
    });
    let config = format!(
        "secretStore: {{address: '{}', authMethod: none}}\n\
         secrets:\n- name: s\n  key: s\n  refreshInterval: 1h\n  template:\n    data:\n\
         \x20     deep: '{{{{ toYaml .x }}}}{{{{ toPrettyJson .x }}}}{{{{ toYaml (fromJson .j) }}}}'\n\
         \x20     wide: '{{{{ range .w }}}}{{{{ . }}}}{{{{ end }}}}'\n  \
         files: [{{path: @DIR@/deep, template: deep}}, {{path: @DIR@/wide, template: wide}}, \
         {{path: @DIR@/y, format: yaml}}, {{path: @DIR@/j, format: json}}, \
         {{path: @DIR@/e, format: env}}, {{dir: @DIR@/d}}]\n",
        server.address()
    );
    let mut daemon = Daemon::new(&config).start();
    daemon.wait_ready(SOON);
    assert_eq!(
        fs::read_to_string(daemon.path("wide")).unwrap(),
        "v".repeat(20_000)
    );
    assert_eq!(fs::read_to_string(daemon.path("d/x")).unwrap(), nest);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Each of them is as long as an answer may be, and they all come at once.
#[test]
fn the_largest_answers_of_many_secrets_do_not_fill_the_memory() {
    let value = "x".repeat(10_000_000);
    let server = ScriptedServer::start(move |request| {
        if request.target.contains("/data/") {
            let data = json!({"data": {"x": value}, "metadata": {"version": 1}});
            Response::json(200, &json!({ "data": data })).act()
        } else {
            Response::json(200, &json!({})).act()
        }
    });
    let mut config = format!(
        "secretStore: {{address: '{}', authMethod: none, maxConcurrent: 64, timeout: 5m}}\nsecrets:\n",
        server.address()
    );
    let names: Vec<_> = (0..12).map(|number| format!("s{number}")).collect();
    for name in &names {
        config.push_str(&format!(
            "- {{name: {name}, key: {name}, refreshInterval: 1h, files: [{{path: @DIR@/{name}, \
             field: x}}]}}\n"
        ));
    }
    let daemon = Daemon::new(&config).start();
    for name in &names {
        let line = daemon.wait_for_log(SOON * 6, |line| {
            line.has("secret", name) && line.json["error_type"].is_string()
        });
        assert_eq!(line.text("error_type"), "render", "{}", line.raw);
    }
    // All of them, and what is made of each, would be 260 MB and more.
    println!(
        "measured: {} KiB resident at most, of {} answers of 10 MB",
        daemon.peak_rss_kib(),
        names.len()
    );
    assert!(
        daemon.peak_rss_kib() < 200 * 1024,
        "{} KiB",
        daemon.peak_rss_kib()
    );
}
