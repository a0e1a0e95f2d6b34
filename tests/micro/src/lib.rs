//! Pieces of the daemon's work, each small enough to be measured alone: what a refresh does (an answer is read,
//! templates are rendered, files are committed), and what a start does (a configuration becomes a plan).

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrets_sync::config::Environment;
use secrets_sync::files::{NewFile, Writer};
use secrets_sync::heap::{Heap, Wiping};
use secrets_sync::plan::{self, Plan, Purpose};
use secrets_sync::render::{Content, Data, Limits, Template, render};
use secrets_sync::secret::{Fields, SecretBytes};
use secrets_sync::store::vault::answer::{Operation, meaning};
use secrets_sync::store::vault::kv;

/// As in the program: wiping is a part of the work.
#[global_allocator]
static HEAP: Wiping = Heap::wiping();

/// A piece of work.
pub struct Work {
    /// How it is asked for, and called in reports.
    pub name: &'static str,
    /// How often it is done for a count of instructions: often enough that what differs from one run to the
    /// next is lost in it.
    pub times: u32,
    /// Makes it ready, with a directory of its own for files; the answer does it once.
    pub prepare: fn(&Path) -> Box<dyn FnMut()>,
}

/// All of them.
pub const WORKS: [Work; 9] = [
    Work {
        name: "render_handlebars",
        times: 100,
        prepare: |_| rendered(HANDLEBARS),
    },
    Work {
        name: "render_go",
        times: 100,
        prepare: |_| rendered(GO),
    },
    Work {
        name: "compile_template",
        times: 100,
        prepare: |_| Box::new(|| drop(black_box(Template::compile(black_box(GO)).unwrap()))),
    },
    Work {
        name: "commit_two_new_files",
        times: 20,
        prepare: |directory| committed(directory, true),
    },
    Work {
        name: "commit_two_equal_files",
        times: 100,
        prepare: |directory| committed(directory, false),
    },
    Work {
        name: "plan_one_secret",
        times: 20,
        prepare: |directory| planned(directory, 1),
    },
    Work {
        name: "plan_1000_secrets",
        times: 1,
        prepare: |directory| planned(directory, 1_000),
    },
    Work {
        name: "parse_small_answer",
        times: 100,
        prepare: |_| parsed(&answer(&[("user", "app"), ("password", "correct horse battery")])),
    },
    Work {
        name: "parse_answer_of_100_kb",
        times: 10,
        prepare: |_| {
            let texts: Vec<_> = (0..100).map(|n| (format!("f{n}"), "line\n".repeat(200))).collect();
            let fields: Vec<_> = texts.iter().map(|(name, text)| (&**name, &**text)).collect();
            parsed(&answer(&fields))
        },
    },
];

const HANDLEBARS: &str = "\
# made for {{ user }}
DB_URL=postgres://{{ user }}:{{ urlquery password }}@{{ host }}:{{ port }}/app
{{#if options}}DB_OPTIONS={{ join \",\" options }}{{/if}}
{{#each replicas}}REPLICA_{{ @index }}={{ this.host }}:{{ this.port }}
{{/each}}";

const GO: &str = "\
# made for {{ .user | upper }}
DB_URL=postgres://{{ .user }}:{{ .password | urlquery }}@{{ .host }}:{{ .port }}/app
{{ if .options }}DB_OPTIONS={{ join \",\" .options }}{{ end }}
{{- range .replicas }}
REPLICA={{ .host }}:{{ .port }}
{{- end }}
CERT={{ index . \"tls.crt\" | b64dec | trim | quote }}
";

const DATA: &str = r#"{"user":"app","password":"p@ss w/rd","host":"db.example.com","port":5432,
    "options":["sslmode=verify-full","connect_timeout=5"],
    "replicas":[{"host":"r1.example.com","port":5432},{"host":"r2.example.com","port":5433}],
    "tls.crt":"LS0tLS1CRUdJTi0tLS0tCmFiYwotLS0tLUVORC0tLS0tCg=="}"#;

fn rendered(template: &str) -> Box<dyn FnMut()> {
    let content = Content::Template(Template::compile(template).unwrap());
    let data = Data::One(Fields::parse(DATA).unwrap());
    Box::new(move || {
        let limits = Limits {
            max_bytes: 1 << 20,
            deadline: Instant::now() + Duration::from_secs(3_600),
        };
        drop(black_box(render(&content, &data, limits).unwrap()));
    })
}

/// Two files of 1 KiB as one group: others each time, or the same.
fn committed(directory: &Path, changes: bool) -> Box<dyn FnMut()> {
    let plan = plan(directory, 1);
    let outputs = &plan.secrets[0].outputs;
    let mut writer = Writer::new(outputs.iter().map(|output| output.target.clone()).collect(), false);
    writer.prove().unwrap();
    let mut generation = 0;
    Box::new(move || {
        generation = (generation + u8::from(changes)) % 26;
        let files: Vec<_> = (0..2)
            .map(|target| NewFile {
                target,
                name: None,
                bytes: SecretBytes::new(vec![b'a' + generation; 1024]),
            })
            .collect();
        writer.commit(&files).unwrap();
    })
}

fn planned(directory: &Path, secrets: usize) -> Box<dyn FnMut()> {
    let directory = directory.to_owned();
    Box::new(move || drop(black_box(plan(&directory, secrets))))
}

/// The plan of so many secrets with two files each.
fn plan(directory: &Path, secrets: usize) -> Plan {
    let mut text = String::from(
        "secretStore: { address: 'https://vault.example.com:8200', authMethod: token, token: x }\n\
         limits: { maxSecrets: 1000 }\nsecrets:\n",
    );
    for number in 0..secrets {
        let base = directory.display();
        text += &format!(
            "  - name: s{number}\n    key: team/s{number}\n    refreshInterval: 10m\n    template:\n      \
             data:\n        a: '{{{{ .a }}}}'\n        b: 'B={{{{ .b }}}}'\n    files:\n      \
             - path: {base}/s{number}.a\n        template: a\n      - path: {base}/s{number}.b\n        \
             template: b\n        mode: '0640'\n"
        );
    }
    plan::load_text(Path::new("config.yaml"), text, &Environment::default(), Purpose::Run).unwrap()
}

/// An answer to a read of KV version 2, as OpenBao gives it.
fn answer(fields: &[(&str, &str)]) -> String {
    let data: Vec<_> = fields
        .iter()
        .map(|(name, text)| format!("\"{name}\":\"{}\"", text.replace('\n', "\\n")))
        .collect();
    format!(
        "{{\"request_id\":\"2e4e4d0e-6b0c-4f0e-9f0e-0123456789ab\",\"lease_id\":\"\",\"renewable\":false,\
         \"lease_duration\":0,\"data\":{{\"data\":{{{}}},\"metadata\":{{\"created_time\":\
         \"2026-01-02T03:04:05.678901234Z\",\"custom_metadata\":null,\"deletion_time\":\"\",\
         \"destroyed\":false,\"version\":7}}}},\"wrap_info\":null,\"warnings\":null,\"auth\":null}}\n",
        data.join(",")
    )
}

fn parsed(body: &str) -> Box<dyn FnMut()> {
    let body = body.to_owned();
    let source = plan(Path::new("/run"), 1).secrets[0].sources[0].clone();
    Box::new(move || {
        let body = black_box(body.as_bytes());
        black_box(meaning(Operation::Read, 200, body));
        drop(black_box(kv::fetched(&source, body).unwrap()));
    })
}

/// An empty directory of that name in `base`.
pub fn fresh(base: &Path, name: &str) -> PathBuf {
    let directory = base.join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}
