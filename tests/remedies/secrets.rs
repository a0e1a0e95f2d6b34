//! What the server says of a read: denied, not there, deleted, not as the API has it.

use std::fs;

use serde_json::json;

use super::case::{ROOT, Told, bao, ends, fails, plain, secret, set, setup, store, take_out};
use crate::support::{CountingProxy, Daemon, OpenBao, Response, ScriptedServer, unique};

/// A command with the value that its reader has in mind.
fn filled(told: &Told, start: &str) -> String {
    told.span(start).replace("NAME=VALUE", "x=v1")
}

pub(crate) fn denied_by_policy() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let policy = unique("remedy");
    server.policy(&policy, "path \"nothing/*\" { capabilities = [\"read\"] }");
    let token = server.token(&[&policy], "1h", &json!({}));
    let lines = ["authMethod: token", "tokenFile: '@DIR@/token'"];
    let config = store(&server.address(), &mount, &lines) + &secret(&[], &["field: x"]);
    let daemon = setup(&config).file("token", &token).start();
    let told = fails(&daemon, "denied", "permission denied by policy");
    let file = daemon.path("policy.hcl");
    fs::write(&file, told.span("path ")).unwrap();
    bao(
        &server,
        &format!("bao policy write {policy} {}", file.display()),
    );
    ends(&daemon);
}

pub(crate) fn denied_and_not_by_the_server() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let proxy = CountingProxy::start(server.endpoint());
    proxy.inject(|request| {
        let page = Response {
            status: 403,
            headers: Vec::new(),
            body: b"<html>no</html>".to_vec(),
        };
        request.target.contains("app/db").then(|| page.act())
    });
    let daemon = plain(&proxy.address(), &mount).start();
    let told = fails(&daemon, "denied", "not by the server");
    told.says("let the proxy or load balancer before the server pass the request");
    proxy.restore();
    ends(&daemon);
}

/// An agent adds the token, and that has died.
pub(crate) fn denied_with_a_dead_token() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let proxy = CountingProxy::start(server.endpoint());
    proxy.inject(|request| {
        let path = request.target.contains("app/db");
        path.then(|| Response::error(403, "permission denied").act())
    });
    let config =
        store(&proxy.address(), &mount, &["authMethod: none"]) + &secret(&[], &["field: x"]);
    let daemon = setup(&config).start();
    let told = fails(&daemon, "denied", "the token was refused");
    told.says("bring a new token");
    told.says("an agent that adds it needs the new one");
    let address = server.address();
    proxy.inject(move |request| {
        // As the agent with its new token.
        let asks = request.target.contains("app/db");
        asks.then(|| {
            let target = request.target.trim_start_matches("/v1/");
            let server = OpenBao::shared();
            assert_eq!(server.address(), address);
            let (status, body) =
                server.request("GET", target, server.root_token(), "", &json!(null));
            Response::json(status, &body).act()
        })
    });
    ends(&daemon);
}

pub(crate) fn not_written_yet() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "not_found", "no such secret");
    bao(&server, &filled(&told, "bao kv put"));
    ends(&daemon);
}

pub(crate) fn another_key() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/right", &json!({ "x": "v1" }));
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "not_found", "no such secret");
    told.says("correct `key`");
    set(&daemon, "key: app/right");
    ends(&daemon);
}

/// Either version of the engine, read as the other.
pub(crate) fn the_other_kv_version() {
    let server = OpenBao::shared();
    for (speaks, written) in [(1, "v2"), (2, "v1")] {
        let mount = server.fresh_kv(speaks);
        let fields = json!({ "x": "v1" });
        if speaks == 1 {
            server.kv1_put(&mount, "app/db", &fields);
        } else {
            server.kv2_put(&mount, "app/db", &fields);
        }
        let lines = [format!("kvVersion: {written}")];
        let config =
            store(&server.address(), &mount, &ROOT) + &secret(&[lines[0].as_str()], &["field: x"]);
        let daemon = setup(&config).start();
        let told = fails(&daemon, "not_found", "");
        told.says("set `kvVersion");
        set(&daemon, &format!("kvVersion: v{speaks}"));
        ends(&daemon);
    }
    // What looks like it, and is not: then the message names the version.
    let mount = server.fresh_kv(1);
    server.kv1_put(&mount, "data/app/db", &json!({ "x": "v1" }));
    server.kv1_put(&mount, "app/db", &json!({ "x": "v1" }));
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "bad_response", "KV version 2");
    set(&daemon, told.span("kvVersion: "));
    ends(&daemon);
}

pub(crate) fn no_such_version() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    for take in [true, false] {
        let config =
            store(&server.address(), &mount, &ROOT) + &secret(&["version: 7"], &["field: x"]);
        let daemon = setup(&config).start();
        let told = fails(&daemon, "not_found", "no version 7");
        if take {
            take_out(&daemon, told.span("version: ").split_once(':').unwrap().0);
        } else {
            let listed = bao(&server, told.span("bao kv metadata get"));
            assert!(listed.contains("Version 1"), "{listed}");
            set(&daemon, "version: 1");
        }
        ends(&daemon);
    }
}

/// One thing after the other is missing: the mount, and then the secret in it.
pub(crate) fn nothing_is_mounted() {
    let server = OpenBao::shared();
    let mount = unique("kv");
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "not_found", "nothing is mounted there");
    bao(&server, told.span("bao secrets enable"));
    let told = fails(&daemon, "not_found", "no such secret");
    bao(&server, &filled(&told, "bao kv put"));
    ends(&daemon);

    let daemon = plain(&server.address(), &unique("kv")).start();
    let told = fails(&daemon, "not_found", "nothing is mounted there");
    let listed = bao(&server, told.span("bao secrets list"));
    assert!(listed.contains(&mount), "{listed}");
    set(&daemon, &format!("mountPath: {mount}"));
    ends(&daemon);
}

/// The namespace, the mount in it, the secret in that.
pub(crate) fn no_such_namespace() {
    let server = OpenBao::shared();
    let (namespace, mount) = (unique("team"), unique("kv"));
    let line = format!("namespace: {namespace}");
    let config = store(&server.address(), &mount, &ROOT) + &secret(&[line.as_str()], &["field: x"]);
    let daemon = setup(&config).start();
    let told = fails(&daemon, "not_found", "there is no such namespace");
    bao(&server, told.span("bao namespace create"));
    let told = fails(&daemon, "not_found", "nothing is mounted there");
    bao(&server, told.span("bao secrets enable"));
    let told = fails(&daemon, "not_found", "no such secret");
    bao(&server, &filled(&told, "bao kv put"));
    ends(&daemon);
}

pub(crate) fn a_deleted_version() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    for start in ["bao kv undelete", "bao kv put"] {
        server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
        server.delete(&mount, "app/db");
        let daemon = plain(&server.address(), &mount).start();
        let told = fails(&daemon, "deleted", "the version was deleted at");
        bao(&server, &filled(&told, start));
        ends(&daemon);
    }
}

pub(crate) fn a_destroyed_version() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    server.destroy(&mount, "app/db", &[1]);
    let daemon = plain(&server.address(), &mount).start();
    let told = fails(&daemon, "deleted", "the version was destroyed");
    bao(&server, &filled(&told, "bao kv put"));
    ends(&daemon);
    drop(daemon);

    let config = store(&server.address(), &mount, &ROOT) + &secret(&["version: 1"], &["field: x"]);
    let daemon = setup(&config).start();
    let told = fails(&daemon, "deleted", "the version was destroyed");
    take_out(&daemon, told.span("version: ").split_once(':').unwrap().0);
    ends(&daemon);
}

/// A path that cannot be read at all.
pub(crate) fn a_request_that_is_refused() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(1);
    server.kv1_put(&mount, "create", &json!({ "x": "v1" }));
    let config = store(&server.address(), "auth/token", &ROOT)
        + &secret(&["kvVersion: v1"], &["field: x"]).replace("app/db", "create");
    let daemon = setup(&config).start();
    let told = fails(&daemon, "bad_request", "unsupported operation");
    assert!(told.spans().contains(&"mountPath"), "{told:?}");
    set(&daemon, &format!("mountPath: {mount}"));
    ends(&daemon);
}

pub(crate) fn a_page_in_the_servers_place() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v1" }));
    let page = ScriptedServer::start(|_| {
        Response {
            status: 200,
            headers: Vec::new(),
            body: b"<html>welcome</html>".to_vec(),
        }
        .act()
    });
    let config =
        store(&page.address(), &mount, &["authMethod: none"]) + &secret(&[], &["field: x"]);
    let daemon = setup(&config).start();
    let told = fails(&daemon, "bad_response", "not the JSON of the API");
    assert_eq!(told.spans(), ["address"], "{told:?}");
    let proxy = with_a_token(&server);
    set(&daemon, &format!("address: '{}'", proxy.address()));
    ends(&daemon);
}

/// What an agent does: requests without a token get the root token.
fn with_a_token(server: &OpenBao) -> CountingProxy {
    let proxy = CountingProxy::start(server.endpoint());
    let api = std::ops::Deref::deref(server).clone();
    proxy.inject(move |request| {
        let target = request.target.trim_start_matches("/v1/");
        let (status, body) = api.request("GET", target, api.root_token(), "", &json!(null));
        Some(Response::json(status, &body).act())
    });
    proxy
}

pub(crate) fn more_values_than_anybody_reads_as_fields() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    let many: Vec<u32> = (0..60_000).collect();
    let text = serde_json::to_string(&many).unwrap();
    server.kv2_put(&mount, "app/db", &json!({ "list": many }));
    let config = store(&server.address(), &mount, &ROOT) + &secret(&[], &["field: list"]);
    let daemon: Daemon = setup(&config).start();
    let told = fails(&daemon, "bad_response", "more than 50000 values");
    told.says("keep the secret as one text in one field");
    assert_eq!(told.spans(), ["field"], "{told:?}");
    server.kv2_put(&mount, "app/db", &json!({ "list": text }));
    ends(&daemon);
}

pub(crate) fn an_answer_that_is_too_large() {
    let server = OpenBao::shared();
    let mount = server.fresh_kv(2);
    server.kv2_put(&mount, "app/db", &json!({ "x": "v".repeat(3000) }));
    let config = store(&server.address(), &mount, &ROOT)
        + &secret(&[], &["field: x"])
        + "limits: { maxResponseBytes: 2000 }\n";
    let daemon = setup(&config).start();
    // As often as it takes.
    for _ in 0..2 {
        let limit = daemon_limit(&daemon);
        let told = fails(
            &daemon,
            "bad_response",
            &format!("larger than {limit} bytes"),
        );
        let above = told.number("above");
        let name = told.span("limits.").to_owned();
        set(&daemon, &format!("{name}: {}", above * 3 / 2));
    }
    ends(&daemon);
}

fn daemon_limit(daemon: &Daemon) -> u64 {
    let config = fs::read_to_string(daemon.path("config.yaml")).unwrap();
    let (_, rest) = config.rsplit_once("maxResponseBytes: ").unwrap();
    rest.trim_end_matches(" }\n").parse().unwrap()
}
