//! `dataFrom.find`: each secret that the server has is written out.

use crate::convert::facts::Read;
use crate::convert::gather::Gatherer;
use crate::convert::gather::Part;
use crate::convert::keys;
use crate::convert::manifest::Decode;
use crate::convert::manifest::Find;
use crate::convert::manifest::From;
use crate::convert::manifest::Rewrite;
use crate::convert::path;
use crate::convert::remark::shown;
use crate::plan::KvVersion;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// More files than this from one `find` are refused.
const MAX_FOUND: usize = 2_000;

impl Gatherer<'_, '_> {
    pub(super) fn find(&mut self, from: &From, find: &Find, store: usize) {
        let Some(vault) = self.registry.vault(store) else {
            return;
        };
        let (namespace, mount, kv) = (vault.namespace.clone(), vault.path.clone(), vault.kv);
        let at = format!("{}.find", from.at);
        if self.facts.is_none() {
            let told = self.teller.warn_there(
                &at,
                "which secrets it finds only the server knows: `--query-vault` writes each of them out",
            );
            self.out.missing.push(told);
            if !from.rewrite.is_empty() {
                self.teller.note_only(
                    &format!("{}.rewrite", from.at),
                    "renames what is found: so does `--query-vault`",
                );
            }
            return;
        }
        let result = self.found(find, &namespace, mount.as_deref(), kv, &at);
        let names = match result {
            Ok(names) => names,
            Err(message) => {
                let told = self.teller.warn_there(&at, message);
                self.out.missing.push(told);
                return;
            }
        };
        if names.is_empty() {
            let told = self.teller.warn_there(&at, "finds nothing now");
            self.out.missing.push(told);
        }
        let mut pairs = Vec::new();
        for (name, read) in names {
            let read = self.add(store, read);
            pairs.push((name, read));
        }
        let mut taken = BTreeSet::new();
        for (name, read) in pairs {
            let mut key = name;
            for (index, rewrite) in from.rewrite.iter().enumerate() {
                let field = format!("{}.rewrite[{index}]", from.at);
                match rewrite {
                    Rewrite::Regexp { source, target } => {
                        match keys::replaced(&key, source, target) {
                            Ok(renamed) => key = renamed,
                            Err(message) => {
                                let told = self.teller.warn_there(&field, message);
                                self.out.missing.push(told);
                                return;
                            }
                        }
                    }
                    _ => {
                        let told = self
                            .teller
                            .warn_there(&field, "only `regexp` has a translation after `find`");
                        self.out.missing.push(told);
                        return;
                    }
                }
            }
            key = match self.selected(from, key) {
                Err(()) => return,
                Ok(None) => continue,
                Ok(Some(key)) if from.rewrite.is_empty() => keys::converted(&key, find.unicode),
                Ok(Some(key)) => key,
            };
            if !taken.insert(key.clone()) {
                self.collides(&key, &at);
            }
            // A whole secret is JSON: `Auto` leaves it, base64 is never right.
            if matches!(find.decode, Decode::Base64 | Decode::Base64Url) {
                self.teller.warn(
                    &at,
                    "a whole secret is JSON, which is no base64: not decoded",
                );
            }
            self.adopt(vec![(key, Part::Whole, false)], read, Decode::None, &at);
        }
    }

    pub(super) fn found(
        &mut self,
        find: &Find,
        namespace: &str,
        mount: Option<&str>,
        kv: KvVersion,
        at: &str,
    ) -> Result<Vec<(String, Read)>, String> {
        let mount = mount
            .map(|mount| mount.trim_matches('/').to_owned())
            .filter(|mount| !mount.is_empty())
            .ok_or("without a `path` in the store there is no mount to look in")?;
        let facts = self.facts.ok_or("no server to ask")?;
        let (mount, kv) = facts
            .engine(namespace, &format!("{mount}/"))
            .unwrap_or((mount, kv));
        let is_v2 = kv == KvVersion::V2;
        let regexp = find.regexp.as_deref().map(keys::compiled).transpose()?;
        if regexp.is_none() && !find.tags.is_empty() && !is_v2 {
            return Err("`tags` need KV version 2".to_owned());
        }
        let names = facts.list(namespace, &mount, kv, &find.path)?;
        let mut found = Vec::new();
        for name in names {
            let read = |metadata| Read {
                namespace: namespace.to_owned(),
                place: path::Place {
                    mount: mount.clone(),
                    key: name.clone(),
                },
                is_v2,
                version: None,
                metadata,
            };
            let wanted = match &regexp {
                Some(regexp) => regexp.is_match(&name),
                None if find.tags.is_empty() => true,
                None => match facts.read(&read(true)) {
                    Ok(tags) => find.tags.iter().all(|(key, value)| {
                        tags.expose().get(key).is_some_and(|tag| match tag {
                            Json::String(text) => text == value,
                            other => &*other.to_string() == value.as_str(),
                        })
                    }),
                    Err(message) => {
                        return Err(format!(
                            "{at}: the metadata of `{}`: {message}",
                            shown(&name)
                        ));
                    }
                },
            };
            if wanted {
                found.push((name.clone(), read(false)));
            }
            if found.len() > MAX_FOUND {
                return Err(format!("finds more than {MAX_FOUND} secrets"));
            }
        }
        Ok(found)
    }
}
