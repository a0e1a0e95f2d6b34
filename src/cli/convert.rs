//! `convert`: manifests of External Secrets Operator in, a configuration out.

use std::path::Path;

use super::arguments::Convert;
use super::console;
use super::exit::Exit;
use crate::config::Environment;
use crate::convert::{self, Dialect, Options, Remark, Server, Weight};
use crate::files::TargetPath;
use crate::plan::KvVersion;

pub(super) fn main(arguments: &Convert, environment: Environment) -> Exit {
    let mut options = match options(arguments) {
        Ok(options) => options,
        Err(message) => {
            console::fail_with_help(&message, &"`secrets-sync convert --help` tells the options");
            return Exit::Unusable;
        }
    };
    let server = if arguments.query_vault {
        let environment = environment_of(arguments, environment);
        options.address = ["BAO_ADDR", "VAULT_ADDR"]
            .iter()
            .find_map(|name| environment.get_non_empty(name))
            .map(str::to_owned);
        match Server::connect(&environment) {
            Ok(server) => Some(server),
            Err(errors) => {
                errors.iter().for_each(|error| console::fail(error));
                return Exit::Failure;
            }
        }
    } else {
        options.address.clone_from(&arguments.vault_addr);
        None
    };
    let mut remarks = Vec::new();
    let inputs = convert::gather(&arguments.files, &mut std::io::stdin(), &mut remarks);
    let converted = convert::convert(&inputs, &options, server.as_ref(), &mut remarks);
    if let Some(server) = server {
        server.close();
    }
    for remark in &remarks {
        console::fail(remark);
    }
    let Some(text) = converted.text else {
        console::fail(&"no configuration: what was made of these inputs would not be valid");
        return Exit::Failure;
    };
    let written = match &arguments.output {
        Some(path) => write(path, &text),
        None => console::print(&text),
    };
    console::fail(&format_args!(
        "{} converted, {} left out, {}",
        counted(converted.secrets, "secret"),
        converted.left_out,
        counted(count(&remarks, Weight::Warning), "warning")
    ));
    let unread = count(&remarks, Weight::Unread) > 0;
    let warned = arguments.strict && count(&remarks, Weight::Warning) > 0;
    if unread || warned {
        Exit::Failure
    } else {
        written
    }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn count(remarks: &[Remark], weight: Weight) -> usize {
    remarks
        .iter()
        .filter(|remark| remark.weight == weight)
        .count()
}

fn options(arguments: &Convert) -> Result<Options, String> {
    let mut options = Options::default();
    if arguments.files.is_empty() {
        return Err("`convert` needs files, directories or `-`".to_owned());
    }
    options.dialect = match arguments.from.as_deref() {
        None | Some("eso") => Dialect::Operator,
        Some("vault-agent") => Dialect::VaultAgent,
        Some("consul-template") => Dialect::ConsulTemplate,
        Some(other) => {
            return Err(format!(
                "`--from`: `{other}` is not `eso`, `vault-agent` or `consul-template`"
            ));
        }
    };
    options.kv_version = match arguments.kv_version.as_deref() {
        None => None,
        Some("v1" | "1") => Some(KvVersion::V1),
        Some("v2" | "2") => Some(KvVersion::V2),
        Some(other) => return Err(format!("`--kv-version`: `{other}` is not `v1` or `v2`")),
    };
    if let Some(mount) = &arguments.mount_path {
        let mount = mount.trim_matches('/');
        if mount.is_empty()
            || mount
                .split('/')
                .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(format!("`--mount-path`: `{mount}` is no mount"));
        }
        options.mount_path = Some(mount.to_owned());
    }
    if let Some(directory) = &arguments.output_dir {
        TargetPath::parse(&format!("{directory}/x"), Path::new("/"))
            .map_err(|message| format!("`--output-dir`: {message}"))?;
        options.output_dir.clone_from(directory);
    }
    let server = [
        ("--vault-token", &arguments.vault_token),
        ("--vault-role-id", &arguments.vault_role_id),
        ("--vault-secret-id", &arguments.vault_secret_id),
    ];
    if let Some((name, _)) = server
        .iter()
        .find(|(_, value)| value.is_some() && !arguments.query_vault)
    {
        return Err(format!("`{name}` has a meaning only with `--query-vault`"));
    }
    Ok(options)
}

/// The environment with what the arguments say in its place.
fn environment_of(arguments: &Convert, mut environment: Environment) -> Environment {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    if let Some(address) = given(&arguments.vault_addr) {
        environment = environment
            .with("VAULT_ADDR", &address)
            .with("BAO_ADDR", "");
    }
    if let Some(token) = given(&arguments.vault_token) {
        environment = without(
            environment,
            &[
                "BAO_TOKEN",
                "VAULT_TOKEN_FILE",
                "VAULT_ROLE_ID",
                "VAULT_SECRET_ID",
                "VAULT_SECRET_ID_FILE",
            ],
        )
        .with("VAULT_TOKEN", &token);
    }
    if let Some(role) = given(&arguments.vault_role_id) {
        environment = without(
            environment,
            &["VAULT_TOKEN", "BAO_TOKEN", "VAULT_TOKEN_FILE"],
        )
        .with("VAULT_ROLE_ID", &role);
    }
    if let Some(secret) = given(&arguments.vault_secret_id) {
        environment = environment
            .with("VAULT_SECRET_ID_FILE", "")
            .with("VAULT_SECRET_ID", &secret);
    }
    environment
}

fn without(environment: Environment, names: &[&str]) -> Environment {
    names
        .iter()
        .fold(environment, |environment, name| environment.with(name, ""))
}

fn write(path: &Path, text: &str) -> Exit {
    match std::fs::write(path, text) {
        Ok(()) => Exit::Success,
        Err(error) => {
            console::fail(&format_args!(
                "`{}` cannot be written: {error}",
                path.display()
            ));
            Exit::Failure
        }
    }
}
