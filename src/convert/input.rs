//! Files, directories and standard input, as texts; texts as documents; documents as objects.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::helm;
use super::remark::{Remark, Teller, Weight, shown};
use super::tree::{self, Node};

/// The largest file.
const MAX_BYTES: u64 = 16 << 20;
/// The most files of all directories together.
const MAX_FILES: usize = 50_000;
/// Directories inside each other.
const MAX_DEPTH: usize = 32;
/// Lists inside each other.
const MAX_LISTS: usize = 8;
/// What every manifest of the operator says of itself.
const SIGN: &str = "external-secrets.io";

/// A text to be read.
#[derive(Debug)]
pub struct Input {
    /// As messages name it.
    pub name: String,
    /// Its content.
    pub text: String,
    /// Found in a directory, not named: what is no manifest in it is passed over.
    pub found: bool,
}

/// An object of Kubernetes.
#[derive(Debug)]
pub(super) struct Object {
    /// `FILE:LINE`.
    pub(super) place: String,
    /// `external-secrets.io/v1`.
    pub(super) api: String,
    /// Its kind.
    pub(super) kind: String,
    /// `metadata.name`; empty where it has none.
    pub(super) name: String,
    /// `metadata.namespace`.
    pub(super) namespace: Option<String>,
    /// All of it.
    pub(super) node: Node,
    /// What was remarked on its document.
    pub(super) comments: Vec<String>,
}

impl Object {
    /// As messages name it.
    pub(super) fn title(&self) -> String {
        let name = match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        };
        format!("{} `{}`", shown(&self.kind), shown(&name))
    }
}

/// Reads files, directories (recursively) and `-`.
pub fn gather(paths: &[String], stdin: &mut dyn Read, remarks: &mut Vec<Remark>) -> Vec<Input> {
    let mut inputs = Vec::new();
    for path in paths {
        if path == "-" {
            let mut bytes = Vec::new();
            let read = stdin.take(MAX_BYTES + 1).read_to_end(&mut bytes);
            add(&mut inputs, remarks, "<stdin>", false, read.map(|_| bytes));
            continue;
        }
        let mut files = Vec::new();
        match fs::metadata(path) {
            Ok(about) if about.is_dir() => {
                walk(Path::new(path), 0, &mut files, remarks);
                if files.is_empty() {
                    remarks.push(unread(path, "holds no `.yaml`, `.yml` or `.json` file"));
                }
                for file in files {
                    let read = read(&file);
                    add(&mut inputs, remarks, &file.to_string_lossy(), true, read);
                }
            }
            _ => add(&mut inputs, remarks, path, false, read(Path::new(path))),
        }
    }
    inputs
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn add(
    inputs: &mut Vec<Input>,
    remarks: &mut Vec<Remark>,
    name: &str,
    found: bool,
    bytes: io::Result<Vec<u8>>,
) {
    let text = match bytes {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => {
            Err(format!("is larger than {} MiB", MAX_BYTES >> 20))
        }
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()),
    };
    match text {
        Ok(text) => inputs.push(Input {
            name: name.to_owned(),
            text,
            found,
        }),
        Err(message) => remarks.push(unread(name, &message)),
    }
}

/// The manifests below a directory, in the order of their names. Links to directories are not
/// followed, hidden ones not entered.
fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>, remarks: &mut Vec<Remark>) {
    let name = directory.to_string_lossy();
    if depth > MAX_DEPTH {
        remarks.push(unread(&name, "lies too deep"));
        return;
    }
    let entries = match fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => {
            remarks.push(unread(&name, &format!("cannot be read: {error}")));
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let is_link = path.is_symlink();
        if hidden {
            continue;
        }
        if path.is_dir() {
            if !is_link {
                walk(&path, depth + 1, files, remarks);
            }
            continue;
        }
        let manifest = path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        });
        // A pipe would never end.
        if !manifest || !path.is_file() {
            continue;
        }
        if files.len() >= MAX_FILES {
            remarks.push(unread(&name, &format!("more than {MAX_FILES} files")));
            return;
        }
        files.push(path);
    }
}

fn unread(place: &str, message: &str) -> Remark {
    Remark {
        place: place.to_owned(),
        object: String::new(),
        field: String::new(),
        message: message.to_owned(),
        weight: Weight::Unread,
    }
}

/// The objects in a text; one document that cannot be read loses no other.
pub(super) fn objects(input: &Input, remarks: &mut Vec<Remark>) -> Vec<Object> {
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(&input.text);
    let mut objects = Vec::new();
    for (line, document) in documents(text) {
        if document
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with(['#', '%']))
        {
            continue;
        }
        let place = format!("{}:{line}", input.name);
        let of_operator = document.contains(SIGN);
        let mut remark = |message: String, weight| {
            remarks.push(Remark {
                place: place.clone(),
                object: String::new(),
                field: String::new(),
                message,
                weight,
            });
        };
        let (tree, comments) = match tree_of(document) {
            Ok(found) => found,
            Err(broken) => {
                let at = broken
                    .line
                    .map(|at| format!(" (line {})", line + at.saturating_sub(1)))
                    .unwrap_or_default();
                let message = format!("{}{at}{}", broken.message, advice(document));
                if input.found && !of_operator {
                    remark(format!("skipped: {message}"), Weight::Note);
                } else {
                    remark(message, Weight::Unread);
                }
                continue;
            }
        };
        for comment in &comments {
            remark(comment.clone(), Weight::Warning);
        }
        for key in &tree.duplicates {
            remark(
                format!(
                    "the key `{}` stands twice in one map: the later one counts",
                    shown(key)
                ),
                Weight::Warning,
            );
        }
        unfold(tree.root, &place, &comments, 0, &mut objects, remarks);
    }
    objects
}

/// What may help with a text that is no YAML.
fn advice(document: &str) -> &'static str {
    if document.contains("{{") {
        "; if it is a template of Helm or another program, render it first (`helm template … | secrets-sync convert -`)"
    } else if document.contains("{%") {
        "; if it is a template, render it first"
    } else {
        ""
    }
}

/// The tree of a document; where it is a template of Helm or of another program, of what is left
/// without values. What is wrong is told of the text as it is.
fn tree_of(document: &str) -> Result<(tree::Tree, Vec<String>), tree::Broken> {
    let around = |plain: helm::Plain| {
        tree::parse(&plain.text).map(|mut tree| {
            tree.root = plain.restore(tree.root);
            (tree, told(&plain))
        })
    };
    let of_helm = helm::is_template(document);
    let first = if of_helm {
        around(helm::plain(document))
    } else {
        tree::parse(document).map(|tree| (tree, Vec::new()))
    };
    let broken = match first {
        Err(broken) => broken,
        read => return read,
    };
    let (text, directives) = helm::without_directives(document);
    let mut read = Err(broken);
    if directives > 0 && !of_helm {
        read = read.or_else(|broken| {
            tree::parse(&text)
                .map(|tree| (tree, Vec::new()))
                .map_err(|_| broken)
        });
    }
    if text.contains("{{") {
        read = read
            .or_else(|broken| around(helm::words(&text)).map_err(|_| broken))
            .or_else(|broken| around(helm::plain(&text)).map_err(|_| broken));
    }
    let (tree, mut comments) = read?;
    if directives > 0 {
        comments.push(format!(
            "a template of another program that is not rendered: its own lines (`{{% … %}}`, `%{{ … }}`: {directives}) \
             are left out; both branches of an `if` count, a `for` once"
        ));
    }
    Ok((tree, comments))
}

fn told(plain: &helm::Plain) -> Vec<String> {
    let mut all = Vec::new();
    if !plain.variables.is_empty() {
        let names: Vec<String> = plain
            .variables
            .iter()
            .map(|name| format!("`${{{name}}}`"))
            .collect();
        all.push(format!(
            "a template that is not rendered: variables stand for its values ({})",
            names.join(", ")
        ));
    }
    if plain.dropped > 0 {
        all.push(format!(
            "a template that is not rendered: {} lines of its own (`if`, `include`, …) are left out; \
             `helm template` renders it",
            plain.dropped
        ));
    }
    all
}

/// The documents of a text, each with its first line. `---` at the start of a line parts them
/// wherever it stands: no scalar may hold one there.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first) = (0, 1);
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        let marker =
            bare == "---" || bare == "..." || line.starts_with("--- ") || line.starts_with("---\t");
        if marker {
            documents.push((first, &text[start..at]));
            let keep = if bare == "---" || bare == "..." {
                line.len()
            } else {
                4
            };
            start = at + keep;
            first = index + if keep == line.len() { 2 } else { 1 };
        }
        at += line.len();
    }
    documents.push((first, &text[start..]));
    documents
}

/// A list is as good as its items.
fn unfold(
    node: Node,
    place: &str,
    comments: &[String],
    depth: usize,
    objects: &mut Vec<Object>,
    remarks: &mut Vec<Remark>,
) {
    let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
    let (api, kind) = (text("apiVersion"), text("kind"));
    let items = match kind.as_str() {
        "Template" => "objects",
        _ if kind.ends_with("List") => "items",
        _ => "",
    };
    if let Some(Node::List(_)) = node.get(items)
        && depth < MAX_LISTS
        && let Node::Map(entries) = node
    {
        for (_, value) in entries.into_iter().filter(|(key, _)| key == items) {
            if let Node::List(items) = value {
                for item in items {
                    unfold(item, place, comments, depth + 1, objects, remarks);
                }
            }
        }
        return;
    }
    if kind.is_empty() {
        let what = match &node {
            Node::Map(_) => "a map without `kind`",
            other => other.kind(),
        };
        remarks.push(Remark {
            place: place.to_owned(),
            object: String::new(),
            field: String::new(),
            message: format!("skipped: no manifest ({what})"),
            weight: Weight::Note,
        });
        return;
    }
    let metadata = |key: &str| {
        node.get("metadata")
            .and_then(|metadata| metadata.get(key)?.text())
    };
    objects.push(Object {
        place: place.to_owned(),
        name: metadata("name")
            .or_else(|| metadata("generateName"))
            .unwrap_or_default(),
        namespace: metadata("namespace").filter(|name| !name.is_empty()),
        api,
        kind,
        node,
        comments: comments.to_vec(),
    });
}

/// Tells what of `metadata` means nothing outside of a cluster, and what stands beside `spec`.
pub(super) fn envelope(object: &Object, teller: &mut Teller<'_>) {
    let Node::Map(entries) = &object.node else {
        return;
    };
    for (key, value) in entries {
        match key.as_str() {
            "apiVersion" | "kind" | "spec" => {}
            "status" => teller.note_only(key, "written by the operator"),
            "metadata" => {
                let Node::Map(entries) = value else { continue };
                let own: Vec<&str> = entries
                    .iter()
                    .map(|(key, _)| key.as_str())
                    .filter(|key| !matches!(*key, "name" | "namespace"))
                    .collect();
                if !own.is_empty() {
                    teller.note_only(
                        &format!("metadata.{}", own.join(", metadata.")),
                        "only for the object in the cluster",
                    );
                }
            }
            "sops" => teller.warn(
                key,
                "values that are encrypted with sops are taken as they stand: decrypt first",
            ),
            other => teller.warn(other, "not a field that the operator knows here: ignored"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> (Vec<String>, Vec<String>) {
        let mut remarks = Vec::new();
        let input = Input {
            name: "f".into(),
            text: text.into(),
            found: false,
        };
        let objects = objects(&input, &mut remarks);
        (
            objects
                .iter()
                .map(|object| format!("{} {}", object.place, object.title()))
                .collect(),
            remarks.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn documents_lists_and_templates() {
        let (found, remarks) = kinds(
            "\u{feff}# comment\n---\nkind: A\nmetadata: {name: a, namespace: n}\n--- # again\nkind: List\nitems:\n\
             - kind: B\n- kind: ExternalSecretList\n  items: [{kind: C}]\n...\n---\nkind: Template\nobjects: [{kind: D}]\n---\n\n",
        );
        assert_eq!(found, ["f:3 A `n/a`", "f:5 B ``", "f:5 C ``", "f:13 D ``"]);
        assert_eq!(remarks, [] as [&str; 0]);
    }

    #[test]
    fn one_broken_document_loses_no_other() {
        let (found, remarks) =
            kinds("kind: A\r\n---\r\na: b: c\r\n---\r\nkind: B\r\n---\r\n- 1\r\n");
        assert_eq!(found, ["f:1 A ``", "f:5 B ``"]);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(
            remarks[0].starts_with("f:3: not read: not valid YAML"),
            "{}",
            remarks[0]
        );
        assert_eq!(remarks[1], "f:7: note: skipped: no manifest (a list)");
    }

    #[test]
    fn a_helm_template_is_read_around_its_values() {
        let (found, remarks) = kinds(
            "{{- if .Values.on }}\nkind: A\nmetadata:\n  name: {{ .Release.Name }}-db\n{{- end }}\n",
        );
        assert_eq!(found, ["f:1 A `${HELM_RELEASE_NAME}-db`"]);
        assert_eq!(remarks.len(), 2);
        assert!(
            remarks[0].contains("`${HELM_RELEASE_NAME}`"),
            "{}",
            remarks[0]
        );
    }

    #[test]
    fn directories_are_walked_in_order_and_links_to_them_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("b/.hidden")).unwrap();
        for name in [
            "b/2.yml",
            "b/1.yaml",
            "a.json",
            "c.txt",
            "b/.hidden/x.yaml",
            ".x.yaml",
        ] {
            fs::write(root.join(name), "kind: A\n").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        fs::write(root.join("z.yaml"), [0xff, 0xfe]).unwrap();
        let mut remarks = Vec::new();
        let paths = [
            root.to_string_lossy().into_owned(),
            "-".into(),
            "/nonexistent".into(),
        ];
        let inputs = gather(&paths, &mut &b"kind: S\n"[..], &mut remarks);
        let names: Vec<String> = inputs
            .iter()
            .map(|input| input.name.replace(&paths[0], ""))
            .collect();
        assert_eq!(names, ["/a.json", "/b/1.yaml", "/b/2.yml", "<stdin>"]);
        assert_eq!(remarks.len(), 2);
        assert!(remarks[0].message.contains("UTF-8"));
        assert!(remarks.iter().all(|remark| remark.weight == Weight::Unread));
    }
}
