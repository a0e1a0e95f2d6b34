//! A search for many values at once.

use std::collections::HashMap;

/// By their first four bytes, nearly nothing of what is searched is ever compared.
#[derive(Default)]
pub struct Search {
    values: Vec<Vec<u8>>,
    begins: HashMap<[u8; 4], Vec<usize>>,
    /// The first two bytes of each.
    pairs: Vec<bool>,
}

impl Search {
    /// For these values, of four bytes at least; shorter ones are never found.
    pub fn new(values: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let mut search = Self {
            values: values.into_iter().map(Into::into).collect(),
            begins: HashMap::new(),
            pairs: vec![false; 65_536],
        };
        for (index, value) in search.values.iter().enumerate() {
            if let Some(first) = value.first_chunk::<4>() {
                search.begins.entry(*first).or_default().push(index);
                search.pairs[usize::from(u16::from_le_bytes([first[0], first[1]]))] = true;
            }
        }
        search
    }

    /// Place and index of each value that is found, as often as it is found.
    pub fn all(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        if self.begins.is_empty() {
            return found;
        }
        for (at, pair) in bytes.windows(2).enumerate() {
            if !self.pairs[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] {
                continue;
            }
            let rest = &bytes[at..];
            let begins = rest
                .first_chunk::<4>()
                .and_then(|first| self.begins.get(first));
            for index in begins.into_iter().flatten() {
                if rest.starts_with(&self.values[*index]) {
                    found.push((at, *index));
                }
            }
        }
        found
    }
}
