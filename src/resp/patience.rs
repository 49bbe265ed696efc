//! A deadline for waits that nearly always end long before it.
//!
//! To set a timer of the runtime for every wait costs a call into the kernel where no earlier one is set, for the thread that
//! sleeps for timers has to be told. So the timer of the first wait stays, and is moved on only when it rings.

use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

use crate::resp::registry::lock;

/// The timer of one connection, which waits for one thing at a time.
#[derive(Default)]
pub(crate) struct Patience(Mutex<Option<Pin<Box<Sleep>>>>);

impl Patience {
    /// Waits for `future`, so long at most: then `None`. Always ask for the same time, so that no timer rings too late.
    pub(crate) async fn wait<T>(&self, most: Duration, future: impl Future<Output = T>) -> Option<T> {
        let deadline = Instant::now() + most;
        let mut timer = lock(&self.0).take().unwrap_or_else(|| Box::pin(sleep_until(deadline)));
        let mut future = pin!(future);
        let result = poll_fn(|context| {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            while timer.as_mut().poll(context).is_ready() {
                if timer.deadline() >= deadline {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        });
        let result = result.await;
        *lock(&self.0) = Some(timer);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::runtime::Builder;
    use tokio::time::sleep;

    use super::*;

    // By the machine's clock: only what lasts too short is wrong.
    #[test]
    fn a_wait_ends_at_its_own_deadline_and_not_at_that_of_a_wait_before() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (patience, most) = (Patience::default(), Duration::from_millis(200));
            assert_eq!(patience.wait(most, sleep(most / 2)).await, Some(()));
            let began = Instant::now();
            assert_eq!(patience.wait(most, pending::<()>()).await, None);
            assert!(began.elapsed() >= most);
            sleep(most).await;
            assert_eq!(patience.wait(most, sleep(most / 2)).await, Some(()), "the timer has rung long ago");
            let began = Instant::now();
            assert_eq!(patience.wait(most, pending::<()>()).await, None);
            assert!(began.elapsed() >= most);
        });
    }
}
