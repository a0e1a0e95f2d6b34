//! Every class of failure says what to do about it, and whoever does that, to the letter and nothing
//! else, ends it. Each row of docs/troubleshooting.md is one test here, or says why it cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // that is how a test fails

#[path = "remedies/case.rs"]
mod case;
#[path = "remedies/login.rs"]
mod login;
#[path = "remedies/output.rs"]
mod output;
#[path = "remedies/reach.rs"]
mod reach;
#[path = "remedies/secrets.rs"]
mod secrets;
mod support;
#[path = "remedies/system.rs"]
mod system;
#[path = "remedies/tls.rs"]
mod tls;

use std::collections::BTreeSet;

use secrets_sync::failure::ErrorType;

/// What follows one remedy, by name.
type Step = (&'static str, fn());

/// Rows of the page's first table, by their first column, with what follows the remedies of each.
macro_rules! rows {
    ($($symptom:literal => $($room:ident :: $step:ident),+;)+) => {
        const ROWS: &[(&str, &[Step])] =
            &[$(($symptom, &[$((stringify!($step), $room::$step)),+])),+];
    };
}

rows! {
    "`unavailable`: connection refused, name cannot be resolved, no such socket, no route" =>
        reach::not_running_and_then_sealed, reach::a_wrong_address;
    "`unavailable`: an answer of 5xx, 412, 472, 473, or a connection that breaks" =>
        reach::a_server_in_trouble;
    "`unavailable`: redirects more than once, to nowhere, or to what is no URL" =>
        reach::redirects_without_end;
    "`unavailable`: a redirect to another host, port or scheme" =>
        reach::a_redirect_to_another_place;
    "`unavailable`: the proxy does not connect us" => reach::a_proxy_that_does_not_connect;
    "`sealed`" => reach::sealed;
    "`throttled`" => reach::a_quota;
    "`timeout`" => reach::a_slow_server;
    "`tls`: signed by an unknown authority" => tls::an_unknown_authority;
    "`tls`: the name does not match" => tls::another_name;
    "`tls`: expired, or not valid yet" => tls::a_certificate_that_has_expired;
    "`tls`: the server does not speak TLS, or speaks TLS and not plain HTTP" =>
        tls::the_wrong_scheme;
    "`tls`: the server refused us" => tls::a_client_certificate_is_asked_for;
    "`tls`: a certificate file is not there, or not good" =>
        tls::a_certificate_file_that_is_missing;
    "`auth`: a file is not there yet, or is empty" => login::a_file_that_is_not_there_yet;
    "`auth`: the server refused the credential (400)" => login::a_secret_id_that_is_refused,
        login::a_wrapped_secret_id_that_is_of_no_use,
        login::a_client_certificate_that_no_role_knows;
    "`auth`: the login succeeds, and its token is refused soon after" =>
        login::two_servers_behind_one_address;
    "`auth`: the server refused the credential (403)" =>
        login::nothing_is_mounted_where_it_logs_in, login::a_role_that_is_locked;
    "`auth`: nothing is mounted there, or there is no such namespace" =>
        login::no_such_namespace_to_log_in_at;
    "`auth`: the token was refused" => login::a_token_that_has_died;
    "`denied`: permission denied by policy" => secrets::denied_by_policy;
    "`denied`: the token was refused" => secrets::denied_with_a_dead_token;
    "`denied`: answered 403, and not by the server" => secrets::denied_and_not_by_the_server;
    "`not_found`: no such secret" => secrets::not_written_yet, secrets::another_key,
        secrets::the_other_kv_version, secrets::no_such_version;
    "`not_found`: nothing is mounted there" => secrets::nothing_is_mounted;
    "`not_found`: there is no such namespace" => secrets::no_such_namespace;
    "`deleted`" => secrets::a_deleted_version, secrets::a_destroyed_version;
    "`bad_request`" => secrets::a_request_that_is_refused, login::nobody_is_told_nothing;
    "`bad_response`: not the JSON of the API" => secrets::a_page_in_the_servers_place;
    "`bad_response`: more than 50000 values, or deeper than 64 levels" =>
        secrets::more_values_than_anybody_reads_as_fields;
    "`bad_response`: larger than … bytes" => secrets::an_answer_that_is_too_large;
    "`render`: a field is missing" => output::a_field_that_is_missing;
    "`render`: larger than the limit" => output::content_that_is_too_large;
    "`render`: a field is not base64" => output::a_value_that_is_not_encoded;
    "`write`: permission denied" => output::a_directory_of_somebody_else;
    "`write`: cannot set the owner" => output::an_owner_that_it_may_not_set;
    "`write`: the target is a mount point" => output::a_target_that_is_a_mount_point;
    "`write`: the content is empty" => output::content_that_is_empty;
    "`write`: no space left" => output::a_disk_that_is_full;
    "`write`: it is a symbolic link, a device, …" => output::what_is_no_regular_file;
    "`write`: read-only file system" => output::a_file_system_that_is_read_only;
    "`write`: permission denied in a directory that was removed and made anew" =>
        output::a_directory_that_was_made_anew;
    "`panic`" => system::too_few_threads;
    "`stalled`" => system::a_file_system_that_hangs;
}

/// Rows of the page that name a class and have no test here, and why.
const NOT_HERE: [(&str, &str); 1] = [(
    "`write`: read-only file system, though the disk is not",
    "a unit's `ProtectSystem=` is a read-only mount, as in the row above; tests/systemd_service.rs has the unit",
)];

/// A test for each class; a new class does not compile here until it has one.
macro_rules! classes {
    ($($class:ident: $test:ident;)+) => {
        $(#[test]
        fn $test() {
            follow(ErrorType::$class);
        })+

        fn has_a_test(class: ErrorType) -> bool {
            match class {
                $(ErrorType::$class => ROWS.iter().any(|(row, _)| class_of(row) == Some(class)),)+
            }
        }
    };
}

classes! {
    Unavailable: the_remedies_for_unavailable_end_it;
    Sealed: the_remedies_for_sealed_end_it;
    Throttled: the_remedies_for_throttled_end_it;
    Timeout: the_remedies_for_timeout_end_it;
    Tls: the_remedies_for_tls_end_it;
    Auth: the_remedies_for_auth_end_it;
    Denied: the_remedies_for_denied_end_it;
    NotFound: the_remedies_for_not_found_end_it;
    Deleted: the_remedies_for_deleted_end_it;
    BadRequest: the_remedies_for_bad_request_end_it;
    BadResponse: the_remedies_for_bad_response_end_it;
    Render: the_remedies_for_render_end_it;
    Write: the_remedies_for_write_end_it;
    Panic: the_remedies_for_panic_end_it;
    Stalled: the_remedies_for_stalled_end_it;
}

/// All rows of a class side by side: they wait more than they work.
fn follow(class: ErrorType) {
    let rows = ROWS.iter().filter(|(row, _)| class_of(row) == Some(class));
    let running: Vec<_> = rows
        .flat_map(|(_, steps)| steps.iter())
        .map(|(name, step)| {
            let thread = std::thread::Builder::new().name((*name).to_owned());
            (name, thread.spawn(*step).unwrap())
        })
        .collect();
    let failed: Vec<_> = running
        .into_iter()
        .filter_map(|(name, step)| step.join().is_err().then_some(name))
        .collect();
    assert!(failed.is_empty(), "`{class}`: these failed: {failed:?}");
}

#[test]
fn every_class_has_a_test_and_every_row_of_the_page_one_too() {
    let page = include_str!("../docs/troubleshooting.md");
    let symptoms: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .filter(|symptom| class_of(symptom).is_some())
        .collect();
    let rows = ROWS.iter().map(|(row, _)| *row);
    let known: BTreeSet<&str> = rows.chain(NOT_HERE.map(|(row, _)| row)).collect();
    assert_eq!(symptoms, known);
    for class in ErrorType::ALL {
        assert!(has_a_test(class), "`{class}`");
    }
}

/// The class that a row is about.
fn class_of(symptom: &str) -> Option<ErrorType> {
    let class = symptom.strip_prefix('`')?.split('`').next()?;
    ErrorType::ALL
        .into_iter()
        .find(|known| known.as_str() == class)
}
