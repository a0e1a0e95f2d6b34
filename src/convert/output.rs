//! The configuration that comes out: its parts, and how they are written. What is not carried over
//! stands as a comment where it would be.

use super::phrase::phrase;
use super::scalar::{block, comment_lines, scalar};
use crate::plan::KvVersion;

/// The number of secrets that needs no `limits`.
const MAX_SECRETS: usize = 100;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// Above all.
    pub(super) comments: Vec<String>,
    /// One is `secretStore`; several are `secretStores`.
    pub(super) stores: Vec<Store>,
    /// In order.
    pub(super) secrets: Vec<Secret>,
}

/// A store.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Its name, where there are several.
    pub(super) name: String,
    /// Above it.
    pub(super) comments: Vec<String>,
    /// Its keys, in order.
    pub(super) keys: Vec<Key>,
    /// What its secrets inherit.
    pub(super) mount: Option<String>,
    /// Likewise.
    pub(super) kv: KvVersion,
}

/// A key of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value, variables as `${…}`.
    pub(super) value: String,
    /// Above it.
    pub(super) comments: Vec<String>,
}

/// A secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Secret {
    /// Unique.
    pub(super) name: String,
    /// Above it.
    pub(super) comments: Vec<String>,
    /// Why it is commented out as a whole.
    pub(super) off: Option<String>,
    /// As written.
    pub(super) interval: String,
    /// Its reads.
    pub(super) sources: Vec<Source>,
    /// Whether they have names; else there is one.
    pub(super) many: bool,
    /// Templates by name.
    pub(super) templates: Vec<(String, String)>,
    /// Files.
    pub(super) files: Vec<File>,
    /// What would be files, and why they are none.
    pub(super) missing: Vec<String>,
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Its name.
    pub(super) alias: String,
    /// Index of its store.
    pub(super) store: usize,
    /// Mount, variables not yet written.
    pub(super) mount: String,
    /// Key, variables not yet written.
    pub(super) key: String,
    /// Of the mount.
    pub(super) kv: KvVersion,
    /// The pin.
    pub(super) version: Option<u64>,
    /// The metadata instead of the data.
    pub(super) metadata: bool,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A template by name.
    Template(String),
    /// A field by its path.
    Field(String),
    /// The whole secret.
    Json,
    /// Every field; the entry is a `dir`.
    Fields,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Above it.
    pub(super) comments: Vec<String>,
    /// Where.
    pub(super) path: String,
    /// What.
    pub(super) content: Content,
    /// `none` is not written.
    pub(super) encoding: &'static str,
    /// Where it is not ours.
    pub(super) mode: Option<String>,
    /// User, where one is written.
    pub(super) owner: Option<String>,
    /// Group, likewise.
    pub(super) group: Option<String>,
    /// Whether no bytes are content.
    pub(super) allow_empty: bool,
}

impl File {
    /// A file with nothing out of the ordinary.
    pub(super) fn new(path: String, content: Content) -> Self {
        Self {
            comments: Vec::new(),
            path,
            content,
            encoding: "none",
            mode: None,
            owner: None,
            group: None,
            allow_empty: false,
        }
    }
}

/// The name of a KV version.
pub(super) fn version_name(kv: KvVersion) -> &'static str {
    match kv {
        KvVersion::V1 => "v1",
        KvVersion::V2 => "v2",
    }
}

impl Config {
    /// Writes it.
    pub(super) fn write(&self) -> String {
        let mut out = Writer::default();
        out.comments(0, &self.comments);
        let single = self.stores.len() == 1;
        match self.stores.as_slice() {
            [] => {}
            [store] => {
                out.comments(0, &store.comments);
                out.line(0, "secretStore:");
                out.store(2, store);
            }
            stores => {
                out.line(0, "secretStores:");
                for store in stores {
                    out.comments(2, &store.comments);
                    out.line(2, &format!("{}:", scalar(&store.name)));
                    out.store(4, store);
                }
            }
        }
        let live = self
            .secrets
            .iter()
            .filter(|secret| secret.off.is_none())
            .count();
        if live > MAX_SECRETS {
            out.line(0, &format!("limits:\n  maxSecrets: {live}"));
        }
        out.line(0, if live == 0 { "secrets: []" } else { "secrets:" });
        for secret in &self.secrets {
            out.secret(secret, &self.stores, single);
        }
        out.text
    }
}

#[derive(Default)]
struct Writer {
    text: String,
    /// Everything is a comment now.
    off: bool,
}

impl Writer {
    fn line(&mut self, indent: usize, text: &str) {
        if self.off {
            self.text.push_str("  # ");
            self.text.push_str(&" ".repeat(indent.saturating_sub(2)));
        } else if !text.is_empty() {
            self.text.push_str(&" ".repeat(indent));
        }
        self.text.push_str(text);
        let kept = self.text.trim_end_matches(' ').len();
        // A line of a template never ends in blanks, see `block`.
        self.text.truncate(kept);
        self.text.push('\n');
    }

    fn comments(&mut self, indent: usize, comments: &[String]) {
        for comment in comments {
            for line in comment_lines(comment) {
                self.line(indent, &format!("# {line}"));
            }
        }
    }

    /// `key: value`, the value already in the form in which variables are expanded.
    fn written(&mut self, indent: usize, key: &str, value: &str) {
        self.line(indent, &format!("{key}: {}", scalar(value)));
    }

    /// `key: value`, the value as text that may hold variables of the manifest.
    fn text(&mut self, indent: usize, key: &str, value: &str) {
        self.written(indent, key, &phrase(value).written);
    }

    fn store(&mut self, indent: usize, store: &Store) {
        for key in &store.keys {
            self.comments(indent, &key.comments);
            self.written(indent, key.name, &key.value);
        }
        if let Some(mount) = &store.mount {
            self.text(indent, "mountPath", mount);
        }
        self.written(indent, "kvVersion", version_name(store.kv));
    }

    fn secret(&mut self, secret: &Secret, stores: &[Store], single: bool) {
        if let Some(reason) = &secret.off {
            self.off = true;
            self.line(2, &format!("- name: {}", scalar(&secret.name)));
            self.comments(4, std::slice::from_ref(reason));
        } else {
            self.line(2, &format!("- name: {}", scalar(&secret.name)));
        }
        self.comments(4, &secret.comments);
        let inherited = |source: &Source| stores.get(source.store);
        if secret.many {
            let store = secret.sources.first().map(|source| source.store);
            let common =
                store.filter(|store| secret.sources.iter().all(|source| source.store == *store));
            if let Some(store) = common.and_then(|store| stores.get(store))
                && !single
            {
                self.written(4, "store", &store.name);
            }
            self.line(4, "sources:");
            for source in &secret.sources {
                self.line(6, &format!("{}:", scalar(&source.alias)));
                self.source(8, source, inherited(source), single || common.is_some());
            }
        } else if let Some(source) = secret.sources.first() {
            self.source(4, source, inherited(source), single);
        }
        if !secret.interval.is_empty() {
            self.written(4, "refreshInterval", &secret.interval);
        }
        if !secret.templates.is_empty() {
            self.line(4, "template:");
            self.line(6, "data:");
            for (name, template) in &secret.templates {
                self.template(name, template);
            }
        }
        if !secret.files.is_empty() || !secret.missing.is_empty() {
            if !secret.files.is_empty() {
                self.line(4, "files:");
            }
            for file in &secret.files {
                self.file(file);
            }
            self.comments(6, &secret.missing);
        }
        self.off = false;
    }

    fn source(&mut self, indent: usize, source: &Source, store: Option<&Store>, told: bool) {
        if let Some(store) = store
            && !told
        {
            self.written(indent, "store", &store.name);
        }
        self.text(indent, "key", &source.key);
        let mount = store
            .and_then(|store| store.mount.as_deref())
            .unwrap_or("secret");
        if mount != source.mount {
            self.text(indent, "mountPath", &source.mount);
        }
        if store.map_or(KvVersion::V2, |store| store.kv) != source.kv {
            self.written(indent, "kvVersion", version_name(source.kv));
        }
        if let Some(version) = source.version {
            self.line(indent, &format!("version: {version}"));
        }
        if source.metadata {
            self.line(indent, "metadata: true");
        }
    }

    fn template(&mut self, name: &str, template: &str) {
        match block(template) {
            Some((header, lines)) => {
                self.line(8, &format!("{}: {header}", scalar(name)));
                for line in lines {
                    self.line(10, line);
                }
            }
            None => self.line(8, &format!("{}: {}", scalar(name), scalar(template))),
        }
    }

    fn file(&mut self, file: &File) {
        self.comments(6, &file.comments);
        let key = if file.content == Content::Fields {
            "dir"
        } else {
            "path"
        };
        self.line(
            6,
            &format!("- {key}: {}", scalar(&phrase(&file.path).written)),
        );
        match &file.content {
            // A name, in which nothing is filled in.
            Content::Template(name) => self.written(8, "template", &name.replace("${", "$${")),
            Content::Field(field) => self.text(8, "field", field),
            Content::Json => self.line(8, "format: json"),
            Content::Fields => {}
        }
        if file.encoding != "none" {
            self.written(8, "encoding", file.encoding);
        }
        for (key, value) in [
            ("mode", &file.mode),
            ("owner", &file.owner),
            ("group", &file.group),
        ] {
            if let Some(value) = value {
                // Digits are quoted, so that no other reader takes them for a number.
                self.written(8, key, value);
            }
        }
        if file.allow_empty {
            self.line(8, "allowEmpty: true");
        }
    }
}
