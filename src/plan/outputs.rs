//! `files:` — what is written where.

use crate::config::{self, At, Section, shown};
use crate::files::{Mode, Target, TargetPath, parse_group, parse_user};
use crate::render::{Content, Encoding, FieldPath, Format, Template};

use super::claims::{Claims, claim};
use super::model::{Layout, Output};
use super::scope::Scope;
use super::templates::{self, Templates};

/// An entry of `files`.
pub(super) struct Entry {
    /// Where it stands.
    pub(super) at: At,
    /// `None` where something in it is wrong.
    pub(super) target: Option<Target>,
    pub(super) content: Wanted,
}

/// What an entry wants written.
pub(super) enum Wanted {
    /// This.
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
    let mut templates = Templates::compile(scope, &secret.templates);
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
    templates::place(scope, at, &mut entries, &templates, name, resorted);
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
        Some(&"template") => return templates::named(scope, file, templates),
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
