//! What must hold for any bytes: the bodies of the fuzz targets, which `tests/fuzz_properties.rs` runs as
//! ordinary tests as well. Each panics where its property is broken.

use std::path::Path;
use std::time::{Duration, Instant};

use secrets_sync::clock::Tick;
use secrets_sync::config::{Environment, SAMPLE, daemon_settings, duration, expand};
use secrets_sync::convert::{Dialect, Input, Options, Weight};
use secrets_sync::files::{Mode, TargetPath};
use secrets_sync::observe::status_file;
use secrets_sync::plan::{self, KvVersion, Purpose, SessionKey, Source};
use secrets_sync::printable;
use secrets_sync::render::{Content, Data, Encoding, FieldPath, Format, Limits, Template, render};
use secrets_sync::secret::Fields;
use secrets_sync::store::vault::answer::{Meaning, Operation, meaning};
use secrets_sync::store::vault::{kv, token};

/// A credential of the environment, which no input holds: it must not be in any text.
const SET: &str = "hvs.SETsetSETsetSETset";

/// A part of it, which is as bad.
const PART: &str = "SETsetSET";

/// A value that must not be in any message about rendering or an answer.
const CANARY: &str = "hvs.CANARYcanaryCANARYcanary";

/// A target: its name, and what must hold.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them. Each name is a file in `fuzz_targets` and a directory in `seeds`.
pub(crate) const TARGETS: [Target; 12] = [
    ("configuration", configuration),
    ("environment", environment),
    ("expansion", expansion),
    ("durations", durations),
    ("translation", translation),
    ("rendering", rendering),
    ("formats", formats),
    ("paths", paths),
    ("answers", answers),
    ("status", status),
    ("manifests", manifests),
    ("agents", agents),
];

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Whatever is refused is refused in words that do not quote a credential; whatever is accepted is
/// understood the same way twice, and writes to absolute paths without `..`.
pub(crate) fn configuration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // A fuzzer finds the very word.
    if text.contains(SET) {
        return;
    }
    let environment: Environment = [("VAULT_TOKEN", SET), ("TOKEN", "x"), ("EMPTY", "")]
        .into_iter()
        .collect();
    for purpose in [Purpose::Validate, Purpose::Run] {
        let load = || plan::load_text(Path::new("c.yaml"), text.to_owned(), &environment, purpose);
        match load() {
            Ok(plan) => {
                assert_eq!(load().ok().as_ref(), Some(&plan));
                assert!(plan::diff(&plan, &plan).changed.is_empty());
                assert!(!plan::describe(&plan).contains(PART));
                assert!(plan.notices.iter().all(|n| !n.message.contains(PART)));
                // A name that the variable is part of is a name; the program prints no plan so.
                assert!(text.contains("VAULT_TOKEN") || !format!("{plan:?}").contains(SET));
                for output in plan.secrets.iter().flat_map(|secret| &secret.outputs) {
                    below_root(output.target.path.as_path());
                }
            }
            Err(problems) => assert!(!problems.to_string().contains(PART)),
        }
    }
}

/// A variable that does not parse is named, without its value where that may be a credential.
pub(crate) fn environment(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // A fuzzer finds the very word.
    if text.contains(SET) {
        return;
    }
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let mut environment: Environment = lines.collect();
    if let Err(errors) = daemon_settings(&environment) {
        assert!(errors.iter().all(|error| error.contains(": ")));
    }
    environment = environment.with("VAULT_TOKEN", SET);
    let loaded = plan::load_text(
        Path::new("c.yaml"),
        SAMPLE.to_owned(),
        &environment,
        Purpose::Validate,
    );
    match loaded {
        Ok(plan) => assert!(!plan::describe(&plan).contains(SET)),
        Err(problems) => assert!(!problems.to_string().contains(SET)),
    }
}

/// What is expanded holds no variable that is set; without `${` nothing changes.
pub(crate) fn expansion(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let environment: Environment = [("A", "value"), ("EMPTY", "")].into_iter().collect();
    match expand::expand(text, &environment) {
        Ok(expanded) => {
            if !text.contains("${") {
                assert_eq!(*expanded.text, text);
            }
            assert!(
                expanded
                    .unset
                    .iter()
                    .all(|name| name != "A" && name != "EMPTY")
            );
            assert!(
                expanded
                    .unset
                    .iter()
                    .all(|name| expanded.variables.contains(name))
            );
        }
        Err(error) => assert!(!error.message().is_empty()),
    }
}

/// What is read and shown is read again as the same.
pub(crate) fn durations(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::show(read)), Ok(read));
        assert!(read <= Duration::from_nanos(i64::MAX as u64));
    }
}

/// Translation ends in time, and points into the text.
pub(crate) fn translation(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let began = Instant::now();
    if let Err(error) = Template::compile(text) {
        let lines = text.split('\n').count();
        assert!(error.line >= 1 && error.line <= lines.max(1), "{error:?}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

/// A template and, after the first NUL, a secret in JSON: no more comes out than is allowed, and no error
/// quotes a value.
pub(crate) fn rendering(data: &[u8]) {
    let (template, json) = halves(data);
    let (Some(template), Some(json)) = (text(template), text(json)) else {
        return;
    };
    let Ok(compiled) = Template::compile(template) else {
        return;
    };
    let fields = Fields::parse(json)
        .unwrap_or_else(|_| Fields::parse(&format!("{{\"x\":\"{CANARY}\",\"n\":1}}")).unwrap());
    rendered(
        &Content::Template(compiled),
        fields,
        template.contains(CANARY),
    );
}

/// A secret in JSON as every format, and as single fields: bounded, and JSON is JSON.
pub(crate) fn formats(data: &[u8]) {
    let Some(json) = text(data) else { return };
    let Ok(read) = Fields::parse(json) else {
        return;
    };
    let names: Vec<String> = read.expose().keys().cloned().collect();
    // Names of fields are no secrets.
    let told = names.iter().any(|name| name.contains(CANARY));
    for format in [Format::Env, Format::EnvFile, Format::Json, Format::Yaml] {
        let Ok(fields) = Fields::parse(json) else {
            return;
        };
        let bytes = rendered(&Content::Format(format), fields, told);
        if let (Format::Json, Some(bytes)) = (format, &bytes) {
            assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
        }
    }
    for name in names.iter().take(8) {
        for encoding in [
            Encoding::None,
            Encoding::Base64,
            Encoding::Base64Url,
            Encoding::Auto,
        ] {
            if let (Ok(path), Ok(fields)) = (FieldPath::parse(name), Fields::parse(json)) {
                rendered(&Content::Field(path, encoding), fields, told);
            }
        }
    }
}

fn rendered(content: &Content, fields: Fields, told: bool) -> Option<Vec<u8>> {
    const MOST: usize = 64 << 10;
    let limits = Limits {
        max_bytes: MOST,
        deadline: Instant::now() + Duration::from_secs(2),
    };
    let began = Instant::now();
    let result = render(content, &Data::One(fields), limits);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    match result {
        Ok(rendered) => {
            assert!(
                rendered
                    .pieces
                    .iter()
                    .all(|piece| piece.bytes.len() <= MOST)
            );
            assert!(told || !format!("{rendered:?}").contains(CANARY));
            rendered
                .pieces
                .first()
                .map(|piece| piece.bytes.expose().to_vec())
        }
        Err(error) => {
            assert!(told || !error.to_string().contains(CANARY), "{error}");
            None
        }
    }
}

/// A path that is accepted is absolute, without `..`, of names that a file system takes.
pub(crate) fn paths(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for directory in ["/", "/work/here"] {
        if let Ok(path) = TargetPath::parse(text, Path::new(directory)) {
            below_root(path.as_path());
            let again =
                TargetPath::parse(path.as_path().to_str().unwrap(), Path::new("/")).unwrap();
            assert_eq!(again.as_path(), path.as_path());
        }
    }
    if let Ok(mode) = Mode::parse(text) {
        assert_eq!(mode.bits() & !0o666, 0, "{text}");
        assert_eq!(mode.bits() & 0o002, 0, "{text}");
    }
}

fn below_root(path: &Path) {
    let text = path.to_str().unwrap();
    assert!(
        path.is_absolute() && text.len() <= 4095 && !text.contains('\0'),
        "{text}"
    );
    for name in path.iter().skip(1) {
        assert!(name != ".." && name != "." && name.len() <= 255, "{text}");
    }
}

/// A status and a body: what they mean is decided without a panic, a success has fields, and no error
/// quotes the body.
pub(crate) fn answers(data: &[u8]) {
    let (head, body) = data.split_at(data.len().min(2));
    let status = head
        .iter()
        .fold(0_u16, |sum, byte| sum * 256 + u16::from(*byte));
    for status in [200, 204, 400, 403, 404, 503, status] {
        for operation in [
            Operation::Login,
            Operation::Read,
            Operation::LookupSelf,
            Operation::Renew,
            Operation::Unwrap,
            Operation::Revoke,
        ] {
            let found = meaning(operation, status, body);
            assert!(found != Meaning::Sealed || status == 503);
            assert!(found != Meaning::Good || (200..300).contains(&status));
        }
    }
    // What a body tells of a token's life, however long or short that is.
    for operation in [Operation::Login, Operation::LookupSelf, Operation::Renew] {
        for chance in [0.0, 0.999] {
            let told = Tick::from_start(Duration::from_secs(1_000));
            let due = token::due(operation, body, told, chance);
            assert!(due.is_none_or(|due| due >= told), "{due:?}");
        }
    }
    for (version, metadata) in [
        (KvVersion::V1, false),
        (KvVersion::V2, false),
        (KvVersion::V2, true),
    ] {
        if let Err(kv::Unusable { why: error, .. }) =
            kv::fetched(&source("a/b", version, metadata), body)
        {
            assert!(!error.contains(CANARY), "{error}");
        }
    }
    if let Some(key) = text(body) {
        let path = kv::request_path(&source(key, KvVersion::V1, false));
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        assert!(!path.contains(['?', '#']), "{path}");
    }
}

fn source(key: &str, version: KvVersion, metadata: bool) -> Source {
    Source {
        alias: None,
        session: SessionKey {
            store: "default".into(),
            credentials: "default".into(),
            namespace: String::new(),
        },
        namespace: String::new(),
        mount: "secret".into(),
        key: key.into(),
        kv: version,
        version: None,
        metadata,
    }
}

/// A status file that is read says the same when it is written again; no text of it, or about it, can do
/// anything to a terminal.
pub(crate) fn status(data: &[u8]) {
    let safe = |text: &str| {
        let shown = printable::printable(text);
        assert!(!shown.contains(printable::is_unsafe), "{shown:?}");
    };
    let document = match status_file::parse(data) {
        Ok(document) => document,
        Err(why) => return safe(&why),
    };
    let written = serde_json::to_vec(&document).unwrap();
    assert_eq!(status_file::parse(&written).as_ref(), Ok(&document));
    for secret in &document.secrets {
        safe(&secret.name);
        safe(secret.error.as_deref().unwrap_or_default());
    }
}

/// Manifests of External Secrets Operator: what comes out is valid, or nothing comes out and a reason does.
pub(crate) fn manifests(data: &[u8]) {
    converted(data, &[Dialect::Operator]);
}

/// The agents' configurations: the same.
pub(crate) fn agents(data: &[u8]) {
    converted(data, &[Dialect::VaultAgent, Dialect::ConsulTemplate]);
}

fn converted(data: &[u8], dialects: &[Dialect]) {
    let Some(text) = text(data) else { return };
    for dialect in dialects {
        let input = Input {
            name: "input".to_owned(),
            text: text.to_owned(),
            found: false,
        };
        let options = Options {
            dialect: *dialect,
            ..Options::default()
        };
        let mut remarks = Vec::new();
        let converted = secrets_sync::convert::convert(&[input], &options, None, &mut remarks);
        match converted.text {
            Some(output) => {
                let environment = Environment::default();
                let path = Path::new("output");
                let read = plan::load_text(path, output.clone(), &environment, Purpose::Validate);
                assert!(read.is_ok(), "{}\n{output}", read.unwrap_err());
            }
            None => assert!(remarks.iter().any(|remark| remark.weight == Weight::Unread)),
        }
    }
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (
            data,
            b"{\"x\":\"value\",\"list\":[1,2],\"map\":{\"y\":null}}",
        ),
    }
}
