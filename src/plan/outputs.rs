//! `files:` — what is written where, and which template belongs to which file.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::config::{self, At, Section, Text, shown};
use crate::files::{Mode, Target, TargetPath, parse_group, parse_user};
use crate::render::{Content, Encoding, FieldPath, Format, Template, TemplateError};

use super::model::{Layout, Output};
use super::scope::Scope;
use super::secret::choices;

/// Every path that is written, and who writes it.
#[derive(Default)]
pub(super) struct Claims {
    paths: BTreeMap<PathBuf, Claim>,
    /// Directories that a `layout: directory` switches, and whose they are.
    switched: BTreeMap<PathBuf, String>,
}

struct Claim {
    is_dir: bool,
    key: String,
}

/// The templates of a secret, compiled, and whether a file has named them.
struct Templates<'d> {
    all: Vec<Compiled<'d>>,
}

struct Compiled<'d> {
    name: &'d str,
    template: Option<Template>,
    named: bool,
}

/// An entry of `files` whose content is not known yet.
struct Entry {
    at: At,
    target: Option<Target>,
    content: Wanted,
}

enum Wanted {
    Content(Content),
    /// A template, by its name.
    Template(Template, String),
    /// The next template that no file names.
    Position,
    /// Something wrong, already reported.
    Wrong,
}

/// Resolves the files of a secret; `None` where something in them is wrong.
pub(super) fn resolve(
    scope: &mut Scope<'_>,
    secret: &config::Secret,
    name: &str,
    layout: Layout,
    claims: &mut Claims,
    resorted: &mut Vec<String>,
) -> Option<Vec<Output>> {
    let mut templates = Templates {
        all: secret
            .templates
            .iter()
            .map(|(name, text)| Compiled {
                name,
                template: compile(scope, text),
                named: false,
            })
            .collect(),
    };
    let Some((at, files)) = &secret.files else {
        scope.missing(&secret.section, "files");
        return None;
    };
    if files.is_empty() {
        scope
            .report
            .error(at, "`files` is empty: the secret would be written nowhere");
        return None;
    }
    let mut entries: Vec<Entry> = files
        .iter()
        .map(|file| entry(scope, file, &mut templates))
        .collect();
    place_templates(scope, at, &mut entries, &templates, name, resorted);
    claim(scope, files, &entries, layout, name, claims);
    entries
        .into_iter()
        .map(|entry| {
            let (content, template) = match entry.content {
                Wanted::Content(content) => (content, None),
                Wanted::Template(template, name) => (Content::Template(template), Some(name)),
                Wanted::Position | Wanted::Wrong => return None,
            };
            Some(Output {
                target: entry.target?,
                content,
                template,
            })
        })
        .collect()
}

fn compile(scope: &mut Scope<'_>, text: &Text) -> Option<Template> {
    match Template::compile(&text.value) {
        Ok(template) => Some(template),
        Err(error) => {
            let (at, message) = match place_within(&scope.source.text, text, &error) {
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
fn place_within(source: &str, text: &Text, error: &TemplateError) -> Option<(usize, usize)> {
    let (line, column) = text.at.place?;
    let mut lines = source.lines().skip(line - 1);
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

fn entry(scope: &mut Scope<'_>, file: &Section, templates: &mut Templates<'_>) -> Entry {
    let is_dir = file.text("dir").is_some();
    let path = path(scope, file);
    let mode = match file.text("mode") {
        Some(_) => foreign(scope, file, "mode", Mode::parse),
        None => Some(Mode::PRIVATE),
    };
    let owner = id(scope, file, "owner", parse_user);
    let group = id(scope, file, "group", parse_group);
    let in_place = scope.flag(file, "inPlace").unwrap_or(false);
    if is_dir && in_place {
        scope.report.error(
            &file.at_of("inPlace"),
            "`inPlace` is for a `path`, not for a `dir`",
        );
    }
    let allow_empty = scope.flag(file, "allowEmpty").unwrap_or(false);
    let content = content(scope, file, is_dir, templates);
    let target = match (path, mode, owner, group) {
        (Some(path), Some(mode), Ok(owner), Ok(group)) => Some(Target {
            path,
            is_dir,
            mode,
            owner,
            group,
            in_place,
            allow_empty,
        }),
        _ => None,
    };
    Entry {
        at: file.at.clone(),
        target,
        content,
    }
}

/// A value that another room parses; its messages stand by themselves.
fn foreign<T>(
    scope: &mut Scope<'_>,
    file: &Section,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let (at, text) = scope.string(file, key)?;
    parse(&text)
        .map_err(|message| scope.report.error(&at, message))
        .ok()
}

fn path(scope: &mut Scope<'_>, file: &Section) -> Option<TargetPath> {
    let key = match (file.text("path"), file.text("dir")) {
        (Some(_), Some(_)) => {
            scope
                .report
                .error(&file.at_of("dir"), "`path` and `dir` exclude each other");
            scope.value(file, "dir");
            "path"
        }
        (None, Some(_)) => "dir",
        (Some(_), None) => "path",
        (None, None) => {
            if !file.is_spoilt(&["path", "dir"]) {
                scope
                    .report
                    .error(&file.at, "missing key `path` (or `dir`)");
            }
            return None;
        }
    };
    let (at, text) = scope.string(file, key)?;
    match TargetPath::parse(&text, &scope.working_dir) {
        Ok(path) => Some(path),
        Err(message) => {
            match without_dots(&text) {
                Some(meant) => scope.report.error_help(
                    &at,
                    message,
                    format!("write `{meant}`, which is what the Go tool made of it"),
                ),
                None => scope.report.error(&at, message),
            }
            None
        }
    }
}

/// What the Go tool resolved a path with `..` to, if it has one.
fn without_dots(text: &str) -> Option<String> {
    if !text.starts_with('/') || !text.split('/').any(|segment| segment == "..") {
        return None;
    }
    let mut clean: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Some(shown(&format!("/{}", clean.join("/"))))
}

/// An owner or group; empty is as good as absent.
fn id(
    scope: &mut Scope<'_>,
    file: &Section,
    key: &str,
    parse: fn(&str) -> Result<u32, String>,
) -> Result<Option<u32>, ()> {
    if file.text(key).is_none() {
        return Ok(None);
    }
    let (at, text) = scope.string(file, key).ok_or(())?;
    if text.is_empty() {
        return Ok(None);
    }
    parse(&text).map(Some).map_err(|message| {
        scope.report.error(&at, message);
    })
}

fn content(
    scope: &mut Scope<'_>,
    file: &Section,
    is_dir: bool,
    templates: &mut Templates<'_>,
) -> Wanted {
    let encoding = scope.parsed(file, "encoding", |text| match text {
        "none" => Ok(Encoding::None),
        "base64" => Ok(Encoding::Base64),
        "base64url" => Ok(Encoding::Base64Url),
        "auto" => Ok(Encoding::Auto),
        _ => Err((
            "is not an encoding".to_owned(),
            Some("write `none`, `base64`, `base64url` or `auto`".to_owned()),
        )),
    });
    let kinds: Vec<&str> = ["template", "field", "format"]
        .into_iter()
        .filter(|key| file.text(key).is_some())
        .collect();
    if file.text("encoding").is_some() && !is_dir && !kinds.contains(&"field") {
        scope.report.error(
            &file.at_of("encoding"),
            "`encoding` is only for a `field` or a `dir`",
        );
    }
    if is_dir && let Some(kind) = kinds.first() {
        scope.report.error_help(
            &file.at_of(kind),
            format!("`{kind}` and `dir` exclude each other"),
            "a `dir` holds every field as a file of its name",
        );
        return Wanted::Wrong;
    }
    if let [first, second, ..] = kinds.as_slice() {
        scope.report.error(
            &file.at_of(second),
            format!("`{first}` and `{second}` exclude each other"),
        );
        return Wanted::Wrong;
    }
    let found = match kinds.first() {
        None if is_dir => Some(Content::EveryField(encoding.unwrap_or_default())),
        None if file.is_spoilt(&["template", "field", "format", "dir"]) => return Wanted::Wrong,
        None => return Wanted::Position,
        Some(&"template") => return named(scope, file, templates),
        Some(&"field") => foreign(scope, file, "field", FieldPath::parse)
            .map(|field| Content::Field(field, encoding.unwrap_or_default())),
        Some(_) => scope
            .parsed(file, "format", |text| match text {
                "env" => Ok(Format::Env),
                "envfile" => Ok(Format::EnvFile),
                "json" => Ok(Format::Json),
                "yaml" => Ok(Format::Yaml),
                _ => Err((
                    "is not a format".to_owned(),
                    Some("write `env`, `envfile`, `json` or `yaml`".to_owned()),
                )),
            })
            .map(Content::Format),
    };
    found.map_or(Wanted::Wrong, Wanted::Content)
}

fn named(scope: &mut Scope<'_>, file: &Section, templates: &mut Templates<'_>) -> Wanted {
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
fn place_templates(
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

/// Enters the paths of a secret, and reports those that another entry stands in the way of.
fn claim(
    scope: &mut Scope<'_>,
    files: &[Section],
    entries: &[Entry],
    layout: Layout,
    secret: &str,
    claims: &mut Claims,
) {
    if layout == Layout::Directory {
        switched(scope, files, entries, secret, claims);
    }
    for (file, entry) in files.iter().zip(entries) {
        let Some(target) = &entry.target else {
            continue;
        };
        let at = file.at_of(if target.is_dir { "dir" } else { "path" });
        let path = target.path.as_path();
        if let Some(message) = claims.conflict(path, target.is_dir) {
            scope.report.error(&at, message);
            continue;
        }
        claims.paths.insert(
            path.to_owned(),
            Claim {
                is_dir: target.is_dir,
                key: entry.at.key.clone(),
            },
        );
    }
}

/// The rules of `layout: directory`.
fn switched(
    scope: &mut Scope<'_>,
    files: &[Section],
    entries: &[Entry],
    secret: &str,
    claims: &mut Claims,
) {
    let mut directory: Option<PathBuf> = None;
    for (file, entry) in files.iter().zip(entries) {
        let Some(target) = &entry.target else {
            continue;
        };
        if target.is_dir {
            scope.report.error(
                &file.at_of("dir"),
                "`layout: directory` takes files with a `path`, not a `dir`",
            );
            continue;
        }
        if target.in_place {
            scope.report.error(
                &file.at_of("inPlace"),
                "`inPlace` cannot be had with `layout: directory`",
            );
        }
        let path = target.path.as_path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("..") {
            scope.report.error(
                &file.at_of("path"),
                "names that begin with `..` are the layout's own",
            );
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        match &directory {
            None => directory = Some(parent.to_owned()),
            Some(first) if first != parent => scope.report.error(
                &file.at_of("path"),
                format!(
                    "with `layout: directory` all files are in one directory; the first is in `{}`",
                    first.display()
                ),
            ),
            Some(_) => {}
        }
    }
    let Some(directory) = directory else { return };
    if let Some(other) = claims.switched.get(&directory) {
        let message = format!(
            "the directory `{}` is switched by the secret `{other}` already",
            directory.display()
        );
        scope.report.error(
            &files
                .first()
                .map(|file| file.at.clone())
                .unwrap_or_default(),
            message,
        );
    } else {
        claims.switched.insert(directory, secret.to_owned());
    }
}

impl Claims {
    /// What stands in the way of a new path.
    fn conflict(&self, path: &Path, is_dir: bool) -> Option<String> {
        if let Some(claim) = self.paths.get(path) {
            return Some(format!(
                "`{}` is written by {}, too",
                path.display(),
                claim.key
            ));
        }
        if let Some(parent) = path.parent()
            && let Some(claim) = self.paths.get(parent)
            && claim.is_dir
            && !is_dir
        {
            return Some(format!(
                "`{}` is the `dir` of {}: nothing else may be written in it",
                parent.display(),
                claim.key
            ));
        }
        for above in path.ancestors().skip(1) {
            if let Some(claim) = self.paths.get(above)
                && !claim.is_dir
            {
                return Some(format!(
                    "`{}` is a file of {}: it cannot be a directory, too",
                    above.display(),
                    claim.key
                ));
            }
        }
        let below = self
            .paths
            .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
            .take_while(|(other, _)| other.starts_with(path));
        for (other, claim) in below {
            if !is_dir {
                return Some(format!(
                    "`{}` must be a directory for {}",
                    path.display(),
                    claim.key
                ));
            }
            if other.parent() == Some(path) && !claim.is_dir {
                return Some(format!(
                    "`{}` is written by {}: nothing else may be written in a `dir`",
                    other.display(),
                    claim.key
                ));
            }
        }
        None
    }
}
