//! A map whose fields are taken out one by one: what is left at the end nobody has looked at, and
//! is told.

use super::remark::{Teller, shown};
use super::tree::Node;

/// The fields of a map that have not been looked at yet.
pub(super) struct Object<'t> {
    /// Its path (`spec.target`).
    pub(super) at: String,
    fields: Vec<(&'t str, &'t Node)>,
}

impl<'t> Object<'t> {
    /// The fields of a value that should be a map; nothing at all is an empty one.
    pub(super) fn of(node: &'t Node, at: &str, teller: &mut Teller<'_>) -> Self {
        let fields = match node {
            Node::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect(),
            Node::Null => Vec::new(),
            other => {
                teller.warn(
                    at,
                    format!("expected a map, found {}: ignored", other.kind()),
                );
                Vec::new()
            }
        };
        Self {
            at: at.to_owned(),
            fields,
        }
    }

    /// The path of a field.
    pub(super) fn at_of(&self, key: &str) -> String {
        let plain = key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        match (self.at.is_empty(), plain && !key.is_empty()) {
            (true, true) => key.to_owned(),
            (false, true) => format!("{}.{key}", self.at),
            (_, false) => format!("{}[\"{}\"]", self.at, shown(key)),
        }
    }

    /// A field, whatever it is; nothing is as good as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<&'t Node> {
        let index = self.fields.iter().position(|(name, _)| *name == key)?;
        let (_, node) = self.fields.remove(index);
        (*node != Node::Null).then_some(node)
    }

    /// All that is left, in order.
    pub(super) fn take_all(&mut self) -> Vec<(&'t str, &'t Node)> {
        std::mem::take(&mut self.fields)
    }

    /// A scalar as text.
    pub(super) fn text(&mut self, key: &str, teller: &mut Teller<'_>) -> Option<String> {
        let node = self.take(key)?;
        let text = node.text();
        if text.is_none() {
            teller.warn(
                &self.at_of(key),
                format!("expected a string, found {}: ignored", node.kind()),
            );
        }
        text
    }

    /// A scalar as text; empty is as good as absent.
    pub(super) fn filled(&mut self, key: &str, teller: &mut Teller<'_>) -> Option<String> {
        self.text(key, teller).filter(|text| !text.is_empty())
    }

    /// A field that should be a map.
    pub(super) fn object(&mut self, key: &str, teller: &mut Teller<'_>) -> Option<Self> {
        let at = self.at_of(key);
        self.take(key).map(|node| Self::of(node, &at, teller))
    }

    /// The items of a field that should be a list, each with its path.
    pub(super) fn list(&mut self, key: &str, teller: &mut Teller<'_>) -> Vec<(String, &'t Node)> {
        let at = self.at_of(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Node::List(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{at}[{index}]"), item))
                .collect(),
            Some(other) => {
                teller.warn(
                    &at,
                    format!("expected a list, found {}: ignored", other.kind()),
                );
                Vec::new()
            }
        }
    }

    /// Fields whose value is their default say nothing; another value is told with `message`.
    pub(super) fn default_only(
        &mut self,
        key: &str,
        defaults: &[&str],
        message: &str,
        teller: &mut Teller<'_>,
    ) {
        let at = self.at_of(key);
        let Some(node) = self.take(key) else { return };
        match node.text() {
            Some(text) if text.is_empty() || defaults.contains(&text.as_str()) => {}
            Some(text) => teller.warn(&at, format!("`{}`: {message}", shown(&text))),
            None => teller.warn(&at, message),
        }
    }

    /// Tells what nobody has looked at.
    pub(super) fn finish(self, teller: &mut Teller<'_>) {
        for (key, _) in &self.fields {
            teller.warn(
                &self.at_of(key),
                "not a field that the operator knows here: ignored",
            );
        }
    }
}
