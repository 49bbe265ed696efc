//! A user's key in a row of a table: short ones lie in the row itself, so that they take no allocation and no memory of their own
//! has to be fetched to compare them.

use std::fmt;
use std::ops::Deref;

/// The bytes of a key; they never change.
#[derive(Clone)]
pub struct UserKey(KeyPlace);

#[derive(Clone)]
enum KeyPlace {
    Here { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Apart(Box<[u8]>),
}

impl UserKey {
    /// Bytes of memory that it takes beside the row.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            KeyPlace::Here { .. } => 0,
            KeyPlace::Apart(bytes) => bytes.len(),
        }
    }
}

impl From<&[u8]> for UserKey {
    fn from(key: &[u8]) -> UserKey {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                UserKey(KeyPlace::Here { len: key.len() as u8, bytes })
            }
            None => UserKey(KeyPlace::Apart(key.into())),
        }
    }
}

impl Deref for UserKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            KeyPlace::Here { len, bytes } => &bytes[..usize::from(*len)],
            KeyPlace::Apart(bytes) => bytes,
        }
    }
}

impl Default for UserKey {
    fn default() -> UserKey {
        UserKey::from(&[][..])
    }
}

impl PartialEq for UserKey {
    fn eq(&self, other: &UserKey) -> bool {
        **self == **other
    }
}

impl Eq for UserKey {}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// With its length and the mark of where it is, as large as a pointer and a length, and a third word.
const SHORT_BYTES_MAX: usize = 22;
const _: () = assert!(size_of::<UserKey>() == 3 * size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_what_they_were_made_of() {
        for len in [0, 1, SHORT_BYTES_MAX - 1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let key = UserKey::from(&bytes[..]);
            assert_eq!(*key, bytes[..]);
            assert_eq!(key.clone(), key);
            assert_eq!(key.heap_bytes(), if len > SHORT_BYTES_MAX { len } else { 0 });
        }
        assert!(UserKey::default().is_empty());
        assert_ne!(UserKey::from(&b"a"[..]), UserKey::from(&b"a\0"[..]));
    }
}
