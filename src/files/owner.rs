//! User and group names, from `/etc/passwd` and `/etc/group`: a static binary has no NSS.

/// The user ID for a number or a name.
///
/// # Errors
///
/// What is wrong with it, as one line without a full stop.
pub fn parse_user(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("no user `{text}`"))
}

/// The group ID for a number or a name.
///
/// # Errors
///
/// What is wrong with it, as one line without a full stop.
pub fn parse_group(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("no group `{text}`"))
}
