//! Moments of recordings: windows that success is learned from, and where dreams begin.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use reverie_sim::{SceneId, SceneState, Task};
use reverie_world_model::Window;

use super::recorded::Recorded;

/// Steps of a world model that are seen before a window of play begins.
pub const CONTEXT: usize = 6;
/// Margin around the box that the hand is in, metres.
const TCP_MARGIN_M: f32 = 0.02;
/// Widths between fingers that may hold something: neither closed nor open.
const MAY_HOLD_M: [f32; 2] = [0.006, 0.072];
/// Frames looked at for each moment that is wanted.
const TRIES: usize = 400;

/// One window for each demonstration, from its beginning; `stride` frames a step.
pub fn demonstration_windows(recorded: &Recorded, task: Task, stride: usize) -> Vec<Window> {
    let window = |episode: std::ops::Range<usize>| {
        let start = recorded.scene(episode.start);
        let done = episode.clone().step_by(stride).map(|frame| task.solved(&start, &recorded.scene(frame))).collect();
        Window { first: episode.start, context: 0, done }
    };
    recorded.episodes_of(task).into_iter().map(window).collect()
}

/// What moments are wanted, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    pub task: Task,
    pub scene: SceneId,
    /// Frames of a world model's step.
    pub stride: usize,
    pub count: usize,
    pub seed: u64,
}

/// Up to `count` windows of play of `steps` steps each in which the task is done, and as many in which it is not, all from moments at
/// which it could be, with the mechanism where demonstrations of it begin: whether a drawer is open enough hangs on where it was.
pub fn play_windows(recorded: &Recorded, demos: &Recorded, sought: Sought, steps: usize) -> Vec<Window> {
    let Sought { task, scene, stride, count, seed } = sought;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let begins: Vec<SceneState> = demos.episodes_of(task).into_iter().map(|episode| demos.scene(episode.start)).collect();
    let alike = Alike::new(task, &begins);
    let (mut done, mut not) = (Vec::new(), Vec::new());
    if recorded.raw.episodes.is_empty() {
        return done;
    }
    let reach = (CONTEXT + steps) * stride;
    for _ in 0..count * TRIES {
        if done.len() >= count {
            break;
        }
        let episode = &recorded.raw.episodes[rng.random_range(0..recorded.raw.episodes.len())];
        if episode.len() <= reach {
            continue;
        }
        let first = rng.random_range(episode.start..episode.end - reach);
        let begin = first + CONTEXT * stride;
        let start = recorded.scene(begin);
        if !alike.holds(&start) || !task.is_possible_from(scene, &start) {
            continue;
        }
        let labels: Vec<bool> = (0..steps).map(|step| task.solved(&start, &recorded.scene(begin + step * stride))).collect();
        let window = Window { first, context: CONTEXT, done: labels };
        if window.done.contains(&true) {
            done.push(window);
        } else if not.len() < count {
            not.push(window);
        }
    }
    done.extend(not);
    done
}

/// First frames of windows of [`CONTEXT`] steps (and one), at whose ends dreams begin: play at which the mechanism is where demonstrations
/// of the task begin, the hand in the box of where any demonstrations begin, in motion or not, with nothing in it.
pub fn play_starts(play: &Recorded, demos: &Recorded, sought: Sought) -> Vec<i64> {
    let Sought { task, scene, stride, count, seed } = sought;
    let begins: Vec<usize> = demos.episodes_of(task).into_iter().map(|episode| episode.start).collect();
    if begins.is_empty() || play.raw.episodes.is_empty() {
        return Vec::new();
    }
    let mut low = [f32::INFINITY; 3];
    let mut high = [f32::NEG_INFINITY; 3];
    for episode in &demos.raw.episodes {
        for (axis, value) in demos.tcp(episode.start).into_iter().enumerate() {
            low[axis] = low[axis].min(value - TCP_MARGIN_M);
            high[axis] = high[axis].max(value + TCP_MARGIN_M);
        }
    }
    let scenes: Vec<SceneState> = begins.iter().map(|&frame| demos.scene(frame)).collect();
    let alike = Alike::new(task, &scenes);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::new();
    for _ in 0..count * TRIES {
        if found.len() >= count {
            break;
        }
        let episode = &play.raw.episodes[rng.random_range(0..play.raw.episodes.len())];
        if episode.len() <= (CONTEXT + 1) * stride {
            continue;
        }
        let frame = rng.random_range(episode.start + CONTEXT * stride..episode.end);
        let at = play.tcp(frame);
        let reached = (0..3).all(|axis| (low[axis]..=high[axis]).contains(&at[axis]));
        let width = play.width(frame);
        let empty = !(MAY_HOLD_M[0]..=MAY_HOLD_M[1]).contains(&width);
        let state = play.scene(frame);
        if reached && empty && alike.holds(&state) && task.is_possible_from(scene, &state) {
            found.push((frame - CONTEXT * stride) as i64);
        }
    }
    found.shuffle(&mut rng);
    found
}

/// The mechanism that a task is about, where demonstrations begin.
struct Alike {
    entry: usize,
    low: f32,
    high: f32,
}

impl Alike {
    /// Margin, metres (and lamps).
    const MARGIN: f32 = 0.01;

    fn new(task: Task, starts: &[SceneState]) -> Self {
        use reverie_sim::{Lamp, Rule, Slide};
        let entry = match task.rule() {
            Rule::Move { slide: Slide::Door, .. } => 0,
            Rule::Move { slide: Slide::Drawer, .. } => 1,
            Rule::Switch { lamp: Lamp::Bulb, .. } => 4,
            _ => 5,
        };
        let values = starts.iter().map(|state| state.scene[entry]);
        let low = values.clone().fold(f32::INFINITY, f32::min) - Self::MARGIN;
        Self { entry, low, high: values.fold(f32::NEG_INFINITY, f32::max) + Self::MARGIN }
    }

    fn holds(&self, state: &SceneState) -> bool {
        (self.low..=self.high).contains(&state.scene[self.entry])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUGHT: Sought = Sought { task: Task::OpenDrawer, scene: SceneId::D, stride: 4, count: 20, seed: 3 };

    /// Demonstrations that begin at x = 0 with a shut drawer, and open it in the end.
    fn demos() -> Recorded {
        let mut frames = [[0.0, 0.08, 0.0]; 24];
        frames[20..].fill([0.3, 0.0, 0.2]);
        Recorded::of(&[&frames, &frames], "open_drawer")
    }

    /// One frame of four is fit to begin at; the hand is elsewhere in the next, may hold something in the third, and the drawer is open in the
    /// last.
    #[test]
    fn dreams_begin_where_demonstrations_do() {
        let kinds = [[0.01, 0.08, 0.0], [0.05, 0.08, 0.0], [0.01, 0.04, 0.0], [0.01, 0.08, 0.2]];
        let frames: Vec<[f32; 3]> = (0..400).map(|frame| kinds[frame % 4]).collect();
        let play = Recorded::of(&[&frames, &frames[..20]], "play");
        let found = play_starts(&play, &demos(), SOUGHT);
        assert_eq!(found.len(), SOUGHT.count);
        for first in found {
            let frame = first + (CONTEXT * SOUGHT.stride) as i64;
            assert!(frame % 4 == 0 && frame < 400, "frame {frame}");
        }
    }

    /// The drawer of the first episode opens, that of the second stays shut, that of the third is open from the beginning.
    #[test]
    fn windows_of_play_are_of_a_task_that_can_be_done() {
        let moved = |from: usize, drawer: [f32; 2]| -> Vec<[f32; 3]> {
            (0..120).map(|frame| [0.0, 0.08, drawer[usize::from(frame >= from)]]).collect()
        };
        let play = Recorded::of(&[&moved(60, [0.0, 0.2]), &moved(0, [0.0, 0.0]), &moved(0, [0.2, 0.2])], "play");
        let windows = play_windows(&play, &demos(), SOUGHT, 10);
        let (mut done, mut not) = (0, 0);
        for Window { first, context, done: labels } in windows {
            let begin = first + context * SOUGHT.stride;
            assert!(begin < 240 && !(60..120).contains(&begin), "frame {begin}: the drawer is open already");
            let want: Vec<bool> = (0..10).map(|step| (60..120).contains(&(begin + step * SOUGHT.stride))).collect();
            assert_eq!(labels, want, "frame {begin}");
            if labels.contains(&true) { done += 1 } else { not += 1 }
        }
        assert!(done > 0 && not > 0 && done <= SOUGHT.count && not <= SOUGHT.count, "{done} done, {not} not");
    }
}
