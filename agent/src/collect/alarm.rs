use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes the task that collects, once.
///
/// The kernel's own timer. Tokio's keep far times roughly and wake the process up to twice on the way, only to look at
/// its timers again; at a scrape a second that were most of all awakenings.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Not set. Must run within a tokio runtime.
    #[expect(
        deprecated,
        reason = "the function that takes its place is unsafe, for the sake of types that change their descriptor, as \
                  an `OwnedFd` never does"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)? })
    }

    /// Will ring once after so long, and not at the time set before.
    pub(crate) fn set(&mut self, after: Duration) -> io::Result<()> {
        // Nothing at all would turn it off.
        let after = after.max(Duration::from_nanos(1));
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec {
            it_interval: never,
            it_value: Timespec::try_from(after).map_err(|_too_far| io::ErrorKind::InvalidInput)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }

    /// Waits until it rings. May be dropped and called again.
    pub(crate) async fn rung(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.timer.readable().await?;
            let mut rings = [0; 8];
            match rustix::io::read(guard.get_inner(), &mut rings) {
                Ok(_) => return Ok(()),
                // Set anew after it had rung.
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn it_rings_once_each_time_that_it_is_set() {
        let mut alarm = Alarm::new().expect("a timer");
        for after in [Duration::ZERO, Duration::from_millis(1), Duration::ZERO] {
            alarm.set(after).expect("sets");
            alarm.rung().await.expect("rings");
            let again = tokio::time::timeout(Duration::from_millis(1), alarm.rung()).await;
            assert!(again.is_err(), "rang twice");
        }
    }

    #[tokio::test]
    async fn what_was_set_before_does_not_ring() {
        let mut alarm = Alarm::new().expect("a timer");
        alarm.set(Duration::from_nanos(1)).expect("sets");
        // Rung, and seen by the runtime, before it is set anew.
        alarm.timer.readable().await.expect("rings").retain_ready();
        alarm.set(LONG).expect("sets");
        let rung = tokio::time::timeout(Duration::from_millis(1), alarm.rung()).await;
        assert!(rung.is_err(), "rang for what was set before");
        alarm.set(Duration::ZERO).expect("sets");
        alarm.rung().await.expect("rings");
    }
}
