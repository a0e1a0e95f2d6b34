//! A template: the text people wrote, checked, translated and compiled once.
//!
//! Go's forms and Handlebars' are read by one grammar of ours ([`lexer`], [`expression`],
//! [`translate`]), which bounds what it accepts; the Handlebars engine is only given what that
//! wrote.

mod blocks;
mod budget;
mod canonical;
mod compare;
mod expression;
mod functions;
mod lexer;
mod path;
mod printf;
mod translate;

use std::fmt;
use std::sync::{Arc, LazyLock};

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Context, Handlebars, RenderContext, RenderErrorReason, Renderable};
use serde_json::{Map, Value};

use self::blocks::Used;
use self::budget::{Budget, Sink};
use super::{Data, Limits, RenderError, TemplateError, value};
use crate::secret::{Fields, SecretBytes};

/// The engine's parser is quadratic in the number of tags.
const MAX_TAGS: usize = 2_000;
/// Rendering recurses for each block, on a stack of 256 KiB.
const MAX_BLOCKS: usize = 32;
/// Calls and parentheses inside each other, for the same reason.
const MAX_CALLS: usize = 16;
/// The longest template.
const MAX_BYTES: usize = 256 * 1024;

/// A compiled template. Equal when the texts are; clones share what is compiled.
#[derive(Clone)]
pub struct Template {
    text: Arc<str>,
    compiled: Arc<handlebars::Template>,
    used: Used,
    /// It is one field and nothing else, as most are: that of this name.
    field: Option<Arc<str>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.text).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

/// What is wrong with a template, and the byte offset where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    at: usize,
    message: String,
    help: Option<String>,
}

impl Problem {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn locate(self, text: &str) -> TemplateError {
        let (line, column) = Lines::of(text).place(self.at);
        TemplateError {
            line,
            column,
            message: self.message,
            help: self.help,
        }
    }
}

impl Template {
    /// Checks, translates and compiles: at most 2,000 tags, 32 blocks inside each other and
    /// 256 KiB. Needs the stack of a main thread.
    ///
    /// # Errors
    ///
    /// With line and column inside the text, and what to write instead.
    pub fn compile(text: &str) -> Result<Self, TemplateError> {
        let canonical = translate::translate(text).map_err(|problem| problem.locate(text))?;
        let places = Places::new(text, &canonical);
        let mut compiled = handlebars::Template::compile(&canonical.text).map_err(|error| {
            let (line, column) = error.pos().map_or((1, 1), |(l, c)| places.written(l, c));
            TemplateError {
                line,
                column,
                message: "the template cannot be compiled".into(),
                help: None,
            }
        })?;
        places.relocate(&mut compiled, &canonical);
        Ok(Self {
            text: text.into(),
            used: Used::named_in(&canonical.text),
            field: single_field(&canonical.text).map(Arc::from),
            compiled: Arc::new(compiled),
        })
    }

    /// The content, where that is the text of a single field: what the engine would make of it. Whatever else
    /// there is to say is left to the engine.
    fn scalar(&self, data: &Data, limits: Limits) -> Option<SecretBytes> {
        let Data::One(fields) = data else { return None };
        let value = fields.expose().get(&**self.field.as_ref()?)?;
        if !(value.is_string() || value.is_number() || value.is_boolean()) {
            return None;
        }
        let text = value::scalar(value);
        (text.len() <= limits.max_bytes).then(|| SecretBytes::new(text.as_bytes().to_vec()))
    }

    pub(super) fn render(&self, data: &Data, limits: Limits) -> Result<SecretBytes, RenderError> {
        if let Some(bytes) = self.scalar(data, limits) {
            return Ok(bytes);
        }
        let root = Root::new(data);
        let budget = Budget::new(limits);
        let mut engine = EMPTY.clone();
        blocks::furnish(&mut engine, &budget, self.used);
        let mut sink = Sink::new(&budget);
        let mut state = RenderContext::new(None);
        match self
            .compiled
            .render(&engine, &root.0, &mut state, &mut sink)
        {
            Ok(()) => Ok(sink.into_bytes()),
            Err(error) => Err(told(&budget, &error)),
        }
    }
}

/// The name of the field that a canonical text consists of.
fn single_field(canonical: &str) -> Option<&str> {
    let name = canonical
        .strip_prefix("{{emit this.[")?
        .strip_suffix("]}}")?;
    (!name.contains([']', '{', '}'])).then_some(name)
}

/// An engine without a helper. What a new one brings along are fifty entries of a table, more work than most
/// templates, so that this one is copied.
static EMPTY: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(handlebars::no_escape);
    blocks::clear(&mut engine);
    engine
});

/// Whether templates have a helper of that name.
pub(crate) fn is_helper(name: &str) -> bool {
    functions::find(name).is_some()
}

/// The error for people: our own where we raised one, since the engine's may quote values.
fn told(budget: &Budget, error: &handlebars::RenderError) -> RenderError {
    let mut fault = budget.fault().unwrap_or_else(|| RenderError {
        message: match error.reason() {
            RenderErrorReason::InvalidJsonIndex(name) => {
                format!("`{name}` is no position in a list")
            }
            _ => "the template cannot be rendered".into(),
        },
        help: None,
    });
    if let (Some(line), Some(column)) = (error.line_no, error.column_no) {
        fault.message = format!("line {line}, column {column}: {}", fault.message);
    }
    fault
}

/// What a template sees, wiped afterwards.
struct Root(Context);

impl Root {
    fn new(data: &Data) -> Self {
        let map = match data {
            Data::One(fields) => fields.expose().clone(),
            Data::Many(sources) => sources
                .iter()
                .map(|(name, fields)| (name.clone(), Value::Object(fields.expose().clone())))
                .collect::<Map<_, _>>(),
        };
        Self(Context::from(Value::Object(map)))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Value::Object(map) = std::mem::take(self.0.data_mut()) {
            drop(Fields::from_map(map));
        }
    }
}

/// Where each line of a text begins.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let column = self
            .text
            .get(start..at)
            .map_or(0, |before| before.chars().count());
        (line.max(1), column + 1)
    }
}

/// Places in the canonical text, in ascending order, with those in the text as written.
struct Places(Vec<((usize, usize), (usize, usize))>);

impl Places {
    fn new(text: &str, canonical: &canonical::Canonical) -> Self {
        let written = Lines::of(text);
        let translated = Lines::of(&canonical.text);
        Self(
            canonical
                .places
                .iter()
                .map(|(to, from)| (translated.place(*to), written.place(*from)))
                .collect(),
        )
    }

    fn written(&self, line: usize, column: usize) -> (usize, usize) {
        let next = self
            .0
            .partition_point(|(place, _)| *place <= (line, column));
        next.checked_sub(1)
            .and_then(|index| self.0.get(index))
            .map_or((1, 1), |(_, written)| *written)
    }

    /// Lets the compiled template speak of the text as written, puts in what was kept aside, and
    /// gives spare memory back.
    fn relocate(&self, template: &mut handlebars::Template, canonical: &canonical::Canonical) {
        for mapping in &mut template.mapping {
            (mapping.0, mapping.1) = self.written(mapping.0, mapping.1);
        }
        template.mapping.shrink_to_fit();
        template.elements.shrink_to_fit();
        for element in &mut template.elements {
            match element {
                TemplateElement::Expression(helper) | TemplateElement::HelperBlock(helper) => {
                    shrink(helper);
                    for inner in [&mut helper.template, &mut helper.inverse]
                        .into_iter()
                        .flatten()
                    {
                        self.relocate(inner, canonical);
                    }
                }
                TemplateElement::RawString(text) => {
                    canonical.restore(text);
                    text.shrink_to_fit();
                }
                _ => {}
            }
        }
    }
}

fn shrink(helper: &mut HelperTemplate) {
    helper.params.shrink_to_fit();
    for parameter in &mut helper.params {
        if let Parameter::Subexpression(inner) = parameter
            && let TemplateElement::Expression(helper) = &mut *inner.element
        {
            shrink(helper);
        }
    }
}

#[cfg(test)]
mod tests;
