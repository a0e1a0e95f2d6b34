//! One walk over a template: finds its tags, checks them, and has the same template written in the
//! canonical form that the engine compiles.

use super::canonical::{Canonical, Writer, white};
use super::expression;
use super::lexer::{self, Kind, Tag};
use super::path::{self, Scope};
use super::{MAX_BLOCKS, MAX_BYTES, MAX_TAGS, Problem};

/// Checks and translates a template.
pub(super) fn translate(template: &str) -> Result<Canonical, Problem> {
    if template.len() > MAX_BYTES {
        return Err(Problem::new(
            0,
            format!("the template is larger than {} KiB", MAX_BYTES / 1024),
        ));
    }
    let mut translator = Translator {
        template,
        out: Writer::default(),
        blocks: Vec::new(),
        tags: 0,
    };
    translator.run()?;
    Ok(translator.out.into_canonical())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Go,
    Handlebars,
}

/// An open block.
struct Block {
    form: Form,
    /// As the engine knows it: `if`, `unless`, `each`, `with`.
    name: &'static str,
    /// As written: `range` is Go's `each`.
    written: &'static str,
    at: usize,
    /// Itself and its `else if`s: each lies inside the one before.
    levels: usize,
    /// The plain `else` has come.
    last_branch: bool,
    /// The branch at hand has a `this` of its own.
    rebinds: bool,
}

impl Block {
    fn loops(&self) -> bool {
        self.rebinds && self.name == "each"
    }
}

/// How the braces at hand are written.
#[derive(Clone, Copy)]
struct Braces {
    /// Offset of the first brace.
    opened: usize,
    /// `{{- `.
    dash: bool,
    /// `{{~`.
    tilde: bool,
}

struct Translator<'t> {
    template: &'t str,
    out: Writer,
    blocks: Vec<Block>,
    tags: usize,
}

impl<'t> Translator<'t> {
    fn run(&mut self) -> Result<(), Problem> {
        let mut at = 0;
        while let Some(offset) = self.template[at..].find("{{") {
            let opened = at + offset;
            self.count(opened)?;
            let before = &self.template[at..opened];
            at = match self.backslashes(before, opened) {
                Backslashes::None => self.tag(before, opened)?,
                Backslashes::Fewer => self.tag(&before[..before.len() - 1], opened)?,
                Backslashes::Escape => {
                    self.out.text(&before[..before.len() - 1]);
                    let twice = self.template[opened..].starts_with("{{{{");
                    let braces = if twice { "{{{{" } else { "{{" };
                    self.out.braces(braces, opened);
                    opened + braces.len()
                }
            };
        }
        self.out.text(&self.template[at..]);
        match self.blocks.last() {
            None => Ok(()),
            Some(block) => Err(not_closed(block)),
        }
    }

    fn count(&mut self, at: usize) -> Result<(), Problem> {
        self.tags += 1;
        if self.tags <= MAX_TAGS {
            return Ok(());
        }
        Err(Problem::new(
            at,
            format!("the template has more than {MAX_TAGS} tags"),
        ))
    }

    /// What backslashes before a tag mean: in Handlebars one makes the braces text, of several the
    /// last goes; before Go's forms they are text, as in Go.
    fn backslashes(&self, before: &str, opened: usize) -> Backslashes {
        let count = before.len() - before.trim_end_matches('\\').len();
        if count == 0 || self.is_go(opened) {
            Backslashes::None
        } else if count == 1 {
            Backslashes::Escape
        } else {
            Backslashes::Fewer
        }
    }

    /// Whether only Go has such a tag.
    fn is_go(&self, opened: usize) -> bool {
        let rest = &self.template[opened + 2..];
        let body = &rest[..rest.find("}}").unwrap_or(rest.len())];
        if body.starts_with('-') {
            return true;
        }
        let body = body.trim();
        let word = body.split([' ', '\t', '\n', '\r']).next().unwrap_or("");
        if word == "else" {
            return self
                .blocks
                .last()
                .is_some_and(|block| block.form == Form::Go);
        }
        body.starts_with("/*")
            || body.starts_with(['"', '`', '('])
            || path::is_go(word)
            || keyword(word).is_some()
            || body.contains([' ', '('])
                && [" .", "(.", " $", "($", "|"]
                    .iter()
                    .any(|go| body.contains(go))
    }

    /// Reads the tag at `opened`, writes the text before it and its translation, and says where
    /// it ends.
    fn tag(&mut self, before: &str, opened: usize) -> Result<usize, Problem> {
        let rest = &self.template[opened + 2..];
        if rest.starts_with("{{") {
            return self.raw_block(before, opened);
        }
        let tilde = rest.starts_with('~');
        let dash = rest
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(char::is_whitespace));
        let braces = Braces {
            opened,
            dash,
            tilde,
        };
        let inside = opened + 2 + usize::from(dash || tilde);
        let body = &self.template[inside..];
        let first = inside + (body.len() - body.trim_start().len());
        let before = if dash {
            before.trim_end_matches(white)
        } else {
            before
        };
        if self.template[first..].starts_with("/*") {
            return self.go_comment(before, braces, first);
        }
        match body.chars().next() {
            Some('!') => return self.comment(before, braces, inside),
            Some('{') => {
                let tag = lexer::tag(self.template, opened, inside + 1, true)?;
                return self.value(before, braces, &tag);
            }
            Some('&') => {
                let tag = lexer::tag(self.template, opened, inside + 1, false)?;
                return self.value(before, braces, &tag);
            }
            Some('>') => return Err(refused(opened, "partials", "write its text here")),
            Some('*') => return Err(refused(opened, "decorators", "write the text itself")),
            Some('#') => return self.open_handlebars(before, braces, inside + 1),
            Some('^') => return self.inverse(before, braces, inside + 1),
            Some('/') => return self.close_handlebars(before, braces, inside + 1),
            _ => {}
        }
        let tag = lexer::tag(self.template, opened, inside, false)?;
        let Some((Kind::Word(word), words)) = tag.tokens.split_first().map(|(f, r)| (&f.kind, r))
        else {
            return self.value(before, braces, &tag);
        };
        match keyword(word) {
            None => self.value(before, braces, &tag),
            Some(Keyword::Open(name, written)) => {
                if words.is_empty() {
                    return Err(
                        Problem::new(opened, format!("`{written}` needs an expression")).help(
                            format!("a field of that name is written `{{{{ .{written} }}}}`"),
                        ),
                    );
                }
                self.open(before, braces, &tag, 1, Form::Go, (name, written))
            }
            Some(Keyword::Else) => self.otherwise(before, braces, &tag),
            Some(Keyword::End) => self.end(before, braces, &tag),
            Some(Keyword::Refused(help)) => {
                Err(
                    Problem::new(opened, format!("`{word}` is not supported in templates")).help(
                        format!("{help}; a field of that name is written `{{{{ .{word} }}}}`"),
                    ),
                )
            }
        }
    }

    /// Writes text and a tag in the canonical form; says where the tag as written ends.
    fn put(
        &mut self,
        before: &str,
        braces: Braces,
        content: &[&str],
        tag: &Tag<'_>,
        form: Form,
    ) -> usize {
        self.out.text(before);
        self.out
            .tag(braces.opened, content, (braces.tilde, tag.tilde));
        if form == Form::Go {
            self.out.fence();
        }
        self.out.trim_next(tag.dash);
        tag.end
    }

    fn scope(&self) -> Scope {
        Scope {
            parents: self.blocks.iter().filter(|block| block.rebinds).count(),
            looping: self.blocks.iter().any(Block::loops),
        }
    }

    fn value(&mut self, before: &str, braces: Braces, tag: &Tag<'_>) -> Result<usize, Problem> {
        let term = expression::parse(&tag.tokens, braces.opened, self.scope())?;
        let content = ["emit ", &term.text];
        Ok(self.put(before, braces, &content, tag, Form::Handlebars))
    }

    fn open_handlebars(
        &mut self,
        before: &str,
        braces: Braces,
        from: usize,
    ) -> Result<usize, Problem> {
        match self.template[from..].trim_start().chars().next() {
            Some('>') => return Err(refused(braces.opened, "partials", "write its text here")),
            Some('*') => {
                return Err(refused(
                    braces.opened,
                    "inline definitions and decorators",
                    "write the text where it is needed",
                ));
            }
            _ => {}
        }
        let tag = lexer::tag(self.template, braces.opened, from, false)?;
        let name = match tag.tokens.first().map(|token| &token.kind) {
            Some(Kind::Word(word)) => *word,
            _ => "",
        };
        let Some(name) = ["if", "unless", "each", "with"]
            .into_iter()
            .find(|known| *known == name)
        else {
            return Err(
                Problem::new(braces.opened, format!("there is no block `#{name}`"))
                    .help("the blocks are `#if`, `#unless`, `#each` and `#with`"),
            );
        };
        if let Some(at) = block_parameters(&tag) {
            return Err(
                Problem::new(at, "names for a block's value (`as |x|`) are not supported")
                    .help("inside the block the value is `this`, the key is `@key`"),
            );
        }
        self.open(before, braces, &tag, 1, Form::Handlebars, (name, name))
    }

    fn open(
        &mut self,
        before: &str,
        braces: Braces,
        tag: &Tag<'_>,
        words: usize,
        form: Form,
        (name, written): (&'static str, &'static str),
    ) -> Result<usize, Problem> {
        let term = expression::parse(&tag.tokens[words..], braces.opened, self.scope())?;
        self.blocks.push(Block {
            form,
            name,
            written,
            at: braces.opened,
            levels: 1,
            last_branch: false,
            rebinds: matches!(name, "each" | "with"),
        });
        self.check_depth(braces.opened)?;
        let content = ["#", name, " ", &term.text];
        Ok(self.put(before, braces, &content, tag, form))
    }

    fn check_depth(&self, at: usize) -> Result<(), Problem> {
        let levels: usize = self.blocks.iter().map(|block| block.levels).sum();
        if levels <= MAX_BLOCKS {
            return Ok(());
        }
        Err(Problem::new(
            at,
            format!("more than {MAX_BLOCKS} blocks inside each other (each `else if` counts)"),
        ))
    }

    /// `{{^}}` is `{{else}}`.
    fn inverse(&mut self, before: &str, braces: Braces, from: usize) -> Result<usize, Problem> {
        let tag = lexer::tag(self.template, braces.opened, from, false)?;
        if !tag.tokens.is_empty() {
            return Err(
                Problem::new(braces.opened, "inverse sections are not supported")
                    .help("write `{{#unless x}}…{{/unless}}`, or `{{else}}` for `{{^}}`"),
            );
        }
        self.branch(before, braces, &tag, None)
    }

    /// `else`, alone or with the block that follows it.
    fn otherwise(&mut self, before: &str, braces: Braces, tag: &Tag<'_>) -> Result<usize, Problem> {
        let name = match tag.tokens.get(1).map(|token| &token.kind) {
            None => return self.branch(before, braces, tag, None),
            Some(Kind::Word(word)) => *word,
            Some(_) => "",
        };
        let go = self
            .blocks
            .last()
            .is_some_and(|block| block.form == Form::Go);
        let known: &[&'static str] = if go {
            &["if", "with"]
        } else {
            &["if", "unless", "each", "with"]
        };
        let Some(name) = known.iter().find(|known| **known == name) else {
            return Err(
                Problem::new(braces.opened, "`else` is followed by what it does not know")
                    .help("write `else`, `else if x` or `else with x`"),
            );
        };
        self.branch(before, braces, tag, Some(name))
    }

    fn branch(
        &mut self,
        before: &str,
        braces: Braces,
        tag: &Tag<'_>,
        name: Option<&'static str>,
    ) -> Result<usize, Problem> {
        let Some(block) = self.blocks.last_mut() else {
            return Err(Problem::new(
                braces.opened,
                "`else` stands outside of a block",
            ));
        };
        let form = block.form;
        if block.last_branch {
            return Err(Problem::new(braces.opened, "a second `else` in one block"));
        }
        if form == Form::Go && block.name == "each" && name.is_some() {
            return Err(Problem::new(braces.opened, "`range` has no `else if`")
                .help("write `{{ else }}{{ if … }}…{{ end }}`"));
        }
        block.rebinds = false;
        let Some(name) = name else {
            block.last_branch = true;
            return Ok(self.put(before, braces, &["else"], tag, form));
        };
        block.levels += 1;
        let term = expression::parse(&tag.tokens[2..], braces.opened, self.scope())?;
        self.check_depth(braces.opened)?;
        if let Some(block) = self.blocks.last_mut() {
            block.rebinds = matches!(name, "each" | "with");
        }
        let content = ["else ", name, " ", &term.text];
        Ok(self.put(before, braces, &content, tag, form))
    }

    fn close_handlebars(
        &mut self,
        before: &str,
        braces: Braces,
        from: usize,
    ) -> Result<usize, Problem> {
        let tag = lexer::tag(self.template, braces.opened, from, false)?;
        let name = match tag.tokens.as_slice() {
            [token] => match token.kind {
                Kind::Word(word) => word,
                _ => "",
            },
            _ => "",
        };
        match self.blocks.last() {
            Some(block) if block.form == Form::Handlebars && block.name == name => {
                self.close(before, braces, &tag)
            }
            Some(block) => Err(mismatch(block, braces.opened, &format!("{{{{/{name}}}}}"))),
            None => Err(Problem::new(
                braces.opened,
                format!("`{{{{/{name}}}}}` closes nothing"),
            )),
        }
    }

    fn end(&mut self, before: &str, braces: Braces, tag: &Tag<'_>) -> Result<usize, Problem> {
        if tag.tokens.len() > 1 {
            return Err(Problem::new(braces.opened, "`end` stands alone"));
        }
        match self.blocks.last() {
            Some(block) if block.form == Form::Go => self.close(before, braces, tag),
            Some(block) => Err(mismatch(block, braces.opened, "{{ end }}")),
            None => Err(Problem::new(braces.opened, "`end` closes nothing")
                .help("a field of that name is written `{{ .end }}`")),
        }
    }

    fn close(&mut self, before: &str, braces: Braces, tag: &Tag<'_>) -> Result<usize, Problem> {
        let Some(block) = self.blocks.pop() else {
            return Err(Problem::new(braces.opened, "it closes nothing"));
        };
        Ok(self.put(before, braces, &["/", block.name], tag, block.form))
    }

    /// `{{! … }}` and `{{!-- … --}}`.
    fn comment(&mut self, before: &str, braces: Braces, from: usize) -> Result<usize, Problem> {
        let body = &self.template[from..];
        let ending = if body.starts_with("!--") {
            "--}}"
        } else {
            "}}"
        };
        let skipped = if body.starts_with("!--") { 3 } else { 1 };
        let Some(length) = body[skipped..].find(ending) else {
            return Err(Problem::new(
                braces.opened,
                format!("the comment is not closed by `{ending}`"),
            ));
        };
        if braces.tilde || braces.dash {
            return Err(
                Problem::new(braces.opened, "a comment trims no white space")
                    .help("write `{{- /* … */ -}}`"),
            );
        }
        self.out.text(before);
        self.out.tag(braces.opened, &["!"], (false, false));
        Ok(from + skipped + length + ending.len())
    }

    /// `{{/* … */}}`, which Go lets stand alone in its tag.
    fn go_comment(&mut self, before: &str, braces: Braces, from: usize) -> Result<usize, Problem> {
        let opened = braces.opened;
        let Some(length) = self.template[from + 2..].find("*/") else {
            return Err(Problem::new(opened, "the comment is not closed by `*/`"));
        };
        let tag = lexer::tag(self.template, opened, from + 2 + length + 2, false)?;
        if let Some(token) = tag.tokens.first() {
            return Err(Problem::new(token.at, "a comment stands alone in its tag"));
        }
        self.out.text(if braces.tilde {
            before.trim_end_matches(white)
        } else {
            before
        });
        self.out.tag(opened, &["!"], (false, false));
        self.out.fence();
        self.out.trim_next(tag.dash || tag.tilde);
        Ok(tag.end)
    }

    /// `{{{{raw}}}} … {{{{/raw}}}}`: its content is text.
    fn raw_block(&mut self, before: &str, opened: usize) -> Result<usize, Problem> {
        const END: &str = "{{{{/raw}}}}";
        let rest = &self.template[opened + 4..];
        let content = match rest.split_once("}}}}") {
            Some((name, content)) if name.trim() == "raw" => content,
            _ => {
                return Err(Problem::new(opened, "four braces open only a raw block")
                    .help("write `{{{{raw}}}}…{{{{/raw}}}}`"));
            }
        };
        let Some(length) = content.find(END) else {
            return Err(Problem::new(
                opened,
                format!("the raw block is not closed by `{END}`"),
            ));
        };
        self.out.text(before);
        self.out.trim_next(false);
        let mut pieces = content[..length].split("{{");
        self.out.text(pieces.next().unwrap_or(""));
        for piece in pieces {
            self.count(opened)?;
            self.out.braces("{{", opened);
            self.out.text(piece);
        }
        Ok(self.template.len() - content.len() + length + END.len())
    }
}

enum Backslashes {
    /// Text, as many as there are, if any.
    None,
    /// The last one goes.
    Fewer,
    /// It goes, and the braces are text.
    Escape,
}

enum Keyword {
    /// The engine's name and Go's.
    Open(&'static str, &'static str),
    Else,
    End,
    /// What to write instead.
    Refused(&'static str),
}

/// Go's words that are no helpers.
fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "if" => Keyword::Open("if", "if"),
        "range" => Keyword::Open("each", "range"),
        "with" => Keyword::Open("with", "with"),
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "define" | "template" | "block" => Keyword::Refused("write the text where it is needed"),
        "break" | "continue" => Keyword::Refused("put an `if` around the rest of the loop's body"),
        _ => return None,
    })
}

fn block_parameters(tag: &Tag<'_>) -> Option<usize> {
    tag.tokens.windows(2).find_map(|pair| match pair {
        [word, pipe] if word.kind == Kind::Word("as") && pipe.kind == Kind::Pipe => Some(word.at),
        _ => None,
    })
}

fn refused(at: usize, what: &str, help: &str) -> Problem {
    Problem::new(at, format!("{what} are not supported")).help(help)
}

fn written(block: &Block) -> String {
    match block.form {
        Form::Go => format!("{{{{ {} }}}}", block.written),
        Form::Handlebars => format!("{{{{#{}}}}}", block.written),
    }
}

fn closing(block: &Block) -> String {
    match block.form {
        Form::Go => "{{ end }}".into(),
        Form::Handlebars => format!("{{{{/{}}}}}", block.written),
    }
}

fn not_closed(block: &Block) -> Problem {
    Problem::new(block.at, format!("`{}` is not closed", written(block)))
        .help(format!("it ends with `{}`", closing(block)))
}

fn mismatch(block: &Block, at: usize, found: &str) -> Problem {
    Problem::new(
        at,
        format!(
            "`{found}` where `{}` should close `{}`",
            closing(block),
            written(block)
        ),
    )
}
