//! From what a manifest gathered to secrets of the configuration: sources, templates, files.

use std::collections::BTreeSet;

use super::gather::{Datum, Extract, Gathered, Part, Value};
use super::keys::Rename;
use super::literal;
use super::manifest::{Decode, Spec, Template, TemplateFrom};
use super::name;
use super::output::{Content, File, Secret, Source};
use super::remark::{Teller, shown};
use super::template::{self, Names, field_of};
use super::tree::Node;
use crate::render;

/// The most of an untranslated template that is shown in a comment, in lines.
const SHOWN_LINES: usize = 40;

/// What is needed beside the manifest itself.
pub(super) struct Frame<'f> {
    /// `--output-dir`, the directory of the target below it.
    pub(super) directory: String,
    /// The name of the secret.
    pub(super) name: String,
    /// Where its `spec` stands.
    pub(super) at: &'f str,
    /// A ConfigMap among the inputs, by name.
    pub(super) config_map: &'f dyn Fn(&str) -> Option<&'f Node>,
}

/// A template that is to become a file.
struct Wanted {
    key: String,
    at: String,
    text: String,
}

/// Makes the secrets of a manifest: one, and another for each directory that it fills.
pub(super) fn assemble(
    spec: &Spec,
    gathered: &Gathered,
    interval: &str,
    frame: &Frame<'_>,
    teller: &mut Teller<'_>,
) -> Vec<Secret> {
    let mut missing = gathered.missing.clone();
    let nothing = Template::default();
    let template = spec.target.template.as_ref().unwrap_or(&nothing);
    let templates = templates(template, frame, &mut missing, teller);
    let plain_data = !template.replaces || template.merge;
    let replaced: BTreeSet<&str> = templates.iter().map(|wanted| wanted.key.as_str()).collect();
    let data: Vec<&Datum> = gathered
        .data
        .iter()
        .filter(|datum| plain_data && !replaced.contains(datum.key.as_str()))
        .collect();
    let mut builder = Builder::new(gathered, template.kind == "kubernetes.io/tls", frame);
    builder.choose(&data, &templates);
    for datum in data {
        builder.data_file(datum, &mut missing, teller);
    }
    for wanted in &templates {
        builder.template_file(wanted, &mut missing, teller);
    }
    if template.replaces && !template.merge && !templates.is_empty() {
        builder.tell_unused(&templates, &spec.at, teller);
    }
    let mut secrets = Vec::new();
    let has_files = !builder.files.is_empty();
    let extracts: &[Extract] = if plain_data { &gathered.extracts } else { &[] };
    let others = directories(
        extracts,
        gathered,
        has_files,
        interval,
        frame,
        &mut missing,
        teller,
    );
    if has_files || others.is_empty() {
        let off = (!has_files).then(|| "nothing of it could be carried over".to_owned());
        secrets.push(Secret {
            name: frame.name.clone(),
            off,
            interval: interval.to_owned(),
            many: builder.many,
            sources: builder.sources,
            templates: builder.templates,
            files: builder.files,
            ..Secret::default()
        });
    }
    secrets.extend(others);
    if let Some(first) = secrets.first_mut() {
        first.comments = std::mem::take(&mut teller.comments);
        first.missing = missing;
    }
    if let Some(reason) = gathered.unreadable.first() {
        for secret in &mut secrets {
            secret.off.get_or_insert_with(|| reason.clone());
        }
    }
    secrets
}

/// The templates of a manifest by key: what comes later takes the place of what came before.
fn templates(
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
fn untranslated(at: &str, message: &str, text: &str, teller: &mut Teller<'_>) -> String {
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

/// Secrets whose fields are not known by name: each field a file of a directory. Such a directory
/// holds nothing else, so it is a secret of its own, below where other files are.
fn directories(
    extracts: &[Extract],
    gathered: &Gathered,
    has_files: bool,
    interval: &str,
    frame: &Frame<'_>,
    missing: &mut Vec<String>,
    teller: &mut Teller<'_>,
) -> Vec<Secret> {
    let mut usable: Vec<&Extract> = Vec::new();
    for extract in extracts {
        if extract.inside.is_empty() {
            usable.push(extract);
        } else {
            missing.push(teller.warn_there(
                &extract.at,
                "`property` of `extract`: which fields there are only the server knows: `--query-vault` writes each of them out",
            ));
        }
    }
    let Some(first) = usable.first() else {
        return Vec::new();
    };
    let together = usable.iter().all(|extract| extract.decode == first.decode);
    let groups: Vec<Vec<&Extract>> = if together {
        vec![usable]
    } else {
        teller.warn(
            &format!("{}.dataFrom", frame.at),
            "entries with different `decodingStrategy` go to directories of their own; a later one does not replace an earlier",
        );
        usable.into_iter().map(|extract| vec![extract]).collect()
    };
    let several = groups.len() > 1;
    let mut secrets = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let apart = has_files || several;
        let number = if several {
            format!("-{}", index + 1)
        } else {
            String::new()
        };
        let mut builder = Builder::new(gathered, false, frame);
        builder.use_reads(group.iter().map(|extract| extract.read).collect());
        let path = if apart {
            format!("{}/fields{number}", frame.directory)
        } else {
            frame.directory.clone()
        };
        let mut file = File::new(path, Content::Fields);
        if let Some(extract) = group.first() {
            file.encoding = extract.decode.encoding();
        }
        if has_files {
            file.comments.push(teller.warn_there(
                &format!("{}.dataFrom", frame.at),
                "a directory of all fields holds nothing else: `fields/`, beside the files of `data`; with `--query-vault` each field is \
                 a file of its own among them",
            ));
        }
        secrets.push(Secret {
            name: if apart {
                format!("{}-fields{number}", frame.name)
            } else {
                frame.name.clone()
            },
            interval: interval.to_owned(),
            many: builder.many,
            sources: builder.sources,
            files: vec![file],
            ..Secret::default()
        });
    }
    secrets
}

/// Builds one secret.
struct Builder<'b> {
    gathered: &'b Gathered,
    directory: &'b str,
    is_tls: bool,
    many: bool,
    /// For each read, the name of its source; empty where it is not used.
    aliases: Vec<String>,
    sources: Vec<Source>,
    templates: Vec<(String, String)>,
    files: Vec<File>,
    paths: BTreeSet<String>,
}

impl<'b> Builder<'b> {
    fn new(gathered: &'b Gathered, is_tls: bool, frame: &'b Frame<'_>) -> Self {
        Self {
            gathered,
            directory: &frame.directory,
            is_tls,
            many: false,
            aliases: vec![String::new(); gathered.reads.len()],
            sources: Vec::new(),
            templates: Vec::new(),
            files: Vec::new(),
            paths: BTreeSet::new(),
        }
    }

    /// The reads that files and templates need.
    fn choose(&mut self, data: &[&Datum], templates: &[Wanted]) {
        let mut used: BTreeSet<usize> = data.iter().map(|datum| datum.value.read).collect();
        for wanted in templates {
            let references = template::references(&wanted.text);
            for name in &references.names {
                used.extend(self.lookup(name).map(|value| value.read));
            }
            if references.whole {
                used.extend(0..self.gathered.reads.len());
            }
        }
        // A template without a reference still needs something to be written with.
        if used.is_empty() && !templates.is_empty() && !self.gathered.reads.is_empty() {
            used.insert(0);
        }
        self.use_reads(used);
    }

    fn use_reads(&mut self, used: BTreeSet<usize>) {
        self.many = used.len() > 1;
        let mut taken = std::collections::HashMap::new();
        for index in used {
            let Some(reading) = self.gathered.reads.get(index) else {
                continue;
            };
            let alias = name::unique(&reading.alias, &mut taken).replace('-', "_");
            if let Some(slot) = self.aliases.get_mut(index) {
                slot.clone_from(&alias);
            }
            self.sources.push(Source {
                alias,
                store: reading.store,
                mount: reading.read.place.mount.clone(),
                key: reading.read.place.key.clone(),
                kv: reading.read.kv(),
                version: reading.read.version,
                metadata: reading.read.metadata,
            });
        }
    }

    /// Where the value of an entry comes from.
    fn lookup(&self, name: &str) -> Option<Value> {
        if let Some(datum) = self.gathered.data.iter().find(|datum| datum.key == name) {
            return Some(datum.value.clone());
        }
        self.gathered.extracts.iter().rev().find_map(|extract| {
            let field = extract.rename.undone(name)?;
            let part = if extract.inside.is_empty() {
                Part::Field {
                    field: field.clone(),
                    path: vec![field],
                    sure: true,
                    structured: false,
                }
            } else {
                Part::Inside {
                    path: extract.inside.clone(),
                    name: field,
                }
            };
            Some(Value {
                read: extract.read,
                part,
                decode: extract.decode,
            })
        })
    }

    /// A file for a key; `None` where one of that name is there already.
    fn file(
        &mut self,
        key: &str,
        content: Content,
        at: &str,
        teller: &mut Teller<'_>,
    ) -> Option<File> {
        let component = name::component(key);
        if component != key {
            teller.warn(
                at,
                format!("`{}` is no name for a file: `{component}`", shown(key)),
            );
        }
        let path = format!("{}/{component}", self.directory);
        if !self.paths.insert(path.clone()) {
            teller.warn(at, format!("a second file `{component}`: left out"));
            return None;
        }
        let mut file = File::new(path, content);
        if self.is_tls && matches!(key, "tls.crt" | "ca.crt") {
            file.mode = Some("0644".to_owned());
        }
        Some(file)
    }

    /// The path of a `field`, where a value is one.
    fn field(&self, value: &Value) -> Option<String> {
        match &value.part {
            Part::Field { field, .. } if self.many => {
                Some(format!("{}.{field}", self.aliases.get(value.read)?))
            }
            Part::Field { field, .. } => Some(field.clone()),
            _ => None,
        }
    }

    fn data_file(&mut self, datum: &Datum, missing: &mut Vec<String>, teller: &mut Teller<'_>) {
        let at = format!("`{}`", datum.key);
        let (content, encoding) = if let Some(field) = self.field(&datum.value) {
            (Content::Field(field), datum.value.decode.encoding())
        } else if matches!(datum.value.part, Part::Whole) && !self.many {
            (Content::Json, "none")
        } else {
            match self.expression(&datum.value, ".") {
                Ok(expression) => {
                    self.templates
                        .push((datum.key.clone(), format!("{{{{ {expression} }}}}")));
                    (Content::Template(datum.key.clone()), "none")
                }
                Err(message) => {
                    missing.push(teller.warn_there(&at, message));
                    return;
                }
            }
        };
        if let Some(mut file) = self.file(&datum.key, content, &at, teller) {
            file.encoding = encoding;
            file.allow_empty = datum.is_empty;
            file.comments.clone_from(&datum.comments);
            self.files.push(file);
        }
    }

    fn template_file(
        &mut self,
        wanted: &Wanted,
        missing: &mut Vec<String>,
        teller: &mut Teller<'_>,
    ) {
        // What only a `field` can do exactly: bytes that are no text, names that may be paths.
        if let Some((name, decoded)) = template::lone(&wanted.text)
            && let Some(value) = self.lookup(&name)
            && let Some(field) = self.field(&value)
        {
            let sure = matches!(value.part, Part::Field { sure: true, .. });
            let encoding = match (value.decode, decoded) {
                (Decode::None, true) => Some(Decode::Base64),
                (decode, false) if decode != Decode::None || !sure => Some(decode),
                _ => None,
            };
            if let Some(encoding) = encoding {
                if let Some(mut file) =
                    self.file(&wanted.key, Content::Field(field), &wanted.at, teller)
                {
                    file.encoding = encoding.encoding();
                    self.files.push(file);
                }
                return;
            }
        }
        if self.sources.is_empty() {
            missing.push(untranslated(
                &wanted.at,
                "nothing that it is rendered from could be read",
                &wanted.text,
                teller,
            ));
            return;
        }
        let unknown: Vec<String> = template::unknown_functions(&wanted.text)
            .iter()
            .map(|name| format!("`{}`", shown(name)))
            .collect();
        if !unknown.is_empty() {
            let message = format!("templates have no helper {}", unknown.join(", "));
            missing.push(untranslated(&wanted.at, &message, &wanted.text, teller));
            return;
        }
        let rewritten = match template::rewrite(&wanted.text, &Translation(self)) {
            Ok(text) => text,
            Err(message) => {
                missing.push(untranslated(&wanted.at, &message, &wanted.text, teller));
                return;
            }
        };
        if let Err(error) = render::Template::compile(&rewritten) {
            let message = format!("line {}: {}", error.line, error.message);
            let message = match error.help {
                Some(help) => format!("{message}; {help}"),
                None => message,
            };
            missing.push(untranslated(&wanted.at, &message, &wanted.text, teller));
            return;
        }
        let Some(mut file) = self.file(
            &wanted.key,
            Content::Template(wanted.key.clone()),
            &wanted.at,
            teller,
        ) else {
            return;
        };
        for name in template::references(&wanted.text).names {
            if let Some(Value {
                part: Part::Field {
                    field, sure: false, ..
                },
                ..
            }) = self.lookup(&name)
            {
                file.comments.push(teller.warn_there(
                    &wanted.at,
                    format!(
                        "`{}` is taken as the name of one field, not as a path",
                        shown(&field)
                    ),
                ));
            }
        }
        if rewritten.trim().is_empty() {
            file.allow_empty = true;
        }
        if rewritten.contains("${") {
            file.comments
                .push(teller.warn_there(&wanted.at, "`${…}` in a template stays as it stands"));
        }
        self.templates.push((wanted.key.clone(), rewritten));
        self.files.push(file);
    }

    /// Entries that are fetched by the operator, but that no template shows.
    fn tell_unused(&self, templates: &[Wanted], at: &str, teller: &mut Teller<'_>) {
        let mut used = BTreeSet::new();
        for wanted in templates {
            let references = template::references(&wanted.text);
            if references.whole {
                return;
            }
            used.extend(references.names);
        }
        for datum in self
            .gathered
            .data
            .iter()
            .filter(|datum| !used.contains(&datum.key))
        {
            teller.note(
                &format!("{at}.data"),
                format!("`{}`: no template uses it: not written", shown(&datum.key)),
            );
        }
    }

    /// The object that a read gives, as an expression.
    fn base(&self, read: usize, root: &str) -> String {
        match self.aliases.get(read) {
            Some(alias) if self.many && root == "$" => format!("$.{alias}"),
            Some(alias) if self.many => format!(".{alias}"),
            _ => root.to_owned(),
        }
    }

    fn expression(&self, value: &Value, root: &str) -> Result<String, String> {
        let base = self.base(value.read, root);
        let plain = match &value.part {
            Part::Whole => format!("(toJson {base})"),
            Part::Length(path) => format!("(len {})", field_of(&base, path)),
            Part::Field {
                path, structured, ..
            } => {
                let field = field_of(&base, path);
                // To the operator's templates every value is a string.
                if *structured {
                    format!("(toString {field})")
                } else {
                    field
                }
            }
            Part::Inside { path, name } => {
                let field = field_of(&base, path);
                let inner = format!("(fromJson (toString {field}))");
                field_of(&inner, std::slice::from_ref(name))
            }
        };
        match value.decode {
            Decode::None => Ok(plain),
            Decode::Base64 => Ok(format!("(b64dec {plain})")),
            Decode::Base64Url => {
                Err("templates have no helper for `decodingStrategy: Base64URL`".to_owned())
            }
            Decode::Auto => Err("templates have no helper for `decodingStrategy: Auto`".to_owned()),
        }
    }
}

/// How the names of the operator's templates are written here.
struct Translation<'t, 'b>(&'t Builder<'b>);

impl Names for Translation<'_, '_> {
    fn value(&self, name: &str, root: &str) -> Result<String, String> {
        match self.0.lookup(name) {
            Some(value) => self.0.expression(&value, root),
            None if self
                .0
                .gathered
                .extracts
                .iter()
                .any(|extract| extract.rename == Rename::Unknown) =>
            {
                Err(format!(
                    "`{}` comes out of a `rewrite`: `--query-vault` knows which field it is",
                    shown(name)
                ))
            }
            None => Err(format!("the manifest gathers no `{}`", shown(name))),
        }
    }

    fn whole(&self, root: &str) -> Result<String, String> {
        let gathered = self.0.gathered;
        match gathered.extracts.as_slice() {
            [extract]
                if gathered.data.is_empty()
                    && extract.inside.is_empty()
                    && extract.decode == Decode::None
                    && extract.rename == Rename::Same =>
            {
                Ok(self.0.base(extract.read, root))
            }
            _ => Err(format!(
                "`{root}`, all of the data at once, has no translation: name the entries that are wanted"
            )),
        }
    }
}
