//! Answers of wrong types, sizes and words to everything that a session asks: log in, look up, renew,
//! unwrap. Each costs its own store alone a few requests, and gives away nothing that was sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails
#![allow(clippy::print_stdout)] // what was measured

mod hostile;
mod support;

use std::time::{Duration, Instant};

use End::{Fails, Read, Renewed};
use hostile::Pace::{self, Waits};
use hostile::{RETRIES, check_bound, paced};
use serde_json::json;
use support::{Action, Daemon, Request, Response, SOON, ScriptedServer};

const LOGIN: &str = "auth/approle/login";
const LOOK_UP: &str = "auth/token/lookup-self";
const RENEW: &str = "auth/token/renew-self";
const WRAPPED: &str = "sys/wrapping/lookup";
const UNWRAP: &str = "sys/wrapping/unwrap";
const READ: &str = "secret/data/s";

/// What a store's server answers to one of these.
struct Case {
    /// Also the name of the store, of its secret, and the first segment of its paths.
    name: String,
    to: &'static str,
    answer: Action,
    end: End,
}

/// What that leads to.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The secret is read all the same, with no more than one request there for each token.
    Read,
    /// The secret is read, and the session says this of a renewal that comes to nothing; a login
    /// comes in its place, at the earliest a second later.
    Renewed(&'static str, &'static str),
    /// Class, words, and the pace of the requests there.
    Fails(&'static str, &'static str, Pace),
}

fn body(status: u16, body: &str) -> Action {
    let mut response = Response::json(status, &json!(null));
    response.body = body.as_bytes().to_vec();
    response.act()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |to: &'static str, answer: Action, end: End| {
        let kind = to.rsplit('/').next().unwrap();
        cases.push(Case {
            name: format!("{kind}-{}", cases.len()),
            to,
            answer,
            end,
        });
    };
    let no_json = Fails(
        "bad_response",
        "the body is not the JSON of the API",
        RETRIES,
    );
    let no_token = Fails("bad_response", "the answer holds no token", RETRIES);
    let no_header = Fails(
        "bad_response",
        "the answer's token is none that a request could carry",
        RETRIES,
    );

    for wrong in [
        "",
        "null",
        "[]",
        "5",
        "\"auth\"",
        "<html>",
        "{",
        r#"{"errors":"no"}"#,
    ] {
        add(LOGIN, body(200, wrong), no_json);
    }
    for wrong in [
        "null",
        "[]",
        "5",
        "\"t\"",
        "true",
        "{}",
        r#"["t","a",3600,true]"#,
    ] {
        add(
            LOGIN,
            body(200, &format!(r#"{{"auth":{wrong}}}"#)),
            no_token,
        );
    }
    for (key, wrongs) in [
        (
            "client_token",
            &["null", "5", "[]", "{}", "true", "[116]"][..],
        ),
        (
            "lease_duration",
            &[
                "-1",
                "1.5",
                "\"3600\"",
                "1e300",
                "18446744073709551616",
                "null",
                "[]",
            ],
        ),
        ("renewable", &["\"yes\"", "1", "null"]),
        ("accessor", &["5", "null", "{}"]),
        ("token_type", &["5", "[]"]),
        ("num_uses", &["-1", "\"2\"", "0.5"]),
    ] {
        for wrong in wrongs {
            let mut auth = vec![format!("\"{key}\":{wrong}")];
            if key != "client_token" {
                auth.push("\"client_token\":\"t\"".to_owned());
            }
            add(
                LOGIN,
                body(200, &format!("{{\"auth\":{{{}}}}}", auth.join(","))),
                no_token,
            );
        }
    }
    for token in [
        "",
        " ",
        "two words",
        "a\\nb",
        "a\\u0000b",
        "\\u001b[2J",
        "ü",
    ] {
        let auth = format!(r#"{{"auth":{{"client_token":"{token}"}}}}"#);
        add(LOGIN, body(200, &auth), no_header);
    }
    let long = format!(r#"{{"auth":{{"client_token":"{}"}}}}"#, "t".repeat(1 << 20));
    add(LOGIN, body(200, &long), no_header);
    let deep = format!(r#"{{"auth":{{"client_token":{}1"#, "[".repeat(1 << 20));
    add(LOGIN, body(200, &deep), no_json);
    let for_ever =
        r#"{"auth":{"client_token":"t","lease_duration":18446744073709551615,"renewable":true}}"#;
    add(LOGIN, body(200, for_ever), Read);
    add(LOGIN, body(204, ""), no_json);
    let refused = "the server refused the credential";
    for status in [400, 401, 403] {
        let answer = body(status, r#"{"errors":["no"]}"#);
        add(LOGIN, answer, Fails("auth", refused, RETRIES));
    }
    let proxy = "answered 403, and not by the server";
    add(LOGIN, body(403, "<html>"), Fails("denied", proxy, RETRIES));
    add(
        LOGIN,
        body(404, r#"{"errors":[]}"#),
        Fails("auth", "no such secret", RETRIES),
    );
    let throttled = Response::error(429, "slow")
        .header("Retry-After", "2")
        .act();
    add(
        LOGIN,
        throttled,
        Fails("throttled", "again after 2s", Waits(Duration::from_secs(2))),
    );

    // Of a token that cannot be looked up nothing is known, and it may be good for all that.
    for wrong in [
        "",
        "<html>",
        "[]",
        r#"{"data":null}"#,
        r#"{"data":[]}"#,
        r#"{"data":"x"}"#,
    ] {
        add(LOOK_UP, body(200, wrong), Read);
    }
    for (key, wrongs) in [
        (
            "ttl",
            &["-5", "1.5", "\"x\"", "null", "[]", "18446744073709551615"][..],
        ),
        ("creation_ttl", &["-5", "{}"]),
        ("renewable", &["5", "\"no\""]),
        ("type", &["5", "[]"]),
        ("num_uses", &["-1", "\"2\""]),
        ("accessor", &["5", "[]"]),
    ] {
        for wrong in wrongs {
            add(
                LOOK_UP,
                body(200, &format!(r#"{{"data":{{"{key}":{wrong}}}}}"#)),
                Read,
            );
        }
    }
    add(LOOK_UP, body(404, "<html>"), Read);
    add(LOOK_UP, body(500, "<html>"), Read);
    add(LOOK_UP, Action::Reset, Read);
    add(LOOK_UP, body(200, &"[".repeat(1 << 20)), Read);

    for (status, wrong, class, words) in [
        (
            200,
            "",
            "bad_response",
            "the body is not the JSON of the API",
        ),
        (
            200,
            "[]",
            "bad_response",
            "the body is not the JSON of the API",
        ),
        (
            200,
            r#"{"auth":null}"#,
            "bad_response",
            "the answer holds no token",
        ),
        (
            200,
            r#"{"auth":{"client_token":"t","lease_duration":"x"}}"#,
            "bad_response",
            "the answer holds no token",
        ),
        (500, "<html>", "unavailable", "the server answered 500"),
        (403, "<html>", "denied", "and not by the server"),
    ] {
        add(RENEW, body(status, wrong), Renewed(class, words));
    }

    let no_path = Fails(
        "bad_response",
        "the answer holds no `creation_path`",
        RETRIES,
    );
    for wrong in [
        "{}",
        r#"{"data":[]}"#,
        r#"{"data":["p"]}"#,
        r#"{"data":{"creation_path":5}}"#,
    ] {
        add(WRAPPED, body(200, wrong), no_path);
    }
    add(WRAPPED, body(200, "<html>"), no_json);
    let elsewhere = format!(
        r#"{{"data":{{"creation_path":"a\u001b[2J\nb{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    let made = r"it was made at `a\u{1b}[2J\nbxxx";
    add(WRAPPED, body(200, &elsewhere), Fails("auth", made, RETRIES));
    let no_id = Fails("bad_response", "the answer holds no `secret_id`", RETRIES);
    for wrong in [
        "{}",
        r#"{"data":["id"]}"#,
        r#"{"data":{"secret_id":null}}"#,
        r#"{"data":{"secret_id":[]}}"#,
    ] {
        add(UNWRAP, body(200, wrong), no_id);
    }
    cases
}

/// What a store's server answers where all is well; the short time to live asks for renewals.
fn well(path: &str, renewals: bool) -> Action {
    let ttl = if renewals { 2 } else { 3600 };
    let token = json!({
        "client_token": "t", "lease_duration": ttl, "renewable": true, "ttl": ttl,
        "creation_ttl": ttl, "type": "service", "accessor": "a",
    });
    let answer = match path {
        LOGIN | RENEW => json!({ "auth": token }),
        LOOK_UP => json!({ "data": token }),
        WRAPPED => json!({"data": {"creation_path": "auth/approle/role/r/secret-id"}}),
        UNWRAP => json!({"data": {"secret_id": "unwrapped"}}),
        READ => json!({"data": {"data": {"x": "v"}, "metadata": {"version": 1}}}),
        _ => json!({}),
    };
    Response::json(200, &answer).act()
}

/// The store of a request, and its path without `/v1/` and query.
fn parts(request: &Request) -> Option<(&str, &str)> {
    let (store, path) = request.target.strip_prefix('/')?.split_once("/v1/")?;
    Some((store, path.split('?').next()?))
}

/// The requests to one store at one path.
fn times(server: &ScriptedServer, store: &str, wanted: &str) -> Vec<Instant> {
    let requests = server.requests();
    let its = requests.iter().filter(|r| {
        parts(r).is_some_and(|(its, path)| its == store && (wanted.is_empty() || path == wanted))
    });
    its.map(|request| request.at).collect()
}

#[test]
fn whatever_a_server_answers_to_a_session_costs_its_own_store_a_few_requests() {
    let cases = cases();
    let script: Vec<_> = cases
        .iter()
        .map(|c| (c.name.clone(), c.to, c.answer.clone()))
        .collect();
    let server = ScriptedServer::start(move |request| {
        let Some((store, path)) = parts(request) else {
            return Action::Close;
        };
        let case = script.iter().find(|(name, ..)| name == store);
        match case {
            Some((_, to, answer)) if *to == path => answer.clone(),
            _ => well(path, case.is_some_and(|(_, to, _)| *to == RENEW)),
        }
    });
    let mut config = format!(
        "limits: {{maxSecrets: 1000}}\nsecretStore: {{address: '{0}/good', roleId: r, secretId: s}}\nsecretStores:\n",
        server.address()
    );
    for case in &cases {
        let wrapped = matches!(case.to, WRAPPED | UNWRAP);
        config.push_str(&format!(
            "  {0}: {{address: '{1}/{0}', roleId: r, secretId: canary-of-{0}{2}}}\n",
            case.name,
            server.address(),
            if wrapped {
                ", secretIdWrappingPath: auth/approle/role/r/secret-id"
            } else {
                ""
            },
        ));
    }
    config.push_str("secrets:\n");
    let names = cases.iter().map(|case| &*case.name);
    for name in names.chain(["default"]) {
        config.push_str(&format!(
            "- {{name: {name}, key: s, store: {name}, refreshInterval: 1s, files: [{{path: \
             @DIR@/{name}, field: x}}]}}\n"
        ));
    }
    let started = Instant::now();
    let mut daemon = paced(Daemon::new(&config)).start();
    daemon.wait_file("default", "v", SOON);
    for Case { name, to, end, .. } in &cases {
        match *end {
            Read => daemon.wait_file(name, "v", SOON),
            Renewed(class, words) => {
                daemon.wait_file(name, "v", SOON);
                let line = daemon.wait_for_log(SOON, |line| {
                    line.has("store", name) && line.has("msg", "the session has trouble")
                });
                assert_eq!(line.text("error_type"), class, "{}", line.raw);
                assert!(line.text("error").contains(words), "{words}: {}", line.raw);
            }
            Fails(class, words, pace) => {
                let line = daemon.wait_for_log(SOON, |line| {
                    line.has("secret", name) && line.json["error_type"].is_string()
                });
                assert_eq!(line.text("error_type"), class, "{to}: {}", line.raw);
                assert!(line.text("error").contains(words), "{words}: {}", line.raw);
                assert!(
                    !line.text("error").contains(char::is_control),
                    "{}",
                    line.raw
                );
                assert!(line.raw.len() < 2000, "{} bytes", line.raw.len());
                server.wait_for(pace.expected(), SOON, |request| {
                    parts(request) == Some((name, to))
                });
                assert!(!daemon.path(name).exists(), "{name}");
            }
        }
    }
    // A second of each second's requests more, to see what goes on.
    let good = times(&server, "good", READ).len();
    server.wait_for(good + 3, SOON, |request| {
        parts(request) == Some(("good", READ))
    });
    let lasted = started.elapsed();
    for Case { name, to, end, .. } in &cases {
        let there = times(&server, name, to);
        let logins = times(&server, name, LOGIN).len();
        match *end {
            Read => assert!(
                there.len() <= 2 * logins && logins <= 2,
                "{name}: {}",
                there.len()
            ),
            Renewed(..) => {
                let gaps = there.windows(2).map(|pair| pair[1] - pair[0]);
                let least = Duration::from_millis(100);
                assert!(gaps.into_iter().all(|gap| gap >= least), "{name}");
                let most = usize::try_from(lasted.as_secs()).unwrap() + 2;
                assert!(logins <= most, "{name}: {logins} logins in {lasted:?}");
                let status = daemon.status().unwrap();
                let all = status["secrets"].as_array().unwrap();
                let its = all.iter().find(|secret| secret["name"] == **name).unwrap();
                assert_eq!(its["state"], "in_sync", "{its}");
            }
            Fails(.., pace) => pace.check(name, &there),
        }
        check_bound(name, &times(&server, name, ""), 1, 1.0, 0);
    }
    let all = server.requests();
    println!(
        "measured: {} requests of {} stores in {lasted:?}",
        all.len(),
        cases.len() + 1
    );
    println!("measured: {} KiB resident at most", daemon.peak_rss_kib());
    // The neighbour: one login, one look-up, and reads at its interval.
    assert_eq!(times(&server, "good", LOGIN).len(), 1);
    assert_eq!(times(&server, "good", LOOK_UP).len(), 1);
    let reads = times(&server, "good", READ);
    let gaps = reads.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.min().unwrap() >= Duration::from_millis(800));
    assert_eq!(daemon.stop().code(), Some(0));
    for line in daemon.log() {
        assert!(
            !line.raw.contains("panic") && !line.raw.contains("canary-of"),
            "{}",
            line.raw
        );
    }
}

/// The server says back what it was told, wherever a text of its own has a place: also where a message
/// cuts it.
#[test]
fn what_was_sent_is_not_told_whatever_the_server_says_back() {
    let server = ScriptedServer::start(|request| {
        let Some((store, path)) = parts(request) else {
            return Action::Close;
        };
        let token = request
            .header("x-vault-token")
            .unwrap_or_default()
            .to_owned();
        let given = request.json();
        let given = ["secret_id", "token"]
            .iter()
            .find_map(|key| given[key].as_str());
        let sent = format!("{token}{}", given.unwrap_or_default());
        // The place of the cut, give or take the length of what was sent.
        let before = "x".repeat(
            store
                .rsplit('-')
                .next()
                .unwrap()
                .parse()
                .unwrap_or_default(),
        );
        let said = format!("{before}{sent} and {sent}\n{sent}");
        match store.split('-').next().unwrap() {
            "login" => Response::error(400, &said).act(),
            "read" if path == READ => Response::error(400, &said).act(),
            "deleted" if path == READ => {
                let metadata = json!({"deletion_time": said, "version": 1});
                Response::json(404, &json!({"data": {"data": null, "metadata": metadata}})).act()
            }
            "away" if path == READ => Response {
                status: 307,
                headers: vec![(
                    "Location".into(),
                    format!("https://{sent}.example/{sent}?{sent}"),
                )],
                body: sent.into_bytes(),
            }
            .act(),
            "made" if path == WRAPPED => {
                Response::json(200, &json!({"data": {"creation_path": said}})).act()
            }
            _ if path == LOOK_UP => Response::error(500, &said).act(),
            "renew" if path == RENEW => Response::error(500, &said).act(),
            _ if path == LOGIN => {
                let token = format!("canary.{}", "T".repeat(30));
                let auth = json!({"client_token": token, "lease_duration": 2, "renewable": true});
                Response::json(200, &json!({ "auth": auth })).act()
            }
            _ => well(path, false),
        }
    });
    let mut config = "secretStores:\n".to_owned();
    let mut secrets = "secrets:\n".to_owned();
    let mut names = Vec::new();
    for kind in ["login", "read", "deleted", "away", "made", "renew"] {
        for before in [0, 150, 165, 180, 195, 199] {
            let name = format!("{kind}-{before}");
            let wrapped = if kind == "made" {
                ", secretIdWrappingPath: auth/approle/role/r/secret-id"
            } else {
                ""
            };
            config.push_str(&format!(
                "  {name}: {{address: '{}/{name}', roleId: r, secretId: \
                 canary.SSSSSSSSSSSSSSSSSSSSSSSSSSSSSS{wrapped}}}\n",
                server.address()
            ));
            secrets.push_str(&format!(
                "- {{name: {name}, key: s, store: {name}, refreshInterval: 1h, files: [{{path: \
                 @DIR@/{name}, field: x}}]}}\n"
            ));
            names.push(name);
        }
    }
    let mut daemon = paced(Daemon::new(&(config + &secrets)))
        .env("LOG_LEVEL", "trace")
        .metrics()
        .start();
    for name in &names {
        daemon.wait_for_log(SOON, |line| {
            let its = line.has("secret", name) || line.has("store", name);
            its && line.json["error_type"].is_string()
        });
    }
    let mut said = vec![
        daemon.get("/metrics").text(),
        daemon.get("/status").text(),
        std::fs::read_to_string(daemon.path("status.json")).unwrap(),
    ];
    daemon.stop();
    said.extend(daemon.log().into_iter().map(|line| line.raw));
    let redacted = said
        .iter()
        .filter(|text| text.contains("[redacted]"))
        .count();
    assert!(redacted > 10, "{redacted}");
    for text in said {
        let lower = text.to_lowercase();
        // Also no part of it: it is cut somewhere.
        assert!(!lower.contains("canary"), "{text}");
        assert!(!lower.contains("sss") && !lower.contains("ttt"), "{text}");
    }
}

/// A name; what is answered in place of the usual; how many requests in the time of ten reads of the
/// neighbour are enough.
type Storm = (&'static str, Vec<(&'static str, Action)>, usize);

/// What a server may say to keep a session busy: tokens that are dead at once, live for a second, or
/// are used up, and secrets that are.
#[test]
fn no_answer_makes_a_session_loop() {
    let token = |ttl: u64, renewable: bool, uses: u64| {
        json!({
            "client_token": "t", "lease_duration": ttl, "renewable": renewable, "ttl": ttl,
            "creation_ttl": ttl, "type": "service", "accessor": "a", "num_uses": uses,
        })
    };
    let auth = |value: serde_json::Value| Response::json(200, &json!({ "auth": value })).act();
    let data = |value: serde_json::Value| Response::json(200, &json!({ "data": value })).act();
    let leased = |id: &str, seconds: u64| {
        let data = json!({"data": {"x": "v"}, "metadata": {"version": 1}});
        let answer = json!({"lease_id": id, "lease_duration": seconds, "data": data});
        Response::json(200, &answer).act()
    };
    let refused = |text: &str| Response::error(403, text).act();
    let cases: Vec<Storm> = vec![
        ("dead", vec![(READ, refused("permission denied"))], 20),
        ("invalid", vec![(READ, refused("invalid token"))], 20),
        (
            "forbidden",
            vec![(
                READ,
                refused("1 error occurred:\n\t* permission denied\n\n"),
            )],
            20,
        ),
        (
            "dead-to-all",
            vec![
                (READ, refused("permission denied")),
                (LOOK_UP, refused("permission denied")),
            ],
            60,
        ),
        (
            "a-second",
            vec![
                (LOGIN, auth(token(1, false, 0))),
                (LOOK_UP, data(token(1, false, 0))),
            ],
            90,
        ),
        (
            "renewed-for-a-second",
            vec![
                (LOGIN, auth(token(1, true, 0))),
                (LOOK_UP, data(token(1, true, 0))),
                (RENEW, auth(token(1, true, 0))),
            ],
            60,
        ),
        (
            "renewed-for-nothing",
            vec![
                (LOGIN, auth(token(1, true, 0))),
                (LOOK_UP, data(token(1, true, 0))),
                (RENEW, auth(token(0, true, 0))),
            ],
            90,
        ),
        (
            "not-renewed",
            vec![
                (LOGIN, auth(token(1, true, 0))),
                (LOOK_UP, data(token(1, true, 0))),
                (RENEW, refused("permission denied")),
            ],
            90,
        ),
        ("one-use", vec![(LOGIN, auth(token(3600, true, 1)))], 30),
        ("a-lease-of-a-second", vec![(READ, leased("l", 1))], 30),
        ("a-second-to-live", vec![(READ, leased("", 1))], 30),
    ];
    let script = cases.clone();
    let server = ScriptedServer::start(move |request| {
        let Some((store, path)) = parts(request) else {
            return Action::Close;
        };
        let case = script.iter().find(|(name, ..)| *name == store);
        let answer = case.and_then(|(_, answers, _)| answers.iter().find(|(to, _)| *to == path));
        answer.map_or_else(|| well(path, false), |(_, answer)| answer.clone())
    });
    let mut config = "secretStores:\n".to_owned();
    let mut secrets = "secrets:\n".to_owned();
    for name in cases.iter().map(|(name, ..)| *name).chain(["good"]) {
        config.push_str(&format!(
            "  {name}: {{address: '{}/{name}', roleId: r, secretId: s}}\n",
            server.address()
        ));
        secrets.push_str(&format!(
            "- {{name: {name}, key: s, store: {name}, refreshInterval: 1s, files: [{{path: \
             @DIR@/{name}, field: x}}]}}\n"
        ));
    }
    let mut daemon = Daemon::new(&(config + &secrets)).start();
    let good = server.wait_for(10, SOON, |request| parts(request) == Some(("good", READ)));
    let until = good[9].at;
    for (name, _, most) in &cases {
        let all: Vec<_> = times(&server, name, "")
            .into_iter()
            .filter(|at| *at <= until)
            .collect();
        let logins = times(&server, name, LOGIN).len();
        println!(
            "measured: {name}: {} requests, {logins} logins in ten seconds",
            all.len()
        );
        assert!(all.len() <= *most, "{name}: {} requests", all.len());
        check_bound(name, &all, 1, 1.0, 0);
    }
    assert_eq!(times(&server, "good", LOGIN).len(), 1);
    assert_eq!(daemon.stop().code(), Some(0));
}
