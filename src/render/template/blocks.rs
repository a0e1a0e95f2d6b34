//! The blocks and the value tag, as the engine calls them. Its own are replaced: they take scalars
//! and missing fields for empty, and do not look at the time.

use handlebars::{
    BlockContext, Context, Handlebars, Helper, HelperDef, HelperResult, Output, PathAndJson,
    RenderContext, Renderable, ScopedJson, Template,
};
use serde_json::Value;

use super::budget::{Budget, Fault};
use super::functions::{self, Function};
use super::path;
use crate::render::field;
use crate::render::value::{is_true, kind, scalar, text};

/// What a template uses: a bit for each of our helpers, and for each of [`BLOCKS`] after them.
#[derive(Clone, Copy)]
pub(super) struct Used(u64);

const BLOCKS: [&str; 5] = ["if", "unless", "each", "with", "emit"];

const _: () = assert!(functions::COUNT + BLOCKS.len() <= u64::BITS as usize);

impl Used {
    /// Whatever is named in a canonical text, in its tags or between them.
    pub(super) fn named_in(canonical: &str) -> Self {
        let functions = functions::all().iter().map(|function| function.name);
        let names = functions.chain(BLOCKS).enumerate();
        Self(
            names
                .filter(|(_, name)| canonical.contains(name))
                .fold(0, |bits, (index, _)| bits | 1 << index),
        )
    }

    fn has(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }
}

/// Takes everything away that an engine brings along.
pub(super) fn clear(engine: &mut Handlebars<'_>) {
    for name in [
        "if", "unless", "each", "with", "lookup", "raw", "log", "eq", "ne", "gt", "gte", "lt",
        "lte", "and", "or", "not", "len",
    ] {
        engine.unregister_helper(name);
    }
}

/// Gives an empty engine what a template uses, and nothing else.
pub(super) fn furnish<'b>(engine: &mut Handlebars<'b>, budget: &'b Budget, used: Used) {
    for (index, function) in functions::all().iter().enumerate() {
        if used.has(index) {
            engine.register_helper(function.name, Box::new(Call { function, budget }));
        }
    }
    for (index, name) in BLOCKS.into_iter().enumerate() {
        if !used.has(functions::COUNT + index) {
            continue;
        }
        let block: Box<dyn HelperDef + Send + Sync + 'b> = match name {
            "if" => Box::new(If {
                wanted: true,
                budget,
            }),
            "unless" => Box::new(If {
                wanted: false,
                budget,
            }),
            "each" => Box::new(Each(budget)),
            "with" => Box::new(With(budget)),
            _ => Box::new(Emit(budget)),
        };
        engine.register_helper(name, block);
    }
}

/// A missing field, by its name.
fn missing(argument: &PathAndJson<'_>, context: &Context, budget: &Budget) -> Fault {
    let name = match argument.relative_path() {
        Some(canonical) => path::readable(canonical),
        None => budget.missing(),
    };
    let there = context
        .data()
        .as_object()
        .map_or_else(String::new, |root| field::missing_help(root.keys()));
    Fault::new(format!("field `{name}` is missing")).help(format!(
        "{there}; only `if` and `default` (`{{{{ default \"x\" .a }}}}`) accept what is not there"
    ))
}

/// The name of what `index` did not find: literals as they are, of values only where they stand.
fn looked_up(keys: &[PathAndJson<'_>]) -> String {
    let names = keys.iter().map(|key| match key.try_get_constant_value() {
        Some(literal) => scalar(literal).into_owned(),
        None => match key.relative_path() {
            Some(canonical) => format!("[{}]", path::readable(canonical)),
            None => "[…]".into(),
        },
    });
    names.collect::<Vec<_>>().join(".")
}

/// A helper of the table.
struct Call<'b> {
    function: &'static Function,
    budget: &'b Budget,
}

impl Call<'_> {
    fn run<'rc>(&self, helper: &Helper<'rc>, context: &Context) -> Result<ScopedJson<'rc>, Fault> {
        self.budget.step()?;
        let mut arguments = Vec::with_capacity(helper.params().len());
        for (index, argument) in helper.params().iter().enumerate() {
            if argument.is_value_missing() && index < self.function.missing_from {
                return Err(missing(argument, context, self.budget));
            }
            arguments.push(argument.value());
        }
        let result = (self.function.run)(&arguments, self.budget).map_err(|fault| Fault {
            message: format!("`{}`: {}", self.function.name, fault.message),
            ..fault
        })?;
        if result.is_none() {
            self.budget.note_missing(looked_up(&helper.params()[1..]));
        }
        Ok(result.map_or(ScopedJson::Missing, ScopedJson::Derived))
    }
}

impl HelperDef for Call<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        self.run(helper, context)
            .map_err(|fault| self.budget.fail(fault))
    }
}

/// The argument of a block or a value tag, which must be there.
fn argument<'h, 'rc>(
    helper: &'h Helper<'rc>,
    context: &Context,
    budget: &Budget,
) -> Result<&'h PathAndJson<'rc>, handlebars::RenderError> {
    let found = budget.step().and_then(|()| match helper.param(0) {
        Some(argument) if argument.is_value_missing() => Err(missing(argument, context, budget)),
        Some(argument) => Ok(argument),
        None => Err(Fault::new("a block needs a value")),
    });
    found.map_err(|fault| budget.fail(fault))
}

/// A value's text.
struct Emit<'b>(&'b Budget);

impl HelperDef for Emit<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let argument = argument(helper, context, self.0)?;
        match text(argument.value(), self.0.most()) {
            Some(text) => Ok(out.write(&text)?),
            None => Err(self.0.fail(self.0.full())),
        }
    }
}

/// `if`, which takes a missing field for false; `unless`, which does not take it.
struct If<'b> {
    wanted: bool,
    budget: &'b Budget,
}

impl<'b> If<'b> {
    fn branch<'rc>(
        &self,
        helper: &Helper<'rc>,
        context: &Context,
    ) -> Result<Option<&'rc Template>, handlebars::RenderError> {
        let missing = helper.param(0).is_some_and(PathAndJson::is_value_missing);
        let truth = if missing && self.wanted {
            false
        } else {
            is_true(argument(helper, context, self.budget)?.value())
        };
        Ok(if truth == self.wanted {
            helper.template()
        } else {
            helper.inverse()
        })
    }
}

impl HelperDef for If<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        match self.branch(helper, context)? {
            Some(template) => template.render(engine, context, state, out),
            None => Ok(()),
        }
    }
}

/// `with`: the value is `this`, where it is true.
struct With<'b>(&'b Budget);

impl HelperDef for With<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let argument = argument(helper, context, self.0)?;
        let inside = is_true(argument.value());
        let branch = if inside {
            enter(argument, state);
            helper.template()
        } else {
            helper.inverse()
        };
        if let Some(template) = branch {
            template.render(engine, context, state, out)?;
        }
        if inside {
            state.pop_block();
        }
        Ok(())
    }
}

/// `each` and `range`.
struct Each<'b>(&'b Budget);

impl HelperDef for Each<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        engine: &'reg Handlebars<'reg>,
        context: &'rc Context,
        state: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let argument = argument(helper, context, self.0)?;
        let members = Members::of(argument.value()).map_err(|fault| self.0.fail(fault))?;
        if members.len() == 0 {
            return match helper.inverse() {
                Some(template) => template.render(engine, context, state, out),
                None => Ok(()),
            };
        }
        let Some(template) = helper.template() else {
            return Ok(());
        };
        state.push_block(BlockContext::new());
        for index in 0..members.len() {
            self.0.step().map_err(|fault| self.0.fail(fault))?;
            if let Some(block) = state.block_mut() {
                members.enter(block, argument, index);
            }
            template.render(engine, context, state, out)?;
        }
        state.pop_block();
        Ok(())
    }
}

/// Opens a block whose `this` is the argument; `@key` and its kin stay those of the loop around.
fn enter<'rc>(argument: &PathAndJson<'rc>, state: &mut RenderContext<'_, 'rc>) {
    let mut block = BlockContext::new();
    if let Some(around) = state.block() {
        block
            .local_variables_mut()
            .clone_from(around.local_variables());
    }
    match argument.context_path() {
        Some(path) => block.base_path_mut().clone_from(path),
        None => block.set_base_value(argument.value().clone()),
    }
    state.push_block(block);
}

/// What a loop goes through.
enum Members<'v> {
    List(&'v [Value]),
    Object(Vec<(&'v String, &'v Value)>),
}

impl<'v> Members<'v> {
    fn of(value: &'v Value) -> Result<Self, Fault> {
        match value {
            Value::Array(items) => Ok(Self::List(items)),
            Value::Object(map) => Ok(Self::Object(map.iter().collect())),
            Value::Null => Ok(Self::List(&[])),
            other => Err(Fault::new(format!("{} cannot be looped over", kind(other)))
                .help("a string that holds JSON is read by `fromJson`, one that is split by `splitList`")),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Object(members) => members.len(),
        }
    }

    /// Makes a member the block's `this`.
    fn enter(&self, block: &mut BlockContext<'_>, argument: &PathAndJson<'_>, index: usize) {
        let (name, member) = match self {
            Self::List(items) => (index.to_string(), items.get(index)),
            Self::Object(members) => match members.get(index) {
                Some((key, member)) => ((*key).clone(), Some(*member)),
                None => return,
            },
        };
        block.set_local_var("first", Value::Bool(index == 0));
        block.set_local_var("last", Value::Bool(index + 1 == self.len()));
        block.set_local_var("index", Value::from(index));
        block.set_local_var(
            "key",
            match self {
                Self::List(_) => Value::from(index),
                Self::Object(_) => Value::from(name.as_str()),
            },
        );
        match (argument.context_path(), member) {
            (Some(path), _) => {
                let base = block.base_path_mut();
                base.clone_from(path);
                base.push(name);
            }
            (None, Some(member)) => block.set_base_value(member.clone()),
            (None, None) => {}
        }
    }
}
