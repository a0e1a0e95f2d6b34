//! One template: its text, its file, its mode and owner.

use super::MAX_TEMPLATE;
use super::MODE;
use super::Names;
use super::body::Body;
use super::text;
use crate::convert::input::Input;
use crate::convert::name;
use crate::convert::output::Content;
use crate::convert::output::File;
use crate::convert::output::Secret;
use crate::convert::output::Source;
use crate::convert::output::version_name;
use crate::convert::remark::Teller;
use crate::convert::remark::shown;
use crate::files::Mode;
use crate::files::parse_group;
use crate::files::parse_user;
use std::path::Path;

pub(super) fn template(
    input: &Input,
    mut body: Body<'_>,
    interval: &str,
    names: &mut Names,
    teller: &mut Teller<'_>,
) -> Secret {
    let at = body.at.clone();
    let destination = body.text("destination", teller).unwrap_or_default();
    let contents = contents(input, &mut body, teller);
    for name in ["left_delimiter", "right_delimiter"] {
        let own = if name.starts_with("left") { "{{" } else { "}}" };
        if let Some(text) = body.text(name, teller).filter(|text| text != own) {
            teller.warn(
                &body.at_of(name),
                format!("`{}`: only `{{{{` and `}}}}` are read", shown(&text)),
            );
        }
    }
    for name in ["command", "exec", "command_timeout"] {
        if body.take(name).is_some() {
            teller.warn(
                &body.at_of(name),
                "the daemon runs no commands: let the service watch its file",
            );
        }
    }
    for name in [
        "error_on_missing_key",
        "create_dest_dirs",
        "wait",
        "error_fatal",
        "map_to_environment_variable",
    ] {
        body.take(name);
    }
    if body.text("backup", teller).as_deref() == Some("true") {
        teller.warn(
            &body.at_of("backup"),
            "no backup of the file before is kept",
        );
    }
    let mut file = File::new(destination.clone(), Content::Template(String::new()));
    mode(&mut body, &mut file, teller);
    file.owner = who(
        &mut body,
        "user",
        |name| parse_user(name).is_ok(),
        &mut file.comments,
        teller,
    );
    file.group = who(
        &mut body,
        "group",
        |name| parse_group(name).is_ok(),
        &mut file.comments,
        teller,
    );
    body.finish(teller);
    let base = destination.rsplit('/').next().unwrap_or("");
    let component = name::component(base);
    let mut secret = Secret {
        name: name::unique(&component, &mut names.secrets),
        interval: interval.to_owned(),
        ..Secret::default()
    };
    let result = match (&contents, destination.is_empty()) {
        (_, true) => Err("without `destination`".to_owned()),
        (Err(message), _) => Err(message.clone()),
        (Ok(_), _) if !names.paths.insert(destination.clone()) => {
            Err("another template writes the same file".to_owned())
        }
        (Ok(text), _) => text::translate(text),
    };
    match result {
        Ok(done) => {
            secret.many = done.reads.len() > 1;
            for read in done.reads {
                if read.guessed {
                    teller.warn(
                        &at,
                        format!(
                            "`{}/{}`: taken as key `{}` of the mount `{}`, KV {}",
                            read.mount,
                            read.key,
                            read.key,
                            read.mount,
                            version_name(read.kv)
                        ),
                    );
                }
                secret.sources.push(Source {
                    alias: read.alias,
                    store: 0,
                    mount: read.mount,
                    key: read.key,
                    kv: read.kv,
                    version: read.version,
                    metadata: false,
                });
            }
            file.content = Content::Template(component.clone());
            secret.templates.push((component, done.text));
            secret.files.push(file);
        }
        Err(message) => {
            teller.warn(&at, message);
            secret.off = Some("not converted".to_owned());
            secret.interval = String::new();
            if let Ok(text) = contents {
                let lines = text.lines().take(40);
                secret
                    .comments
                    .extend(lines.map(|line| format!("  | {line}")));
            }
        }
    }
    secret
        .comments
        .splice(0..0, std::mem::take(&mut teller.comments));
    secret
}

/// The text of a template: in the configuration, or in a file.
pub(super) fn contents(
    input: &Input,
    body: &mut Body<'_>,
    teller: &mut Teller<'_>,
) -> Result<String, String> {
    if let Some(text) = body.text("contents", teller) {
        body.take("source");
        return Ok(text);
    }
    let source = body
        .text("source", teller)
        .ok_or("neither `contents` nor `source`")?;
    let beside = Path::new(&input.name)
        .parent()
        .map(|parent| parent.join(&source));
    let paths = [Some(Path::new(&source).to_owned()), beside];
    for path in paths.into_iter().flatten() {
        // Never a pipe or a device.
        let Ok(about) = std::fs::metadata(&path) else {
            continue;
        };
        if about.is_file() && about.len() <= MAX_TEMPLATE {
            return std::fs::read_to_string(&path)
                .map_err(|error| format!("`{}` cannot be read: {error}", shown(&source)));
        }
    }
    Err(format!(
        "its text is in `{}`, which cannot be read here",
        shown(&source)
    ))
}

pub(super) fn mode(body: &mut Body<'_>, file: &mut File, teller: &mut Teller<'_>) {
    let at = body.at_of("perms");
    match body.text("perms", teller) {
        None => {
            file.mode = Some(MODE.to_owned());
            file.comments
                .push("0644 is the agents' default: 0600 where only the owner reads it".to_owned());
        }
        Some(text) => match Mode::parse(&text) {
            Ok(mode) => file.mode = Some(format!("{:04o}", mode.bits())),
            Err(message) => file
                .comments
                .push(teller.warn_there(&at, format!("{message}: 0600"))),
        },
    }
}

/// A user or group that this machine knows.
pub(super) fn who(
    body: &mut Body<'_>,
    key: &str,
    known: impl Fn(&str) -> bool,
    comments: &mut Vec<String>,
    teller: &mut Teller<'_>,
) -> Option<String> {
    let at = body.at_of(key);
    let name = body.text(key, teller).filter(|name| name != "-1")?;
    if known(&name) {
        return Some(name);
    }
    comments.push(teller.warn_there(
        &at,
        format!("`{}` is not known on this machine: left out", shown(&name)),
    ));
    None
}
