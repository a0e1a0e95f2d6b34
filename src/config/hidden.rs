//! Values of the environment that may not be shown, wherever a configuration puts them: a token
//! that `${VAULT_TOKEN}` writes into a name is a token still.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use zeroize::Zeroizing;

use super::mask::REDACTED;
use crate::printable::printable;

/// How the names of variables end that hold a credential itself, not the path of its file.
const CREDENTIALS: [&str; 7] = [
    "TOKEN",
    "SECRET_ID",
    "ROLE_ID",
    "PASSWORD",
    "PASSWD",
    "CLIENT_SECRET",
    "API_KEY",
];

/// What is shorter is found in any text.
const SHORTEST: usize = 4;

/// A part of a value that is as long as this is hidden, too: messages quote the beginning of a long
/// text, and a path by its segments.
const PART: usize = 8;

/// Whether a variable of this name holds a credential, by what people call such variables.
pub(crate) fn is_credential(variable: &str) -> bool {
    let upper = variable.to_ascii_uppercase();
    CREDENTIALS.iter().any(|end| upper.ends_with(end))
}

/// The values, each once; printed by nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(Vec<Zeroizing<String>>);

impl Hidden {
    /// Hides a value from now on.
    pub(crate) fn add(&mut self, value: &str) {
        if value.len() >= SHORTEST && !self.0.iter().any(|known| known.as_str() == value) {
            self.0.push(Zeroizing::new(value.to_owned()));
        }
    }

    /// The text without any of the values, whole, cut or with their characters escaped.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hidden = vec![false; text.len()];
        for value in &self.0 {
            let escaped: Zeroizing<String> = Zeroizing::new(value.escape_debug().collect());
            let printed = Zeroizing::new(printable(value).into_owned());
            for form in [value, &escaped, &printed] {
                find(form.as_bytes(), text.as_bytes(), &mut hidden);
            }
        }
        if hidden.contains(&true) {
            Cow::Owned(without(text, &hidden))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// The same in place.
    pub(crate) fn mask_in(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.mask(text) {
            *text = masked;
        }
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

/// Marks the bytes of the text that are the value, or a longer part of it.
fn find(value: &[u8], text: &[u8], hidden: &mut [bool]) {
    let part = PART.min(value.len());
    let parts: HashSet<&[u8]> = value.windows(part).collect();
    for (at, window) in text.windows(part).enumerate() {
        if parts.contains(window) {
            hidden[at..at + part].fill(true);
        }
    }
}

/// The text with one word in the place of each run of marked bytes.
fn without(text: &str, hidden: &[bool]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, c) in text.char_indices() {
        let is_hidden = hidden[at..at + c.len_utf8()].contains(&true);
        match (is_hidden, inside) {
            (true, false) => out.push_str(REDACTED),
            (true, true) => {}
            (false, _) => out.push(c),
        }
        inside = is_hidden;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_credentials_are_known_by_their_names() {
        for (name, is) in [
            ("VAULT_TOKEN", true),
            ("BAO_TOKEN", true),
            ("TOKEN", true),
            ("app_secret_id", true),
            ("VAULT_ROLE_ID", true),
            ("DB_PASSWORD", true),
            ("VAULT_TOKEN_FILE", false),
            ("SECRETS_DIR", false),
            ("VAULT_ADDR", false),
            ("VAULT_CLIENT_KEY", false),
        ] {
            assert_eq!(is_credential(name), is, "{name}");
        }
    }

    #[test]
    fn a_value_is_hidden_whole_cut_and_escaped() {
        let mut hidden = Hidden::default();
        hidden.add("hvs.CAES\u{fc}123456\nend");
        hidden.add("abc");
        hidden.add("root");
        for (text, shown) in [
            ("plain abc", "plain abc"),
            ("<hvs.CAES\u{fc}123456\nend>", "<[redacted]>"),
            ("`hvs.CAES\u{fc}12…`", "`[redacted]…`"),
            ("`x/\u{fc}123456\\nend`", "`x/[redacted]`"),
            ("a root", "a [redacted]"),
        ] {
            assert_eq!(hidden.mask(text), shown);
        }
        assert_eq!(format!("{hidden:?}"), "Hidden(2)");
    }
}
