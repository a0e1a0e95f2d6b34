//! `data` and `dataFrom`.

use super::Decode;
use super::Entry;
use super::Find;
use super::From;
use super::FromWhat;
use super::Merge;
use super::Remote;
use super::Rewrite;
use super::Select;
use super::StoreRef;
use super::store_ref;
use crate::convert::object::Object as Fields;
use crate::convert::property;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::convert::tree::Node;

pub(super) fn entry(node: &Node, at: &str, teller: &mut Teller<'_>) -> Option<Entry> {
    let mut fields = Fields::of(node, at, teller);
    let key = fields.text("secretKey", teller);
    let remote = fields.object("remoteRef", teller);
    let (store, generator) = source_ref(&mut fields, teller);
    if generator.is_some() {
        teller.warn(
            &format!("{at}.sourceRef.generatorRef"),
            "ignored, as by the operator: generators are for `dataFrom` alone",
        );
    }
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
pub(super) fn source_ref(
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

pub(super) fn from(node: &Node, at: &str, teller: &mut Teller<'_>) -> From {
    let mut fields = Fields::of(node, at, teller);
    let extract = fields.object("extract", teller);
    let find = fields.object("find", teller);
    let (store, generator) = source_ref(&mut fields, teller);
    let mut rewrite = Vec::new();
    for (at, item) in fields.list("rewrite", teller) {
        rewrite.extend(rewrite_of(item, &at, teller));
    }
    let mut select = Vec::new();
    for (at, item) in fields.list("select", teller) {
        select.extend(select_of(item, &at, teller));
    }
    let named = [
        ("`extract`", extract.is_some()),
        ("`find`", find.is_some()),
        ("`generatorRef`", generator.is_some()),
    ];
    one_of(&named, at, teller);
    let what = match (extract, find, generator) {
        (Some(section), _, _) => FromWhat::Extract(remote_ref(section, teller)),
        (None, Some(section), _) => FromWhat::Find(find_of(section, teller)),
        (None, None, Some(generator)) => FromWhat::Nothing(format!(
            "{generator} makes values of its own: the daemon only carries secrets"
        )),
        // Before version 1beta1 the key stood here.
        (None, None, None) => match fields.take("key") {
            Some(_) => {
                let mut old = Fields::of(node, at, teller);
                for key in ["extract", "find", "sourceRef", "rewrite", "select"] {
                    old.take(key);
                }
                // All that is left is told there.
                fields.take_all();
                FromWhat::Extract(remote_ref(old, teller))
            }
            None => FromWhat::Nothing("neither `extract` nor `find`".to_owned()),
        },
    };
    fields.finish(teller);
    From {
        at: at.to_owned(),
        what,
        rewrite,
        select,
        store,
    }
}

fn select_of(node: &Node, at: &str, teller: &mut Teller<'_>) -> Option<Select> {
    let mut fields = Fields::of(node, at, teller);
    let regexp = fields.filled("regexp", teller);
    let names: Vec<String> = fields
        .list("names", teller)
        .into_iter()
        .filter_map(|(_, name)| name.text())
        .collect();
    let operation = fields.text("operation", teller);
    fields.finish(teller);
    let includes = match operation.as_deref() {
        Some("Include") => true,
        Some("Exclude") => false,
        other => {
            let message = format!(
                "`{}` is not `Include` or `Exclude`: left out",
                shown(other.unwrap_or_default())
            );
            teller.warn(&format!("{at}.operation"), message);
            return None;
        }
    };
    if regexp.is_none() && names.is_empty() {
        teller.warn(at, "neither `names` nor `regexp`: left out");
        return None;
    }
    Some(Select {
        names,
        regexp,
        includes,
    })
}

/// Tells where several stand that the operator takes one of.
fn one_of(named: &[(&str, bool)], at: &str, teller: &mut Teller<'_>) {
    let there: Vec<&str> = named
        .iter()
        .filter_map(|(name, there)| there.then_some(*name))
        .collect();
    if let [first, _, ..] = there.as_slice() {
        let message = format!(
            "{} stand together, where the operator takes one: {first} counts",
            there.join(", ")
        );
        teller.warn(at, message);
    }
}

/// `emptyResultPolicy`, wherever it stands.
fn empty_result(fields: &mut Fields<'_>, teller: &mut Teller<'_>) {
    fields.default_only(
        "emptyResultPolicy",
        &["Fail"],
        "a secret that is missing is an error of all that this manifest writes",
        teller,
    );
}

pub(super) fn find_of(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Find {
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
    if find.regexp.is_some() && !find.tags.is_empty() {
        teller.warn(
            &fields.at_of("tags"),
            "ignored, as by the operator: `name` counts",
        );
    }
    fields.default_only(
        "nullBytePolicy",
        &["Ignore"],
        "the daemon writes every byte",
        teller,
    );
    empty_result(&mut fields, teller);
    fields.finish(teller);
    find
}

pub(super) fn rewrite_of(node: &Node, at: &str, teller: &mut Teller<'_>) -> Option<Rewrite> {
    let mut fields = Fields::of(node, at, teller);
    let merge = fields.object("merge", teller);
    let regexp = fields.object("regexp", teller);
    let transform = fields.take("transform");
    fields.finish(teller);
    let named = [
        ("`merge`", merge.is_some()),
        ("`regexp`", regexp.is_some()),
        ("`transform`", transform.is_some()),
    ];
    one_of(&named, at, teller);
    if let Some(mut section) = merge {
        let mut choice = |key: &str, usual: &str, other: &str| {
            let at = section.at_of(key);
            let text = section.text(key, teller).unwrap_or_default();
            if !text.is_empty() && text != usual && text != other {
                let message = format!("`{}` is not a policy: taken as `{usual}`", shown(&text));
                teller.warn(&at, message);
            }
            text == other
        };
        let mut merge = Merge {
            strict: !choice("priorityPolicy", "Strict", "IgnoreNotFound"),
            ignore_conflicts: choice("conflictPolicy", "Error", "Ignore"),
            ..Merge::default()
        };
        let json = choice("strategy", "Extract", "JSON");
        let into = section.text("into", teller).unwrap_or_default();
        if !json && !into.is_empty() {
            teller.warn(
                &section.at_of("into"),
                "ignored, as by the operator: it is for the strategy `JSON`",
            );
        }
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

pub(super) fn remote_ref(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Remote {
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
    empty_result(&mut fields, teller);
    fields.finish(teller);
    remote
}

pub(super) fn decode(fields: &mut Fields<'_>, key: &str, teller: &mut Teller<'_>) -> Decode {
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

pub(super) fn unicode(fields: &mut Fields<'_>, teller: &mut Teller<'_>) -> bool {
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
