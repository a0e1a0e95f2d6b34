//! What a manifest gathers before any template: reads, and the entries of its data with where each
//! value comes from.

mod extract;
mod find;
mod merge;
mod values;

use crate::convert::facts::Facts;
use crate::convert::facts::Read;
use crate::convert::keys::Rename;
use crate::convert::manifest::Decode;
use crate::convert::manifest::From;
use crate::convert::manifest::FromWhat;
use crate::convert::manifest::Remote;
use crate::convert::manifest::Rewrite;
use crate::convert::manifest::Select;
use crate::convert::manifest::Spec;
use crate::convert::manifest::StoreRef;
use crate::convert::name;
use crate::convert::path;
use crate::convert::phrase::phrase;
use crate::convert::phrase::placeholder;
use crate::convert::property::Property;
use crate::convert::registry::Meant;
use crate::convert::registry::Registry;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::convert::store;
use crate::secret::Fields;
use std::collections::HashMap;
use std::rc::Rc;

/// What stands for a key that the manifest leaves empty.
const KEY: &str = "REPLACE-ME";

/// All of it.
#[derive(Default)]
pub(super) struct Gathered {
    /// Each once.
    pub(super) reads: Vec<Reading>,
    /// In the order of the manifest, each key once.
    pub(super) data: Vec<Datum>,
    /// Secrets whose fields are not known by name.
    pub(super) extracts: Vec<Extract>,
    /// The read whose fields are all of the data, under their own names.
    pub(super) mirror: Option<usize>,
    /// Entries that came to nothing.
    pub(super) missing: Vec<String>,
    /// Why the manifest as a whole would fail.
    pub(super) unreadable: Vec<String>,
}

/// A read, and what is known of its fields.
pub(super) struct Reading {
    /// Index of its store.
    pub(super) store: usize,
    /// What.
    pub(super) read: Read,
    /// For the name of its source.
    pub(super) alias: String,
    fields: Option<Rc<Fields>>,
}

/// An entry of the data.
#[derive(Clone, Debug)]
pub(super) struct Datum {
    /// Its key.
    pub(super) key: String,
    /// Where its value comes from.
    pub(super) value: Value,
    /// What to say beside it.
    pub(super) comments: Vec<String>,
    /// The server says that it is empty.
    pub(super) is_empty: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Index of the read.
    pub(super) read: usize,
    /// What of it.
    pub(super) part: Part,
    /// How it is decoded.
    pub(super) decode: Decode,
}

/// A part of a secret.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// All of it, as JSON.
    Whole,
    /// A field.
    Field {
        /// As our `field` names it.
        field: String,
        /// Its path from the secret.
        path: Vec<String>,
        /// Whether that is certain: a name with dots may be a path.
        sure: bool,
        /// Whether the server says that it is no string.
        structured: bool,
    },
    /// How many items a list has.
    Length(Vec<String>),
    /// A field of the JSON that a field holds.
    Inside { path: Vec<String>, name: String },
}

/// A secret all of whose fields are wanted.
#[derive(Clone, Debug)]
pub(super) struct Extract {
    /// Where it stands in the manifest.
    pub(super) at: String,
    /// Index of the read.
    pub(super) read: usize,
    /// The field that holds them, in the order of keys; empty for the secret itself.
    pub(super) inside: Vec<String>,
    /// How each is decoded.
    pub(super) decode: Decode,
    /// What becomes of their names.
    pub(super) rename: Rename,
    /// Which of them stay, by their new names.
    pub(super) select: Vec<Select>,
}

/// Gathers.
pub(super) struct Gatherer<'g, 'r> {
    pub(super) registry: &'g mut Registry,
    pub(super) facts: Option<&'g dyn Facts>,
    pub(super) namespace: Option<&'g str>,
    /// Where the `spec` stands.
    pub(super) at: &'g str,
    pub(super) teller: &'g mut Teller<'r>,
    pub(super) out: Gathered,
}

impl Gatherer<'_, '_> {
    /// Everything that a manifest asks for, later entries over earlier ones.
    pub(super) fn run(mut self, spec: &Spec) -> Gathered {
        for from in &spec.data_from {
            self.from(from, spec.store.as_ref());
        }
        if let ([from], true) = (spec.data_from.as_slice(), spec.data.is_empty())
            && let FromWhat::Extract(remote) = &from.what
            && from.rewrite.is_empty()
            && from.select.is_empty()
            && remote.property.is_none()
            && remote.decode == Decode::None
            && self.out.missing.is_empty()
        {
            self.out.mirror = (!self.out.reads.is_empty()).then_some(0);
        }
        let mut seen = HashMap::new();
        for entry in &spec.data {
            let store = entry.store.as_ref().or(spec.store.as_ref());
            let at = format!("{}.remoteRef", entry.at);
            let Some(store) = self.store(store, &entry.at) else {
                continue;
            };
            let read = match self.locate(store, &entry.remote) {
                Ok(read) => self.add(store, read),
                Err(message) => {
                    let message = format!("`{}`: {message}", shown(&entry.key));
                    let told = self.teller.warn_there(&entry.at, message);
                    self.out.missing.push(told);
                    continue;
                }
            };
            if let Some(before) = seen.insert(entry.key.as_str(), entry.at.as_str()) {
                self.teller.warn(
                    &entry.at,
                    format!(
                        "the key `{}` stands twice: this one counts, `{before}` does not",
                        shown(&entry.key)
                    ),
                );
            }
            self.datum(&entry.key, read, &entry.remote, &at);
        }
        self.out
    }

    /// The Vault that is meant; another product is told.
    fn store(&mut self, wanted: Option<&StoreRef>, at: &str) -> Option<usize> {
        let nameless = StoreRef {
            name: String::new(),
            cluster: false,
        };
        let wanted = wanted.unwrap_or(&nameless);
        let (meant, first) = self.registry.resolve(wanted, self.namespace);
        match meant {
            Meant::Vault(index) => {
                if first {
                    self.teller.warn(
                        &format!("{}.secretStoreRef", self.at),
                        format!(
                            "{}: {} address and login (`--mount-path`, `--kv-version` say where its secrets lie)",
                            store::missing(&wanted.name),
                            if wanted.name.is_empty() {
                                "fill in"
                            } else {
                                "give its manifest too, or fill in"
                            }
                        ),
                    );
                }
                Some(index)
            }
            Meant::Other(provider) => {
                let message = format!(
                    "the store `{}` is of `{}`, no Vault",
                    shown(&wanted.name),
                    shown(&provider)
                );
                let told = self.teller.warn_there(at, message);
                self.out.missing.push(told);
                None
            }
        }
    }

    /// The read of a reference, added where it is new.
    fn reading(&mut self, store: usize, remote: &Remote) -> Option<usize> {
        match self.locate(store, remote) {
            Ok(read) => Some(self.add(store, read)),
            Err(message) => {
                let told = self.teller.warn_there(&remote.at, message);
                self.out.missing.push(told);
                None
            }
        }
    }

    fn add(&mut self, store: usize, read: Read) -> usize {
        let known = |reading: &Reading| reading.store == store && reading.read == read;
        if let Some(index) = self.out.reads.iter().position(known) {
            return index;
        }
        let fields = match self.facts.map(|facts| facts.read(&read)) {
            None => None,
            Some(Ok(fields)) => Some(fields),
            Some(Err(reason)) => {
                let what = format!("`{}/{}`", read.place.mount, read.place.key);
                self.out.unreadable.push(
                    self.teller
                        .warn_there("", format!("{} cannot be read: {reason}", shown(&what))),
                );
                None
            }
        };
        let mut alias = name::alias(&read.place.key);
        if read.metadata {
            alias.push_str("_metadata");
        }
        if let Some(version) = read.version {
            alias.push_str(&format!("_v{version}"));
        }
        self.out.reads.push(Reading {
            store,
            read,
            alias,
            fields,
        });
        self.out.reads.len() - 1
    }

    fn locate(&mut self, store: usize, remote: &Remote) -> Result<Read, String> {
        let vault = self.registry.vault(store).ok_or("no such store")?;
        let (namespace, mut engine) = (vault.namespace.clone(), vault.engine());
        let at = format!("{}.key", remote.at);
        let mut key = remote.key.as_str();
        if key.is_empty() {
            self.teller.warn(
                &at,
                format!("is empty; an overlay may fill it in: `{KEY}` stands in its place"),
            );
            key = KEY;
        } else if let Some(part) = placeholder(key) {
            self.teller
                .warn(&at, format!("`{}` is to be filled in", shown(part)));
        } else if let [first, ..] = phrase(key).variables.as_slice() {
            self.teller.warn(&at, format!("`${{{first}}}` is filled in from outside: the daemon takes it from its environment"));
        }
        let mut mount = None;
        if let Some(facts) = self.facts {
            let asked = match engine.path {
                Some(path) => format!("{path}/{key}"),
                None => key.to_owned(),
            };
            if let Some((found, kv)) = facts.engine(&namespace, asked.trim_start_matches('/')) {
                if kv != engine.kv {
                    self.teller.note(
                        &at,
                        format!(
                            "the mount `{}` speaks KV {}, whatever the store says",
                            shown(&found),
                            super::output::version_name(kv)
                        ),
                    );
                }
                engine.kv = kv;
                mount = Some(found);
            }
        }
        if engine.path.is_none() {
            engine.path = mount.as_deref();
        }
        let place = if remote.metadata {
            path::metadata(engine, key)?
        } else if let (None, Some(rest)) = (engine.path, key.strip_prefix('/')) {
            self.teller.warn(&at, "the operator cannot read a key that begins with `/` without a `path` in its store: read without it");
            path::data(engine, rest)?
        } else {
            match path::data(engine, key) {
                Ok(place) => place,
                // A name alone, and nothing says in which mount.
                Err(message) if engine.path.is_none() && !key.contains('/') => {
                    self.teller.warn(
                        &at,
                        format!("{message}: taken as a key of the mount `secret`"),
                    );
                    path::Place {
                        mount: "secret".to_owned(),
                        key: key.to_owned(),
                    }
                }
                Err(message) => return Err(message),
            }
        };
        let is_v2 = engine.kv == crate::plan::KvVersion::V2;
        if remote.version.is_some() && (!is_v2 || remote.metadata) {
            let why = if is_v2 {
                "metadata have no versions"
            } else {
                "KV version 1 has none"
            };
            self.teller.warn(
                &format!("{}.version", remote.at),
                format!("left out: {why}"),
            );
        }
        Ok(Read {
            namespace,
            place,
            is_v2,
            version: remote.version.filter(|_| is_v2 && !remote.metadata),
            metadata: remote.metadata,
        })
    }

    /// Sets an entry of the data; the later one of a name counts.
    fn set(&mut self, datum: Datum) {
        match self
            .out
            .data
            .iter_mut()
            .find(|known| known.key == datum.key)
        {
            Some(known) => *known = datum,
            None => self.out.data.push(datum),
        }
    }

    /// An item of `dataFrom`.
    fn from(&mut self, from: &From, store: Option<&StoreRef>) {
        match &from.what {
            FromWhat::Nothing(reason) => {
                let told = self.teller.warn_there(&from.at, reason.clone());
                self.out.missing.push(told);
            }
            FromWhat::Extract(remote) => {
                let Some(store) = self.store(from.store.as_ref().or(store), &from.at) else {
                    return;
                };
                let Some(read) = self.reading(store, remote) else {
                    return;
                };
                self.extract(from, remote, read);
            }
            FromWhat::Find(find) => {
                let Some(store) = self.store(from.store.as_ref().or(store), &from.at) else {
                    return;
                };
                self.find(from, find, store);
            }
        }
    }

    fn extract(&mut self, from: &From, remote: &Remote, read: usize) {
        let inside = match &remote.property {
            None => Vec::new(),
            Some(Err(what)) => {
                let message = format!(
                    "`{}`: {what} has no translation",
                    shown(&remote.property_text)
                );
                let told = self
                    .teller
                    .warn_there(&format!("{}.property", remote.at), message);
                self.out.missing.push(told);
                return;
            }
            Some(Ok(Property::Name(name))) => vec![name.clone()],
            Some(Ok(Property::Path { segments, .. } | Property::Length { segments, .. })) => {
                segments.clone()
            }
        };
        let fields = self
            .out
            .reads
            .get(read)
            .and_then(|reading| reading.fields.clone());
        if let Some(fields) = fields {
            self.expand(from, remote, read, &inside, &fields);
            return;
        }
        if remote.unicode {
            self.teller.warn(
                &format!("{}.conversionStrategy", remote.at),
                "names of fields stay as they are; with `--query-vault` they are converted",
            );
        }
        let mut rename = Rename::of(&from.rewrite);
        if rename != Rename::Same {
            self.teller.warn(
                &format!("{}.rewrite", from.at),
                format!(
                    "the names of the fields are not known here{}: with `--query-vault` each gets its new name",
                    if rename == Rename::Unknown { "" } else { ", files keep the old ones" }
                ),
            );
        }
        if !from.select.is_empty() {
            self.teller.warn(
                &format!("{}.select", from.at),
                "only the server knows which fields there are: none is left out; with `--query-vault` those that are \
                 selected are written, and no other",
            );
        }
        if from
            .rewrite
            .iter()
            .any(|rewrite| matches!(rewrite, Rewrite::Merge(_)))
        {
            rename = Rename::Unknown;
        }
        self.out.extracts.push(Extract {
            at: from.at.clone(),
            read,
            inside,
            decode: remote.decode,
            rename,
            select: from.select.clone(),
        });
    }
}
