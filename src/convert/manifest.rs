//! `ExternalSecret`: what it says, read leniently. Each field is either understood here or told.

use super::object::Object as Fields;
use super::property::{self, Property};
use super::remark::{Teller, shown};
use super::tree::Node;

/// `spec` of an `ExternalSecret`.
#[derive(Debug, Default)]
pub(super) struct Spec {
    /// Where it stands (`spec`).
    pub(super) at: String,
    pub(super) store: Option<StoreRef>,
    pub(super) interval: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) target: Target,
    pub(super) data: Vec<Entry>,
    pub(super) data_from: Vec<From>,
}

/// `secretStoreRef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreRef {
    pub(super) name: String,
    pub(super) cluster: bool,
}

/// `target`.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) name: Option<String>,
    /// `creationPolicy: None`: nothing is written.
    pub(super) nothing: bool,
    /// Written into what others write, too.
    pub(super) shared: bool,
    pub(super) template: Option<Template>,
}

/// `target.template`.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// Where it stands.
    pub(super) at: String,
    pub(super) kind: String,
    /// `mergePolicy: Merge`.
    pub(super) merge: bool,
    /// Whether it has `data` or `templateFrom`, which then take the place of the data.
    pub(super) replaces: bool,
    pub(super) data: Vec<(String, String)>,
    pub(super) from: Vec<TemplateFrom>,
}

/// An item of `templateFrom`.
#[derive(Debug)]
pub(super) enum TemplateFrom {
    /// Keys and values in one text.
    Literal { at: String, text: String },
    /// Keys of an object in the cluster.
    Object {
        at: String,
        secret: bool,
        name: String,
        /// Key, and whether its text holds keys and values.
        items: Vec<(String, bool)>,
    },
}

/// An item of `data`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: String,
    pub(super) key: String,
    pub(super) remote: Remote,
    pub(super) store: Option<StoreRef>,
}

/// An item of `dataFrom`.
#[derive(Debug)]
pub(super) struct From {
    pub(super) at: String,
    pub(super) what: FromWhat,
    pub(super) rewrite: Vec<Rewrite>,
    pub(super) store: Option<StoreRef>,
}

/// What an item of `dataFrom` takes.
#[derive(Debug)]
pub(super) enum FromWhat {
    Extract(Remote),
    Find(Find),
    /// Nothing that has a translation; why.
    Nothing(String),
}

/// `find`.
#[derive(Debug)]
pub(super) struct Find {
    pub(super) path: String,
    pub(super) regexp: Option<String>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) decode: Decode,
    pub(super) unicode: bool,
}

/// An item of `rewrite`.
#[derive(Clone, Debug)]
pub(super) enum Rewrite {
    Regexp {
        source: String,
        target: String,
    },
    Merge(Merge),
    /// What it is that has no translation.
    Other(String),
}

/// `rewrite.merge`.
#[derive(Clone, Debug, Default)]
pub(super) struct Merge {
    /// The name of the result; absent where the inner keys become the keys.
    pub(super) into: Option<String>,
    pub(super) priority: Vec<String>,
    pub(super) strict: bool,
    pub(super) ignore_conflicts: bool,
}

/// `remoteRef`, and the same below `extract`.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) at: String,
    pub(super) key: String,
    pub(super) property: Option<Result<Property, &'static str>>,
    /// As written.
    pub(super) property_text: String,
    pub(super) version: Option<u64>,
    pub(super) decode: Decode,
    /// `metadataPolicy: Fetch`.
    pub(super) metadata: bool,
    /// `conversionStrategy: Unicode`.
    pub(super) unicode: bool,
}

/// `decodingStrategy`, by the name that our `encoding` has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Decode {
    #[default]
    None,
    Base64,
    Base64Url,
    Auto,
}

impl Decode {
    /// Our `encoding`.
    pub(super) fn encoding(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Auto => "auto",
        }
    }
}

/// Reads `spec` (or `externalSecretSpec`).
pub(super) fn read(node: &Node, at: &str, teller: &mut Teller<'_>) -> Spec {
    let mut fields = Fields::of(node, at, teller);
    let mut spec = Spec {
        at: at.to_owned(),
        store: store_ref(&mut fields, "secretStoreRef", teller),
        interval: fields.text("refreshInterval", teller),
        policy: fields.text("refreshPolicy", teller),
        ..Spec::default()
    };
    if fields.take("syncWindows").is_some() {
        teller.warn(
            &fields.at_of("syncWindows"),
            "the daemon has no windows: it refreshes at all times",
        );
    }
    if let Some(section) = fields.object("target", teller) {
        spec.target = target(section, teller);
    }
    for (at, item) in fields.list("data", teller) {
        spec.data.extend(entry(item, &at, teller));
    }
    for (at, item) in fields.list("dataFrom", teller) {
        spec.data_from.push(from(item, &at, teller));
    }
    fields.finish(teller);
    spec
}

fn store_ref(fields: &mut Fields<'_>, key: &str, teller: &mut Teller<'_>) -> Option<StoreRef> {
    let mut section = fields.object(key, teller)?;
    let name = section.text("name", teller).unwrap_or_default();
    let kind = section.text("kind", teller).unwrap_or_default();
    let at = section.at.clone();
    section.finish(teller);
    if !matches!(kind.as_str(), "" | "SecretStore" | "ClusterSecretStore") {
        teller.warn(&at, format!("`{}` is not a kind of store", shown(&kind)));
    }
    Some(StoreRef {
        name,
        cluster: kind == "ClusterSecretStore",
    })
}

fn target(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Target {
    let mut target = Target {
        name: fields.filled("name", teller),
        ..Target::default()
    };
    let at = fields.at_of("creationPolicy");
    match fields.text("creationPolicy", teller).as_deref() {
        None | Some("" | "Owner") => {}
        Some("Orphan") => {
            teller.note_only(&at, "`Orphan`: a file has no owner that it is deleted with")
        }
        Some(policy @ ("Merge" | "CreateOrMerge")) => {
            target.shared = true;
            teller.note(
                &at,
                format!("`{policy}`: only the files of this manifest are written; others stay"),
            );
        }
        Some("None") => target.nothing = true,
        Some(other) => teller.warn(
            &at,
            format!("`{}` is not a policy: taken as `Owner`", shown(other)),
        ),
    }
    fields.default_only(
        "deletionPolicy",
        &["Retain"],
        "the daemon never deletes or empties a file when its secret has gone",
        teller,
    );
    if fields.text("immutable", teller).as_deref() == Some("true") {
        teller.note_only(
            &fields.at_of("immutable"),
            "only for the Secret in the cluster",
        );
    }
    if fields.take("manifest").is_some() {
        teller.warn(
            &fields.at_of("manifest"),
            "files are written, not an object of the cluster",
        );
    }
    target.template = fields
        .object("template", teller)
        .map(|section| template(section, teller));
    fields.finish(teller);
    target
}

fn template(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Template {
    let mut template = Template {
        at: fields.at.clone(),
        kind: fields.text("type", teller).unwrap_or_default(),
        ..Template::default()
    };
    let at = fields.at_of("engineVersion");
    match fields.text("engineVersion", teller).as_deref() {
        None | Some("" | "v2") => {}
        Some(other) => teller.warn(
            &at,
            format!(
                "`{}`: read as version 2, the one that there is",
                shown(other)
            ),
        ),
    }
    let at = fields.at_of("mergePolicy");
    match fields.text("mergePolicy", teller).as_deref() {
        None | Some("" | "Replace") => {}
        Some("Merge") => template.merge = true,
        Some(other) => teller.warn(
            &at,
            format!("`{}` is not a policy: taken as `Replace`", shown(other)),
        ),
    }
    if let Some(mut metadata) = fields.object("metadata", teller) {
        let keys: Vec<&str> = metadata.take_all().iter().map(|(key, _)| *key).collect();
        if !keys.is_empty() {
            teller.note(
                &format!("{}.{}", metadata.at, keys.join(", ")),
                "a file has no labels, annotations or finalizers",
            );
        }
    }
    if let Some(mut data) = fields.object("data", teller) {
        let at = data.at.clone();
        for (key, node) in data.take_all() {
            template.replaces = true;
            match node.text() {
                Some(text) => template.data.push((key.to_owned(), text)),
                None if *node == Node::Null => template.data.push((key.to_owned(), String::new())),
                None => teller.warn(
                    &format!("{at}.{key}"),
                    format!("expected a template, found {}: left out", node.kind()),
                ),
            }
        }
    }
    for (at, item) in fields.list("templateFrom", teller) {
        template.replaces = true;
        template_from(item, &at, &mut template.from, teller);
    }
    fields.finish(teller);
    template
}

fn template_from(node: &Node, at: &str, into: &mut Vec<TemplateFrom>, teller: &mut Teller<'_>) {
    let mut fields = Fields::of(node, at, teller);
    let target = fields.text("target", teller).unwrap_or_default();
    let is_data = matches!(target.to_ascii_lowercase().as_str(), "" | "data");
    fields.default_only(
        "valuesDecodingStrategy",
        &["None"],
        "values of templates are not decoded",
        teller,
    );
    let mut found = Vec::new();
    for (key, secret) in [("configMap", false), ("secret", true)] {
        let Some(mut section) = fields.object(key, teller) else {
            continue;
        };
        let name = section.text("name", teller).unwrap_or_default();
        let mut items = Vec::new();
        for (at, item) in section.list("items", teller) {
            let mut item = Fields::of(item, &at, teller);
            let key = item.text("key", teller).unwrap_or_default();
            let form = item.text("templateAs", teller).unwrap_or_default();
            item.finish(teller);
            items.push((key, form == "KeysAndValues"));
        }
        let at = section.at.clone();
        section.finish(teller);
        found.push(TemplateFrom::Object {
            at,
            secret,
            name,
            items,
        });
    }
    if let Some(text) = fields.text("literal", teller) {
        found.push(TemplateFrom::Literal {
            at: fields.at_of("literal"),
            text,
        });
    }
    fields.finish(teller);
    if is_data {
        into.extend(found);
    } else {
        teller.note(
            &format!("{at}.target"),
            format!("`{}`: a file has none", shown(&target)),
        );
    }
}

fn entry(node: &Node, at: &str, teller: &mut Teller<'_>) -> Option<Entry> {
    let mut fields = Fields::of(node, at, teller);
    let key = fields.text("secretKey", teller);
    let remote = fields.object("remoteRef", teller);
    let store = source_ref(&mut fields, teller).0;
    let found = match (key, remote) {
        (Some(key), Some(section)) => Some(Entry {
            at: at.to_owned(),
            key,
            remote: remote_ref(section, teller),
            store,
        }),
        (None, _) => {
            teller.warn(at, "without `secretKey`: left out");
            None
        }
        (Some(key), None) => {
            teller.warn(
                at,
                format!("`{}` without `remoteRef`: left out", shown(&key)),
            );
            None
        }
    };
    fields.finish(teller);
    found
}

/// The store of an entry, and its generator.
fn source_ref(
    fields: &mut Fields<'_>,
    teller: &mut Teller<'_>,
) -> (Option<StoreRef>, Option<String>) {
    let Some(mut source) = fields.object("sourceRef", teller) else {
        return (None, None);
    };
    let store = store_ref(&mut source, "storeRef", teller);
    let generator = source.object("generatorRef", teller).map(|mut generator| {
        let kind = generator.text("kind", teller).unwrap_or_default();
        let name = generator.text("name", teller).unwrap_or_default();
        generator.take("apiVersion");
        generator.finish(teller);
        format!("the generator {} `{}`", shown(&kind), shown(&name))
    });
    source.finish(teller);
    (store, generator)
}

fn from(node: &Node, at: &str, teller: &mut Teller<'_>) -> From {
    let mut fields = Fields::of(node, at, teller);
    let extract = fields.object("extract", teller);
    let find = fields.object("find", teller);
    let (store, generator) = source_ref(&mut fields, teller);
    let mut rewrite = Vec::new();
    for (at, item) in fields.list("rewrite", teller) {
        rewrite.extend(rewrite_of(item, &at, teller));
    }
    let what = match (extract, find, generator) {
        (Some(section), _, _) => FromWhat::Extract(remote_ref(section, teller)),
        (None, Some(section), _) => FromWhat::Find(find_of(section, teller)),
        (None, None, Some(generator)) => FromWhat::Nothing(format!(
            "{generator} makes values of its own: the daemon only carries secrets"
        )),
        // Before version 1beta1 the key stood here.
        (None, None, None) => match fields.take("key") {
            Some(_) => FromWhat::Extract(remote_ref(Fields::of(node, at, teller), teller)),
            None => FromWhat::Nothing("neither `extract` nor `find`".to_owned()),
        },
    };
    if node.get("key").is_some() {
        for key in ["property", "version"] {
            fields.take(key);
        }
    }
    fields.finish(teller);
    From {
        at: at.to_owned(),
        what,
        rewrite,
        store,
    }
}

fn find_of(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Find {
    let mut find = Find {
        path: fields.text("path", teller).unwrap_or_default(),
        regexp: None,
        tags: Vec::new(),
        decode: decode(&mut fields, "decodingStrategy", teller),
        unicode: unicode(&mut fields, teller),
    };
    if let Some(mut name) = fields.object("name", teller) {
        find.regexp = Some(name.text("regexp", teller).unwrap_or_default());
        name.finish(teller);
    }
    if let Some(mut tags) = fields.object("tags", teller) {
        for (key, node) in tags.take_all() {
            find.tags
                .push((key.to_owned(), node.text().unwrap_or_default()));
        }
    }
    fields.default_only(
        "nullBytePolicy",
        &["Ignore"],
        "the daemon writes every byte",
        teller,
    );
    fields.finish(teller);
    find
}

fn rewrite_of(node: &Node, at: &str, teller: &mut Teller<'_>) -> Option<Rewrite> {
    let mut fields = Fields::of(node, at, teller);
    let merge = fields.object("merge", teller);
    let regexp = fields.object("regexp", teller);
    let transform = fields.take("transform");
    fields.finish(teller);
    if let Some(mut section) = merge {
        let mut merge = Merge {
            strict: section.text("priorityPolicy", teller).as_deref() != Some("IgnoreNotFound"),
            ignore_conflicts: section.text("conflictPolicy", teller).as_deref() == Some("Ignore"),
            ..Merge::default()
        };
        let json = section.text("strategy", teller).as_deref() == Some("JSON");
        let into = section.text("into", teller).unwrap_or_default();
        merge.into = json.then_some(into);
        for (_, item) in section.list("priority", teller) {
            merge.priority.extend(item.text());
        }
        section.finish(teller);
        return Some(Rewrite::Merge(merge));
    }
    if let Some(mut section) = regexp {
        let source = section.text("source", teller).unwrap_or_default();
        let target = section.text("target", teller).unwrap_or_default();
        section.finish(teller);
        return Some(Rewrite::Regexp { source, target });
    }
    if transform.is_some() {
        return Some(Rewrite::Other("`transform`".to_owned()));
    }
    None
}

fn remote_ref(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Remote {
    let at = fields.at.clone();
    let property_text = fields.text("property", teller).unwrap_or_default();
    let version_at = fields.at_of("version");
    let version = match fields.filled("version", teller) {
        None => None,
        Some(text) => match text.parse() {
            Ok(0) => None,
            Ok(number) => Some(number),
            Err(_) => {
                teller.warn(
                    &version_at,
                    format!(
                        "`{}` is no version of a KV secret: the latest is read",
                        shown(&text)
                    ),
                );
                None
            }
        },
    };
    let metadata_at = fields.at_of("metadataPolicy");
    let metadata = match fields.text("metadataPolicy", teller).as_deref() {
        None | Some("" | "None") => false,
        Some("Fetch") => true,
        Some(other) => {
            teller.warn(
                &metadata_at,
                format!("`{}` is not a policy: taken as `None`", shown(other)),
            );
            false
        }
    };
    let remote = Remote {
        key: fields.text("key", teller).unwrap_or_default(),
        property: (!property_text.is_empty()).then(|| property::parse(&property_text)),
        property_text,
        version,
        decode: decode(&mut fields, "decodingStrategy", teller),
        metadata,
        unicode: unicode(&mut fields, teller),
        at,
    };
    fields.default_only(
        "nullBytePolicy",
        &["Ignore"],
        "the daemon writes every byte",
        teller,
    );
    // Seen around the old shape of `dataFrom`; looked at by whoever called.
    for key in ["extract", "find", "sourceRef", "rewrite"] {
        fields.take(key);
    }
    fields.finish(teller);
    remote
}

fn decode(fields: &mut Fields<'_>, key: &str, teller: &mut Teller<'_>) -> Decode {
    let at = fields.at_of(key);
    match fields.text(key, teller).as_deref() {
        None | Some("" | "None") => Decode::None,
        Some("Base64") => Decode::Base64,
        Some("Base64URL") => Decode::Base64Url,
        Some("Auto") => Decode::Auto,
        Some(other) => {
            teller.warn(
                &at,
                format!("`{}` is not a strategy: taken as `None`", shown(other)),
            );
            Decode::None
        }
    }
}

fn unicode(fields: &mut Fields<'_>, teller: &mut Teller<'_>) -> bool {
    let at = fields.at_of("conversionStrategy");
    match fields.text("conversionStrategy", teller).as_deref() {
        None | Some("" | "Default" | "None") => false,
        Some("Unicode") => true,
        Some(other) => {
            teller.warn(
                &at,
                format!("`{}` is not a strategy: taken as `Default`", shown(other)),
            );
            false
        }
    }
}
