//! Stores and sessions on a real OpenBao.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stores;
mod support;

use std::sync::Arc;
use std::time::Duration;

use secrets_sync::clock::Stop;
use secrets_sync::failure::{ErrorType, Retry};
use secrets_sync::plan::{Auth, Credential, KvVersion, Source};
use secrets_sync::store::{Mode, StoreEvent};
use serde_json::{Value, json};
use stores::{Lab, approle, key, source, text, wait_until};
use support::{OpenBao, unique};

#[test]
fn a_token_reads_both_versions_and_metadata() {
    let bao = OpenBao::shared();
    let lab = Lab::new(bao.endpoint(), Auth::Token(text("root\n")));
    let v2 = bao.fresh_kv(2);
    bao.kv2_put(&v2, "app/db", &json!({"password": "one", "port": 5432}));
    bao.kv2_put(&v2, "app/db", &json!({"password": "two"}));
    bao.kv2_metadata(&v2, "app/db", &json!({"custom_metadata": {"owner": "me"}}));
    let fetched = lab.fetch(&source(&v2, "app/db")).unwrap();
    assert_eq!(fetched.version, Some(2));
    assert_eq!((fetched.ttl, fetched.leased), (None, false));
    let mut pinned = source(&v2, "app/db");
    pinned.version = Some(1);
    assert_eq!(
        lab.read(&pinned).unwrap(),
        json!({"password": "one", "port": 5432})
    );
    let mut metadata = source(&v2, "app/db");
    metadata.metadata = true;
    let fields = lab.read(&metadata).unwrap();
    assert_eq!(fields["owner"], "me");
    assert_eq!(fields["current_version"], json!(2));
    assert_eq!(fields["delete_version_after"], "0s");

    let v1 = bao.fresh_kv(1);
    bao.kv1_put(&v1, "a%20b/%C3%A4", &json!({"x": "1", "ttl": "90"}));
    let mut old = source(&v1, "a b/ä");
    old.kv = KvVersion::V1;
    let fetched = lab.fetch(&old).unwrap();
    assert_eq!(fetched.fields.expose()["x"], "1");
    assert_eq!(fetched.ttl, Some(Duration::from_secs(90)));
    assert!(!fetched.leased);
}

#[test]
fn the_four_meanings_of_404_and_more() {
    let bao = OpenBao::shared();
    let lab = Lab::new(bao.endpoint(), Auth::Token(text("root")));
    let mount = bao.fresh_kv(2);
    for name in ["deleted", "destroyed", "there"] {
        bao.kv2_put(&mount, name, &json!({"x": "1"}));
    }
    bao.delete(&mount, "deleted");
    bao.destroy(&mount, "destroyed", &[1]);
    let fails = |source: &Source| lab.read(source).unwrap_err();
    let (class, message) = fails(&source(&mount, "absent"));
    assert_eq!(class, ErrorType::NotFound);
    assert!(message.ends_with("no such secret"), "{message}");
    let (class, message) = fails(&source(&mount, "deleted"));
    assert_eq!(class, ErrorType::Deleted);
    assert!(message.contains("was deleted at 20"), "{message}");
    let (class, message) = fails(&source(&mount, "destroyed"));
    assert_eq!(class, ErrorType::Deleted);
    assert!(message.ends_with("was destroyed"), "{message}");
    let (class, message) = fails(&source("no-such-mount", "there"));
    assert_eq!(class, ErrorType::NotFound);
    assert!(message.ends_with("nothing is mounted there"), "{message}");
    let mut elsewhere = source(&mount, "there");
    elsewhere.namespace = "no-such-namespace".into();
    let (class, message) = fails(&elsewhere);
    assert_eq!(class, ErrorType::NotFound);
    assert!(message.ends_with("there is no such namespace"), "{message}");
    let mut other = source(&mount, "there");
    other.kv = KvVersion::V1;
    let (class, message) = fails(&other);
    assert_eq!(class, ErrorType::NotFound);
    assert!(message.ends_with("speaks KV version 2"), "{message}");
    let mut pinned = source(&mount, "there");
    pinned.version = Some(9);
    assert!(fails(&pinned).1.ends_with("no version 9"));
    assert_eq!(
        lab.read(&source(&mount, "there")).unwrap(),
        json!({"x": "1"})
    );
}

#[test]
fn approle_logs_in_once_for_all_and_revokes_at_the_end() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let (role_id, secret_id) = bao.approle(
        &unique("role"),
        &json!({"token_policies": [policy], "token_ttl": "60s"}),
    );
    let lab = Lab::new(bao.endpoint(), approle(&role_id, text(&secret_id)));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| lab.fetch(&source(&mount, "a")).unwrap());
        }
    });
    let told: Vec<StoreEvent> = lab.events.try_iter().collect();
    let [
        StoreEvent::LoggedIn {
            method,
            ttl_secs,
            renewable,
            accessor,
            ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*method, *renewable), ("approle", true));
    assert!(
        (59..=60).contains(ttl_secs) && accessor.len() == 4,
        "{told:?}"
    );
    let status = &lab.stores.status()[0].sessions[0];
    assert!(
        status.expires.is_some() && status.failure.is_none(),
        "{status:?}"
    );

    // Denied by policy: no other login, and the remedy names the path.
    let denied = lab.fetch(&source("secret", "other")).unwrap_err().failure;
    assert_eq!(denied.error_type, ErrorType::Denied);
    let remedy = denied.remedy.unwrap();
    assert!(remedy.contains("`path \"secret/data/other\" {"), "{remedy}");
    assert_eq!(lab.logins(), 0);

    let accessors = || {
        let answer = bao.call("LIST", "auth/token/accessors", &Value::Null);
        answer["data"]["keys"]
            .as_array()
            .unwrap()
            .iter()
            .any(|key| key.as_str().unwrap().ends_with(accessor.as_str()))
    };
    assert!(accessors());
    lab.stores.close(Duration::from_secs(1));
    assert!(!accessors(), "the token is left behind");
}

#[test]
fn a_dead_token_is_replaced_while_reading() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let role = unique("role");
    let (role_id, secret_id) = bao.approle(
        &role,
        &json!({"token_policies": [policy], "token_ttl": "1h"}),
    );
    let lab = Lab::new(bao.endpoint(), approle(&role_id, text(&secret_id)));
    for _ in 0..3 {
        lab.fetch(&source(&mount, "a")).unwrap();
        assert_eq!(lab.logins(), 1);
        // Whatever tokens that role has.
        let answer = bao.call("LIST", "auth/token/accessors", &Value::Null);
        for accessor in answer["data"]["keys"].as_array().unwrap() {
            let body = json!({"accessor": accessor});
            let (status, token) =
                bao.request("POST", "auth/token/lookup-accessor", "root", "", &body);
            if status == 200 && token["data"]["meta"]["role_name"] == json!(role) {
                bao.call("POST", "auth/token/revoke-accessor", &body);
            }
        }
    }
    lab.fetch(&source(&mount, "a")).unwrap();
    assert_eq!(lab.logins(), 1);
}

#[test]
fn a_token_file_is_waited_for_and_followed() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let lab = Lab::new(bao.endpoint(), Auth::Token(Credential::File(path.clone())));
    assert_eq!(lab.stores.followed_files(), std::slice::from_ref(&path));
    let error = lab.fetch(&source(&mount, "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
    assert_eq!(error.failure.retry, Retry::Backoff(None));
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    let wake = error.wake.unwrap();

    let first = bao.token(&[&policy], "1h", &Value::Null);
    std::fs::write(&path, format!("{first}\n")).unwrap();
    lab.stores.files_changed(std::slice::from_ref(&path));
    assert!(
        wake.recv_timeout(support::SOON)
            .is_err_and(|error| error == crossbeam_channel::RecvTimeoutError::Disconnected)
    );
    lab.fetch(&source(&mount, "a")).unwrap();

    // Dead, but there is another in the file already, of which nobody has told.
    let second = bao.token(&[&policy], "1h", &Value::Null);
    std::fs::write(&path, &second).unwrap();
    bao.revoke(&first);
    lab.fetch(&source(&mount, "a")).unwrap();

    // Dead, and no other.
    bao.revoke(&second);
    let error = lab.fetch(&source(&mount, "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
    assert!(
        error
            .failure
            .remedy
            .unwrap()
            .contains(path.to_str().unwrap())
    );
    let third = bao.token(&[&policy], "1h", &Value::Null);
    std::fs::write(&path, &third).unwrap();
    lab.stores.files_changed(&[path]);
    wait_until("the third token", || {
        lab.fetch(&source(&mount, "a")).is_ok()
    });
    // Somebody else's: not ours to revoke.
    lab.stores.close(Duration::from_secs(1));
    assert!(bao.lookup(&third).is_some());
}

#[test]
fn a_dead_inline_token_is_told_and_settled() {
    let bao = OpenBao::shared();
    let lab = Lab::new(bao.endpoint(), Auth::Token(text("s.nonsense")));
    let error = lab.fetch(&source("secret", "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
    assert_eq!(error.failure.retry, Retry::Settled);
    assert!(!error.to_string().contains("nonsense"));
}

#[test]
fn a_use_limited_token_is_warned_of() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let token = bao.token(
        &[&policy],
        "60s",
        &json!({"num_uses": 3, "renewable": false}),
    );
    let lab = Lab::new(bao.endpoint(), Auth::Token(text(&token)));
    lab.fetch(&source(&mount, "a")).unwrap();
    let notices = lab.notices().join("\n");
    assert!(notices.contains("2 more times"), "{notices}");
    assert!(notices.contains("cannot be renewed"), "{notices}");
    lab.fetch(&source(&mount, "a")).unwrap();
    let error = lab.fetch(&source(&mount, "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
}

#[test]
fn a_short_token_is_renewed_and_replaced_before_its_end() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let (role_id, secret_id) = bao.approle(
        &unique("role"),
        &json!({"token_policies": [policy], "token_ttl": "2s", "token_max_ttl": "5s"}),
    );
    let lab = Lab::new(bao.endpoint(), approle(&role_id, text(&secret_id)));
    let end = std::time::Instant::now() + Duration::from_secs(8);
    while std::time::Instant::now() < end {
        lab.fetch(&source(&mount, "a")).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let logins = lab.logins();
    assert!((2..=4).contains(&logins), "{logins} logins");
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once_and_only_where_it_was_made() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let role = unique("role");
    let (role_id, _) = bao.approle(
        &role,
        &json!({"token_policies": [policy], "token_ttl": "2s", "token_max_ttl": "2s"}),
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrapped");
    let auth = |at: &str| Auth::AppRole {
        mount: "approle".into(),
        role_id: text(&role_id),
        secret_id: Some(Credential::File(path.clone())),
        wrapping_path: Some(at.to_owned()),
    };
    let right = format!("auth/approle/role/{role}/secret-id");
    std::fs::write(&path, bao.wrapped_secret_id(&role, "60s")).unwrap();

    let wrong = Lab::new(bao.endpoint(), auth("auth/approle/role/other/secret-id"));
    let error = wrong.fetch(&source(&mount, "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
    assert!(error.to_string().contains("not unwrapped"), "{error}");
    drop(wrong);

    let look = Lab::with(bao.endpoint(), auth(&right), Mode::Look, |_| {});
    let error = look.fetch(&source(&mount, "a")).unwrap_err();
    assert!(error.to_string().contains("left for the daemon"), "{error}");
    drop(look);

    // Neither of them has spent it; and it serves for several logins.
    let lab = Lab::new(bao.endpoint(), auth(&right));
    lab.fetch(&source(&mount, "a")).unwrap();
    let mut logins = 0;
    wait_until("a second login", || {
        lab.fetch(&source(&mount, "a")).unwrap();
        logins += lab.logins();
        logins >= 2
    });
    drop(lab);

    let spent = Lab::new(bao.endpoint(), auth(&right));
    let error = spent.fetch(&source(&mount, "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Auth);
    assert!(error.failure.remedy.unwrap().contains("somebody else did"));
    std::fs::write(&path, bao.wrapped_secret_id(&role, "60s")).unwrap();
    spent.stores.files_changed(std::slice::from_ref(&path));
    wait_until("the new one", || spent.fetch(&source(&mount, "a")).is_ok());
}

#[test]
fn namespaces_of_login_and_read() {
    let bao = OpenBao::shared();
    let name = unique("team");
    let team = bao.namespace(&name);
    team.enable_kv("kv", 2);
    team.kv2_put("kv", "a", &json!({"x": "team"}));
    let policy = team.reader_policy("kv");
    let (role_id, secret_id) = team.approle(
        "app",
        &json!({"token_policies": [policy], "token_ttl": "60s"}),
    );
    let lab = Lab::with(
        bao.endpoint(),
        approle(&role_id, text(&secret_id)),
        Mode::Use,
        |plan| {
            let mut session = (*plan.sessions[0]).clone();
            session.key = key(&name);
            plan.sessions = vec![Arc::new(session)];
        },
    );
    let mut read = source("kv", "a");
    read.session = key(&name);
    read.namespace.clone_from(&name);
    assert_eq!(lab.read(&read).unwrap(), json!({"x": "team"}));
    // Its token is alive, and does not read elsewhere.
    read.namespace = String::new();
    assert_eq!(lab.read(&read).unwrap_err().0, ErrorType::Denied);
    assert_eq!(lab.logins(), 1);
}

#[test]
fn a_sealed_server_is_waited_for() {
    let bao = OpenBao::sealable().start();
    bao.enable_kv("kv", 2);
    bao.kv2_put("kv", "a", &json!({"x": "1"}));
    let root = bao.root_token().to_owned();
    bao.seal();
    let lab = Lab::new(bao.endpoint(), Auth::Token(text(&root)));
    let error = lab.fetch(&source("kv", "a")).unwrap_err();
    assert_eq!(error.failure.error_type, ErrorType::Sealed);
    let wake = error.wake.expect("something to wait for");
    bao.unseal();
    let began = std::time::Instant::now();
    let _ = wake.recv_timeout(support::SOON);
    assert!(began.elapsed() < support::SOON);
    lab.fetch(&source("kv", "a")).unwrap();
}

#[test]
fn a_reload_keeps_what_is_equal() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let (role_id, secret_id) = bao.approle(
        &unique("role"),
        &json!({"token_policies": [policy], "token_ttl": "60s"}),
    );
    let mut lab = Lab::new(bao.endpoint(), approle(&role_id, text(&secret_id)));
    lab.fetch(&source(&mount, "a")).unwrap();
    assert_eq!(lab.logins(), 1);
    let plan = lab.plan.clone();
    lab.stores.apply(&plan);
    lab.stores.retire();
    lab.fetch(&source(&mount, "a")).unwrap();
    assert_eq!(lab.logins(), 0, "an equal plan logs in again");

    // Another login of the same name: the old store still serves those who hold it.
    let held = lab.stores.get("default").unwrap();
    let mut changed = plan.clone();
    let mut store = (*changed.stores[0]).clone();
    store.timeout = Duration::from_secs(7);
    changed.stores = vec![Arc::new(store)];
    lab.stores.apply(&changed);
    held.fetch(&source(&mount, "a"), &Stop::never()).unwrap();
    lab.fetch(&source(&mount, "a")).unwrap();
    lab.stores.retire();
    assert!(held.fetch(&source(&mount, "a"), &Stop::never()).is_err());
    lab.fetch(&source(&mount, "a")).unwrap();
    assert_eq!(lab.logins(), 1);
}

#[test]
fn a_wrapped_secret_id_serves_every_session_and_survives_a_reload() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let policy = bao.reader_policy(&mount);
    let role = unique("role");
    let (role_id, _) = bao.approle(
        &role,
        &json!({"token_policies": [policy], "token_ttl": "60s"}),
    );
    let auth = Auth::AppRole {
        mount: "approle".into(),
        role_id: text(&role_id),
        secret_id: Some(text(&bao.wrapped_secret_id(&role, "60s"))),
        wrapping_path: Some(format!("auth/approle/role/{role}/secret-id")),
    };
    let mut lab = Lab::with(bao.endpoint(), auth, Mode::Use, |plan| {
        let mut second = (*plan.sessions[0]).clone();
        second.key.credentials = "second".into();
        plan.sessions.push(Arc::new(second));
    });
    let mut other = source(&mount, "a");
    other.session.credentials = "second".into();
    std::thread::scope(|scope| {
        scope.spawn(|| lab.fetch(&source(&mount, "a")).unwrap());
        scope.spawn(|| lab.fetch(&other).unwrap());
    });
    let mut changed = lab.plan.clone();
    let mut store = (*changed.stores[0]).clone();
    store.timeout = Duration::from_secs(7);
    changed.stores = vec![Arc::new(store)];
    lab.stores.apply(&changed);
    lab.stores.retire();
    lab.fetch(&source(&mount, "a")).unwrap();
    assert_eq!(lab.logins(), 3);
}

#[test]
fn a_new_token_that_is_no_good_does_not_push_out_a_good_one() {
    let bao = OpenBao::shared();
    let mount = bao.fresh_kv(2);
    bao.kv2_put(&mount, "a", &json!({"x": "1"}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "root").unwrap();
    let lab = Lab::new(bao.endpoint(), Auth::Token(Credential::File(path.clone())));
    lab.fetch(&source(&mount, "a")).unwrap();
    let failure = || lab.stores.status()[0].sessions[0].failure.clone();
    for bad in ["s.nonsense", "  \n"] {
        std::fs::write(&path, bad).unwrap();
        lab.stores.files_changed(std::slice::from_ref(&path));
        wait_until("the failure", || failure().is_some());
        lab.fetch(&source(&mount, "a")).unwrap();
        std::fs::write(&path, "root").unwrap();
        lab.stores.files_changed(std::slice::from_ref(&path));
        wait_until("all is well", || failure().is_none());
    }
    assert_eq!(lab.logins(), 1);
}
