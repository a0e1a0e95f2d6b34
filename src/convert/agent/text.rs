//! The agents' templates into ours: `with secret "PATH"` says what is read, `.Data.data.x` what of it.

use std::collections::BTreeSet;

use crate::convert::remark::shown;
use crate::convert::template::scan::{self, Word};
use crate::convert::template::{unknown_functions, without_variables};
use crate::plan::KvVersion;
use crate::render;

/// One read of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) mount: String,
    pub(super) key: String,
    pub(super) kv: KvVersion,
    pub(super) version: Option<u64>,
    /// Empty where it is the only one.
    pub(super) alias: String,
    /// The mount was told by nothing but the first part of the path.
    pub(super) guessed: bool,
}

/// A template, translated.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) reads: Vec<Read>,
}

/// Engines whose secrets are made when they are read.
const DYNAMIC: [&str; 6] = [
    "/creds/",
    "/static-creds/",
    "/issue/",
    "/sign/",
    "/sts/",
    "/export/",
];

/// The agents' functions by the names that sprig has for them.
const RENAMED: [(&str, &str); 14] = [
    ("base64Decode", "b64dec"),
    ("base64Encode", "b64enc"),
    ("parseJSON", "fromJson"),
    ("replaceAll", "replace"),
    ("sha256Hex", "sha256sum"),
    ("split", "splitList"),
    ("toJSON", "toJson"),
    ("toJSONPretty", "toPrettyJson"),
    ("toLower", "lower"),
    ("toUpper", "upper"),
    ("toYAML", "toYaml"),
    ("trimSpace", "trim"),
    ("mustToJson", "toJson"),
    ("mustFromJson", "fromJson"),
];

/// What a path of a secret was written as, and what is asked of it.
struct Asked {
    path: String,
    /// `.Data.data` was seen.
    versioned: bool,
    /// `.Data` without `.data` was seen.
    plain: bool,
}

enum Block<'t> {
    /// `with secret`, and the name that it has.
    Secret(usize, Option<&'t str>),
    /// `.` is something else inside.
    Rebinds,
    Plain,
}

/// A word that is to be replaced.
struct Edit {
    start: usize,
    end: usize,
    what: What,
}

enum What {
    /// A field: index of the secret, `.` or `$`, what follows `.Data`.
    Field(usize, &'static str, String),
    Text(String),
}

/// Translates a template.
///
/// # Errors
///
/// What in it has no translation.
pub(super) fn translate(template: &str) -> Result<Translated, String> {
    let template = without_variables(template);
    let mut asked: Vec<Asked> = Vec::new();
    let edits = edits(&template, &mut asked)?;
    let reads = reads(&asked)?;
    let many = reads.len() > 1;
    let mut text = String::with_capacity(template.len());
    let mut at = 0;
    for edit in edits {
        text.push_str(&template[at..edit.start]);
        at = edit.end;
        match edit.what {
            What::Text(new) => text.push_str(&new),
            What::Field(index, root, rest) => {
                let read = reads.get(index).ok_or("no such secret")?;
                let rest = match read.kv {
                    KvVersion::V1 => rest.as_str(),
                    KvVersion::V2 => rest
                        .strip_prefix(".data")
                        .filter(|rest| rest.is_empty() || rest.starts_with('.'))
                        .ok_or_else(|| {
                            format!(
                                "`.Data{}`: only the data of a secret are read",
                                shown(&rest)
                            )
                        })?,
                };
                let dollar = if root == "$" { "$" } else { "" };
                match (many, rest) {
                    (true, rest) => text.push_str(&format!("{dollar}.{}{rest}", read.alias)),
                    (false, "") => text.push_str(root),
                    (false, rest) => text.push_str(&format!("{dollar}{rest}")),
                }
            }
        }
    }
    text.push_str(&template[at..]);
    let unknown: Vec<String> = unknown_functions(&text)
        .iter()
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("templates have no helper {}", unknown.join(", ")));
    }
    if let Err(error) = render::Template::compile(&text) {
        let help = error
            .help
            .map(|help| format!("; {help}"))
            .unwrap_or_default();
        return Err(format!("line {}: {}{help}", error.line, error.message));
    }
    Ok(Translated { text, reads })
}

fn edits(template: &str, asked: &mut Vec<Asked>) -> Result<Vec<Edit>, String> {
    let mut edits = Vec::new();
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for action in scan::actions(template) {
        let words: Vec<&str> = action.words.iter().map(|word| word.text).collect();
        let mut comment = || {
            // A comment trims as the action did.
            let body = &template[action.start..action.end];
            let open = if body.starts_with("{{-") {
                "{{- "
            } else {
                "{{"
            };
            let close = if body.ends_with("-}}") { " -}}" } else { "}}" };
            // Nothing at all, but where the braces of two actions would meet.
            let bare = open == "{{" && close == "}}" && !template[..action.start].ends_with('{');
            let text = if bare {
                String::new()
            } else {
                format!("{open}/* */{close}")
            };
            edits.push(Edit {
                start: action.start,
                end: action.end,
                what: What::Text(text),
            });
        };
        match words.as_slice() {
            ["with", "secret", ..] | ["with", _, ":", "=", "secret", ..] => {
                let (from, name) = if words.get(1) == Some(&"secret") {
                    (2, None)
                } else {
                    (5, words.get(1).copied())
                };
                let path = action.words.get(from).and_then(Word::constant);
                let Some(path) = path.filter(|_| words.len() == from + 1) else {
                    return Err(dynamic("a secret that is more than a path"));
                };
                let index = index_of(asked, path);
                blocks.push(Block::Secret(index, name));
                comment();
                continue;
            }
            ["else", ..] if matches!(blocks.last(), Some(Block::Secret(..))) => {
                return Err(
                    "`else` of `with secret`: a secret that is missing leaves the file as it was"
                        .to_owned(),
                );
            }
            ["else", ..] => {
                if let Some(top) = blocks.last_mut() {
                    *top = if words.get(1) == Some(&"with") {
                        Block::Rebinds
                    } else {
                        Block::Plain
                    };
                }
            }
            ["end", ..] => {
                if let Some(Block::Secret(..)) = blocks.pop() {
                    comment();
                }
                continue;
            }
            _ => {}
        }
        words_of(&action.words, &blocks, asked, &mut edits)?;
        match words.first() {
            Some(&("range" | "with")) => blocks.push(Block::Rebinds),
            Some(&"if") => blocks.push(Block::Plain),
            _ => {}
        }
    }
    Ok(edits)
}

fn words_of(
    words: &[Word<'_>],
    blocks: &[Block<'_>],
    asked: &mut Vec<Asked>,
    edits: &mut Vec<Edit>,
) -> Result<(), String> {
    // The secret that `.` is, if it is one.
    let here = blocks
        .iter()
        .rev()
        .find(|block| !matches!(block, Block::Plain));
    let rebound = blocks.iter().any(|block| matches!(block, Block::Rebinds));
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        // `(secret "PATH").Data.x`
        if word.text == "("
            && let [call, path, close, field, ..] = words.get(at..).unwrap_or_default()
            && call.text == "secret"
            && close.text == ")"
            && field.chained
            && let Some(path) = path.constant()
            && let Some(rest) = field.text.strip_prefix(".Data")
        {
            let index = index_of(asked, path);
            note(asked, index, rest);
            edits.push(Edit {
                start: word.start,
                end: field.end(),
                what: What::Field(index, if rebound { "$" } else { "." }, rest.to_owned()),
            });
            at += 4;
            continue;
        }
        if word.chained {
            continue;
        }
        if word.text == "secret" {
            return Err(dynamic(
                "a secret that is read otherwise than by `with secret \"PATH\"`",
            ));
        }
        let named = blocks.iter().find_map(|block| match block {
            Block::Secret(index, Some(name)) => {
                let rest = word.text.strip_prefix(name)?;
                (rest.is_empty() || rest.starts_with('.')).then_some((
                    *index,
                    rest,
                    if rebound { "$" } else { "." },
                ))
            }
            _ => None,
        });
        let own = match here {
            Some(Block::Secret(index, _)) if word.text.starts_with('.') => {
                Some((*index, word.text, if rebound { "$" } else { "." }))
            }
            _ => None,
        };
        if let Some((index, path, root)) = named.or(own) {
            let rest = path.strip_prefix(".Data").ok_or_else(|| {
                format!("`{}`: only `.Data` of a secret is read", shown(word.text))
            })?;
            note(asked, index, rest);
            edits.push(Edit {
                start: word.start,
                end: word.end(),
                what: What::Field(index, root, rest.to_owned()),
            });
            continue;
        }
        let sprig = word
            .text
            .strip_prefix("sprig_")
            .filter(|name| render::is_helper(name));
        let new = RENAMED
            .iter()
            .find(|(old, _)| *old == word.text)
            .map(|(_, new)| *new)
            .or(sprig);
        if let Some(new) = new {
            edits.push(Edit {
                start: word.start,
                end: word.end(),
                what: What::Text(new.to_owned()),
            });
        }
    }
    Ok(())
}

fn dynamic(what: &str) -> String {
    format!("{what} has no translation: the daemon carries the secrets of KV engines")
}

fn index_of(asked: &mut Vec<Asked>, path: String) -> usize {
    let path = path.trim_matches('/').to_owned();
    asked
        .iter()
        .position(|known| known.path == path)
        .unwrap_or_else(|| {
            asked.push(Asked {
                path,
                versioned: false,
                plain: false,
            });
            asked.len() - 1
        })
}

fn note(asked: &mut [Asked], index: usize, rest: &str) {
    if let Some(asked) = asked.get_mut(index) {
        let versioned = rest == ".data" || rest.starts_with(".data.");
        asked.versioned |= versioned;
        asked.plain |= !versioned;
    }
}

fn reads(asked: &[Asked]) -> Result<Vec<Read>, String> {
    if asked.is_empty() {
        return Err("it reads no secret".to_owned());
    }
    let mut taken = std::collections::HashMap::new();
    let mut paths = BTreeSet::new();
    asked
        .iter()
        .map(|asked| {
            let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
            let version = match query {
                "" => None,
                query => Some(
                    query
                        .strip_prefix("version=")
                        .and_then(|text| text.parse().ok())
                        .ok_or_else(|| dynamic(&format!("`?{}`", shown(query))))?,
                ),
            };
            if DYNAMIC
                .iter()
                .any(|part| format!("/{path}/").contains(part))
                && !asked.versioned
            {
                return Err(dynamic(&format!(
                    "`{}`, made when it is read,",
                    shown(path)
                )));
            }
            if path
                .split('/')
                .any(|segment| matches!(segment, "" | "." | ".."))
            {
                return Err(format!("`{}` is no path of a secret", shown(path)));
            }
            let kv = match (asked.versioned, asked.plain) {
                (true, _) => KvVersion::V2,
                (false, true) => KvVersion::V1,
                (false, false) if path.contains("/data/") => KvVersion::V2,
                (false, false) => KvVersion::V1,
            };
            let infix = if kv == KvVersion::V2 { "/data/" } else { "/" };
            let (pair, guessed) = match path.split_once(infix) {
                Some(pair) => (Some(pair), kv == KvVersion::V1),
                // The agents put the `data/` in by themselves.
                None => (path.split_once('/'), true),
            };
            let (mount, key) =
                pair.ok_or_else(|| format!("`{}` is no path of a secret", shown(path)))?;
            if !paths.insert((mount, key, version)) {
                return Err(format!("`{}` is read in two ways", shown(path)));
            }
            let alias = crate::convert::name::unique(&crate::convert::name::alias(key), &mut taken)
                .replace('-', "_");
            Ok(Read {
                mount: mount.to_owned(),
                key: key.to_owned(),
                kv,
                version: version.filter(|_| kv == KvVersion::V2),
                alias,
                guessed: guessed && kv == KvVersion::V2,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(template: &str) -> (String, Vec<String>) {
        let done = translate(template).unwrap();
        let reads = done
            .reads
            .iter()
            .map(|read| {
                format!(
                    "{} {} {:?} {:?} {}",
                    read.mount, read.key, read.kv, read.version, read.alias
                )
            })
            .collect();
        (done.text, reads)
    }

    #[test]
    fn one_secret() {
        let (text, reads) =
            done("{{ with secret \"secret/data/app/db\" }}u={{ .Data.data.user }}\n{{ end }}");
        assert_eq!(text, "u={{ .user }}\n");
        assert_eq!(reads, ["secret app/db V2 None db"]);
        let (text, reads) =
            done("{{- with secret \"kv1/app\" -}}\n{{ .Data.user | toUpper }}\n{{- end -}}\n");
        assert_eq!(text, "{{- /* */ -}}\n{{ .user | upper }}\n{{- /* */ -}}\n");
        assert_eq!(reads, ["kv1 app V1 None app"]);
        let (text, reads) = done(
            "{{ with $s := secret \"secret/data/a?version=2\" }}{{ $s.Data.data.x }}{{ end }}",
        );
        assert_eq!(text, "{{ .x }}");
        assert_eq!(reads, ["secret a V2 Some(2) a"]);
        let (text, _) = done("{{ (secret \"secret/data/a\").Data.data.x }}");
        assert_eq!(text, "{{ .x }}");
        let (text, _) = done(
            "{{ with secret \"secret/data/a\" }}{{ range $k, $v := .Data.data }}{{ $k }}={{ $v }}\n{{ end }}{{ end }}",
        );
        assert_eq!(text, "{{ range . }}{{ @key }}={{ . }}\n{{ end }}");
        let (text, _) = done(
            "{{ with secret \"secret/data/a\" }}{{ index .Data.data \"a-b\" }}{{ if .Data.data.x }}{{ .Data.data.x }}{{ else }}n{{ end }}{{ end }}",
        );
        assert_eq!(
            text,
            "{{ index . \"a-b\" }}{{ if .x }}{{ .x }}{{ else }}n{{ end }}"
        );
    }

    #[test]
    fn several_secrets() {
        let (text, reads) = done(
            "{{ with secret \"secret/data/a/x\" }}{{ .Data.data.u }}{{ end }}{{ with secret \"secret/data/b/x\" }}{{ .Data.data.p }}{{ end }}",
        );
        assert_eq!(text, "{{ .x.u }}{{ .x_2.p }}");
        assert_eq!(reads, ["secret a/x V2 None x", "secret b/x V2 None x_2"]);
    }

    #[test]
    fn what_has_no_translation_is_named() {
        for (template, part) in [
            ("plain", "reads no secret"),
            (
                "{{ with secret \"database/creds/x\" }}{{ .Data.username }}{{ end }}",
                "made when it is read",
            ),
            (
                "{{ with secret \"pki/issue/x\" \"common_name=a\" }}{{ .Data.cert }}{{ end }}",
                "more than a path",
            ),
            (
                "{{ with secret \"secret/data/a\" }}{{ .Data.metadata.version }}{{ .Data.data.x }}{{ end }}",
                ".Data.metadata",
            ),
            (
                "{{ with secret \"secret/data/a\" }}{{ .LeaseID }}{{ end }}",
                "only `.Data`",
            ),
            (
                "{{ with secret \"secret/data/a\" }}x{{ else }}y{{ end }}",
                "`else`",
            ),
            (
                "{{ range secrets \"secret/\" }}{{ . }}{{ end }}",
                "reads no secret",
            ),
            (
                "{{ with secret \"secret/data/a\" }}{{ key \"x\" }}{{ end }}",
                "`key`",
            ),
            (
                "{{ with secret \"secret/data/a\" }}{{ .Data.data.x | sprig_uuidv4 }}{{ end }}",
                "`sprig_uuidv4`",
            ),
            (
                "{{ with secret (printf \"a\") }}{{ end }}",
                "more than a path",
            ),
            (
                "{{ with secret \"secret/data/a\" }}{{ $x := .Data.data.y }}{{ end }}",
                "variables",
            ),
            (
                "{{ with secret \"secret/data/../a\" }}{{ .Data.data.y }}{{ end }}",
                "no path",
            ),
        ] {
            let message = translate(template).unwrap_err();
            assert!(message.contains(part), "{template}: {message}");
        }
    }
}
