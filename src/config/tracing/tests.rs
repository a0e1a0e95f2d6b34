use super::*;
use crate::config::{Environment, daemon_settings};

fn of(variables: &[(&str, &str)]) -> Result<Option<Arc<Tracing>>, Vec<String>> {
    let on = [("ENABLE_TRACING", "true")];
    let environment: Environment = on.iter().chain(variables).copied().collect();
    daemon_settings(&environment).map(|daemon| daemon.tracing)
}

fn on(variables: &[(&str, &str)]) -> Arc<Tracing> {
    of(variables).unwrap().unwrap()
}

fn url(variables: &[(&str, &str)]) -> String {
    let Endpoint {
        tls,
        host,
        port,
        path,
        query,
    } = &on(variables).endpoint;
    let scheme = if *tls { "https" } else { "http" };
    format!("{scheme}://{host}:{port}{path} {}", query.expose())
}

#[test]
fn it_is_off_unless_it_is_wanted_and_then_nothing_else_is_looked_at() {
    let bad = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    for off in [
        ("ENABLE_TRACING", "false"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        assert_eq!(of(&[off, bad]), Ok(None), "{off:?}");
    }
    assert!(of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some());
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let tracing = on(&[]);
    assert_eq!(url(&[]), "http://localhost:4318/v1/traces ");
    assert_eq!(tracing.timeout, Duration::from_secs(10));
    assert_eq!((tracing.queue, tracing.batch), (2048, 512));
    assert_eq!(tracing.delay, Duration::from_secs(5));
    assert_eq!(tracing.sampler, Sampler::On);
    assert_eq!(tracing.service, "secrets-sync");
    assert!(tracing.files().is_empty() && tracing.credentials().next().is_none());
}

#[test]
fn the_path_is_put_behind_a_base_and_not_behind_the_endpoint_of_traces() {
    let (own, traces, base) = (
        "OTEL_EXPORTER_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    );
    for (variables, wanted) in [
        (vec![(base, "http://a:1")], "http://a:1/v1/traces "),
        (vec![(base, "https://a/x/")], "https://a:443/x/v1/traces "),
        (vec![(traces, "http://a:1")], "http://a:1/ "),
        (
            vec![(traces, "http://[::1]:1/x?k=v"), (base, "http://b:1")],
            "http://[::1]:1/x k=v",
        ),
        (
            vec![(own, "http://c:1"), (traces, "http://a:1")],
            "http://c:1/v1/traces ",
        ),
    ] {
        assert_eq!(url(&variables), wanted);
    }
}

#[test]
fn of_two_variables_the_one_for_traces_counts() {
    let tracing = on(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "X-Key = b%20c , d=,"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "6000"),
    ]);
    let headers: Vec<_> = tracing
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    assert_eq!(headers, [("x-key", "b c"), ("d", "")]);
    assert_eq!(tracing.credentials().collect::<Vec<_>>(), ["b c"]);
    assert_eq!(tracing.timeout, Duration::from_secs(6));
}

#[test]
fn the_service_has_a_name_in_either_variable() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b.c=d%2Ce");
    let tracing = on(&[attributes]);
    assert_eq!(tracing.service, "a");
    assert_eq!(tracing.attributes, [("b.c".to_owned(), "d,e".to_owned())]);
    assert_eq!(on(&[attributes, ("OTEL_SERVICE_NAME", "x")]).service, "x");
}

#[test]
fn samplers() {
    let sampler = |name, arg| {
        on(&[
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", arg),
        ])
        .sampler
    };
    assert_eq!(sampler("always_off", "not looked at"), Sampler::Off);
    assert_eq!(sampler("parentbased_always_on", ""), Sampler::On);
    assert_eq!(sampler("traceidratio", ""), Sampler::Ratio(1.0));
    assert_eq!(
        sampler("parentbased_traceidratio", "0.25"),
        Sampler::Ratio(0.25)
    );
}

#[test]
fn files_are_named_for_the_sandbox() {
    let files = |variables: &[(&str, &str)]| -> Vec<String> {
        let files = on(variables).files();
        files
            .iter()
            .map(|file| file.display().to_string())
            .collect()
    };
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a");
    assert_eq!(files(&[https, ("SSL_CERT_FILE", "/s")]), ["/s"]);
    assert_eq!(
        files(&[
            https,
            ("SSL_CERT_FILE", "/s"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k"),
        ]),
        ["/a", "/c", "/k"]
    );
    assert!(files(&[("SSL_CERT_FILE", "/s")]).is_empty());
}

#[test]
fn every_bad_value_is_named_and_none_that_may_be_a_credential_is_shown() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "hunter2"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@a"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:70000"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a?hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://a"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://:1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "x"),
    ] {
        let errors = of(&[(name, value)]).unwrap_err();
        assert_eq!(errors.len(), 1, "{name}={value}: {errors:?}");
        assert!(errors[0].starts_with(&format!("{name}: ")), "{errors:?}");
        let shown = errors[0].contains("hunter2") && name != "OTEL_SDK_DISABLED";
        assert!(!shown, "{errors:?}");
    }
    let part = [
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
    ];
    assert_eq!(
        of(&part).unwrap_err(),
        ["OTEL_TRACES_SAMPLER_ARG: `1.5` is not a number from 0 to 1"]
    );
}
