//! The form of a template that the engine compiles, and who writes it.
//!
//! White space is treated as each form's own rules say: a Handlebars block alone on its line takes
//! the line with it (the engine does that), a Go block never does (a comment behind it prevents
//! it), and the dashes of Go are carried out here.

/// Stands around the number of a text that is kept aside.
const MARK: char = '\u{f8ff}';
/// Texts that are longer are kept aside: the engine's parser counts lines from the start of the
/// template at each tag.
const SHORT: usize = 16;

/// A template in canonical form.
pub(super) struct Canonical {
    pub(super) text: String,
    /// The texts kept aside.
    texts: Vec<String>,
    /// For each tag: byte offsets in `text` and in the template as written.
    pub(super) places: Vec<(usize, usize)>,
}

impl Canonical {
    /// Puts the texts that were kept aside back into a text of the compiled template.
    pub(super) fn restore(&self, text: &mut String) {
        if !text.contains(MARK) {
            return;
        }
        let mut restored = String::new();
        for (place, piece) in text.split(MARK).enumerate() {
            let aside = (place % 2 == 1).then(|| self.texts.get(piece.parse::<usize>().ok()?));
            restored.push_str(aside.flatten().map_or(piece, String::as_str));
        }
        *text = restored;
    }
}

/// Writes texts and tags.
#[derive(Default)]
pub(super) struct Writer {
    out: String,
    texts: Vec<String>,
    places: Vec<(usize, usize)>,
    /// White space that follows is to go.
    trim: bool,
}

impl Writer {
    /// Text as it is, but for white space that goes.
    pub(super) fn text(&mut self, text: &str) {
        let text = if self.trim {
            text.trim_start_matches(white)
        } else {
            text
        };
        self.trim &= text.is_empty();
        // White space must stand where it stands. A run of backslashes must not: the engine's
        // parser looks through all of it at each of them.
        let core = text.trim();
        if core.len() <= SHORT && !core.contains(MARK) {
            self.out.push_str(text);
            return;
        }
        let start = text.len() - text.trim_start().len();
        self.out.push_str(&text[..start]);
        self.out.push(MARK);
        self.out.push_str(&self.texts.len().to_string());
        self.out.push(MARK);
        self.out.push_str(&text[start + core.len()..]);
        self.texts.push(core.to_owned());
    }

    /// Whether white space at the start of the text that follows is to go.
    pub(super) fn trim_next(&mut self, trim: bool) {
        self.trim = trim;
    }

    /// A tag with that content, whose first brace stands at `opened` in the template as written;
    /// `tildes` before and behind trim what the engine trims.
    pub(super) fn tag(&mut self, opened: usize, content: &[&str], tildes: (bool, bool)) {
        self.trim = false;
        self.guard();
        self.places.push((self.out.len(), opened));
        self.out.push_str(if tildes.0 { "{{~" } else { "{{" });
        self.out.extend(content.iter().copied());
        self.out.push_str(if tildes.1 { "~}}" } else { "}}" });
    }

    /// Braces that are meant as text.
    pub(super) fn braces(&mut self, braces: &str, opened: usize) {
        self.tag(opened, &["emit \"", braces, "\""], (false, false));
    }

    /// Keeps the tag before from standing alone on its line.
    pub(super) fn fence(&mut self) {
        self.out.push_str("{{!}}");
    }

    /// The engine takes backslashes and a brace before a tag for more than text.
    fn guard(&mut self) {
        if self.out.ends_with('{') {
            self.out.pop();
            self.guard();
            self.out.push_str("{{emit \"{\"}}");
        } else if self.out.ends_with('\\') {
            self.out.push('\\');
        }
    }

    pub(super) fn into_canonical(self) -> Canonical {
        Canonical {
            text: self.out,
            texts: self.texts,
            places: self.places,
        }
    }
}

/// What Go's dashes trim.
pub(super) fn white(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_would_misread_is_written_otherwise() {
        let write = |text: &str| {
            let mut writer = Writer::default();
            writer.text(text);
            writer.tag(0, &["x"], (false, false));
            writer.into_canonical().text
        };
        assert_eq!(write("a"), "a{{x}}");
        assert_eq!(write("\\"), "\\\\{{x}}");
        assert_eq!(write("{"), "{{emit \"{\"}}{{x}}");
        assert_eq!(write("\\{"), "\\\\{{emit \"{\"}}{{x}}");
        assert_eq!(write(&"\\".repeat(100_000)), "\u{f8ff}0\u{f8ff}{{x}}");
    }

    #[test]
    fn long_texts_and_marks_come_back() {
        let long = " a text\n that is longer \u{f8ff}7\u{f8ff}\n";
        let mut writer = Writer::default();
        writer.text(long);
        writer.text("\u{f8ff}");
        let canonical = writer.into_canonical();
        assert_eq!(canonical.text, " \u{f8ff}0\u{f8ff}\n\u{f8ff}1\u{f8ff}");
        let mut text = canonical.text.clone();
        canonical.restore(&mut text);
        assert_eq!(text, format!("{long}\u{f8ff}"));
    }
}
