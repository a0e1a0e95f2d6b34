//! Proves the harness itself: what the other tests take for granted.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Action, Certs, CountingProxy, Daemon, Endpoint, OpenBao, Response, SOON, ScriptedServer, Setup,
    Signal, poll, ports,
};

#[test]
fn dev_server_keeps_and_gives_versions() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    assert_eq!(bao.kv2_put(&mount, "app/db", &json!({ "user": "a" })), 1);
    assert_eq!(bao.kv2_put(&mount, "app/db", &json!({ "user": "b" })), 2);
    let path = format!("{mount}/data/app/db");
    let read = || bao.request("GET", &path, "root", "", &Value::Null);
    assert_eq!(read().1["data"]["data"], json!({ "user": "b" }));

    bao.delete(&mount, "app/db");
    let (status, answer) = read();
    assert_eq!((status, &answer["data"]["data"]), (404, &Value::Null));
    bao.undelete(&mount, "app/db", &[2]);
    assert_eq!(read().0, 200);
    bao.destroy(&mount, "app/db", &[2]);
    assert_eq!(read().1["data"]["metadata"]["destroyed"], true);
    bao.purge(&mount, "app/db");
    assert_eq!(read(), (404, json!({ "errors": [] })));
}

#[test]
fn kv1_answers_without_a_version() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(1);
    bao.kv1_put(&mount, "a", &json!({ "x": "1" }));
    let answer = bao.call("GET", &format!("{mount}/a"), &Value::Null);
    assert_eq!(
        (&answer["data"], &answer["lease_id"]),
        (&json!({ "x": "1" }), &json!(""))
    );
}

#[test]
fn a_namespace_is_a_world_of_its_own() {
    let bao = OpenBao::shared();
    let team = support::unique("team");
    let inner = bao.namespace(&team);
    inner.enable_kv("kv", 2);
    inner.kv2_put("kv", "b", &json!({ "x": "1" }));
    let read = |namespace: &str| {
        bao.request("GET", "kv/data/b", "root", namespace, &Value::Null)
            .0
    };
    assert_eq!((read(&team), read("")), (200, 404));
}

#[test]
fn a_run_that_shows_a_remembered_value_fails_its_test_in_every_spelling_and_place() {
    let value = "leak <of> a line\n\"test\"/é+1";
    support::canary::remember(value);
    let spellings = support::canary::spellings(value);
    assert!(spellings.len() > 12, "{spellings:?}");
    for said in [
        value.to_owned(),
        "leak <of> a line".to_owned(),
        json!({ "x": value }).to_string(),
        "leak \\u003cof\\u003e a line".to_owned(),
        format!("{value:?}"),
        format!("{:?}", value.as_bytes()),
        "leak%20%3Cof%3E%20a%20line%0A%22test%22".to_owned() + "%2F%C3%A9%2B1",
        base64(0, value),
        base64(1, value),
        base64(2, value),
        value.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ] {
        assert!(spellings.iter().any(|one| said.contains(one)), "{said}");
    }
    let fails =
        |test: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_err();
    let sh = Path::new("/bin/sh");
    let says = |script: &str| {
        let setup = Daemon::bare()
            .program(sh)
            .arg("-c")
            .any_stdout()
            .any_stderr();
        setup.run(&[script]);
    };
    let encoded = base64(1, value);
    assert!(!fails(&|| says("echo nothing")));
    assert!(fails(&|| says(&format!("echo {encoded}"))));
    assert!(fails(&|| says(&format!("echo {encoded} >&2"))));
    // As a daemon, in what it says, shows in its status, and leaves.
    let runs = |script: &str, until: &str| {
        let daemon = Daemon::bare().program(sh).arg("-c").arg(script).start();
        daemon.wait_for_log(SOON, |line| line.raw == until);
    };
    assert!(!fails(&|| runs("echo up >&2; sleep 60", "up")));
    assert!(fails(&|| runs(
        &format!("echo {encoded} >&2; echo up >&2; sleep 60"),
        "up"
    )));
    let status = format!("echo {encoded} > status.json; echo up >&2; sleep 60");
    assert!(fails(&|| runs(&status, "up")));
    assert!(fails(&|| runs(
        "echo > core.7; echo up >&2; sleep 60",
        "up"
    )));
    support::canary::allow(value, "it is this test's");
    assert!(!fails(&|| says(&format!("echo {encoded}"))));
}

/// The value in base64 behind `skip` other bytes.
fn base64(skip: usize, value: &str) -> String {
    use base64::Engine as _;
    let bytes = [&b"xx"[..skip], value.as_bytes()].concat();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn approle_logs_in_and_its_wrapped_secret_id_unwraps_once() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "1" }));
    let policy = bao.reader_policy(&mount);
    let role = support::unique("role");
    let options = json!({ "token_policies": [policy], "token_ttl": "20s" });
    let (role_id, secret_id) = bao.approle(&role, &options);

    let login = json!({ "role_id": role_id, "secret_id": secret_id });
    let (status, answer) = bao.request("POST", "auth/approle/login", "", "", &login);
    assert_eq!(
        (status, &answer["auth"]["lease_duration"]),
        (200, &json!(20))
    );
    let token = answer["auth"]["client_token"].as_str().unwrap();
    let path = format!("{mount}/data/a");
    assert_eq!(bao.request("GET", &path, token, "", &Value::Null).0, 200);
    assert!(bao.lookup(token).is_some());
    bao.revoke(token);
    assert!(bao.lookup(token).is_none());
    assert_eq!(bao.request("GET", &path, token, "", &Value::Null).0, 403);

    let wrapped = bao.wrapped_secret_id(&role, "60s");
    let unwrap = || {
        bao.request("POST", "sys/wrapping/unwrap", &wrapped, "", &Value::Null)
            .0
    };
    assert_eq!((unwrap(), unwrap()), (200, 400));
}

#[test]
fn a_token_has_the_uses_it_was_given() {
    let bao = OpenBao::shared();
    let token = bao.token(&["default"], "60s", &json!({ "num_uses": 1 }));
    let look = || {
        bao.request("GET", "auth/token/lookup-self", &token, "", &Value::Null)
            .0
    };
    assert_eq!((look(), look()), (200, 403));
}

#[test]
fn tls_socket_and_quota_of_a_dev_server() {
    let bao = OpenBao::dev().tls().unix_socket().start();
    assert!(bao.address().starts_with("https://127.0.0.1:"));
    assert!(bao.ca().is_file());
    assert_eq!(bao.health(), Some(200));
    assert_eq!(bao.unix_endpoint().get("/v1/sys/health").status, 200);

    bao.rate_limit("one", "secret", 1.0, "60s");
    let read = || {
        bao.request("GET", "secret/data/a", "root", "", &Value::Null)
            .0
    };
    assert_eq!((read(), read()), (404, 429));
    bao.lift_rate_limit("one");
    assert_eq!(read(), 404);
}

#[test]
fn a_server_can_be_sealed_frozen_and_unsealed() {
    let bao = OpenBao::sealable().tls().start();
    bao.enable_kv("kv", 2);
    bao.kv2_put("kv", "a", &json!({ "x": "1" }));
    bao.seal();
    let (status, answer) = bao.request("GET", "kv/data/a", bao.root_token(), "", &Value::Null);
    assert_eq!(
        (status, answer),
        (503, json!({ "errors": ["Vault is sealed"] }))
    );
    bao.unseal();
    assert_eq!(
        bao.call("GET", "kv/data/a", &Value::Null)["data"]["data"]["x"],
        "1"
    );

    bao.stop();
    let stream = bao.endpoint().connect(Duration::from_millis(100)).unwrap();
    let mut stream = std::io::BufReader::new(stream);
    assert!(std::io::Write::write_all(stream.get_mut(), b"GET / HTTP/1.0\r\n\r\n").is_err());
    bao.cont();
    assert_eq!(bao.health(), Some(200));
}

#[test]
fn raft_keeps_its_data_and_address_over_a_kill() {
    let bao = OpenBao::raft().start();
    let address = bao.address();
    bao.enable_kv("kv", 1);
    bao.kv1_put("kv", "a", &json!({ "x": "1" }));
    bao.kill9();
    assert_eq!(bao.health(), None);
    bao.restart();
    assert_eq!(bao.address(), address);
    assert_eq!(bao.call("GET", "kv/a", &Value::Null)["data"]["x"], "1");
}

#[test]
fn a_server_is_gone_when_it_is_dropped() {
    let bao = OpenBao::dev().start();
    let endpoint = bao.endpoint().clone();
    drop(bao);
    assert!(endpoint.connect(SOON).is_err());
}

#[test]
fn reserved_ports_refuse_and_differ() {
    let (one, other) = (ports::reserve(), ports::reserve());
    assert!(one.number().abs_diff(other.number()) >= 10);
    assert!(Endpoint::Http(one.number()).connect(SOON).is_err());
}

#[test]
fn proxy_counts_keeps_connections_and_injects() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({ "x": "1" }));
    let proxy = CountingProxy::start(bao.endpoint());
    let path = format!("{mount}/data/a");
    let agent: ureq::Agent = ureq::config::Config::builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .new_agent();
    let ask = || {
        let url = format!("{}/v1/{path}", proxy.address());
        let mut answer = agent
            .get(url)
            .header("X-Vault-Token", "root")
            .call()
            .unwrap();
        (
            answer.status().as_u16(),
            answer.body_mut().read_to_string().unwrap(),
        )
    };

    let (status, body) = ask();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"x\":\"1\""), "{body}");
    let guarded = path.clone();
    proxy.inject(move |request| {
        request
            .is("GET", &guarded)
            .then(|| Response::error(429, "slow down").act())
    });
    assert_eq!(ask(), (429, "{\"errors\":[\"slow down\"]}".to_owned()));
    proxy.restore();
    assert_eq!(ask().0, 200);

    let seen: Vec<_> = proxy
        .requests()
        .iter()
        .map(|r| (r.status, r.open))
        .collect();
    assert_eq!(seen, [(Some(200), 1), (Some(429), 1), (Some(200), 1)]);
    assert_eq!(proxy.count(|request| request.is("GET", &path)), 3);
    assert_eq!(proxy.connections(), 1, "keep-alive");
    let all = proxy.requests();
    assert!(all[0].at < all[1].at && all[1].at < all[2].at);
}

#[test]
fn scripted_server_misbehaves_as_told() {
    let server = ScriptedServer::start(|request| {
        let answer = Response::json(200, &json!({ "ok": true }));
        match request.target.as_str() {
            "/half" => Action::HalfBody(answer, 3),
            "/reset" => Action::Reset,
            "/close" => Action::Close,
            "/raw" => Action::Raw(b"nonsense\r\n\r\n".to_vec()),
            "/hang" => Action::Hang,
            "/slow" => Action::Slow(answer, Duration::from_micros(100)),
            "/late" => Action::Delay(Duration::from_millis(30), Box::new(answer.act())),
            "/once" => Action::RespondAndClose(answer),
            _ => answer.act(),
        }
    });
    let ask = |target: &str| server.endpoint().exchange("GET", target, &[], b"");
    assert_eq!(ask("/").unwrap().json(), json!({ "ok": true }));
    assert_eq!(ask("/slow").unwrap().json(), json!({ "ok": true }));
    assert_eq!(ask("/once").unwrap().json(), json!({ "ok": true }));
    let start = Instant::now();
    assert_eq!(ask("/late").unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(30));
    let kind = |target: &str| ask(target).unwrap_err().kind();
    assert_eq!(kind("/half"), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(kind("/reset"), std::io::ErrorKind::ConnectionReset);
    assert_eq!(kind("/close"), std::io::ErrorKind::UnexpectedEof);
    assert!(ask("/raw").is_err());

    let endpoint = server.endpoint();
    let hanging = std::thread::spawn(move || endpoint.exchange("GET", "/hang", &[], b"").is_err());
    let asked = server.wait_for(1, SOON, |request| request.target == "/hang");
    assert_eq!(asked[0].status, None);
    drop(server);
    assert!(
        hanging.join().unwrap(),
        "the end of the server ends its connections"
    );
}

#[test]
fn certificates_are_trusted_by_their_authority_alone() {
    let certs = Certs::new();
    let (server, _) = certs.server("server", "DNS:localhost,IP:127.0.0.1");
    let (client, key) = certs.client("client");
    assert!(key.is_file());
    let verify = |ca: &Certs, purpose: &str, certificate: &std::path::Path| {
        let check = std::process::Command::new("openssl")
            .args(["verify", "-purpose", purpose, "-CAfile"])
            .args([ca.ca().as_path(), certificate])
            .output();
        check.unwrap().status.success()
    };
    assert!(verify(&certs, "sslserver", &server));
    assert!(verify(&certs, "sslclient", &client));
    assert!(!verify(&certs, "sslclient", &server));
    assert!(!verify(&Certs::new(), "sslserver", &server));
}

/// A shell script in the daemon's place.
fn script(text: &str) -> Setup {
    let sh = std::path::Path::new("/bin/sh");
    Daemon::new("written to: @DIR@\n")
        .program(sh)
        .arg("-c")
        .arg(text)
}

#[test]
fn a_daemon_is_followed_signalled_and_measured() {
    let mut daemon = script(
        r#"trap 'printf "{\"msg\":\"bye\"}\n" >&2; exit 7' TERM
           trap 'printf "{\"msg\":\"again\"}\n" >&2' HUP
           printf '{"msg":"up","secret":"a"}\n' >&2; printf new > out
           printf '{"ready":true}' > status.json
           while :; do sleep 0.05; done"#,
    )
    .start();
    let up = daemon.wait_for_log(SOON, |line| line.msg() == "up");
    assert!(up.has("secret", "a") && !up.has("secret", "b"));
    daemon.wait_file("out", "new", SOON);
    daemon.wait_ready(SOON);
    let mark = daemon.mark();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_after(mark, SOON, |line| line.msg() == "again");
    assert!(daemon.rss_kib() > 0 && daemon.peak_rss_kib() >= daemon.rss_kib());
    assert_eq!(daemon.threads(), 1);
    assert!(daemon.fds() >= 3);
    assert!(daemon.cpu_time() < SOON);
    assert_eq!(daemon.stop().code(), Some(7));
    assert_eq!(daemon.log().last().unwrap().msg(), "bye");
    assert_eq!(daemon.stdout(), "");
}

#[test]
fn a_daemon_is_heard_on_its_notify_socket() {
    let send = r#"exec python3 -c 'import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"STATUS=x\nREADY=1")'"#;
    let path = std::env::var("PATH").unwrap();
    let mut daemon = script(send).env("PATH", &path).start();
    daemon.wait_ready(SOON);
    assert_eq!(daemon.notifications(), ["STATUS=x\nREADY=1"]);
    assert!(daemon.wait_exit(SOON).success());
}

#[test]
fn a_daemon_has_a_clean_environment_and_its_own_directory() {
    let finished = script(r#"cat "$CONFIG_FILE"; env | sed 's/=.*//' | sort; pwd; echo "$X" >&2"#)
        .env("X", "in @DIR@")
        .stdout("written to: @DIR@\nCONFIG_FILE\nHOME\nMETRICS_PORT\nPWD\nSTATUS_FILE\nX\n@DIR@\n")
        .stderr("in @DIR@\n")
        .run(&[]);
    assert_eq!(finished.read("config.yaml").lines().count(), 1);
}

#[test]
fn a_run_is_compared_in_status_output_and_errors_always() {
    let fails = |setup: Setup| {
        let run = std::panic::AssertUnwindSafe(move || drop(setup.run(&[])));
        std::panic::catch_unwind(run).is_err()
    };
    let all = "echo out; echo err >&2; exit 3";
    assert!(!fails(
        script(all).status(3).stdout("out\n").stderr("err\n")
    ));
    assert!(!fails(script(all).status(3).any_stdout().any_stderr()));
    assert!(fails(script(all).stdout("out\n").stderr("err\n")), "status");
    assert!(
        fails(script(all).status(3).stderr("err\n")),
        "unset is empty"
    );
    assert!(
        fails(script(all).status(3).stdout("out\n")),
        "unset is empty"
    );
    assert!(
        fails(script(all).status(3).stdout("out\n").stderr("er")),
        "the whole text"
    );
}

#[test]
fn another_command_runs_beside_a_daemon_as_it_was_set_up() {
    let daemon = script(r#"printf "$0 $X"; echo err >&2; exit 4"#)
        .env("X", "x")
        .start();
    let ended = (4, "status x".to_owned(), "err\n".to_owned());
    assert_eq!(daemon.also(&["status"]), ended);
}

#[test]
fn a_daemon_is_gone_when_it_is_dropped() {
    let daemon = script("exec sleep 600").start();
    let proc = format!("/proc/{}", daemon.pid());
    drop(daemon);
    assert!(!std::path::Path::new(&proc).exists());
}

/// By this program, run again with the one test that skips.
#[test]
fn a_skipped_test_says_so_past_the_capture() {
    const CHILD: &str = "SECRETS_SYNC_SELFTEST_SKIPS";
    if std::env::var_os(CHILD).is_some() {
        skip!("needs {}", "nothing");
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_skipped_test_says_so_past_the_capture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success());
    let line = "SKIPPED support_selftest::a_skipped_test_says_so_past_the_capture: needs nothing";
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().any(|said| said == line), "{said}");
}

/// The kernel kills what a test program leaves behind: seen on the shared server of this one, by
/// running this program again with a test that only starts it.
#[test]
fn no_server_outlives_its_test_program() {
    const CHILD: &str = "SECRETS_SYNC_SELFTEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        use std::io::Write as _;
        let bao = OpenBao::shared();
        let mut out = std::io::stdout();
        writeln!(out, "address {}", bao.address()).unwrap();
        out.flush().unwrap();
        // Until the parent kills this program.
        let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "no_server_outlives_its_test_program",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let port = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| line.split_once("address http://127.0.0.1:")?.1.parse().ok())
        .expect("the child's server");
    let endpoint = Endpoint::Http(port);
    assert_eq!(endpoint.get("/v1/sys/health").status, 200);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(poll(SOON, || endpoint.connect(SOON).is_err().then_some(())).is_some());
}

#[test]
fn a_run_that_says_a_secret_fails_its_test() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "k", &json!({ "x": "said-by-mistake" }));
    let token = bao.token(&["default"], "1m", &Value::Null);
    for value in ["said-by-mistake", token.as_str()] {
        let echo = || {
            Daemon::bare()
                .program(Path::new("/bin/echo"))
                .any_stdout()
                .run(&["it is", value])
        };
        assert!(std::panic::catch_unwind(echo).is_err(), "{value}");
    }
}
