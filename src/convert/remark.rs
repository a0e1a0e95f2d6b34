//! What people are told about a conversion: everything that was not carried over, by name.

use std::fmt;

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something that has a meaning only inside a cluster, or was assumed without a doubt.
    Note,
    /// Something has no translation, or may differ: `--strict` makes it a failure.
    Warning,
    /// An input, or a part of one, could not be read at all.
    Unread,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// `FILE:LINE`, the line where the manifest begins.
    pub place: String,
    /// Kind and name of the manifest; empty for a file as a whole.
    pub object: String,
    /// The field (`spec.data[2].remoteRef`); empty for the manifest as a whole.
    pub field: String,
    /// What, and where it helps what to do.
    pub message: String,
    /// How much it matters.
    pub weight: Weight,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Note => "note",
            Weight::Warning => "warning",
            Weight::Unread => "not read",
        };
        write!(f, "{}: ", self.place)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        write!(f, "{weight}: ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Gathers the remarks on one manifest, and the comments that stand above its part of the output.
pub(super) struct Teller<'r> {
    remarks: &'r mut Vec<Remark>,
    place: &'r str,
    object: &'r str,
    /// The comments so far.
    pub(super) comments: Vec<String>,
}

impl<'r> Teller<'r> {
    /// For one manifest.
    pub(super) fn new(remarks: &'r mut Vec<Remark>, place: &'r str, object: &'r str) -> Self {
        Self {
            remarks,
            place,
            object,
            comments: Vec::new(),
        }
    }

    /// A warning, and a comment above the manifest's part of the output.
    pub(super) fn warn(&mut self, field: &str, message: impl Into<String>) {
        let comment = self.warn_there(field, message);
        self.comments.push(comment);
    }

    /// A warning; the comment, for a better place than above all.
    pub(super) fn warn_there(&mut self, field: &str, message: impl Into<String>) -> String {
        self.tell(field, message.into(), Weight::Warning)
    }

    /// A note, and a comment.
    pub(super) fn note(&mut self, field: &str, message: impl Into<String>) {
        let comment = self.tell(field, message.into(), Weight::Note);
        self.comments.push(comment);
    }

    /// A note; the comment, for a better place than above all.
    pub(super) fn note_there(&mut self, field: &str, message: impl Into<String>) -> String {
        self.tell(field, message.into(), Weight::Note)
    }

    /// A note without a comment: it tells nothing that a reader of the output needs.
    pub(super) fn note_only(&mut self, field: &str, message: impl Into<String>) {
        self.tell(field, message.into(), Weight::Note);
    }

    fn tell(&mut self, field: &str, message: String, weight: Weight) -> String {
        let comment = if field.is_empty() {
            message.clone()
        } else {
            format!("{field}: {message}")
        };
        let remark = Remark {
            place: self.place.to_owned(),
            object: self.object.to_owned(),
            field: field.to_owned(),
            message,
            weight,
        };
        // The same of several uses of one anchor is told once.
        if self.remarks.last() != Some(&remark) {
            self.remarks.push(remark);
        }
        comment
    }
}

/// A foreign text in a message: one line, not without end.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown.replace("\\\"", "\"").replace("\\'", "'")
}
