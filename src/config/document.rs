//! The file, read: every map against its keys, nothing expanded, nothing resolved.

use super::merge::shown;
use super::node::{Node, Value};
use super::report::{At, Report};
use super::schema;
use super::section::{Section, Text, entries};

/// The whole file.
pub(crate) struct Document {
    /// `secretStore`, where written.
    pub(crate) store: Option<Store>,
    /// `secretStores`, in written order.
    pub(crate) stores: Vec<(String, Store)>,
    /// `secrets`, where written, and where they stand.
    pub(crate) secrets: Option<(At, Vec<Secret>)>,
    /// Whether `secrets` is there in a form that is reported already.
    pub(crate) secrets_spoilt: bool,
    /// `secretStore` likewise.
    pub(crate) store_spoilt: bool,
    /// `limits`.
    pub(crate) limits: Section,
}

/// One store.
pub(crate) struct Store {
    /// Its single values.
    pub(crate) section: Section,
    /// `credentials`, in written order.
    pub(crate) sets: Vec<(String, Section)>,
}

/// One secret.
pub(crate) struct Secret {
    /// Its single values.
    pub(crate) section: Section,
    /// `sources`, in written order, and where they stand.
    pub(crate) sources: Option<(At, Vec<(String, Section)>)>,
    /// `template.data`, in written order: name and text.
    pub(crate) templates: Vec<(String, Text)>,
    /// `files`, and where they stand.
    pub(crate) files: Option<(At, Vec<Section>)>,
}

impl Document {
    /// Reads the settled tree, whose top is there.
    pub(crate) fn read(root: Node, top: At, report: &mut Report) -> Self {
        let mut section = Section::read(root, top, &schema::ROOT, report);
        let secrets_at = section.at_of("secrets");
        Self {
            secrets_spoilt: section.is_spoilt(&["secrets"]),
            store_spoilt: section.is_spoilt(&["secretStore"]),
            store: section
                .take_map("secretStore")
                .map(|(at, node)| Store::read(node, at, report)),
            stores: section
                .take_map("secretStores")
                .map(|(at, node)| {
                    named(node, &at, "a store", report)
                        .into_iter()
                        .map(|(name, at, node)| (name, Store::read(node, at, report)))
                        .collect()
                })
                .unwrap_or_default(),
            secrets: section.take_list("secrets").map(|items| {
                let secrets = items
                    .into_iter()
                    .map(|(at, node)| Secret::read(node, at, report))
                    .collect();
                (secrets_at, secrets)
            }),
            limits: match section.take_map("limits") {
                Some((at, node)) => Section::read(node, at, &schema::LIMITS, report),
                None => Section::empty(At::default()),
            },
        }
    }
}

impl Store {
    fn read(node: Node, at: At, report: &mut Report) -> Self {
        let mut section = Section::read(node, at, &schema::STORE, report);
        let sets = section
            .take_map("credentials")
            .map(|(at, node)| {
                named(node, &at, "a credential set", report)
                    .into_iter()
                    .map(|(name, at, node)| {
                        (name, Section::read(node, at, &schema::CREDENTIALS, report))
                    })
                    .collect()
            })
            .unwrap_or_default();
        Self { section, sets }
    }
}

impl Secret {
    fn read(node: Node, at: At, report: &mut Report) -> Self {
        let mut section = Section::read(node, at, &schema::SECRET, report);
        let sources = section.take_map("sources").map(|(at, node)| {
            let sources = entries(node, &at, report)
                .into_iter()
                .map(|entry| {
                    let at = at.key(&entry.key, entry.place);
                    (
                        entry.key,
                        Section::read(entry.node, at, &schema::SOURCE, report),
                    )
                })
                .collect();
            (at, sources)
        });
        let templates = section
            .take_map("template")
            .map(|(at, node)| templates(node, at, report))
            .unwrap_or_default();
        let files_at = section.at_of("files");
        let files = section.take_list("files").map(|items| {
            let files = items
                .into_iter()
                .map(|(at, node)| Section::read(node, at, &schema::FILE, report))
                .collect();
            (files_at, files)
        });
        Self {
            section,
            sources,
            templates,
            files,
        }
    }
}

fn templates(node: Node, at: At, report: &mut Report) -> Vec<(String, Text)> {
    let mut section = Section::read(node, at, &schema::TEMPLATE, report);
    let Some((at, data)) = section.take_map("data") else {
        if !section.is_spoilt(&["data"]) {
            report.error(&section.at, "missing key `data`");
        }
        return Vec::new();
    };
    let mut templates = Vec::new();
    for entry in entries(data, &at, report) {
        let at = at.key(&entry.key, entry.place);
        match entry.node.value {
            Value::Text(value) => {
                let place = entry.node.place.or(at.place);
                templates.push((
                    entry.key,
                    Text {
                        at: At { place, ..at },
                        value,
                    },
                ));
            }
            other => report.error(&at, format!("expected a template, found {}", other.kind())),
        }
    }
    templates
}

/// The entries of a map whose keys are names that people give; `default` is taken.
fn named(node: Node, at: &At, what: &str, report: &mut Report) -> Vec<(String, At, Node)> {
    let mut all = Vec::new();
    for entry in entries(node, at, report) {
        let at = at.key(&entry.key, entry.place);
        if let Err(message) = check_name(&entry.key) {
            report.error(&at, format!("the name of {what} {message}"));
        } else if entry.key == "default" {
            report.error_help(
                &at,
                format!("{what} cannot be named `default`"),
                "`default` is the one that stands outside of this map",
            );
        }
        all.push((entry.key, at, entry.node));
    }
    all
}

/// Names: `[A-Za-z0-9._-]{1,128}`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > 128 {
        return Err("has more than 128 characters".to_owned());
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        Some(c) => Err(format!(
            "may hold letters, digits, `.`, `_` and `-`, not `{}`",
            shown(&c.to_string())
        )),
        None => Ok(()),
    }
}
