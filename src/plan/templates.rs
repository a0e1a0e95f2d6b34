//! Templates, and which file takes which: by name, else by position.

use crate::config::{At, Section, Source, Text, shown};
use crate::render::{Template, TemplateError};

use super::outputs::{Entry, Wanted};
use super::scope::Scope;
use super::secret::choices;

/// The templates of a secret, compiled, and whether a file has named them.
pub(super) struct Templates<'d> {
    all: Vec<Compiled<'d>>,
}

struct Compiled<'d> {
    name: &'d str,
    template: Option<Template>,
    named: bool,
}

impl<'d> Templates<'d> {
    /// Compiles every template of a secret; errors in them are reported.
    pub(super) fn compile(scope: &mut Scope<'_>, templates: &'d [(String, Text)]) -> Self {
        Self {
            all: templates
                .iter()
                .map(|(name, text)| Compiled {
                    name,
                    template: compile(scope, text),
                    named: false,
                })
                .collect(),
        }
    }
}

fn compile(scope: &mut Scope<'_>, text: &Text) -> Option<Template> {
    if let Some(known) = scope.templates.get(text.value.as_str()) {
        return Some(known.clone());
    }
    match Template::compile(&text.value) {
        Ok(template) => {
            let text = text.value.to_string();
            scope.templates.insert(text, template.clone());
            Some(template)
        }
        Err(error) => {
            let (at, message) = match place_within(scope.source, text, &error) {
                Some(place) => (
                    At {
                        place: Some(place),
                        ..text.at.clone()
                    },
                    error.message,
                ),
                None => (
                    text.at.clone(),
                    format!(
                        "line {}, column {} of the template: {}",
                        error.line, error.column, error.message
                    ),
                ),
            };
            match error.help {
                Some(help) => scope.report.error_help(&at, message, help),
                None => scope.report.error(&at, message),
            }
            None
        }
    }
}

/// Where in the file a place of the template is, for scalars that stand there as they are: plain
/// or quoted ones of one line, and `|` blocks.
fn place_within(source: &Source, text: &Text, error: &TemplateError) -> Option<(usize, usize)> {
    let (line, column) = text.at.place?;
    let mut lines = source.lines_from(line);
    let first = lines.next()?;
    let rest: String = first.chars().skip(column - 1).collect();
    if rest.starts_with('|') {
        let body = lines.clone().find(|line| !line.trim().is_empty())?;
        let indent = body.chars().take_while(|c| *c == ' ').count();
        let written: String = lines.nth(error.line - 1)?.chars().skip(indent).collect();
        let meant = text.value.lines().nth(error.line - 1)?;
        return (written == meant).then_some((line + error.line, indent + error.column));
    }
    let quotes = usize::from(rest.starts_with(['\'', '"']));
    let inside: String = rest.chars().skip(quotes).collect();
    (error.line == 1 && inside.starts_with(text.value.as_str()))
        .then_some((line, column + quotes + error.column - 1))
}

/// The template that a file names.
pub(super) fn named(
    scope: &mut Scope<'_>,
    file: &Section,
    templates: &mut Templates<'_>,
) -> Wanted {
    let Some((at, name)) = scope.string(file, "template") else {
        return Wanted::Wrong;
    };
    if let Some(found) = templates.all.iter_mut().find(|found| found.name == name) {
        found.named = true;
        return found.wanted();
    }
    let names = templates.all.iter().map(|found| found.name);
    scope.report.error_help(
        &at,
        format!("`template.data` has no entry `{}`", shown(&name)),
        choices(&name, names, "templates"),
    );
    Wanted::Wrong
}

impl Compiled<'_> {
    fn wanted(&self) -> Wanted {
        match &self.template {
            Some(template) => Wanted::Template(template.clone(), self.name.to_owned()),
            None => Wanted::Wrong,
        }
    }
}

/// Gives the files without content of their own, in written order, the templates that no file
/// names, in written order.
pub(super) fn place(
    scope: &mut Scope<'_>,
    at: &At,
    entries: &mut [Entry],
    templates: &Templates<'_>,
    secret: &str,
    resorted: &mut Vec<String>,
) {
    let spoilt = entries
        .iter()
        .any(|entry| matches!(entry.content, Wanted::Wrong));
    let free: Vec<&Compiled<'_>> = templates.all.iter().filter(|found| !found.named).collect();
    let waiting: Vec<&mut Entry> = entries
        .iter_mut()
        .filter(|entry| matches!(entry.content, Wanted::Position))
        .collect();
    if free.len() != waiting.len() {
        // A file whose content is spoilt may have meant one of the templates.
        if spoilt {
            return;
        }
        let files = list(waiting.iter().map(|entry| match &entry.target {
            Some(target) => target.path.as_path().display().to_string(),
            None => entry.at.key.clone(),
        }));
        let names = list(free.iter().map(|found| found.name.to_owned()));
        scope.report.error_help(
            at,
            format!(
                "files that name no content and templates that no file names must be as many: \
                 files: {files}; templates: {names}"
            ),
            "let each file name its `template`, `field` or `format`",
        );
        return;
    }
    if !free.windows(2).all(|pair| pair[0].name <= pair[1].name) {
        resorted.push(secret.to_owned());
    }
    for (entry, found) in waiting.into_iter().zip(free) {
        entry.content = found.wanted();
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{}`", shown(&name))).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    /// Where the file has line and column of a template whose scalar begins at `place`.
    fn place(
        source: &str,
        place: (usize, usize),
        value: &str,
        line: usize,
        column: usize,
    ) -> Option<(usize, usize)> {
        let text = Text {
            at: At {
                place: Some(place),
                ..At::default()
            },
            value: Zeroizing::new(value.to_owned()),
        };
        let error = TemplateError {
            line,
            column,
            message: String::new(),
            help: None,
        };
        let source = Source::new("config.yaml".into(), Zeroizing::new(source.to_owned()));
        place_within(&source, &text, &error)
    }

    #[test]
    fn a_place_in_a_template_is_one_in_the_file_where_it_stands_as_it_is() {
        assert_eq!(place("a: {{ .x }}", (1, 4), "{{ .x }}", 1, 4), Some((1, 7)));
        assert_eq!(
            place("a: '{{ .x }}' # c", (1, 4), "{{ .x }}", 1, 4),
            Some((1, 8))
        );
        let block = "a:\n  b: |\n    one\n\n      {{ .x }}\n";
        let value = "one\n\n  {{ .x }}\n";
        assert_eq!(place(block, (2, 6), value, 3, 6), Some((5, 10)));
        assert_eq!(place(block, (2, 6), value, 1, 1), Some((3, 5)));
    }

    #[test]
    fn elsewhere_there_is_none() {
        for (source, value, line) in [
            ("a: 'it''s {{'", "it's {{", 1),
            ("a: \"\\t{{\"", "\t{{", 1),
            ("a: >\n  one\n  two\n", "one two\n", 1),
            ("a: &x |\n  one\n", "one\n", 1),
            ("a: |\n  one\n", "two\n", 1),
            ("a: |", "", 1),
            ("a: one\n  two", "one two", 1),
            ("a: |\n  one\n", "one\n", 7),
        ] {
            assert_eq!(place(source, (1, 4), value, line, 1), None, "{source}");
        }
        assert_eq!(place("", (9, 9), "x", 1, 1), None);
    }
}
