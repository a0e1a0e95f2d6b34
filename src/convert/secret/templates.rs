//! The templates of a manifest, from wherever they come.

use super::Frame;
use super::SHOWN_LINES;
use super::Wanted;
use crate::convert::literal;
use crate::convert::manifest::Template;
use crate::convert::manifest::TemplateFrom;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::convert::template;
use crate::convert::tree::Node;

/// The templates of a manifest by key: what comes later takes the place of what came before.
pub(super) fn templates(
    template: &Template,
    frame: &Frame<'_>,
    missing: &mut Vec<String>,
    teller: &mut Teller<'_>,
) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut set = |key: String, at: String, text: String| {
        let text = template::without_variables(&text);
        let wanted = Wanted { key, at, text };
        match all.iter_mut().find(|known| known.key == wanted.key) {
            Some(known) => *known = wanted,
            None => all.push(wanted),
        }
    };
    for from in &template.from {
        match from {
            TemplateFrom::Literal { at, text } => match literal::split(text) {
                Ok(pairs) => pairs
                    .into_iter()
                    .for_each(|(key, text)| set(key, at.clone(), text)),
                Err(message) => missing.push(untranslated(at, &message, text, teller)),
            },
            TemplateFrom::Object {
                at,
                secret,
                name,
                items,
            } => {
                let found = if *secret {
                    None
                } else {
                    (frame.config_map)(name)
                };
                let Some(data) = found.and_then(|node| node.get("data")) else {
                    let what = if *secret { "Secret" } else { "ConfigMap" };
                    let keys: Vec<String> = items
                        .iter()
                        .map(|(key, _)| format!("`{}`", shown(key)))
                        .collect();
                    let advice = if *secret {
                        ""
                    } else {
                        ": give its manifest too"
                    };
                    missing.push(teller.warn_there(
                        at,
                        format!(
                            "the {what} `{}` is not among the manifests ({}){advice}",
                            shown(name),
                            keys.join(", ")
                        ),
                    ));
                    continue;
                };
                for (key, both) in items {
                    let Some(text) = data.get(key).and_then(Node::text) else {
                        missing.push(teller.warn_there(
                            at,
                            format!("`{}` has no key `{}`", shown(name), shown(key)),
                        ));
                        continue;
                    };
                    if !both {
                        set(key.clone(), at.clone(), text);
                        continue;
                    }
                    match literal::split(&text) {
                        Ok(pairs) => pairs
                            .into_iter()
                            .for_each(|(key, text)| set(key, at.clone(), text)),
                        Err(message) => missing.push(untranslated(at, &message, &text, teller)),
                    }
                }
            }
        }
    }
    for (key, text) in &template.data {
        set(
            key.clone(),
            format!("{}.data[{}]", template.at, shown(key)),
            text.clone(),
        );
    }
    all
}

/// A warning, and a comment that holds the template as it was.
pub(super) fn untranslated(at: &str, message: &str, text: &str, teller: &mut Teller<'_>) -> String {
    let mut comment = teller.warn_there(at, message);
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().take(SHOWN_LINES) {
        comment.push_str("\n  | ");
        comment.push_str(line);
    }
    if lines.len() > SHOWN_LINES {
        comment.push_str("\n  | …");
    }
    comment
}
