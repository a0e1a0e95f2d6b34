//! Texts as YAML writes them, so that every reader of YAML reads the same.

/// A text in one line: plain where nothing could be misread, else quoted.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let printable =
        |c: char| !c.is_control() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if printable(c) => quoted.push(c),
            c => {
                let code = u32::from(c);
                if code > 0xffff {
                    quoted.push_str(&format!("\\U{code:08x}"));
                } else {
                    quoted.push_str(&format!("\\u{code:04x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// The lines of a `|` block that holds a text, and its header; `None` where only quotes can.
pub(super) fn block(text: &str) -> Option<(String, Vec<&str>)> {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    let fits = |c: char| c == '\n' || c == '\t' || !c.is_control();
    let odd = ['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];
    // Trailing blanks are easily lost by an editor; a tab where indentation is expected is refused.
    let bad_line = |line: &str| line.ends_with([' ', '\t']) || line.starts_with('\t');
    if body.is_empty()
        || !(body.contains('\n') || breaks > 0)
        || !body.chars().all(fits)
        || body.contains(odd)
        || body.split('\n').any(bad_line)
    {
        return None;
    }
    // A first line that is indented, or empty, hides how much is indentation.
    let indicator = if body.starts_with([' ', '\n']) {
        "2"
    } else {
        ""
    };
    let chomping = match breaks {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut lines: Vec<&str> = body.split('\n').collect();
    lines.extend(std::iter::repeat_n("", breaks.saturating_sub(1)));
    Some((format!("|{indicator}{chomping}"), lines))
}

fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./-:@+=".contains(c);
    // A colon at the end makes a key, digits make numbers and times, some words make booleans.
    let numeric = text.starts_with(['.', '_'])
        && text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.:_eExXoOaAbBcCdDfF".contains(c));
    let duration = text.len() > 1
        && text.ends_with(['s', 'm', 'h'])
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || ".hmsu".contains(c));
    let word = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", ".nan", ".inf", "...",
    ]
    .contains(&text.to_ascii_lowercase().as_str());
    duration
        || (first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '.' || c == '_')
            && text.chars().all(inner)
            && !text.ends_with(':')
            && !numeric
            && !word)
}

/// A comment's text in lines that YAML reads as comments.
pub(super) fn comment_lines(text: &str) -> Vec<String> {
    const MOST: usize = 100;
    let clean: String = text
        .chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect();
    let mut lines = Vec::new();
    for line in clean.split('\n') {
        let mut current = String::new();
        for word in line.split(' ') {
            if !current.is_empty() && current.chars().count() + word.chars().count() >= MOST {
                lines.push(std::mem::take(&mut current));
                current.push_str("  ");
            } else if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(yaml: &str) -> String {
        serde_yaml::from_str::<std::collections::BTreeMap<String, String>>(yaml).unwrap()["k"]
            .clone()
    }

    #[test]
    fn plain_where_nothing_is_misread() {
        for text in [
            "password",
            "tls.crt",
            "./secrets/a",
            "1h30m",
            "https://v:8200",
            ".dockerconfigjson",
            "v2",
        ] {
            assert_eq!(scalar(text), text);
        }
        for text in [
            "", "true", "No", "~", "12", "0644", "1.5", "12:30", "a: b", "a #b", "*a", "&a", "a:",
            "{a}", "-", "1e3", "0x1f", "é", " a", "${A}", "<A>", "...",
        ] {
            assert_ne!(scalar(text), text, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            prop_assert_eq!(read(&format!("k: {}\n", scalar(&text))), text);
        }

        #[test]
        fn every_block_comes_back(text in "[ a:#\\n\\t{}'\"|é-]{0,30}") {
            if let Some((header, lines)) = block(&text) {
                let body: String = lines.iter().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
                prop_assert_eq!(read(&format!("k: {header}\n{body}l: x\n")), text);
            }
        }

        #[test]
        fn comments_are_comments(text in any::<String>()) {
            let lines: String = comment_lines(&text).iter().map(|line| format!("# {line}\n")).collect();
            prop_assert_eq!(read(&format!("{lines}k: v\n")), "v");
        }
    }
}
