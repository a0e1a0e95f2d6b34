//! What a token must be allowed, as the policy language says it: one rule for every path that the
//! daemon asks with its token, and no other. Offline and pure.
//!
//! The language: <https://openbao.org/docs/concepts/policies/>.

use std::collections::BTreeMap;
use std::fmt;

use super::kv;
use crate::plan::{Auth, Plan, SessionKey, SessionPlan, Source};

/// What one session's token must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Whose token; its policies live in the namespace of its login.
    pub session: &'a SessionPlan,
    /// The reads, by path, each with the names of the secrets that need it.
    pub reads: Vec<(Rule, Vec<&'a str>)>,
    /// What keeps the token itself. The server's `default` policy allows it as well.
    pub upkeep: Vec<Rule>,
    /// Reads that no policy can allow to this token, each with the names of the secrets that need
    /// it: their namespace is not below that of the login.
    pub beyond: Vec<(&'a Source, Vec<&'a str>)>,
}

/// One path, and what must be allowed there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// As a policy names it, from the namespace where the policy lives.
    pub path: String,
    /// `read` or `update`.
    pub capability: &'static str,
    /// The policy language cannot name the path alone: the rule allows others, too.
    pub wider: bool,
}

/// What the policies of a configuration must allow, a session each, in the plan's order.
#[must_use]
pub fn policies(plan: &Plan) -> Vec<Policy<'_>> {
    let sessions = plan.sessions.iter();
    sessions.map(|session| policy(plan, session)).collect()
}

fn policy<'a>(plan: &'a Plan, session: &'a SessionPlan) -> Policy<'a> {
    let mut reads: BTreeMap<Rule, Vec<&str>> = BTreeMap::new();
    let mut beyond: Vec<(&Source, Vec<&str>)> = Vec::new();
    for secret in &plan.secrets {
        for source in secret.sources.iter().filter(|it| it.session == session.key) {
            let names = match read_rule(source) {
                Some(rule) => reads.entry(rule).or_default(),
                None => {
                    let path = kv::policy_path(source);
                    let same = |(other, _): &(&Source, _)| {
                        other.namespace == source.namespace && kv::policy_path(other) == path
                    };
                    let at = beyond.iter().position(same).unwrap_or_else(|| {
                        beyond.push((source, Vec::new()));
                        beyond.len() - 1
                    });
                    &mut beyond[at].1
                }
            };
            if names.last() != Some(&secret.name.as_str()) {
                names.push(&secret.name);
            }
        }
    }
    Policy {
        session,
        reads: reads.into_iter().collect(),
        upkeep: upkeep_rules(&session.auth),
        beyond,
    }
}

/// What a policy in the namespace of the source's login must allow for its read. `None` where no
/// policy there can: a token reaches its own namespace and those below it, no other.
#[must_use]
pub fn read_rule(source: &Source) -> Option<Rule> {
    let (path, wider) = as_policy_path(&asked_path(source)?);
    Some(Rule {
        path,
        capability: "read",
        wider,
    })
}

/// The path of a source's read, from the namespace of its login; `None` as of [`read_rule`].
#[must_use]
pub fn asked_path(source: &Source) -> Option<String> {
    from_login(source, &kv::policy_path(source), "")
}

/// A path of the source's namespace, below `prefix`, from the namespace of its login.
pub(super) fn from_login(source: &Source, path: &str, prefix: &str) -> Option<String> {
    let below = below(&source.session, &source.namespace)?;
    let slash = if below.is_empty() { "" } else { "/" };
    Some(format!("{below}{slash}{prefix}{path}"))
}

/// What the daemon asks with the token about the token.
#[must_use]
pub fn upkeep_rules(auth: &Auth) -> Vec<Rule> {
    let rule = |what: &str, capability| Rule {
        path: format!("auth/token/{what}"),
        capability,
        wider: false,
    };
    let look_up = || rule("lookup-self", "read");
    let renew = || rule("renew-self", "update");
    match auth {
        Auth::None => Vec::new(),
        // Somebody else's: it is not the daemon's to revoke.
        Auth::Token(_) => vec![look_up(), renew()],
        Auth::AppRole { .. } | Auth::Cert { .. } => {
            vec![look_up(), renew(), rule("revoke-self", "update")]
        }
    }
}

/// The way from the namespace of a login to one below it, or to itself (empty).
fn below<'a>(session: &SessionKey, namespace: &'a str) -> Option<&'a str> {
    if session.namespace.is_empty() {
        return Some(namespace);
    }
    let rest = namespace.strip_prefix(&session.namespace)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// A path in the language of policies, and whether it means others as well. There `*` at the end is
/// any rest and a segment `+` any segment, `+*` is an error, and braces in pairs are templates.
fn as_policy_path(path: &str) -> (String, bool) {
    let mut wider = path.ends_with('*');
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| {
            let unspeakable = ["+*", "{{", "}}"].iter().any(|it| segment.contains(it));
            wider |= unspeakable || segment == "+";
            if unspeakable { "+" } else { segment }
        })
        .collect();
    (segments.join("/"), wider)
}

impl Rule {
    /// On one line.
    #[must_use]
    pub fn line(&self) -> String {
        let (path, capability) = (quoted(&self.path), self.capability);
        format!("path \"{path}\" {{ capabilities = [\"{capability}\"] }}")
    }
}

/// As it stands in a policy file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "path \"{}\" {{", quoted(&self.path))?;
        writeln!(f, "  capabilities = [\"{}\"]\n}}", self.capability)
    }
}

/// The inside of a string in HCL; `${` would begin an expression.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '$' => out.push_str("\\u0024"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Environment;
    use crate::plan::{Purpose, load_text};

    fn plan(yaml: &str) -> Plan {
        let environment = Environment::from_iter::<[(&str, &str); 0]>([]);
        load_text(
            Path::new("c.yaml"),
            yaml.to_owned(),
            &environment,
            Purpose::Validate,
        )
        .unwrap()
    }

    fn rules(policy: &Policy<'_>) -> Vec<(String, String)> {
        let shown = |(rule, names): &(Rule, Vec<&str>)| {
            (
                format!("{} {}", rule.capability, rule.path),
                names.join(" "),
            )
        };
        policy.reads.iter().map(shown).collect()
    }

    #[test]
    fn every_session_needs_its_own_paths_once() {
        let plan = plan(
            "secretStore:
  address: http://127.0.0.1:8200
  authMethod: approle
  roleId: r
  secretId: s
  credentials:
    lab: { authMethod: token, token: t, authNamespace: lab }
    proxy: { authMethod: none }
secrets:
- { name: b, key: app/db, version: 3, files: [{ path: /run/x/b, field: a }] }
- { name: a, key: app/db, files: [{ path: /run/x/a, field: a }] }
- { name: m, key: app/db, metadata: true, files: [{ path: /run/x/m, field: a }] }
- { name: v1, key: k, mountPath: kv1, kvVersion: v1, files: [{ path: /run/x/v, field: a }] }
- { name: n, key: k, namespace: team/b, files: [{ path: /run/x/n, field: a }] }
- name: two
  sources:
    x: { key: app/db }
    y: { key: app/api }
    z: { key: k, credentials: lab, namespace: lab/b }
    up: { key: k, credentials: lab, namespace: labour }
    p: { key: k, credentials: proxy, namespace: p }
  files: [{ path: /run/x/t, format: json }]
",
        );
        let all = policies(&plan);
        let keys: Vec<_> = all
            .iter()
            .map(|it| it.session.key.credentials.as_str())
            .collect();
        assert_eq!(keys, ["default", "lab", "proxy"]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            rules(&all[0]),
            [
                pair("read kv1/k", "v1"),
                pair("read secret/data/app/api", "two"),
                pair("read secret/data/app/db", "b a two"),
                pair("read secret/metadata/app/db", "m"),
                pair("read team/b/secret/data/k", "n"),
            ]
        );
        assert_eq!(rules(&all[1]), [pair("read b/secret/data/k", "two")]);
        assert_eq!(all[1].beyond.len(), 1);
        assert_eq!(all[1].beyond[0].0.namespace, "labour");
        assert_eq!(rules(&all[2]), [pair("read secret/data/k", "two")]);
        let upkeep: Vec<_> = all.iter().map(|it| it.upkeep.len()).collect();
        assert_eq!(upkeep, [3, 2, 0]);
    }

    #[test]
    fn what_the_language_cannot_say_is_wider_and_says_so() {
        for (path, expected, wider) in [
            ("secret/data/a", "secret/data/a", false),
            ("secret/data/a*", "secret/data/a*", true),
            ("secret/data/a*/b*c", "secret/data/a*/b*c", false),
            ("secret/data/+", "secret/data/+", true),
            ("secret/data/+a+b/c", "secret/data/+a+b/c", false),
            ("secret/data/a+*b/c", "secret/data/+/c", true),
            ("secret/data/{{a}}", "secret/data/+", true),
            ("secret/data/a}}/{b", "secret/data/+/{b", true),
        ] {
            assert_eq!(as_policy_path(path), (expected.to_owned(), wider), "{path}");
        }
    }

    #[test]
    fn a_path_cannot_leave_its_quotes() {
        let rule = Rule {
            path: "secret/data/a\"b\\${x}\n é".into(),
            capability: "read",
            wider: false,
        };
        assert_eq!(
            rule.to_string(),
            "path \"secret/data/a\\\"b\\\\\\u0024{x}\\u000a é\" {\n  capabilities = [\"read\"]\n}\n"
        );
    }
}
