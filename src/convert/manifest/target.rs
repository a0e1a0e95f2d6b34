//! `target`: what is written, and its templates.

use super::Target;
use super::Template;
use super::TemplateFrom;
use crate::convert::object::Object as Fields;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::convert::tree::Node;

pub(super) fn target(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Target {
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

pub(super) fn template(mut fields: Fields<'_>, teller: &mut Teller<'_>) -> Template {
    let mut template = Template {
        at: fields.at.clone(),
        kind: fields.text("type", teller).unwrap_or_default(),
        ..Template::default()
    };
    // The mode of certificates is all that a type has to say about files.
    if !matches!(template.kind.as_str(), "" | "Opaque" | "kubernetes.io/tls") {
        teller.note_only(
            &fields.at_of("type"),
            format!("`{}`: a file has no type", shown(&template.kind)),
        );
    }
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

pub(super) fn template_from(
    node: &Node,
    at: &str,
    into: &mut Vec<TemplateFrom>,
    teller: &mut Teller<'_>,
) {
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
            if !["", "Values", "KeysAndValues"].contains(&form.as_str()) {
                let message = format!("`{}` is not a form: taken as `Values`", shown(&form));
                teller.warn(&item.at_of("templateAs"), message);
            }
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
        teller.note(at, format!("for `{}`: a file has none", shown(&target)));
    }
}
