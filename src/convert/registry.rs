//! The stores of all manifests: which one a reference means, and what each is called in the output.

use std::collections::HashMap;

use super::manifest::StoreRef;
use super::name;
use super::output::Store;
use super::store::{Defaults, Found, Provider, Vault, assumed};

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// A Vault or OpenBao, by its index.
    Vault(usize),
    /// Another product, by its name.
    Other(String),
}

/// A namespace, and what stands there.
type Placed = (Option<String>, Meant);

/// All stores.
#[derive(Debug, Default)]
pub(super) struct Registry {
    defaults: Defaults,
    found: HashMap<(bool, String), Vec<Placed>>,
    vaults: Vec<Vault>,
    /// Those that no manifest describes, by the name that is asked for.
    assumed: HashMap<(bool, String), usize>,
    /// Whether a Vault was read from a manifest, or named on the command line.
    known: usize,
}

impl Registry {
    /// None yet.
    pub(super) fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            ..Self::default()
        }
    }

    /// Adds a store of a manifest. The same Vault under several names or in several namespaces is
    /// one store of the output.
    pub(super) fn add(&mut self, found: Found) {
        let meant = match found.provider {
            Provider::Other(provider) => Meant::Other(provider),
            Provider::Vault(vault) => {
                let same = |other: &Vault| {
                    let keys = |vault: &Vault| -> Vec<(&'static str, String)> {
                        vault
                            .store
                            .keys
                            .iter()
                            .map(|key| (key.name, key.value.clone()))
                            .collect()
                    };
                    other.server == vault.server
                        && other.path == vault.path
                        && other.kv == vault.kv
                        && other.literal == vault.literal
                        && other.store.name == vault.store.name
                        && keys(other) == keys(&vault)
                };
                let index = self.vaults.iter().position(same).unwrap_or_else(|| {
                    self.vaults.push(*vault);
                    self.known += 1;
                    self.vaults.len() - 1
                });
                Meant::Vault(index)
            }
        };
        self.found
            .entry((found.cluster, found.name))
            .or_default()
            .push((found.namespace, meant));
    }

    /// The store that a manifest in a namespace means; `true` where it is assumed for the first
    /// time.
    pub(super) fn resolve(&mut self, wanted: &StoreRef, namespace: Option<&str>) -> (Meant, bool) {
        for cluster in [wanted.cluster, !wanted.cluster] {
            let Some(candidates) = self.found.get(&(cluster, wanted.name.clone())) else {
                continue;
            };
            let exact = candidates
                .iter()
                .find(|(own, _)| own.as_deref() == namespace);
            let fits = |own: &Option<String>| cluster || own.is_none() || namespace.is_none();
            if let Some((_, meant)) = exact.or_else(|| candidates.iter().find(|(own, _)| fits(own)))
            {
                return (meant.clone(), false);
            }
        }
        let key = (wanted.cluster, wanted.name.clone());
        if let Some(index) = self.assumed.get(&key) {
            return (Meant::Vault(*index), false);
        }
        self.vaults.push(assumed(&wanted.name, &self.defaults));
        self.assumed.insert(key, self.vaults.len() - 1);
        (Meant::Vault(self.vaults.len() - 1), true)
    }

    /// A Vault.
    pub(super) fn vault(&self, index: usize) -> Option<&Vault> {
        self.vaults.get(index)
    }

    /// All of them.
    pub(super) fn vaults(&self) -> &[Vault] {
        &self.vaults
    }

    /// The stores of the output: where there are several, each has a name and variables of its own.
    pub(super) fn stores(&self) -> Vec<Store> {
        let several = self.vaults.len() > 1;
        // `default` is the store outside of `secretStores`.
        let mut taken = HashMap::from([("default".to_owned(), 2)]);
        self.vaults
            .iter()
            .map(|vault| {
                let mut store = vault.store.clone();
                store.name = name::unique(&name::component(&store.name), &mut taken);
                if several {
                    let suffix: String = store
                        .name
                        .chars()
                        .map(|c| {
                            if c.is_ascii_alphanumeric() {
                                c.to_ascii_uppercase()
                            } else {
                                '_'
                            }
                        })
                        .collect();
                    for key in &mut store.keys {
                        let own = ["${VAULT_TOKEN}", "${VAULT_ROLE_ID}", "${VAULT_SECRET_ID}"]
                            .contains(&key.value.as_str())
                            || (key.value == "${VAULT_ADDR}"
                                && !vault.server.contains("VAULT_ADDR"));
                        if own {
                            key.value = key.value.replace('}', &format!("_{suffix}}}"));
                        }
                    }
                }
                store
            })
            .collect()
    }

    /// Writes another address into the one store, for it is known to answer from here.
    pub(super) fn readdress(&mut self, address: &str) {
        if let [vault] = self.vaults.as_mut_slice()
            && let Some(key) = vault
                .store
                .keys
                .iter_mut()
                .find(|key| key.name == "address")
            && key.value != address
        {
            key.comments = if vault.server.is_empty() {
                Vec::new()
            } else {
                vec![format!(
                    "the manifest says `{}`",
                    super::remark::shown(&vault.server)
                )]
            };
            key.value = super::phrase::phrase(address).written;
        }
    }
}
