//! Secret values in memory: types that are wiped when dropped, print as `[redacted]`, and cannot
//! be displayed or serialised by accident. `expose` is the one way in, easy to find by search.

mod bytes;
mod fields;

pub use bytes::{SecretBytes, SecretString};
pub use fields::{Fields, FieldsError};
