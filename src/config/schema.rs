//! The keys that a configuration may have, each said once: the walk, the suggestions and the
//! errors all read it here, and so do the JSON Schema for editors and the check that the manual
//! names every key.

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

/// What a value may be. Values are checked when a plan is made of them; this says as much of that
/// as an editor can know.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Any text.
    Text,
    /// A name: `[A-Za-z0-9._-]{1,128}`.
    Name,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A duration: `300ms`, `1h30m`.
    Duration,
    /// A duration, or `once`.
    Interval,
    /// A number of bytes, maybe with a unit.
    Bytes,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// Yes or no.
    Flag,
    /// A file mode in octal.
    Mode,
    /// A map with keys of its own.
    Map(&'static Map),
    /// A map of names that people give to maps with keys of their own.
    Named(&'static Map),
    /// A map of names that people give to texts in which no variable is expanded.
    Texts,
    /// A list of maps.
    List(&'static Map),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// What it is for, in one line, with its default.
    pub about: &'static str,
}

impl Key {
    /// The kind of node that it takes.
    pub(crate) const fn takes(&self) -> Takes {
        match self.shape {
            Shape::Map(_) | Shape::Named(_) | Shape::Texts => Takes::Map,
            Shape::List(_) => Takes::List,
            _ => Takes::Value,
        }
    }
}

/// The keys of one kind of map. Keys that begin with `x-` are ignored in each.
#[derive(Debug)]
pub struct Map {
    /// What the map is, in a word or two.
    pub name: &'static str,
    /// Its keys.
    pub keys: Keys,
    /// Of each of these groups at least one key must be there.
    pub needs: &'static [&'static [&'static str]],
    /// Of each of these groups at most one key may be there.
    pub excludes: &'static [&'static [&'static str]],
}

/// The keys of one kind of map.
pub type Keys = &'static [Key];

/// `authMethod`.
const METHODS: &[&str] = &["token", "approle", "cert", "none"];

/// `kvVersion`.
const KV: &[&str] = &["v1", "v2"];

/// The highest version that may be asked for.
const MOST: u64 = u64::MAX;

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, about }
}

/// The whole file.
pub static ROOT: Map = Map {
    name: "the configuration",
    keys: &[
        key(
            "secretStore",
            Shape::Map(&STORE),
            "The default store; its name is `default`.",
        ),
        key(
            "secretStores",
            Shape::Named(&STORE),
            "More stores, by name.",
        ),
        key(
            "secrets",
            Shape::List(&SECRET),
            "The secrets: each has one schedule and one group of files.",
        ),
        key(
            "limits",
            Shape::Map(&LIMITS),
            "Bounds of sizes and numbers.",
        ),
    ],
    needs: &[&["secrets"]],
    excludes: &[],
};

/// `secretStore`, and each entry of `secretStores`.
pub static STORE: Map = Map {
    name: "a store",
    keys: &[
        key(
            "address",
            Shape::Text,
            "Address of the server: `https://HOST:PORT`, `http://HOST:PORT` or `unix:///PATH`. Required, here or as `VAULT_ADDR`.",
        ),
        key(
            "namespace",
            Shape::Text,
            "Namespace of reads; secrets may say otherwise. Default: none.",
        ),
        key(
            "authNamespace",
            Shape::Text,
            "Namespace of login, renewal, look-up and revocation; `\"\"` is the root namespace. Default: `namespace`.",
        ),
        key(
            "authMethod",
            Shape::Choice(METHODS),
            "How to log in. Default: `token` or `approle`, from the credentials that are there.",
        ),
        key("token", Shape::Text, "A token, for `token`."),
        key(
            "tokenFile",
            Shape::Text,
            "File that holds the token; it is followed.",
        ),
        key("roleId", Shape::Text, "Role ID, for `approle`."),
        key("roleIdFile", Shape::Text, "File that holds the role ID."),
        key("secretId", Shape::Text, "Secret ID, for `approle`."),
        key(
            "secretIdFile",
            Shape::Text,
            "File that holds the secret ID; read at each login.",
        ),
        key(
            "secretIdWrappingPath",
            Shape::Text,
            "The secret ID is a wrapping token, made at this path, such as `auth/approle/role/app/secret-id`.",
        ),
        key(
            "certRole",
            Shape::Text,
            "Role of the `cert` method. Default: none.",
        ),
        key(
            "authMount",
            Shape::Text,
            "Mount of the auth method. Default: its name.",
        ),
        key(
            "credentials",
            Shape::Named(&CREDENTIALS),
            "Further identities, by name.",
        ),
        key(
            "tlsCACert",
            Shape::Text,
            "PEM file of the authorities to trust, instead of the system's.",
        ),
        key("tlsCAPath", Shape::Text, "Directory of such files."),
        key(
            "tlsClientCert",
            Shape::Text,
            "PEM file of the client certificate.",
        ),
        key("tlsClientKey", Shape::Text, "PEM file of its key."),
        key(
            "tlsServerName",
            Shape::Text,
            "Name that the server's certificate must bear. Default: the host of `address`.",
        ),
        key(
            "tlsSkipVerify",
            Shape::Flag,
            "Do not check the server's certificate. Default: `false`.",
        ),
        key(
            "kvVersion",
            Shape::Choice(KV),
            "Default of the secrets. Default: `v2`.",
        ),
        key(
            "mountPath",
            Shape::Text,
            "Default of the secrets. Default: `secret`.",
        ),
        key(
            "timeout",
            Shape::Duration,
            "Longest time of a whole request. Default: `30s`.",
        ),
        key(
            "maxConcurrent",
            Shape::Whole(1, 1024),
            "Requests in flight to this store. Default: `8`.",
        ),
    ],
    needs: &[],
    excludes: &[
        &["token", "tokenFile"],
        &["roleId", "roleIdFile"],
        &["secretId", "secretIdFile"],
    ],
};

/// Each entry of `credentials`.
pub static CREDENTIALS: Map = Map {
    name: "a credential set",
    keys: &[
        key(
            "authMethod",
            Shape::Choice(METHODS),
            "How to log in. Default: `token` or `approle`, from the credentials that are there.",
        ),
        key("token", Shape::Text, "A token, for `token`."),
        key(
            "tokenFile",
            Shape::Text,
            "File that holds the token; it is followed.",
        ),
        key("roleId", Shape::Text, "Role ID, for `approle`."),
        key("roleIdFile", Shape::Text, "File that holds the role ID."),
        key("secretId", Shape::Text, "Secret ID, for `approle`."),
        key(
            "secretIdFile",
            Shape::Text,
            "File that holds the secret ID; read at each login.",
        ),
        key(
            "secretIdWrappingPath",
            Shape::Text,
            "The secret ID is a wrapping token, made at this path.",
        ),
        key(
            "certRole",
            Shape::Text,
            "Role of the `cert` method. Default: none.",
        ),
        key(
            "authMount",
            Shape::Text,
            "Mount of the auth method. Default: its name.",
        ),
        key(
            "authNamespace",
            Shape::Text,
            "Namespace of login, renewal, look-up and revocation. Default: that of the secret that uses the set.",
        ),
        key(
            "tlsClientCert",
            Shape::Text,
            "PEM file of the client certificate. Default: the store's.",
        ),
        key(
            "tlsClientKey",
            Shape::Text,
            "PEM file of its key. Default: the store's.",
        ),
    ],
    needs: &[],
    excludes: &[
        &["token", "tokenFile"],
        &["roleId", "roleIdFile"],
        &["secretId", "secretIdFile"],
    ],
};

/// Each entry of `secrets`.
pub static SECRET: Map = Map {
    name: "a secret",
    keys: &[
        key(
            "name",
            Shape::Name,
            "Unique; it names the secret in log, status and metrics.",
        ),
        key(
            "key",
            Shape::Text,
            "Path of the secret below its mount, without `data/`.",
        ),
        key("path", Shape::Text, "Another name for `key`."),
        key(
            "mountPath",
            Shape::Text,
            "Mount of the engine. Default: the store's.",
        ),
        key(
            "kvVersion",
            Shape::Choice(KV),
            "Version of the KV engine. Default: the store's.",
        ),
        key(
            "version",
            Shape::Whole(1, MOST),
            "Pins one version (v2). Default: the latest.",
        ),
        key(
            "namespace",
            Shape::Text,
            "Namespace of the read; `\"\"` is the root namespace. Default: the store's.",
        ),
        key(
            "credentials",
            Shape::Text,
            "Name of a credential set. Default: the store's own credentials.",
        ),
        key("store", Shape::Text, "Name of a store. Default: `default`."),
        key(
            "metadata",
            Shape::Flag,
            "`true`: the secret's metadata (v2) are the fields. Default: `false`.",
        ),
        key(
            "sources",
            Shape::Named(&SOURCE),
            "Several reads, by name, instead of `key`.",
        ),
        key(
            "refreshInterval",
            Shape::Interval,
            "Time between two refreshes, 1s at least, or `once`. Default: `5m`.",
        ),
        key(
            "optional",
            Shape::Flag,
            "`true`: counts neither for ready nor for degraded. Default: `false`.",
        ),
        key(
            "layout",
            Shape::Choice(&["files", "directory"]),
            "`directory`: all files lie in one directory and are switched in one step. Default: `files`.",
        ),
        key(
            "template",
            Shape::Map(&TEMPLATE),
            "Templates that files take by name.",
        ),
        key("files", Shape::List(&FILE), "What is written where."),
    ],
    needs: &[&["name"], &["files"], &["key", "path", "sources"]],
    excludes: &[&["key", "path", "sources"]],
};

/// Each entry of `sources`.
pub static SOURCE: Map = Map {
    name: "a source",
    keys: &[
        key(
            "key",
            Shape::Text,
            "Path of the secret below its mount, without `data/`.",
        ),
        key("path", Shape::Text, "Another name for `key`."),
        key(
            "mountPath",
            Shape::Text,
            "Mount of the engine. Default: the secret's.",
        ),
        key(
            "kvVersion",
            Shape::Choice(KV),
            "Version of the KV engine. Default: the secret's.",
        ),
        key(
            "version",
            Shape::Whole(1, MOST),
            "Pins one version (v2). Default: the secret's.",
        ),
        key(
            "namespace",
            Shape::Text,
            "Namespace of the read. Default: the secret's.",
        ),
        key(
            "credentials",
            Shape::Text,
            "Name of a credential set. Default: the secret's.",
        ),
        key(
            "store",
            Shape::Text,
            "Name of a store. Default: the secret's.",
        ),
        key(
            "metadata",
            Shape::Flag,
            "`true`: the metadata (v2) are the fields. Default: the secret's.",
        ),
    ],
    needs: &[&["key", "path"]],
    excludes: &[&["key", "path"]],
};

/// `template`.
pub static TEMPLATE: Map = Map {
    name: "the templates of a secret",
    keys: &[key(
        "data",
        Shape::Texts,
        "Names and templates, in order; `${VAR}` is not expanded in them.",
    )],
    needs: &[&["data"]],
    excludes: &[],
};

/// Each entry of `files`.
pub static FILE: Map = Map {
    name: "a file",
    keys: &[
        key("path", Shape::Text, "The file."),
        key(
            "dir",
            Shape::Text,
            "A directory: every field becomes a file of its name.",
        ),
        key(
            "mode",
            Shape::Mode,
            "Octal mode, without execute. Default: `0600`.",
        ),
        key(
            "owner",
            Shape::Text,
            "User ID, or name from `/etc/passwd`. Default: the daemon's own.",
        ),
        key(
            "group",
            Shape::Text,
            "Group ID, or name from `/etc/group`. Default: the daemon's own.",
        ),
        key(
            "inPlace",
            Shape::Flag,
            "Write into the existing file, for one that is a bind mount itself; not atomic. Default: `false`.",
        ),
        key(
            "allowEmpty",
            Shape::Flag,
            "No bytes are content, too. Default: `false`.",
        ),
        key(
            "template",
            Shape::Text,
            "Name of an entry of `template.data`.",
        ),
        key(
            "field",
            Shape::Text,
            "One field's value: the exact key, else a path such as `a.b.0`.",
        ),
        key(
            "encoding",
            Shape::Choice(&["none", "base64", "base64url", "auto"]),
            "How the value of a `field` or `dir` is decoded. Default: `none`.",
        ),
        key(
            "format",
            Shape::Choice(&["env", "envfile", "json", "yaml"]),
            "The whole secret in this format.",
        ),
    ],
    needs: &[&["path", "dir"]],
    excludes: &[
        &["path", "dir"],
        &["template", "field", "format", "dir"],
        &["dir", "inPlace"],
    ],
};

/// `limits`.
pub static LIMITS: Map = Map {
    name: "limits",
    keys: &[
        key(
            "maxSecrets",
            Shape::Whole(1, 10_000),
            "Entries of `secrets`. Default: `100`.",
        ),
        key(
            "maxFileBytes",
            Shape::Bytes,
            "One written file. Default: `1MiB`.",
        ),
        key(
            "maxResponseBytes",
            Shape::Bytes,
            "One answer of a server. Default: `10MiB`.",
        ),
    ],
    needs: &[],
    excludes: &[],
};

/// All of them.
pub static MAPS: [&Map; 8] = [
    &ROOT,
    &STORE,
    &CREDENTIALS,
    &SECRET,
    &SOURCE,
    &TEMPLATE,
    &FILE,
    &LIMITS,
];

/// Whether any map has this key with a single value.
pub(crate) fn is_value(key: &str) -> bool {
    MAPS.iter()
        .flat_map(|map| map.keys)
        .any(|known| known.name == key && known.takes() == Takes::Value)
}
