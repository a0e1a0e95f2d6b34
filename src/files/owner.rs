//! User and group names, from `/etc/passwd` and `/etc/group`: a static binary has no NSS.

use std::fs::File;
use std::io::Read;

/// The largest file that is read: hundreds of thousands of lines.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// `u32::MAX` means "leave it" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// The user ID for a number or a name.
///
/// # Errors
///
/// What is wrong with it, as one line without a full stop.
pub fn parse_user(text: &str) -> Result<u32, String> {
    parse(text, "user", "/etc/passwd")
}

/// The group ID for a number or a name.
///
/// # Errors
///
/// What is wrong with it, as one line without a full stop.
pub fn parse_group(text: &str) -> Result<u32, String> {
    parse(text, "group", "/etc/group")
}

fn parse(text: &str, kind: &str, file: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err(format!("the {kind} is empty: give a number or a name"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(id) if id <= MAX_ID => Ok(id),
            _ => Err(format!(
                "the {kind} ID `{text}` is larger than {MAX_ID}, the largest there is"
            )),
        };
    }
    let mut lines = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut lines))
        .map_err(|error| {
            format!("no {kind} `{text}`: cannot read `{file}`: {error}: give the number")
        })?;
    find(&lines, text).ok_or_else(|| {
        format!("no {kind} `{text}` in `{file}`: names of other sources are not looked up, give the number")
    })
}

/// The number in the third field of the line whose first field is `name`; lines that make no
/// sense are passed over, as the C library does.
fn find(lines: &[u8], name: &str) -> Option<u32> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        if fields.next()? != name.as_bytes() {
            return None;
        }
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        number.parse().ok().filter(|id| *id <= MAX_ID)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_up_to_the_largest() {
        assert_eq!(parse_user("0"), Ok(0));
        assert_eq!(parse_group("1000"), Ok(1000));
        assert_eq!(parse_user("4294967294"), Ok(4_294_967_294));
        for text in ["4294967295", "4294967296", "99999999999999999999"] {
            assert!(parse_user(text).unwrap_err().contains("larger"), "{text}");
        }
    }

    #[test]
    fn names_come_from_the_files() {
        assert_eq!(parse_user("root"), Ok(0));
        assert_eq!(parse_group("root"), Ok(0));
    }

    #[test]
    fn what_is_neither_is_named() {
        for text in ["no-such-user-here", "-1", "+5", " 0", "root:x", "1000 "] {
            let message = parse_user(text).unwrap_err();
            assert!(message.contains(&format!("`{text}`")), "{message}");
        }
        assert!(parse_group("").unwrap_err().contains("empty"));
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let file =
            b"#app:x:9\napp\napp:x\napp:x:-3\napp:x:4294967295\n\xff\xfe:x:1\napp:x:12:34::/:\n";
        assert_eq!(find(file, "app"), Some(12));
        assert_eq!(find(file, "ap"), None);
        assert_eq!(find(b"", "app"), None);
        assert_eq!(find(b"last:!:7", "last"), Some(7));
    }
}
