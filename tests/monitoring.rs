//! Rules and dashboard for Prometheus and Grafana, tried with a real Prometheus on a running daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod podman;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use podman::root;
use regex_lite::Regex;
use secrets_sync::observe::metrics::families;
use serde_json::{Value, json};
use support::{Daemon, Endpoint, OpenBao, SOON, Signal, poll, ports, process};

const RULES: &str = "contrib/prometheus/secrets-sync.rules.yaml";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Alerts, each with its expression.
fn alerts() -> Vec<(String, String)> {
    let rules: Value = serde_yaml::from_str(&read(RULES)).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    rules
        .iter()
        .map(|rule| (text(rule, "alert"), text(rule, "expr")))
        .collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("contrib/grafana/secrets-sync.json")).unwrap()
}

/// Every expression of the dashboard: panels, annotations, and the values of variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("expr", Value::String(text)) => found.push(text.clone()),
                    ("definition", Value::String(text)) => {
                        let inner = text.strip_prefix("label_values(").unwrap();
                        found.push(inner.rsplit_once(", ").unwrap().0.to_owned());
                    }
                    (_, value) => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// The expressions as Grafana sends them, all instances and stores chosen.
fn dashboards_expressions() -> Vec<String> {
    let mut found = Vec::new();
    expressions(&dashboard(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    for text in &mut found {
        *text = text.replace("$__rate_interval", "1m");
        for variable in ["$job", "$instance", "$store"] {
            *text = text.replace(variable, ".*");
        }
        assert!(!text.contains('$'), "a variable is left in {text}");
    }
    found
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(secrets?|circuit|process)_[a-z_]+").unwrap();
    let labels = Regex::new(r"\{[^}]*\}|\b(by|on) ?\([^)]*\)").unwrap();
    let bare = labels.replace_all(expression, "");
    name.find_iter(&bare)
        .map(|it| it.as_str().to_owned())
        .collect()
}

/// Those of rules and dashboard.
fn all_used() -> BTreeSet<String> {
    let rules = alerts().into_iter().map(|(_, expression)| expression);
    rules
        .chain(dashboards_expressions())
        .flat_map(|it| metrics(&it))
        .collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for family in families() {
        if family.kind == "histogram" {
            known.extend(["_bucket", "_sum", "_count"].map(|it| format!("{}{it}", family.name)));
        } else {
            known.insert(family.name);
        }
    }
    let used = all_used();
    assert!(used.len() > 15, "{used:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: id");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24);
        if panel["type"] != "row" {
            assert!(
                !panel["description"].as_str().unwrap().is_empty(),
                "{title}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn the_page_of_alerts_has_every_rule() {
    let page = read("docs/metrics.md");
    let row = Regex::new(r"(?m)^\| `(SecretsSync[A-Za-z]+)` \|").unwrap();
    let told: Vec<_> = row
        .captures_iter(&page)
        .map(|it| it[1].to_owned())
        .collect();
    let rules: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(told, rules);
}

/// A program of Prometheus: in `PATH`, or fetched by `make prometheus`.
fn program(name: &str) -> Option<PathBuf> {
    let fetched = root().join(".tools/prometheus/usr/bin").join(name);
    process::in_path(name).or_else(|| fetched.is_file().then_some(fetched))
}

/// promtool on a file of ours.
fn promtool(args: &[&str]) -> Option<podman::Said> {
    let mut command = Command::new(program("promtool")?);
    command
        .args(args)
        .current_dir(root().join("contrib/prometheus"));
    Some(podman::run(command))
}

#[test]
fn the_rules_fire_when_they_should_and_only_then() {
    let Some(said) = promtool(&["check", "rules", "secrets-sync.rules.yaml"]) else {
        skip!("needs promtool: run `make prometheus`");
    };
    said.expect_success("promtool check rules");
    let said = promtool(&["test", "rules", "secrets-sync.rules.test.yaml"]).unwrap();
    said.expect_success("promtool test rules");
    let tests = read("contrib/prometheus/secrets-sync.rules.test.yaml");
    for (name, _) in alerts() {
        let fires = tests
            .split("- alertname: ")
            .any(|test| test.starts_with(&format!("{name}\n")) && test.contains("exp_alerts"));
        assert!(fires, "no test lets {name} fire");
    }
}

/// A Prometheus that scrapes the daemon every second.
struct Prometheus {
    child: Child,
    web: Endpoint,
    _port: ports::Port,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start(daemon: &Endpoint) -> Option<Self> {
        let program = program("prometheus")?;
        let dir = tempfile::tempdir().unwrap();
        let port = ports::reserve();
        let Endpoint::Http(target) = daemon else {
            panic!("{daemon:?}");
        };
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [root().join(RULES)],
            "scrape_configs": [{
                "job_name": "secrets-sync",
                "static_configs": [{ "targets": [format!("127.0.0.1:{target}")] }]
            }]
        });
        let file = dir.path().join("prometheus.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let mut command = process::command(&program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", port.number()))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Some(Self {
            child: process::spawn(command).unwrap(),
            web: Endpoint::Http(port.number()),
            _port: port,
            _dir: dir,
        })
    }

    /// What the API says, once it does.
    fn ask(&self, target: &str) -> Option<Value> {
        let answer = self.web.exchange("GET", target, &[], b"").ok()?;
        let body = answer.json();
        assert!(
            answer.status == 503 || body["status"] == "success",
            "{target}: {}",
            answer.text()
        );
        Some(body["data"].clone()).filter(|data| !data.is_null())
    }

    /// The results of an expression.
    fn query(&self, expression: &str) -> Vec<Value> {
        let escaped: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let data = self.ask(&format!("/api/v1/query?query={escaped}")).unwrap();
        data["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}

#[test]
fn a_real_prometheus_finds_every_metric_that_rules_and_dashboard_use_and_the_alerts_wake() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "first" }));
    let policy = bao.reader_policy(&mount);
    let role = support::unique("monitored");
    // A life that is at its end for the rule, long before it is.
    let options = json!({ "token_policies": policy, "token_ttl": "4m", "token_max_ttl": "4m" });
    let (role_id, secret_id) = bao.approle(&role, &options);
    let config = format!(
        "secretStore: {{ address: '{}', authMethod: approle, roleId: {role_id}, secretId: {secret_id}, mountPath: {mount} }}\n\
         secrets:\n\
         - {{ name: a, key: a, refreshInterval: 1s, files: [{{ path: a, field: x }}] }}\n\
         - {{ name: absent, key: absent, refreshInterval: 1s, files: [{{ path: absent, field: x }}] }}\n\
         - {{ name: blocked, key: a, refreshInterval: 1s, files: [{{ path: blocked, field: x }}] }}\n",
        bao.address()
    );
    let daemon = Daemon::new(&config).metrics().start();
    // A directory where a file should be.
    fs::create_dir_all(daemon.path("blocked")).unwrap();
    daemon.wait_file("a", "first", SOON);
    daemon.wait_secret("absent", SOON, |secret| secret["state"] == "failed");
    daemon.wait_secret("blocked", SOON, |secret| secret["error_type"] == "write");
    fs::write(daemon.path("config.yaml"), "nonsense: true\n").unwrap();
    daemon.signal(Signal::HUP);
    let refused =
        || (daemon.metric("secrets_sync_config_last_reload_successful")? == 0.0).then_some(());
    assert!(poll(SOON, refused).is_some());

    // The page itself.
    if let Some(promtool) = program("promtool") {
        let page = daemon.path("page");
        fs::write(&page, daemon.get("/metrics").text()).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "\"$1\" check metrics < \"$0\""])
            .arg(&page)
            .arg(promtool);
        let said = podman::run(command);
        said.expect_success("promtool check metrics");
        assert_eq!(said.stdout + &said.stderr, "", "promtool check metrics");
    }
    let Some(prometheus) = Prometheus::start(&daemon.endpoint()) else {
        skip!("needs prometheus: run `make prometheus`");
    };
    let names = || {
        let data = prometheus.ask("/api/v1/label/__name__/values")?;
        let names: BTreeSet<String> = serde_json::from_value(data).unwrap();
        names.contains("secrets_synced").then_some(names)
    };
    let names = poll(SOON * 2, names).expect("a first scrape");
    let missing: Vec<_> = all_used().difference(&names).cloned().collect();
    assert!(missing.is_empty(), "not in the scrape: {missing:?}");
    // The list of the documentation is what a scrape brings, no more and no less.
    for name in &names {
        let ours = families().iter().any(|family| {
            let rest = name.strip_prefix(&family.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        });
        let its_own =
            ["up", "ALERTS"].iter().any(|it| name.starts_with(it)) || name.starts_with("scrape_");
        assert!(ours || its_own, "`{name}` is not in docs/metrics.md");
    }
    for family in families() {
        let there = names.iter().any(|name| name.starts_with(&family.name));
        assert!(there, "{} was not scraped", family.name);
    }

    // A second scrape makes rates possible.
    let twice = || {
        (prometheus
            .query("count_over_time(secrets_synced[1m]) > 2")
            .len()
            == 1)
            .then_some(())
    };
    assert!(poll(SOON, twice).is_some());
    for expression in dashboards_expressions() {
        let found = prometheus.query(&expression);
        // Nothing has been taken up within the last minute but at the start.
        let may_be_empty = expression.starts_with("changes(");
        assert!(may_be_empty || !found.is_empty(), "no answer: {expression}");
    }

    // The alerts know what is wrong here, and wait for their time; this one waits for none.
    let awake = || {
        let data = prometheus.ask("/api/v1/rules")?;
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        let bad: Vec<_> = rules.iter().filter(|it| it["health"] == "err").collect();
        assert!(bad.is_empty(), "{bad:?}");
        let awake = rules.iter().filter(|it| it["state"] != "inactive");
        let awake: BTreeSet<_> = awake
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        let wanted = [
            "Degraded",
            "NotReady",
            "ReloadFailed",
            "TokenEnding",
            "WriteErrors",
        ];
        let wanted: BTreeSet<_> = wanted.map(|it| format!("SecretsSync{it}")).into();
        (awake == wanted).then_some(())
    };
    assert!(
        poll(SOON * 2, awake).is_some(),
        "{:#?}",
        prometheus.ask("/api/v1/rules")
    );
}
