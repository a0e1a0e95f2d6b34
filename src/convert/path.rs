//! From a store's path and a manifest's key to mount and key, as the operator builds its request
//! (`buildPath`), and as the SDK below it cleans the path of a URL.
//!
//! The two need not be what the server calls a mount and a key: what counts is that the daemon asks
//! for the same URL.

use crate::plan::KvVersion;

/// A place of a KV engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// Without slashes at its ends.
    pub(super) mount: String,
    /// Without slashes at its ends.
    pub(super) key: String,
}

/// How a store reaches its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Engine<'s> {
    /// The store's `path`, where it has one.
    pub(super) path: Option<&'s str>,
    /// Its version.
    pub(super) kv: KvVersion,
    /// Keys are taken as they are (the OpenBao provider).
    pub(super) literal: bool,
}

/// What is read for a key.
///
/// # Errors
///
/// Why the operator could not read anything either.
pub(super) fn data(engine: Engine<'_>, key: &str) -> Result<Place, String> {
    let path = match (engine.kv, engine.path) {
        (KvVersion::V1, None) => key.to_owned(),
        (KvVersion::V2, None) if key.contains("/data/") => key.to_owned(),
        (KvVersion::V2, None) => match key.split_once('/') {
            Some((first, rest)) => format!("{first}/data/{rest}"),
            None => format!("{key}/data"),
        },
        (kv, Some(mount)) => {
            let rest = if engine.literal {
                key
            } else {
                stripped(mount, key, kv)
            };
            match kv {
                KvVersion::V1 => format!("{mount}/{rest}"),
                KvVersion::V2 => format!("{mount}/data/{rest}"),
            }
        }
    };
    split(&path, engine, "data")
}

/// What is read for a key with `metadataPolicy: Fetch`: other rules.
///
/// # Errors
///
/// Why the operator could not read anything either.
pub(super) fn metadata(engine: Engine<'_>, key: &str) -> Result<Place, String> {
    let path = match (engine.kv, engine.path) {
        (KvVersion::V1, _) => return Err("KV version 1 has no metadata".to_owned()),
        (KvVersion::V2, Some(mount)) => format!("{mount}/metadata/{key}"),
        (KvVersion::V2, None) if key.contains("data") => key.replacen("/data/", "/metadata/", 1),
        (KvVersion::V2, None) => {
            return Err("without a `path` in the store the key needs its `data/` part".to_owned());
        }
    };
    split(&path, engine, "metadata")
}

/// The key without the mount in front of it, and then without `data/`.
fn stripped<'k>(mount: &str, key: &'k str, kv: KvVersion) -> &'k str {
    match key
        .strip_prefix(mount)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(rest) if kv == KvVersion::V2 => rest.strip_prefix("data/").unwrap_or(rest),
        Some(rest) => rest,
        None => key,
    }
}

/// Go's `path.Join("/v1/", path)` without the `/v1/`; `None` where it leads out of that.
pub(super) fn clean(path: &str) -> Option<String> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop()?;
            }
            other => segments.push(other),
        }
    }
    Some(segments.join("/"))
}

fn split(path: &str, engine: Engine<'_>, infix: &str) -> Result<Place, String> {
    let cleaned = clean(path).ok_or_else(|| format!("`{path}` leads out of the API's paths"))?;
    let nowhere = || {
        format!(
            "the operator reads `{cleaned}`, which is no secret: mount and key are not both there"
        )
    };
    let pair = match (engine.kv, engine.path) {
        (KvVersion::V1, None) => cleaned.split_once('/'),
        (KvVersion::V1, Some(mount)) => {
            let mount = clean(mount).unwrap_or_default();
            below(&cleaned, &mount, "")
        }
        (KvVersion::V2, None) => cleaned.split_once(&format!("/{infix}/")),
        (KvVersion::V2, Some(mount)) => {
            let mount = clean(mount).unwrap_or_default();
            below(&cleaned, &mount, &format!("{infix}/"))
        }
    };
    match pair {
        Some((mount, key)) if !mount.is_empty() && !key.is_empty() => Ok(Place {
            mount: mount.to_owned(),
            key: key.to_owned(),
        }),
        _ => Err(nowhere()),
    }
}

/// `MOUNT/INFIX…` in its two parts.
fn below<'p>(path: &'p str, mount: &str, infix: &str) -> Option<(&'p str, &'p str)> {
    let rest = path.strip_prefix(mount)?.strip_prefix('/')?;
    let key = rest.strip_prefix(infix)?;
    Some((path.get(..mount.len())?, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use KvVersion::{V1, V2};

    fn engine(path: Option<&str>, kv: KvVersion) -> Engine<'_> {
        Engine {
            path,
            kv,
            literal: false,
        }
    }

    fn read(path: Option<&str>, kv: KvVersion, key: &str) -> Option<(String, String)> {
        let place = data(engine(path, kv), key).ok()?;
        Some((place.mount, place.key))
    }

    #[test]
    fn the_operators_table() {
        for (path, kv, key, expected) in [
            (Some("secret"), V2, "foo", Some(("secret", "foo"))),
            (Some("secret"), V2, "secret/foo", Some(("secret", "foo"))),
            (
                Some("secret"),
                V2,
                "secret/data/foo",
                Some(("secret", "foo")),
            ),
            (Some("secret"), V2, "data/foo", Some(("secret", "data/foo"))),
            (Some("secret"), V2, "/foo", Some(("secret", "foo"))),
            (
                Some("secret"),
                V2,
                "/secret/foo",
                Some(("secret", "secret/foo")),
            ),
            (Some("secret"), V2, "foo/", Some(("secret", "foo"))),
            (
                Some("secret"),
                V2,
                "a//b/./c/../d",
                Some(("secret", "a/b/d")),
            ),
            (Some("secret/data"), V2, "foo", Some(("secret/data", "foo"))),
            (
                Some("secret/"),
                V2,
                "secret/foo",
                Some(("secret", "secret/foo")),
            ),
            (Some("team/kv"), V2, "team/kv/foo", Some(("team/kv", "foo"))),
            (
                Some("secret"),
                V1,
                "secret/data/foo",
                Some(("secret", "data/foo")),
            ),
            (Some("secret"), V1, "foo", Some(("secret", "foo"))),
            (None, V2, "secret/a/b", Some(("secret", "a/b"))),
            (None, V2, "a/b/data/c/data/d", Some(("a/b", "c/data/d"))),
            (None, V2, "/secret/a", None),
            (None, V2, "foo", None),
            (None, V1, "secret/a/b", Some(("secret", "a/b"))),
            (None, V1, "foo", None),
            (Some(""), V2, "foo", None),
            (Some("secret"), V2, "", None),
            (Some("secret"), V2, "../../../x", None),
            (Some("secret"), V2, "../x", None),
        ] {
            let expected = expected.map(|(mount, key)| (mount.to_owned(), key.to_owned()));
            assert_eq!(read(path, kv, key), expected, "{path:?} {kv:?} {key}");
        }
    }

    #[test]
    fn the_openbao_provider_strips_nothing() {
        let literal = Engine {
            literal: true,
            ..engine(Some("kv"), V2)
        };
        let place = data(literal, "kv/data/x").unwrap();
        assert_eq!(
            (place.mount.as_str(), place.key.as_str()),
            ("kv", "kv/data/x")
        );
    }

    #[test]
    fn metadata_has_rules_of_its_own() {
        let place = metadata(engine(Some("secret"), V2), "secret/foo").unwrap();
        assert_eq!(place.key, "secret/foo");
        let place = metadata(engine(None, V2), "secret/data/foo").unwrap();
        assert_eq!(
            (place.mount.as_str(), place.key.as_str()),
            ("secret", "foo")
        );
        assert!(metadata(engine(None, V2), "secret/foo").is_err());
        assert!(metadata(engine(Some("secret"), V1), "foo").is_err());
    }
}
