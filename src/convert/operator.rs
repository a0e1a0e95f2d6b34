//! All manifests together: stores first, then secrets; names and paths that nobody else has; and the
//! proof that what was written can be read.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::agent;
use super::facts::Facts;
use super::gather::{Gathered, Gatherer};
use super::input::{self, Input, Object};
use super::interval::interval;
use super::manifest::{self, Spec};
use super::name;
use super::output::{Config, Content, Secret};
use super::query::Server;
use super::registry::Registry;
use super::remark::{Remark, Teller, Weight};
use super::secret::{Frame, assemble};
use super::store::{self, Defaults};
use super::tree::Node;
use crate::config::{Environment, MAX_FILE_BYTES};
use crate::plan::{self, KvVersion, Purpose};

/// How often secrets that the plan refuses are taken out before that is given up.
const ROUNDS: usize = 4;

/// What the inputs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Manifests of External Secrets Operator.
    #[default]
    Operator,
    /// The configuration of `vault agent` or `bao agent`.
    VaultAgent,
    /// That of consul-template.
    ConsulTemplate,
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the inputs are.
    pub dialect: Dialect,
    /// The mount, where a store says none.
    pub mount_path: Option<String>,
    /// The version of the KV engine, where a store says none.
    pub kv_version: Option<KvVersion>,
    /// The directory that files go to.
    pub output_dir: String,
    /// The server's address, where one is asked.
    pub address: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            mount_path: None,
            kv_version: None,
            output_dir: "./secrets".to_owned(),
            address: None,
        }
    }
}

/// What came out.
#[derive(Debug)]
pub struct Converted {
    /// The configuration; `None` where it could not be made to be valid.
    pub text: Option<String>,
    /// How many secrets it has.
    pub secrets: usize,
    /// How many are commented out.
    pub left_out: usize,
}

/// Converts inputs; a server is asked where one is given.
pub fn convert(
    inputs: &[Input],
    options: &Options,
    server: Option<&Server>,
    remarks: &mut Vec<Remark>,
) -> Converted {
    let facts = server.map(|server| server as &dyn Facts);
    let mut config = match options.dialect {
        Dialect::Operator => manifests(inputs, options, facts, remarks),
        Dialect::VaultAgent | Dialect::ConsulTemplate => agent::convert(inputs, options, remarks),
    };
    config.comments.insert(
        0,
        "made by `secrets-sync convert`: read it, fill in what is missing, and run `secrets-sync validate`".to_owned(),
    );
    let text = proven(&mut config, remarks);
    let left_out = config
        .secrets
        .iter()
        .filter(|secret| secret.off.is_some())
        .count();
    Converted {
        secrets: config.secrets.len() - left_out,
        left_out,
        text,
    }
}

/// Writes the configuration, and has it read by the plan: what that refuses is commented out.
fn proven(config: &mut Config, remarks: &mut Vec<Remark>) -> Option<String> {
    let file = Path::new("<output>");
    for _ in 0..ROUNDS {
        let text = config.write();
        if text.len() as u64 > MAX_FILE_BYTES {
            remarks.push(Remark {
                place: file.display().to_string(),
                object: String::new(),
                field: String::new(),
                message: format!("larger than the {} MiB that a configuration may have: convert fewer manifests at once", MAX_FILE_BYTES >> 20),
                weight: Weight::Unread,
            });
            return None;
        }
        let problems = match plan::load_text(
            file,
            text.clone(),
            &Environment::default(),
            Purpose::Validate,
        ) {
            Ok(_) => return Some(text),
            Err(problems) => problems,
        };
        let mut live: Vec<&mut Secret> = config
            .secrets
            .iter_mut()
            .filter(|secret| secret.off.is_none())
            .collect();
        let mut changed = false;
        for problem in &problems.problems {
            let index = problem
                .key
                .strip_prefix("secrets[")
                .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
            let secret = index.and_then(|index| live.get_mut(index));
            let message = format!("{}: {}", problem.key, problem.message);
            remarks.push(Remark {
                place: file.display().to_string(),
                object: secret
                    .as_ref()
                    .map(|secret| format!("secret `{}`", secret.name))
                    .unwrap_or_default(),
                field: String::new(),
                message: message.clone(),
                weight: if secret.is_some() {
                    Weight::Warning
                } else {
                    Weight::Unread
                },
            });
            if let Some(secret) = secret {
                secret.off = Some(message);
                changed = true;
            }
        }
        if !changed {
            return None;
        }
    }
    None
}

fn manifests(
    inputs: &[Input],
    options: &Options,
    facts: Option<&dyn Facts>,
    remarks: &mut Vec<Remark>,
) -> Config {
    let mut objects: Vec<Object> = inputs
        .iter()
        .flat_map(|input| input::objects(input, remarks))
        .collect();
    // Kustomize names resources with their place; the order in which they stand is theirs.
    let defaults = Defaults {
        mount: options.mount_path.clone(),
        kv: options.kv_version,
    };
    let mut registry = Registry::new(defaults.clone());
    let mut config_maps: HashMap<String, Node> = HashMap::new();
    let mut secrets = Vec::new();
    for object in &mut objects {
        let title = object.title();
        match Kind::of(object) {
            Kind::Store => {
                let mut teller = Teller::new(remarks, &object.place, &title);
                teller.comments.clone_from(&object.comments);
                match store::read(object, &defaults, &mut teller) {
                    Some(found) => registry.add(found),
                    None => teller.warn("spec.provider", "is missing: no store"),
                }
            }
            Kind::ConfigMap => {
                let node = std::mem::replace(&mut object.node, Node::Null);
                config_maps.insert(object.name.clone(), node);
            }
            Kind::Secret => secrets.push(&*object),
            Kind::Other(reason) => {
                Teller::new(remarks, &object.place, &title)
                    .note_only("", format!("skipped: {reason}"));
            }
        }
    }
    if let Some(address) = options.address.as_deref()
        && registry.vaults().len() == 1
    {
        registry.readdress(address);
    }
    let mut names = Names::default();
    let mut config = Config::default();
    for object in secrets {
        let title = object.title();
        let mut teller = Teller::new(remarks, &object.place, &title);
        let made = secret(
            object,
            &mut registry,
            facts,
            &config_maps,
            options,
            &mut names,
            &mut teller,
        );
        config.secrets.extend(made);
    }
    if let Some(address) = options.address.as_deref() {
        registry.readdress(address);
    }
    config.stores = registry.stores();
    config
}

/// The kinds that are read.
const KINDS: [&str; 4] = [
    "ExternalSecret",
    "ClusterExternalSecret",
    "SecretStore",
    "ClusterSecretStore",
];

/// What an object is to us.
enum Kind {
    Store,
    ConfigMap,
    Secret,
    /// Nothing, and why.
    Other(&'static str),
}

impl Kind {
    fn of(object: &Object) -> Self {
        let ours = object.api.is_empty() || object.api.starts_with("external-secrets.io/");
        match object.kind.as_str() {
            "ConfigMap" => Self::ConfigMap,
            "ExternalSecret" | "ClusterExternalSecret" if ours => Self::Secret,
            "SecretStore" | "ClusterSecretStore" if ours => Self::Store,
            "ExternalSecret" | "ClusterExternalSecret" | "SecretStore" | "ClusterSecretStore" => {
                Self::Other("of another product")
            }
            "PushSecret" | "ClusterPushSecret" => Self::Other("the daemon only reads secrets"),
            kind if ours && KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {
                Self::Other(
                    "upper and lower case count in a `kind`: the operator does not know it either",
                )
            }
            _ => Self::Other("no concern of secrets"),
        }
    }
}

/// Names of secrets and directories of files, each once.
#[derive(Default)]
struct Names {
    secrets: HashMap<String, usize>,
    directories: HashMap<String, usize>,
    /// The directory of a target, the files in it, and whether a `dir` fills it.
    targets: HashMap<(Option<String>, String), (String, BTreeSet<String>)>,
}

fn secret(
    object: &Object,
    registry: &mut Registry,
    facts: Option<&dyn Facts>,
    config_maps: &HashMap<String, Node>,
    options: &Options,
    names: &mut Names,
    teller: &mut Teller<'_>,
) -> Vec<Secret> {
    teller
        .comments
        .push(format!("{} of {}", object.title(), object.place));
    teller.comments.extend(object.comments.iter().cloned());
    input::envelope(object, teller);
    let Some((spec, default_name)) = spec_of(object, teller) else {
        return Vec::new();
    };
    let wanted = spec.target.name.clone().unwrap_or(default_name);
    let secret_name = if object.name.is_empty() {
        &wanted
    } else {
        &object.name
    };
    let name = name::unique(&name::component(secret_name), &mut names.secrets);
    if let Some(reason) = hopeless(&spec) {
        teller.warn("spec", reason);
        return vec![Secret {
            name,
            off: Some(reason.to_owned()),
            comments: std::mem::take(&mut teller.comments),
            ..Secret::default()
        }];
    }
    let gatherer = Gatherer {
        registry,
        facts,
        namespace: object.namespace.as_deref(),
        at: &spec.at,
        teller,
        out: Gathered::default(),
    };
    let gathered = gatherer.run(&spec);
    let interval = interval(
        spec.interval.as_deref(),
        spec.policy.as_deref(),
        &spec.at,
        teller,
    );
    let component = name::component(&wanted);
    let target = (object.namespace.clone(), component.clone());
    let known = names
        .targets
        .get(&target)
        .map(|(directory, _)| directory.clone());
    let directory = match &known {
        Some(directory) => directory.clone(),
        None => fresh(&component, options, names, teller),
    };
    let config_map = |name: &str| config_maps.get(name);
    let frame = |directory: &str| Frame {
        directory: directory.to_owned(),
        name: name.clone(),
        at: &spec.at,
        config_map: &config_map,
    };
    let comments = teller.comments.clone();
    let mut secrets = assemble(&spec, &gathered, &interval, &frame(&directory), teller);
    if known.is_some() {
        // Two manifests of one target share its directory where their files are different ones.
        let taken = names
            .targets
            .get(&target)
            .is_some_and(|(_, paths)| clashes(paths, &secrets));
        if taken {
            teller.comments = comments;
            let directory = fresh(&component, options, names, teller);
            let mut quiet = Vec::new();
            let mut again = Teller::new(&mut quiet, "", "");
            again.comments = std::mem::take(&mut teller.comments);
            secrets = assemble(&spec, &gathered, &interval, &frame(&directory), &mut again);
        }
    }
    for secret in secrets.iter_mut().filter(|secret| secret.name != name) {
        secret.name = name::unique(&secret.name, &mut names.secrets);
    }
    let claimed = names
        .targets
        .entry(target)
        .or_insert_with(|| (directory, BTreeSet::new()));
    claimed.1.extend(paths(&secrets));
    secrets
}

/// A directory that no other target has.
fn fresh(component: &str, options: &Options, names: &mut Names, teller: &mut Teller<'_>) -> String {
    let own = name::unique(component, &mut names.directories);
    if own != component {
        teller.warn(
            "spec.target.name",
            format!("the files of another manifest are in `{component}/` already: `{own}/`"),
        );
    }
    format!("{}/{own}", options.output_dir.trim_end_matches('/'))
}

fn paths(secrets: &[Secret]) -> impl Iterator<Item = String> + '_ {
    secrets
        .iter()
        .filter(|secret| secret.off.is_none())
        .flat_map(|secret| &secret.files)
        .map(|file| {
            // A directory claims all that could be in it.
            let mark = if file.content == Content::Fields {
                "/*"
            } else {
                ""
            };
            format!("{}{mark}", file.path)
        })
}

fn clashes(taken: &BTreeSet<String>, secrets: &[Secret]) -> bool {
    paths(secrets).any(|path| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let fills = path.ends_with("/*");
        taken.contains(&path)
            || taken.contains(&format!("{parent}/*"))
            || fills
                && taken.iter().any(|other| {
                    other
                        .rsplit_once('/')
                        .is_some_and(|(other, _)| other == parent)
                })
    })
}

/// The `spec` of a manifest, and the name of its target where it says none.
fn spec_of(object: &Object, teller: &mut Teller<'_>) -> Option<(Spec, String)> {
    let Some(node) = object.node.get("spec") else {
        teller.warn("spec", "is missing: nothing to convert");
        return None;
    };
    if object.kind == "ExternalSecret" {
        return Some((manifest::read(node, "spec", teller), object.name.clone()));
    }
    let mut fields = super::object::Object::of(node, "spec", teller);
    let name = fields
        .filled("externalSecretName", teller)
        .unwrap_or_else(|| object.name.clone());
    let kept: Vec<&str> = [
        "externalSecretMetadata",
        "namespaceSelector",
        "namespaceSelectors",
        "namespaces",
        "refreshTime",
    ]
    .into_iter()
    .filter(|key| fields.take(key).is_some())
    .collect();
    if !kept.is_empty() {
        teller.note(
            &format!("spec.{}", kept.join(", spec.")),
            "only for the cluster: written once, here",
        );
    }
    let inner = fields.take("externalSecretSpec");
    fields.finish(teller);
    match inner {
        Some(inner) => {
            let spec = manifest::read(inner, "spec.externalSecretSpec", teller);
            if node.get("externalSecretName").is_some() && spec.target.name.is_some() {
                teller.note_only(
                    "spec.externalSecretName",
                    "not used: `target.name` names the directory",
                );
            }
            Some((spec, name))
        }
        None => {
            teller.warn("spec.externalSecretSpec", "is missing: nothing to convert");
            None
        }
    }
}

/// Why a manifest writes nothing at all.
fn hopeless(spec: &Spec) -> Option<&'static str> {
    if spec.target.nothing {
        Some("`creationPolicy: None`: the operator writes nothing either")
    } else if spec.data.is_empty() && spec.data_from.is_empty() {
        Some("neither `data` nor `dataFrom`: the operator writes nothing either")
    } else {
        None
    }
}
