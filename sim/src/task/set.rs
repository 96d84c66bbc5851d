use std::fmt;

use super::Task;

/// A set of tasks: one bit a task, in the order of [`Task::ALL`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TaskSet(u64);

impl TaskSet {
    /// No task.
    pub const EMPTY: Self = Self(0);

    /// Adds `task`.
    pub const fn insert(&mut self, task: Task) {
        self.0 |= 1 << task.index();
    }

    /// Whether `task` is in the set.
    pub const fn contains(self, task: Task) -> bool {
        self.0 >> task.index() & 1 == 1
    }

    /// Whether the set has no task.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of tasks.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The task, if there is exactly one.
    pub fn only(self) -> Option<Task> {
        if self.len() == 1 { self.iter().next() } else { None }
    }

    /// The tasks, in the order of [`Task::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Task> {
        Task::ALL.into_iter().filter(move |&task| self.contains(task))
    }
}

impl FromIterator<Task> for TaskSet {
    fn from_iter<T: IntoIterator<Item = Task>>(tasks: T) -> Self {
        tasks.into_iter().fold(Self::EMPTY, |mut set, task| {
            set.insert(task);
            set
        })
    }
}

impl fmt::Debug for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
