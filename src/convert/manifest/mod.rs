//! `ExternalSecret`: what it says, read leniently. Each field is either understood here or told.

mod entries;
mod target;

use super::object::Object as Fields;
use super::property::Property;
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
    /// Applied after `rewrite`, each to what the one before left.
    pub(super) select: Vec<Select>,
    pub(super) store: Option<StoreRef>,
}

/// A rule of `select`: which keys stay.
#[derive(Clone, Debug)]
pub(super) struct Select {
    pub(super) names: Vec<String>,
    pub(super) regexp: Option<String>,
    /// `Include`: what matches stays; else (`Exclude`) it goes.
    pub(super) includes: bool,
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
        spec.target = target::target(section, teller);
    }
    for (at, item) in fields.list("data", teller) {
        spec.data.extend(entries::entry(item, &at, teller));
    }
    for (at, item) in fields.list("dataFrom", teller) {
        spec.data_from.push(entries::from(item, &at, teller));
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
