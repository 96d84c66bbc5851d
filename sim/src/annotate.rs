//! CALVIN's automatic annotation of play (`calvin_agent/utils/automatic_lang_annotator_mp.py`, `conf/lang_ann.yaml`).
//!
//! Every window of 64 frames is looked at, in random order. With m a random frame in [16, 32), a window shows a task if that task
//! is the only one solved between frame m and the last (63), and is not yet solved between m and frame 48. The segment is the whole window if
//! the task is also solved between frame 0 and the last and nothing is solved between frame 0 and frame 32; otherwise it begins at m. A task
//! takes at most 1 % of the windows, shared evenly by 34 tasks. Segments may overlap. As in CALVIN's loader, a recording of n frames has
//! n - 64 windows, so that its last frame is in none.
//!
//! Deviations: CALVIN shuffles the windows of a whole data set, here each recording is dealt with when it is complete, and the limit
//! grows with the windows seen so far, so that it holds for a single recording and for a data set as it does there. The random frame
//! comes from our own stream.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use reverie_schema::derive_seed;

use crate::{SceneState, Task};

/// Frames of a window.
pub const WINDOW: usize = 64;
/// Frame before the end at which the task must still be open, counted back from the window's length.
const OPEN_BEFORE_END: usize = 16;
/// Frame before which nothing may be solved for the segment to be the whole window.
const QUIET_UNTIL: usize = 32;
/// Windows for each segment that a task may have: 1 % over all tasks.
const WINDOWS_PER_SEGMENT: usize = 100 * Task::ALL.len();

/// Frames of a recording in which a task was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First frame.
    pub from: usize,
    /// Last frame, inclusive: the one at which the task was seen to be solved.
    pub to: usize,
    /// What was done.
    pub task: Task,
}

/// Labels recordings of one data set, one after the other.
#[derive(Clone, Debug)]
pub struct Annotator {
    seed: u64,
    recordings: u64,
    windows: usize,
    segments: [usize; Task::ALL.len()],
}

impl Annotator {
    /// Before the first recording. The same seed and recordings give the same segments.
    pub const fn new(seed: u64) -> Self {
        Self { seed, recordings: 0, windows: 0, segments: [0; Task::ALL.len()] }
    }

    /// Goes on behind recordings that were labelled before: `frames` is the length of each, `segments` counts what they were given for each task, in the order of [`Task::ALL`].
    pub fn resume(seed: u64, frames: &[usize], segments: [usize; Task::ALL.len()]) -> Self {
        let windows = frames.iter().map(|frames| frames.saturating_sub(WINDOW)).sum();
        Self { seed, recordings: frames.len() as u64, windows, segments }
    }

    /// The segments of a recording (one state for each frame, at 30 Hz), in the order of their first frame. None if it has fewer than 65
    /// frames.
    pub fn annotate(&mut self, frames: &[SceneState]) -> Vec<Segment> {
        let windows = frames.len().saturating_sub(WINDOW);
        self.windows += windows;
        let limit = self.windows / WINDOWS_PER_SEGMENT;
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, &format!("annotate {}", self.recordings)));
        self.recordings += 1;

        let mut starts: Vec<usize> = (0..windows).collect();
        starts.shuffle(&mut rng);
        let mut segments = Vec::new();
        for start in starts {
            if self.segments.iter().all(|&count| count >= limit) {
                break;
            }
            let middle = rng.random_range(16..32);
            let window = &frames[start..start + WINDOW];
            let Some(task) = shown(window, middle).filter(|task| self.segments[task.index()] < limit) else { continue };
            self.segments[task.index()] += 1;
            let from = if is_whole(window, task) { start } else { start + middle };
            segments.push(Segment { from, to: start + WINDOW - 1, task });
        }
        segments.sort_by_key(|segment| (segment.from, segment.to, segment.task.index()));
        segments
    }

    /// Segments of each task so far, in the order of [`Task::ALL`].
    pub const fn counts(&self) -> &[usize; Task::ALL.len()] {
        &self.segments
    }
}

/// The task that a window shows, seen from its frame `middle`.
fn shown(window: &[SceneState], middle: usize) -> Option<Task> {
    let task = Task::solved_set(&window[middle], &window[WINDOW - 1]).only()?;
    (!task.solved(&window[middle], &window[WINDOW - OPEN_BEFORE_END])).then_some(task)
}

fn is_whole(window: &[SceneState], task: Task) -> bool {
    task.solved(&window[0], &window[WINDOW - 1]) && Task::solved_set(&window[0], &window[QUIET_UNTIL]).is_empty()
}
