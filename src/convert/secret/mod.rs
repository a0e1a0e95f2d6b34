//! From what a manifest gathered to secrets of the configuration: sources, templates, files.

mod builder;
mod templates;

use crate::convert::gather::Datum;
use crate::convert::gather::Extract;
use crate::convert::gather::Gathered;
use crate::convert::manifest::Spec;
use crate::convert::manifest::Template;
use crate::convert::output::Content;
use crate::convert::output::File;
use crate::convert::output::Secret;
use crate::convert::remark::Teller;
use crate::convert::tree::Node;
use builder::Builder;
use std::collections::BTreeSet;
use templates::templates;

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
        let off = (!has_files).then(|| {
            // Where a read failed, that is the reason, and it is told.
            if gathered.unreadable.is_empty() {
                teller.warn_there("", "commented out: nothing of it could be carried over");
            }
            "nothing of it could be carried over".to_owned()
        });
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
