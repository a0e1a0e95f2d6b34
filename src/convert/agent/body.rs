//! A block of an agent's configuration, its items taken out one by one.

use super::hcl;
use super::hcl::Item;
use super::hcl::Value;
use crate::convert::input::Input;
use crate::convert::remark::Teller;
use crate::convert::tree;
use crate::convert::tree::Node;

/// A block, its items taken out one by one.
pub(super) struct Body<'i> {
    pub(super) at: String,
    pub(super) items: Vec<&'i Item>,
}

impl<'i> Body<'i> {
    pub(super) fn of(at: &str, items: &'i [Item]) -> Self {
        Self {
            at: at.to_owned(),
            items: items.iter().collect(),
        }
    }

    pub(super) fn at_of(&self, name: &str) -> String {
        if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'i Item> {
        let index = self.items.iter().position(|item| item.name == name)?;
        Some(self.items.remove(index))
    }

    pub(super) fn text(&mut self, name: &str, teller: &mut Teller<'_>) -> Option<String> {
        match &self.take(name)?.value {
            Value::Scalar(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            _ => {
                teller.warn(&self.at_of(name), "expected a single value: ignored");
                None
            }
        }
    }

    /// All blocks of a name, each with its label or its `type`.
    pub(super) fn blocks(&mut self, name: &str) -> Vec<(Option<&'i str>, Body<'i>)> {
        let mut blocks = Vec::new();
        while let Some(item) = self.take(name) {
            let label = item.labels.first().map(String::as_str);
            collect(&self.at_of(name), label, &item.value, &mut blocks);
        }
        blocks
    }

    pub(super) fn block(&mut self, name: &str) -> Option<Body<'i>> {
        self.blocks(name).into_iter().next().map(|(_, body)| body)
    }

    pub(super) fn finish(self, teller: &mut Teller<'_>) {
        for item in &self.items {
            teller.warn(
                &self.at_of(&item.name),
                format!(
                    "line {}: has no counterpart in the daemon: left out",
                    item.line
                ),
            );
        }
    }
}

/// A block, a list of blocks, or (in JSON) a block below its label.
pub(super) fn collect<'i>(
    at: &str,
    label: Option<&'i str>,
    value: &'i Value,
    into: &mut Vec<(Option<&'i str>, Body<'i>)>,
) {
    match value {
        Value::Body(items) => into.push((label, Body::of(at, items))),
        Value::List(values) => values
            .iter()
            .for_each(|value| collect(at, label, value, into)),
        Value::Scalar(_) => {}
    }
}

/// The items of a file in HCL or JSON.
pub(super) fn items(input: &Input) -> Result<Vec<Item>, (usize, String)> {
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(&input.text);
    if text.trim_start().starts_with('{') {
        let tree =
            tree::parse(text).map_err(|broken| (broken.line.unwrap_or(1), broken.message))?;
        return Ok(items_of(&tree.root));
    }
    hcl::parse(text)
}

pub(super) fn items_of(node: &Node) -> Vec<Item> {
    let Node::Map(entries) = node else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|(_, node)| *node != Node::Null)
        .map(|(name, node)| Item {
            name: name.clone(),
            labels: Vec::new(),
            value: value_of(node),
            line: 1,
        })
        .collect()
}

pub(super) fn value_of(node: &Node) -> Value {
    match node {
        Node::Map(_) => Value::Body(items_of(node)),
        Node::List(items) => Value::List(items.iter().map(value_of).collect()),
        other => Value::Scalar(other.text().unwrap_or_default()),
    }
}
