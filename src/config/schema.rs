//! The keys that a configuration may have, each said once: the walk, the suggestions and the
//! errors all read it here.

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A single value.
    Value,
    /// A list.
    List,
    /// A map.
    Map,
}

impl Takes {
    /// For messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Value => "a single value",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// The keys of one kind of map.
pub(crate) type Keys = &'static [(&'static str, Takes)];

/// The whole file.
pub(crate) const ROOT: Keys = &[
    ("secretStore", Takes::Map),
    ("secretStores", Takes::Map),
    ("secrets", Takes::List),
    ("limits", Takes::Map),
];

/// `secretStore`, and each entry of `secretStores`.
pub(crate) const STORE: Keys = &[
    ("address", Takes::Value),
    ("namespace", Takes::Value),
    ("authNamespace", Takes::Value),
    ("authMethod", Takes::Value),
    ("token", Takes::Value),
    ("tokenFile", Takes::Value),
    ("roleId", Takes::Value),
    ("roleIdFile", Takes::Value),
    ("secretId", Takes::Value),
    ("secretIdFile", Takes::Value),
    ("secretIdWrappingPath", Takes::Value),
    ("certRole", Takes::Value),
    ("authMount", Takes::Value),
    ("credentials", Takes::Map),
    ("tlsCACert", Takes::Value),
    ("tlsCAPath", Takes::Value),
    ("tlsClientCert", Takes::Value),
    ("tlsClientKey", Takes::Value),
    ("tlsServerName", Takes::Value),
    ("tlsSkipVerify", Takes::Value),
    ("kvVersion", Takes::Value),
    ("mountPath", Takes::Value),
    ("timeout", Takes::Value),
    ("maxConcurrent", Takes::Value),
];

/// Each entry of `credentials`.
pub(crate) const CREDENTIALS: Keys = &[
    ("authMethod", Takes::Value),
    ("token", Takes::Value),
    ("tokenFile", Takes::Value),
    ("roleId", Takes::Value),
    ("roleIdFile", Takes::Value),
    ("secretId", Takes::Value),
    ("secretIdFile", Takes::Value),
    ("secretIdWrappingPath", Takes::Value),
    ("certRole", Takes::Value),
    ("authMount", Takes::Value),
    ("authNamespace", Takes::Value),
    ("tlsClientCert", Takes::Value),
    ("tlsClientKey", Takes::Value),
];

/// Each entry of `secrets`.
pub(crate) const SECRET: Keys = &[
    ("name", Takes::Value),
    ("key", Takes::Value),
    ("path", Takes::Value),
    ("mountPath", Takes::Value),
    ("kvVersion", Takes::Value),
    ("version", Takes::Value),
    ("namespace", Takes::Value),
    ("credentials", Takes::Value),
    ("store", Takes::Value),
    ("metadata", Takes::Value),
    ("sources", Takes::Map),
    ("refreshInterval", Takes::Value),
    ("optional", Takes::Value),
    ("layout", Takes::Value),
    ("template", Takes::Map),
    ("files", Takes::List),
];

/// Each entry of `sources`.
pub(crate) const SOURCE: Keys = &[
    ("key", Takes::Value),
    ("path", Takes::Value),
    ("mountPath", Takes::Value),
    ("kvVersion", Takes::Value),
    ("version", Takes::Value),
    ("namespace", Takes::Value),
    ("credentials", Takes::Value),
    ("store", Takes::Value),
    ("metadata", Takes::Value),
];

/// `template`.
pub(crate) const TEMPLATE: Keys = &[("data", Takes::Map)];

/// Each entry of `files`.
pub(crate) const FILE: Keys = &[
    ("path", Takes::Value),
    ("dir", Takes::Value),
    ("mode", Takes::Value),
    ("owner", Takes::Value),
    ("group", Takes::Value),
    ("inPlace", Takes::Value),
    ("allowEmpty", Takes::Value),
    ("template", Takes::Value),
    ("field", Takes::Value),
    ("encoding", Takes::Value),
    ("format", Takes::Value),
];

/// `limits`.
pub(crate) const LIMITS: Keys = &[
    ("maxSecrets", Takes::Value),
    ("maxFileBytes", Takes::Value),
    ("maxResponseBytes", Takes::Value),
];

/// Whether any map has this key with a single value.
pub(crate) fn is_value(key: &str) -> bool {
    [
        ROOT,
        STORE,
        CREDENTIALS,
        SECRET,
        SOURCE,
        TEMPLATE,
        FILE,
        LIMITS,
    ]
    .iter()
    .any(|keys| keys.contains(&(key, Takes::Value)))
}
