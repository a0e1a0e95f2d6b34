//! Tokens over their whole life, on a real server behind a proxy that counts: taken, renewed,
//! replaced, revoked by others and by us. No read fails that need not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

mod support;
mod traffic;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Action, CountingProxy, Daemon, OpenBao, Response, SOON, Signal, unique};
use traffic::{
    Store, all_read_after, brisk, config, is_failure, is_login, is_read, names, reads, secret,
};

/// A mount with these secrets, each `v1`; its reading policy.
fn stock(bao: &OpenBao, names: &[String]) -> (String, String) {
    let mount = bao.fresh_kv(2);
    put_all(bao, &mount, names, "v1");
    let policy = bao.reader_policy(&mount);
    (mount, policy)
}

fn put_all(bao: &OpenBao, mount: &str, names: &[String], value: &str) {
    for name in names {
        bao.kv2_put(mount, name, &json!({ "value": value }));
    }
}

fn wait_all(daemon: &Daemon, names: &[String], value: &str) {
    for name in names {
        daemon.wait_file(format!("out/{name}"), value, SOON);
    }
}

fn list(mount: &str, names: &[String], interval: &str) -> Vec<String> {
    names.iter().map(|n| secret(mount, n, interval)).collect()
}

fn is_renewal(request: &support::Request) -> bool {
    request.is("POST", "auth/token/renew-self")
}

fn is_revocation(request: &support::Request) -> bool {
    request.is("POST", "auth/token/revoke-self")
}

/// The token that the daemon reads with now.
fn token_in_use(proxy: &CountingProxy) -> String {
    let requests = proxy.requests();
    let last = requests.iter().rev().find(|request| is_read(request));
    last.unwrap().header("x-vault-token").unwrap().to_owned()
}

#[test]
fn a_token_revoked_under_sixty_secrets_is_replaced_by_one_login_within_two_seconds() {
    let bao = OpenBao::shared();
    let names = names(60);
    let (mount, policy) = stock(&bao, &names);
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let daemon = Daemon::new(&config(
        &proxy.address(),
        &auth,
        &list(&mount, &names, "1s"),
    ))
    .start();
    daemon.wait_ready(SOON);
    assert_eq!(proxy.count(is_login), 1, "one for all at the start");

    put_all(&bao, &mount, &names, "v2");
    wait_all(&daemon, &names, "v2");
    proxy.clear();
    bao.revoke(&token_of(&daemon, &proxy));
    put_all(&bao, &mount, &names, "v3");
    wait_all(&daemon, &names, "v3");
    let requests = proxy.requests();
    let found = requests
        .iter()
        .find(|r| is_read(r) && r.status == Some(403));
    let found = found.expect("a read that found it").at;
    let took = all_read_after(&requests, &names, found).expect("all of them");
    println!("measured: 60 secrets current {took:?} after the read that found the token revoked");
    // Each had its own time to read within a second, and two seconds to be current.
    assert!(took < Duration::from_secs(3), "{took:?}");
    for name in &names {
        let of = |status: u16| {
            let mut its = requests.iter().filter(|r| r.at >= found && reads(r, name));
            its.find(|r| r.status == Some(status)).map(|r| r.at)
        };
        if let (Some(refused), Some(good)) = (of(403), of(200)) {
            assert!(good < refused + Duration::from_secs(2), "{name}");
        }
        let refusals = requests
            .iter()
            .filter(|r| reads(r, name) && r.status == Some(403));
        assert!(refusals.count() <= 1, "{name}");
    }
    assert_eq!(proxy.count(is_login), 1, "one login for all");
    assert!(
        !daemon
            .log()
            .iter()
            .any(|line| line.msg().starts_with("the secret could not"))
    );
}

/// As soon as one has been seen.
fn token_of(daemon: &Daemon, proxy: &CountingProxy) -> String {
    assert!(daemon.status().is_some());
    proxy.wait_for(1, SOON, is_read);
    token_in_use(proxy)
}

#[test]
fn a_token_file_that_is_replaced_is_taken_up_at_once_before_and_after_its_token_died() {
    let bao = OpenBao::shared();
    let names = names(2);
    let (mount, policy) = stock(&bao, &names);
    let token = || bao.token(&[&policy], "1h", &Value::Null);
    let (first, second, third) = (token(), token(), token());
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = "authMethod: token, tokenFile: '@DIR@/token'";
    let config = config(&proxy.address(), auth, &list(&mount, &names, "1s"));
    // The token is not there yet, and that is waited for; by default backoff.
    let mut daemon = Daemon::new(&config).start();
    daemon.wait_for_log(SOON, |line| line.has("error_type", "auth"));
    fs::write(daemon.path("token"), format!("{first}\n")).unwrap();
    wait_all(&daemon, &names, "v1");

    // In time: nobody notices.
    fs::write(daemon.path("token"), &second).unwrap();
    proxy.wait_for(1, SOON, |r| {
        is_read(r) && r.header("x-vault-token") == Some(&second)
    });
    bao.revoke(&first);
    put_all(&bao, &mount, &names, "v2");
    wait_all(&daemon, &names, "v2");
    assert_eq!(proxy.count(|r| r.status == Some(403)), 0);

    // Too late: named, and current as soon as a new one is there.
    let mark = daemon.mark();
    bao.revoke(&second);
    let line = daemon.wait_for_log_after(mark, SOON, |line| {
        line.has("error_type", "auth") && is_failure(line, "s0")
    });
    assert!(line.text("remedy").contains("token"), "{}", line.raw);
    put_all(&bao, &mount, &names, "v3");
    let put = Instant::now();
    fs::write(daemon.path("token"), &third).unwrap();
    wait_all(&daemon, &names, "v3");
    let took = put.elapsed();
    println!("measured: current {took:?} after a new token file");

    // It is not ours to revoke.
    assert!(daemon.stop().success());
    assert_eq!(proxy.count(is_revocation), 0);
    assert!(bao.lookup(&third).is_some());
    assert!(!daemon.log().iter().any(|line| line.raw.contains(&third)));
}

#[test]
fn a_token_lives_through_renewals_to_its_max_ttl_and_no_read_ever_fails() {
    let bao = OpenBao::shared();
    let names = names(3);
    let (mount, policy) = stock(&bao, &names);
    bao.kv2_put(&mount, "later", &json!({ "value": "v1" }));
    let narrow = unique("narrow");
    bao.policy(
        &narrow,
        &format!("path \"{mount}/data/s*\" {{ capabilities = [\"read\"] }}"),
    );
    let role = unique("role");
    let options = |policies: Vec<&str>| json!({ "token_policies": policies, "token_ttl": "5s", "token_max_ttl": "8s" });
    let (role_id, secret_id) = bao.approle(&role, &options(vec![&narrow]));
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let mut secrets = list(&mount, &names, "1s");
    secrets.push(secret(&mount, "later", "1s"));
    let mut daemon = Daemon::new(&config(&proxy.address(), &auth, &secrets)).start();

    // A policy that its role gets later comes with the next login.
    daemon.wait_for_log(SOON, |line| {
        is_failure(line, "later") && line.has("error_type", "denied")
    });
    let path = format!("auth/approle/role/{role}");
    bao.call("POST", &path, &options(vec![&narrow, &policy]));
    let logins = proxy.wait_for(3, SOON * 2, is_login);
    daemon.wait_file("out/later", "v1", SOON);
    put_all(&bao, &mount, &names, "v2");
    wait_all(&daemon, &names, "v2");

    let requests = proxy.requests();
    let failed: Vec<_> = requests
        .iter()
        .filter(|r| r.status.is_some_and(|status| status >= 300) && !reads(r, "later"))
        .map(|r| format!("{} {} {:?}", r.method, r.target, r.status))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    for pair in logins.windows(2) {
        let life = pair[1].at - pair[0].at;
        assert!(
            life > Duration::from_secs(5),
            "no login before max-TTL is near: {life:?}"
        );
        let renewal = requests
            .iter()
            .find(|r| r.at > pair[0].at && is_renewal(r))
            .unwrap();
        let after = renewal.at - pair[0].at;
        // Two thirds of 5 s, which the look-up rounds down to 4, less a tenth of that at most. A busy
        // machine is late, never early.
        assert!(
            after >= Duration::from_millis(2400) && after < Duration::from_secs(5),
            "{after:?}"
        );
        let renewals = requests
            .iter()
            .filter(|r| r.at > pair[0].at && r.at < pair[1].at && is_renewal(r));
        assert!((1..=3).contains(&renewals.count()));
    }
    // The one in use is revoked at the end, and those before it have been.
    let accessors: Vec<_> = daemon
        .log()
        .iter()
        .filter(|l| !l.text("accessor").is_empty())
        .cloned()
        .collect();
    assert!(accessors.len() >= 3 && accessors.iter().all(|l| l.text("accessor").len() == 4));
    let last = token_in_use(&proxy);
    assert!(bao.lookup(&last).is_some());
    assert!(daemon.stop().success());
    assert!(
        bao.lookup(&last).is_none(),
        "still alive after a clean exit"
    );
    assert_eq!(
        proxy.count(is_revocation),
        proxy.count(is_login),
        "each token of a login once, replaced or in use"
    );
    assert!(
        !daemon
            .log()
            .iter()
            .any(|line| line.raw.contains(&last) || line.raw.contains(&secret_id))
    );
}

#[test]
fn a_renewal_that_is_refused_leaves_the_token_in_use_until_a_login_replaces_it() {
    let bao = OpenBao::shared();
    let names = names(1);
    let (mount, policy) = stock(&bao, &names);
    let options = json!({
        "token_policies": [policy], "token_ttl": "6s", "token_max_ttl": "1h",
        "token_no_default_policy": true,
    });
    let (role_id, secret_id) = bao.approle(&unique("role"), &options);
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let daemon = brisk(&config(
        &proxy.address(),
        &auth,
        &list(&mount, &names, "1s"),
    ))
    .start();
    let logins = proxy.wait_for(2, SOON, is_login);
    proxy.wait_for(1, SOON, |r| is_read(r) && r.at > logins[1].at);
    let requests = proxy.requests();
    let renewals: Vec<_> = requests.iter().filter(|r| is_renewal(r)).collect();
    assert_eq!(renewals.len(), 1, "no storm");
    assert_eq!(renewals[0].status, Some(403));
    let between = requests
        .iter()
        .filter(|r| r.at > renewals[0].at && r.at < logins[1].at && is_read(r));
    assert!(between.count() >= 1, "it was not used any more");
    assert!(
        requests
            .iter()
            .filter(|r| is_read(r))
            .all(|r| r.status.is_none_or(|status| status == 200))
    );
    assert!(
        logins[1].at - logins[0].at < Duration::from_secs(6),
        "not before it died"
    );
    daemon.wait_for_log(SOON, |line| {
        line.msg()
            .contains("look-up of the token (`auth/token/lookup-self`) told nothing")
    });
}

#[test]
fn a_bad_secret_id_is_named_and_a_good_one_on_disk_is_taken_up_at_once() {
    let bao = OpenBao::shared();
    let names = names(1);
    let (mount, policy) = stock(&bao, &names);
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretIdFile: '@DIR@/secret-id'");
    // By default backoff, after some failures, the next try is far off.
    let mut daemon = Daemon::new(&config(
        &proxy.address(),
        &auth,
        &list(&mount, &names, "1s"),
    ))
    .file("secret-id", "bad-canary")
    .env("INITIAL_BACKOFF", "5m")
    .start();
    let line = daemon.wait_for_log(SOON, |line| line.has("error_type", "auth"));
    assert!(
        line.text("error").contains("invalid role or secret ID"),
        "{}",
        line.raw
    );
    assert!(daemon.is_running());
    fs::write(daemon.path("secret-id"), format!("{secret_id}\n")).unwrap();
    let put = Instant::now();
    daemon.wait_file("out/s0", "v1", SOON);
    println!(
        "measured: current {:?} after a good secret ID",
        put.elapsed()
    );
    assert!(proxy.count(is_login) <= 4, "no storm");
    assert!(
        !daemon
            .log()
            .iter()
            .any(|line| line.raw.contains("bad-canary") || line.raw.contains(&secret_id))
    );
}

#[test]
fn a_policy_that_denies_one_secret_causes_no_storm_and_is_heeded_when_it_changes() {
    let bao = OpenBao::shared();
    let (mount, _) = stock(&bao, &names(2));
    let policy = unique("one");
    let allow = |keys: &str| {
        bao.policy(
            &policy,
            &format!("path \"{mount}/data/{keys}\" {{ capabilities = [\"read\"] }}"),
        );
    };
    allow("s0");
    let (role_id, secret_id) = bao.approle(&unique("role"), &json!({ "token_policies": [policy] }));
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!("authMethod: approle, roleId: {role_id}, secretId: {secret_id}");
    let daemon = Daemon::new(&config(
        &proxy.address(),
        &auth,
        &list(&mount, &names(2), "1s"),
    ))
    .start();
    proxy.wait_for(5, SOON, |r| reads(r, "s1"));
    let line = daemon.wait_for_log(SOON, |line| is_failure(line, "s1"));
    assert_eq!(
        (line.text("error_type"), line.text("level")),
        ("denied", "error")
    );
    assert!(
        line.text("remedy").contains(&format!("{mount}/data/s1")),
        "{}",
        line.raw
    );
    assert!(
        proxy.count(is_login) <= 2,
        "one more login in five minutes at most"
    );
    assert_eq!(proxy.count(|r| reads(r, "s0") && r.status != Some(200)), 0);
    allow("*");
    daemon.wait_file("out/s1", "v1", SOON);
    assert!(proxy.count(is_login) <= 2);
}

#[test]
fn vaults_words_for_a_dead_token_and_a_policy_and_a_proxys_page_are_told_apart() {
    let policy = Store::with(|r| {
        is_read(r)
            .then(|| Response::error(403, "1 error occurred:\n\t* permission denied\n\n").act())
    });
    let dead = Store::with({
        let logins = std::sync::atomic::AtomicUsize::new(0);
        move |r| {
            if is_login(r) {
                let number = logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return Some(traffic::login(&format!("t{number}")));
            }
            let old = r.header("x-vault-token") == Some("t0");
            let words = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
            (is_read(r) && old).then(|| Response::error(403, words).act())
        }
    });
    let page = Store::with(|r| {
        is_read(r).then(|| {
            let mut page = Response::error(403, "").header("Server", "waf");
            page.body = b"<html><h1>Forbidden</h1></html>".to_vec();
            page.act()
        })
    });
    let store = |s: &Store| {
        format!(
            "{{ address: '{}', authMethod: approle, roleId: r, secretId: s }}",
            s.address()
        )
    };
    let of = |name: &str| format!("{}    store: {name}\n", secret("kv", name, "1s"));
    let config = format!(
        "secretStores:\n  policy: {}\n  dead: {}\n  page: {}\nsecrets:\n{}{}{}",
        store(&policy),
        store(&dead),
        store(&page),
        of("policy"),
        of("dead"),
        of("page"),
    );
    let daemon = Daemon::new(&config).start();
    daemon.wait_file("out/dead", "v1", SOON);
    policy.wait_for(4, SOON, is_read);
    page.wait_for(4, SOON, is_read);
    dead.wait_for(4, SOON, is_read);
    assert_eq!(
        dead.count(is_login),
        2,
        "the first, and one for the dead token"
    );
    assert_eq!(dead.count(|r| r.status == Some(403)), 1);
    assert!(policy.count(is_login) <= 2);
    assert_eq!(
        page.count(is_login),
        1,
        "a proxy's page is no reason to log in"
    );
    assert_eq!(page.count(|r| r.is("GET", "auth/token/lookup-self")), 1);
    for name in ["policy", "page"] {
        let line = daemon.wait_for_log(SOON, |line| is_failure(line, name));
        assert_eq!(line.text("error_type"), "denied", "{}", line.raw);
    }
}

#[test]
fn tokens_that_run_out_are_warned_of_and_never_revoked() {
    let bao = OpenBao::shared();
    let (mount, policy) = stock(&bao, &names(2));
    let few = bao.token(&[&policy, "default"], "1h", &json!({ "num_uses": 40 }));
    let short = bao.token(&[&policy, "default"], "1h", &json!({ "renewable": false }));
    let proxy = CountingProxy::start(bao.endpoint());
    let secrets = [
        format!("{}    credentials: few\n", secret(&mount, "s0", "1h")),
        format!("{}    credentials: short\n", secret(&mount, "s1", "1h")),
    ];
    let auth = format!(
        "authMethod: none, credentials: {{ few: {{ authMethod: token, token: {few} }}, \
         short: {{ authMethod: token, token: {short} }} }}"
    );
    let mut daemon = Daemon::new(&config(&proxy.address(), &auth, &secrets)).start();
    wait_all(&daemon, &names(2), "v1");
    let warning = |credentials: &str| {
        daemon.wait_for_log(SOON, |l| {
            l.has("level", "warn") && l.has("credentials", credentials)
        })
    };
    assert!(
        warning("few").msg().contains("more times"),
        "{}",
        warning("few").raw
    );
    assert!(
        warning("short").msg().contains("cannot be renewed"),
        "{}",
        warning("short").raw
    );
    assert!(daemon.stop().success());
    assert_eq!(proxy.count(is_revocation), 0);
    assert!(bao.lookup(&short).is_some() && bao.lookup(&few).is_some());
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once_and_kept_for_the_next_login() {
    let bao = OpenBao::shared();
    let names = names(1);
    let (mount, policy) = stock(&bao, &names);
    let role = unique("role");
    let (role_id, _) = bao.approle(&role, &json!({ "token_policies": [policy] }));
    let wrapping = bao.wrapped_secret_id(&role, "300s");
    let proxy = CountingProxy::start(bao.endpoint());
    let auth = format!(
        "authMethod: approle, roleId: {role_id}, secretIdFile: '@DIR@/wrapped', \
         secretIdWrappingPath: auth/approle/role/{role}/secret-id"
    );
    let daemon = Daemon::new(&config(
        &proxy.address(),
        &auth,
        &list(&mount, &names, "1s"),
    ))
    .file("wrapped", &wrapping)
    .start();
    daemon.wait_file("out/s0", "v1", SOON);
    bao.revoke(&token_in_use(&proxy));
    proxy.wait_for(2, SOON, is_login);
    bao.kv2_put(&mount, "s0", &json!({ "value": "v2" }));
    daemon.wait_file("out/s0", "v2", SOON);
    assert_eq!(
        proxy.count(|r| r.target.starts_with("/v1/sys/wrapping/unwrap")),
        1
    );
    let first = proxy
        .requests()
        .iter()
        .position(|r| r.target.starts_with("/v1/sys/wrapping/lookup"));
    let unwrap = proxy
        .requests()
        .iter()
        .position(|r| r.target.starts_with("/v1/sys/wrapping/unwrap"));
    assert!(
        first.is_some() && first < unwrap,
        "the creation path is checked first"
    );
    assert!(!daemon.log().iter().any(|line| line.raw.contains(&wrapping)));
}

#[test]
fn a_revocation_that_hangs_holds_the_exit_up_for_a_second_at_most() {
    let store = Store::with(|r| is_revocation(r).then_some(Action::Hang));
    let auth = "authMethod: approle, roleId: r, secretId: s";
    let mut daemon =
        Daemon::new(&config(&store.address(), auth, &[secret("kv", "s0", "1h")])).start();
    daemon.wait_ready(SOON);
    daemon.signal(Signal::TERM);
    let asked = store.wait_for(1, SOON, is_revocation)[0].at;
    assert!(daemon.wait_exit(SOON).success());
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(1900), "{took:?}");
    assert_eq!(store.count(is_revocation), 1, "once");
}
