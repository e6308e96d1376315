//! The server's background tasks, none of which may end by a panic unnoticed.

use std::any::Any;
use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

/// Named tasks. Dropping them ends them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that ended by a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Panicked {
    /// The task's name.
    pub(super) task: &'static str,
    /// The message of the panic.
    pub(super) message: String,
}

impl Tasks {
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits until a task panics. Other tasks may end, or there may be none.
    pub(super) async fn panicked(&mut self) -> Panicked {
        loop {
            match self.running.join_next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.panic_of(error),
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all tasks have ended, or one has panicked.
    pub(super) async fn join(mut self) -> Result<(), Panicked> {
        while let Some(ended) = self.running.join_next().await {
            ended.map_err(|error| self.panic_of(error))?;
        }
        Ok(())
    }

    fn panic_of(&self, error: JoinError) -> Panicked {
        let task = self.names.get(&error.id()).copied().unwrap_or("unknown");
        let message = match error.try_into_panic() {
            Ok(panic) => message_of(&*panic),
            Err(error) => error.to_string(),
        };
        Panicked { task, message }
    }
}

/// The message of a panic: `panic!` carries a `&str` without arguments and a `String` with some.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_returned_with_the_name_of_its_task_and_its_message() {
        let mut tasks = Tasks::default();
        tasks.spawn("certificate", std::future::pending());
        tasks.spawn("provider", async {});
        tasks.spawn("verification", async { panic!("no {}", "luck") });
        let panicked = Panicked { task: "verification", message: "no luck".to_owned() };
        assert_eq!(tasks.panicked().await, panicked);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_end_by_themselves_are_no_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn("provider", async {});
        assert!(timeout(Duration::from_secs(60), tasks.panicked()).await.is_err());
        assert_eq!(tasks.join().await, Ok(()));
    }
}
