//! Which rotations an operator may ask for: a keyring holds so many keys over its whole life, and any client that may use
//! `SEALKV` could use them up in seconds.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::limits::KEYRING_KEYS_KEPT_BACK;
use crate::limits::KEYRING_KEYS_MAX;
use crate::limits::ROTATION_AGE_MIN;
use crate::propose::ControlError;
use crate::propose::ControlRequest;
use crate::propose::Purpose;

/// The rotations that this process let through.
#[derive(Debug, Default)]
pub(crate) struct RotationGuard(Mutex<[Option<Duration>; 2]>);

impl RotationGuard {
    /// Whether `request` may be proposed at `now` with `keys_made` keys in the keyring; if so, it counts as done.
    ///
    /// # Errors
    /// [`ControlError::KeptBack`], [`ControlError::Young`].
    pub(crate) fn admit(&self, request: &ControlRequest, now: Duration, keys_made: usize) -> Result<(), ControlError> {
        let ControlRequest::Rotate(purpose) = request else {
            return Ok(());
        };
        if keys_made + KEYRING_KEYS_KEPT_BACK >= KEYRING_KEYS_MAX {
            return Err(ControlError::KeptBack { keys: keys_made });
        }
        let mut rotated = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut rotated[slot(*purpose)];
        if let Some(age) = last.map(|last| now.saturating_sub(last)).filter(|age| *age < ROTATION_AGE_MIN) {
            return Err(ControlError::Young { seconds: age.as_secs() });
        }
        *last = Some(now);
        Ok(())
    }

    /// It was let through and made no key: the next one need not wait.
    pub(crate) fn forget(&self, request: &ControlRequest) {
        if let ControlRequest::Rotate(purpose) = request {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)[slot(*purpose)] = None;
        }
    }
}

fn slot(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Entry => 0,
        Purpose::Value => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_young_key_is_not_rotated_and_the_last_ids_are_kept_back() {
        let guard = RotationGuard::default();
        let (entry, value) = (ControlRequest::Rotate(Purpose::Entry), ControlRequest::Rotate(Purpose::Value));
        assert!(guard.admit(&entry, SECOND, 2).is_ok());
        assert!(guard.admit(&value, SECOND, 3).is_ok(), "another key");
        assert_eq!(guard.admit(&entry, ROTATION_AGE_MIN, 4), Err(ControlError::Young { seconds: 59 }));
        assert!(guard.admit(&entry, ROTATION_AGE_MIN + SECOND, 4).is_ok());
        let full = KEYRING_KEYS_MAX - KEYRING_KEYS_KEPT_BACK;
        assert!(guard.admit(&value, 10 * ROTATION_AGE_MIN, full - 1).is_ok());
        assert_eq!(guard.admit(&value, 20 * ROTATION_AGE_MIN, full), Err(ControlError::KeptBack { keys: full }));
        guard.forget(&entry);
        assert!(guard.admit(&entry, ROTATION_AGE_MIN + SECOND, 4).is_ok(), "the one before made no key");
        assert!(guard.admit(&ControlRequest::Enable, SECOND, full).is_ok());
    }
}
