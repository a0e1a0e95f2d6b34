//! One secret in the making: sources, templates, files.

use super::Frame;
use super::Wanted;
use super::templates::untranslated;
use crate::convert::gather::Datum;
use crate::convert::gather::Gathered;
use crate::convert::gather::Part;
use crate::convert::gather::Value;
use crate::convert::keys;
use crate::convert::keys::Rename;
use crate::convert::manifest::Decode;
use crate::convert::name;
use crate::convert::output::Content;
use crate::convert::output::File;
use crate::convert::output::Source;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::convert::template;
use crate::convert::template::Names;
use crate::convert::template::field_of;
use crate::render;
use std::collections::BTreeSet;

/// Builds one secret.
pub(super) struct Builder<'b> {
    gathered: &'b Gathered,
    directory: &'b str,
    is_tls: bool,
    pub(super) many: bool,
    /// For each read, the name of its source; empty where it is not used.
    aliases: Vec<String>,
    pub(super) sources: Vec<Source>,
    pub(super) templates: Vec<(String, String)>,
    pub(super) files: Vec<File>,
    paths: BTreeSet<String>,
}

impl<'b> Builder<'b> {
    pub(super) fn new(gathered: &'b Gathered, is_tls: bool, frame: &'b Frame<'_>) -> Self {
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
    pub(super) fn choose(&mut self, data: &[&Datum], templates: &[Wanted]) {
        let mut used: BTreeSet<usize> = data.iter().map(|datum| datum.value.read).collect();
        for wanted in templates {
            let references = template::references(&wanted.text);
            for name in &references.names {
                used.extend(self.lookup(name).map(|value| value.read));
            }
            if references.whole {
                used.extend(self.gathered.mirror);
            }
        }
        // A template without a reference still needs something to be written with.
        if used.is_empty() && !templates.is_empty() && !self.gathered.reads.is_empty() {
            used.insert(0);
        }
        self.use_reads(used);
    }

    pub(super) fn use_reads(&mut self, used: BTreeSet<usize>) {
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
            // A rule that cannot be read is told where the secret is asked for.
            if !keys::selected(&extract.select, name).unwrap_or(true) {
                return None;
            }
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

    pub(super) fn data_file(
        &mut self,
        datum: &Datum,
        missing: &mut Vec<String>,
        teller: &mut Teller<'_>,
    ) {
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

    pub(super) fn template_file(
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
    pub(super) fn tell_unused(&self, templates: &[Wanted], at: &str, teller: &mut Teller<'_>) {
        let mut used = BTreeSet::new();
        for wanted in templates {
            let references = template::references(&wanted.text);
            // Where it has no translation it shows nothing.
            if references.whole && self.gathered.mirror.is_some() {
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
            Some(value) => self
                .0
                .expression(&value, root)
                .map_err(|message| format!("`{}`: {message}", shown(name))),
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
        match self.0.gathered.mirror {
            Some(read) => Ok(self.0.base(read, root)),
            None => Err(format!(
                "`{root}`, all of the data at once, has no translation: name the entries that are wanted"
            )),
        }
    }
}
