//! What a manifest gathers before any template: reads, and the entries of its data with where each
//! value comes from.

use std::collections::HashSet;
use std::rc::Rc;

use serde_json::Value as Json;

use super::facts::{Facts, Read};
use super::keys::{self, Rename};
use super::manifest::{Decode, Find, From, FromWhat, Merge, Remote, Rewrite, Spec, StoreRef};
use super::name;
use super::path;
use super::phrase::{phrase, placeholder};
use super::property::{Property, joined};
use super::registry::{Meant, Registry};
use super::remark::{Teller, shown};
use crate::secret::Fields;

/// What stands for a key that the manifest leaves empty.
const KEY: &str = "REPLACE-ME";
/// More files than this from one `find` are refused.
const MAX_FOUND: usize = 2_000;

/// All of it.
#[derive(Default)]
pub(super) struct Gathered {
    /// Each once.
    pub(super) reads: Vec<Reading>,
    /// In the order of the manifest, each key once.
    pub(super) data: Vec<Datum>,
    /// Secrets whose fields are not known by name.
    pub(super) extracts: Vec<Extract>,
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
        let mut seen = HashSet::new();
        for entry in &spec.data {
            let store = entry.store.as_ref().or(spec.store.as_ref());
            let at = format!("{}.remoteRef", entry.at);
            let Some(store) = self.store(store, &entry.at) else {
                continue;
            };
            let Some(read) = self.reading(store, &entry.remote) else {
                continue;
            };
            if !seen.insert(entry.key.as_str()) {
                self.teller.warn(
                    &entry.at,
                    format!(
                        "the key `{}` stands twice: the later one counts",
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
                            "the store `{}` is not among the manifests: give its manifest too, or fill in address and \
                             login (`--mount-path`, `--kv-version` say where its secrets lie)",
                            shown(&wanted.name)
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

    /// An entry of `data`.
    fn datum(&mut self, key: &str, read: usize, remote: &Remote, at: &str) {
        let mut comments = Vec::new();
        let fields = self
            .out
            .reads
            .get(read)
            .and_then(|reading| reading.fields.clone());
        let mut is_empty = false;
        let part = match &remote.property {
            None => {
                if matches!(remote.decode, Decode::Base64 | Decode::Base64Url) {
                    comments.push(self.teller.warn_there(
                        &format!("{at}.decodingStrategy"),
                        "a whole secret is JSON, which is no base64: the operator fails here; not decoded",
                    ));
                }
                Part::Whole
            }
            Some(Err(what)) => {
                let text = &remote.property_text;
                let known = fields
                    .as_ref()
                    .is_some_and(|fields| fields.expose().contains_key(text));
                if !known {
                    comments.push(self.teller.warn_there(
                        &format!("{at}.property"),
                        format!(
                            "`{}`: {what} has no translation: taken as the name of a field",
                            shown(text)
                        ),
                    ));
                }
                is_empty =
                    value_of(fields.as_deref(), std::slice::from_ref(text)).is_some_and(is_nothing);
                self.name(text, fields.as_deref())
            }
            Some(Ok(property)) => {
                match self.property(property, fields.as_deref(), &format!("{at}.property")) {
                    Ok((part, empty)) => {
                        is_empty = empty;
                        part
                    }
                    Err(told) => {
                        self.out.missing.push(told);
                        return;
                    }
                }
            }
        };
        let decode = match part {
            Part::Whole => Decode::None,
            _ => remote.decode,
        };
        self.set(Datum {
            key: key.to_owned(),
            value: Value { read, part, decode },
            comments,
            is_empty,
        });
    }

    fn name(&self, name: &str, fields: Option<&Fields>) -> Part {
        let path = vec![name.to_owned()];
        let structured = value_of(fields, &path).is_some_and(|value| !value.is_string());
        Part::Field {
            field: name.to_owned(),
            path,
            sure: true,
            structured,
        }
    }

    /// The part that a property names, and whether it is known to be empty.
    fn property(
        &mut self,
        property: &Property,
        fields: Option<&Fields>,
        at: &str,
    ) -> Result<(Part, bool), String> {
        let (text, segments) = match property {
            Property::Name(name) => (name, std::slice::from_ref(name)),
            Property::Path { text, segments } | Property::Length { text, segments } => {
                (text, segments.as_slice())
            }
        };
        let exact = std::slice::from_ref(text);
        let Some(fields) = fields else {
            return Ok(match property {
                Property::Name(_) => (self.name(text, None), false),
                Property::Path { .. } => (
                    Part::Field {
                        field: property.field(),
                        path: exact.to_vec(),
                        sure: false,
                        structured: false,
                    },
                    false,
                ),
                Property::Length { .. } => (Part::Length(segments.to_vec()), false),
            });
        };
        if let Some(value) = value_of(Some(fields), exact) {
            return Ok((self.name(text, Some(fields)), is_nothing(value)));
        }
        match (property, value_of(Some(fields), segments)) {
            (Property::Length { .. }, Some(Json::Array(_))) => {
                Ok((Part::Length(segments.to_vec()), false))
            }
            (Property::Path { .. }, Some(value)) => {
                if let Json::Number(number) = value
                    && number.to_string().contains(['.', 'e', 'E'])
                {
                    self.teller.warn(at, "a number with a fraction or exponent: the operator respells it, the daemon keeps its digits");
                }
                Ok((
                    Part::Field {
                        field: property.field(),
                        path: segments.to_vec(),
                        sure: true,
                        structured: !value.is_string(),
                    },
                    is_nothing(value),
                ))
            }
            _ => Err(self
                .teller
                .warn_there(at, format!("the secret has no field `{}`", shown(text)))),
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
        });
    }

    /// An `extract` whose fields are known: each becomes an entry.
    fn expand(
        &mut self,
        from: &From,
        remote: &Remote,
        read: usize,
        inside: &[String],
        fields: &Fields,
    ) {
        let at = remote.at.clone();
        let outer = match inside {
            [] => None,
            path => {
                let exact = std::slice::from_ref(&remote.property_text);
                let (path, found) = match value_of(Some(fields), exact) {
                    Some(value) => (exact, Some(value)),
                    None => (path, value_of(Some(fields), path)),
                };
                match found {
                    Some(Json::Object(map)) => {
                        Some((path.to_vec(), Fields::from_map(map.clone()), false))
                    }
                    Some(Json::String(text)) => match Fields::parse(text) {
                        Ok(fields) => Some((path.to_vec(), fields, true)),
                        Err(_) => None,
                    },
                    _ => None,
                }
                .or_else(|| {
                    let message = format!("`{}` holds no object", shown(&remote.property_text));
                    let told = self.teller.warn_there(&format!("{at}.property"), message);
                    self.out.missing.push(told);
                    None
                })
            }
        };
        if !inside.is_empty() && outer.is_none() {
            return;
        }
        let map = outer
            .as_ref()
            .map_or(fields.expose(), |(_, fields, _)| fields.expose());
        let mut pairs: Vec<(String, Part, bool)> = map
            .iter()
            .map(|(name, value)| {
                let part = match &outer {
                    Some((path, _, true)) => Part::Inside {
                        path: path.clone(),
                        name: name.clone(),
                    },
                    Some((path, _, false)) => {
                        let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                        Part::Field {
                            field: joined(&path),
                            path,
                            sure: true,
                            structured: !value.is_string(),
                        }
                    }
                    None => self.name(name, Some(fields)),
                };
                if respelled(value) {
                    let message = format!("`{}`: the operator respells numbers (`1.0` is `1`), the daemon keeps their digits", shown(name));
                    self.teller.warn(&at, message);
                }
                (name.clone(), part, is_nothing(value))
            })
            .collect();
        if from.rewrite.is_empty() {
            for (name, _, _) in &mut pairs {
                *name = keys::converted(name, remote.unicode);
            }
        }
        for (index, rewrite) in from.rewrite.iter().enumerate() {
            let field = format!("{}.rewrite[{index}]", from.at);
            match self.rewritten(rewrite, pairs, map, &field) {
                Some(rewritten) => pairs = rewritten,
                None => return,
            }
        }
        self.adopt(pairs, read, remote.decode, &at);
    }

    /// Takes entries into the data; what no key may hold the operator refuses.
    fn adopt(&mut self, pairs: Vec<(String, Part, bool)>, read: usize, decode: Decode, at: &str) {
        for (key, part, is_empty) in pairs {
            if key.is_empty() {
                continue;
            }
            if !key.chars().all(keys::is_allowed) {
                let told = self.teller.warn_there(
                    at,
                    format!(
                        "`{}` is no key of a Secret: the operator fails here",
                        shown(&key)
                    ),
                );
                self.out.missing.push(told);
                continue;
            }
            self.set(Datum {
                key,
                value: Value { read, part, decode },
                comments: Vec::new(),
                is_empty,
            });
        }
    }

    fn rewritten(
        &mut self,
        rewrite: &Rewrite,
        pairs: Vec<(String, Part, bool)>,
        map: &serde_json::Map<String, Json>,
        at: &str,
    ) -> Option<Vec<(String, Part, bool)>> {
        let refused = |this: &mut Self, message: String| {
            let told = this.teller.warn_there(at, message);
            this.out.missing.push(told);
            None
        };
        match rewrite {
            Rewrite::Other(what) => refused(self, format!("{what} has no translation")),
            Rewrite::Merge(merge) => {
                // Only what stands in the secret itself can be merged here.
                let flat: Option<Vec<(String, &Json)>> = pairs
                    .iter()
                    .map(|(key, part, _)| match part {
                        Part::Field { path, .. } => match path.as_slice() {
                            [name] => map.get(name).map(|value| (key.clone(), value)),
                            _ => None,
                        },
                        _ => None,
                    })
                    .collect();
                match flat {
                    None => refused(
                        self,
                        "`merge` after `property` has no translation".to_owned(),
                    ),
                    Some(values) => match merged(merge, &values) {
                        Err(message) => refused(self, message),
                        Ok(inner) => Some(inner_parts(&pairs, inner)),
                    },
                }
            }
            Rewrite::Regexp { source, target } => {
                let regexp = match keys::compiled(source) {
                    Ok(regexp) => regexp,
                    Err(message) => return refused(self, message),
                };
                let mut renamed: Vec<(String, Part, bool)> = Vec::with_capacity(pairs.len());
                for (key, part, empty) in pairs {
                    let key = regexp.replace_all(&key, target.as_str()).into_owned();
                    match renamed.iter_mut().find(|(known, _, _)| *known == key) {
                        Some(known) => {
                            self.teller.warn(at, format!("two names become `{}`: the later one counts, the operator takes any", shown(&key)));
                            *known = (key, part, empty);
                        }
                        None => renamed.push((key, part, empty)),
                    }
                }
                Some(renamed)
            }
        }
    }

    fn find(&mut self, from: &From, find: &Find, store: usize) {
        let Some(vault) = self.registry.vault(store) else {
            return;
        };
        let (namespace, mount, kv) = (vault.namespace.clone(), vault.path.clone(), vault.kv);
        let at = format!("{}.find", from.at);
        if self.facts.is_none() {
            let told = self.teller.warn_there(
                &at,
                "which secrets it finds only the server knows: `--query-vault` writes each of them out",
            );
            self.out.missing.push(told);
            return;
        }
        let result = self.found(find, &namespace, mount.as_deref(), kv, &at);
        let names = match result {
            Ok(names) => names,
            Err(message) => {
                let told = self.teller.warn_there(&at, message);
                self.out.missing.push(told);
                return;
            }
        };
        if names.is_empty() {
            let told = self.teller.warn_there(&at, "finds nothing now");
            self.out.missing.push(told);
        }
        let mut pairs = Vec::new();
        for (name, read) in names {
            let read = self.add(store, read);
            pairs.push((name, read));
        }
        for (name, read) in pairs {
            let mut key = if from.rewrite.is_empty() {
                keys::converted(&name, find.unicode)
            } else {
                name
            };
            for (index, rewrite) in from.rewrite.iter().enumerate() {
                let field = format!("{}.rewrite[{index}]", from.at);
                match rewrite {
                    Rewrite::Regexp { source, target } => {
                        match keys::replaced(&key, source, target) {
                            Ok(renamed) => key = renamed,
                            Err(message) => {
                                let told = self.teller.warn_there(&field, message);
                                self.out.missing.push(told);
                                return;
                            }
                        }
                    }
                    _ => {
                        let told = self
                            .teller
                            .warn_there(&field, "only `regexp` has a translation after `find`");
                        self.out.missing.push(told);
                        return;
                    }
                }
            }
            // A whole secret is JSON: `Auto` leaves it, base64 is never right.
            if matches!(find.decode, Decode::Base64 | Decode::Base64Url) {
                self.teller.warn(
                    &at,
                    "a whole secret is JSON, which is no base64: not decoded",
                );
            }
            self.adopt(vec![(key, Part::Whole, false)], read, Decode::None, &at);
        }
    }

    fn found(
        &mut self,
        find: &Find,
        namespace: &str,
        mount: Option<&str>,
        kv: crate::plan::KvVersion,
        at: &str,
    ) -> Result<Vec<(String, Read)>, String> {
        let mount = mount
            .map(|mount| mount.trim_matches('/').to_owned())
            .filter(|mount| !mount.is_empty())
            .ok_or("without a `path` in the store there is no mount to look in")?;
        let facts = self.facts.ok_or("no server to ask")?;
        let (mount, kv) = facts
            .engine(namespace, &format!("{mount}/"))
            .unwrap_or((mount, kv));
        let is_v2 = kv == crate::plan::KvVersion::V2;
        let regexp = find.regexp.as_deref().map(keys::compiled).transpose()?;
        if regexp.is_none() && !find.tags.is_empty() && !is_v2 {
            return Err("`tags` need KV version 2".to_owned());
        }
        let names = facts.list(namespace, &mount, kv, &find.path)?;
        let mut found = Vec::new();
        for name in names {
            let read = |metadata| Read {
                namespace: namespace.to_owned(),
                place: path::Place {
                    mount: mount.clone(),
                    key: name.clone(),
                },
                is_v2,
                version: None,
                metadata,
            };
            let wanted = match &regexp {
                Some(regexp) => regexp.is_match(&name),
                None if find.tags.is_empty() => true,
                None => match facts.read(&read(true)) {
                    Ok(tags) => find.tags.iter().all(|(key, value)| {
                        tags.expose().get(key).is_some_and(|tag| match tag {
                            Json::String(text) => text == value,
                            other => &*other.to_string() == value.as_str(),
                        })
                    }),
                    Err(message) => {
                        return Err(format!(
                            "{at}: the metadata of `{}`: {message}",
                            shown(&name)
                        ));
                    }
                },
            };
            if wanted {
                found.push((name.clone(), read(false)));
            }
            if found.len() > MAX_FOUND {
                return Err(format!("finds more than {MAX_FOUND} secrets"));
            }
        }
        Ok(found)
    }
}

/// The value at a path.
fn value_of<'f>(fields: Option<&'f Fields>, path: &[String]) -> Option<&'f Json> {
    let (first, rest) = path.split_first()?;
    let first = fields?.expose().get(first)?;
    rest.iter().try_fold(first, |at, segment| match at {
        Json::Object(map) => map.get(segment),
        Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Whether the operator, to which a number of an `extract` is a float, would write it otherwise.
fn respelled(value: &Json) -> bool {
    match value {
        Json::Number(number) => {
            let literal = number.to_string();
            let Ok(float) = literal.parse::<f64>() else {
                return true;
            };
            format!("{float}") != literal
        }
        Json::Array(items) => items.iter().any(respelled),
        Json::Object(map) => map.values().any(respelled),
        _ => false,
    }
}

/// The inner keys of `rewrite.merge`: each with the outer key that it comes from.
fn merged(
    merge: &Merge,
    values: &[(String, &Json)],
) -> Result<Vec<(String, String, bool, bool)>, String> {
    if merge.into.is_some() {
        return Err("`merge` into one JSON value has no translation: use a template".to_owned());
    }
    let mut order: Vec<&(String, &Json)> = values
        .iter()
        .filter(|(key, _)| !merge.priority.contains(key))
        .collect();
    order.sort_by(|(a, _), (b, _)| a.cmp(b));
    for key in &merge.priority {
        match values.iter().find(|(known, _)| known == key) {
            Some(pair) => order.push(pair),
            None if merge.strict => {
                return Err(format!(
                    "`priority` names `{}`, which is not there",
                    shown(key)
                ));
            }
            None => {}
        }
    }
    let mut inner: Vec<(String, String, bool, bool)> = Vec::new();
    for (outer, value) in order {
        let (fields, text) = match value {
            Json::Object(map) => (Fields::from_map(map.clone()), false),
            Json::String(text) => (
                Fields::parse(text)
                    .map_err(|_| format!("the value of `{}` is no JSON object", shown(outer)))?,
                true,
            ),
            _ => return Err(format!("the value of `{}` is no JSON object", shown(outer))),
        };
        for (name, value) in fields.expose() {
            let entry = (name.clone(), outer.clone(), text, is_nothing(value));
            match inner.iter_mut().find(|(known, _, _, _)| known == name) {
                Some(_) if !merge.ignore_conflicts => {
                    return Err(format!(
                        "the key `{}` stands in two of the values that are merged",
                        shown(name)
                    ));
                }
                Some(known) => *known = entry,
                None => inner.push(entry),
            }
        }
    }
    Ok(inner)
}

fn inner_parts(
    pairs: &[(String, Part, bool)],
    inner: Vec<(String, String, bool, bool)>,
) -> Vec<(String, Part, bool)> {
    inner
        .into_iter()
        .filter_map(|(name, outer, is_text, empty)| {
            let (_, part, _) = pairs.iter().find(|(key, _, _)| *key == outer)?;
            let Part::Field { path, .. } = part else {
                return None;
            };
            let part = if is_text {
                Part::Inside {
                    path: path.clone(),
                    name: name.clone(),
                }
            } else {
                let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                Part::Field {
                    field: joined(&path),
                    path,
                    sure: true,
                    structured: false,
                }
            };
            Some((name, part, empty))
        })
        .collect()
}
