//! The automatic annotation on recordings whose labels are known.

use std::ops::Range;

use reverie_sim::{Annotator, LinkSet, SceneState, Segment, Task, WINDOW};

const DRAWER: usize = 1;
const LED: usize = 5;
/// Windows that give every task twenty segments.
const TWENTY: usize = 20 * 3400;

/// A recording with `windows` windows, in which entries of `scene_obs` have a value for some of the frames and are 0 otherwise.
fn recording(windows: usize, events: &[(usize, f32, Range<usize>)]) -> Vec<SceneState> {
    let rest = SceneState {
        scene: [0.0; 24],
        block_contacts: [LinkSet::EMPTY; 3],
        robot_contacts: LinkSet::EMPTY,
        block_velocity: [[0.0; 6]; 3],
    };
    let mut frames = vec![rest; windows + WINDOW];
    for (entry, value, when) in events {
        frames[when.clone()].iter_mut().for_each(|frame| frame.scene[*entry] = *value);
    }
    frames
}

fn annotate(frames: &[SceneState], seed: u64) -> Vec<Segment> {
    Annotator::new(seed).annotate(frames)
}

/// Opened at frame 1000 for good: it shows in the windows whose last 15 frames begin no later than that and whose frame 48 is before.
#[test]
fn a_single_event_is_labelled_by_whole_windows() {
    let frames = recording(TWENTY, &[(DRAWER, 0.2, 1000..TWENTY + WINDOW)]);
    let expected: Vec<Segment> =
        (1000 - 63..=1000 - 49).map(|from| Segment { from, to: from + 63, task: Task::OpenDrawer }).collect();
    for seed in 0..5 {
        assert_eq!(annotate(&frames, seed), expected);
    }
}

/// 1 % of the windows over 34 tasks, rounded down, and not always the same ones.
#[test]
fn the_limit_picks_some_of_the_windows() {
    let frames = recording(4 * 3400, &[(DRAWER, 0.2, 1000..4 * 3400 + WINDOW)]);
    let picks: Vec<Vec<Segment>> = (0..4).map(|seed| annotate(&frames, seed)).collect();
    assert!(picks.iter().all(|pick| pick.len() == 4 && pick.iter().all(|segment| segment.task == Task::OpenDrawer)));
    assert!(picks.iter().any(|pick| *pick != picks[0]), "the order does not depend on the seed");
    assert_eq!(annotate(&frames, 2), picks[2]);
    assert!(annotate(&frames[..3399 + WINDOW], 0).is_empty(), "3399 windows are not enough for one segment");
}

/// Another task 30 frames before: windows that begin after it in their random frame have that frame as their beginning.
#[test]
fn an_earlier_task_in_the_window_cuts_the_segment() {
    let end = TWENTY + WINDOW;
    let frames = recording(TWENTY, &[(LED, 1.0, 970..end), (DRAWER, 0.2, 1000..end)]);
    let mut cut = 0;
    for seed in 0..10 {
        let (led, drawer): (Vec<Segment>, Vec<Segment>) =
            annotate(&frames, seed).into_iter().partition(|segment| segment.task == Task::TurnOnLed);
        let whole: Vec<Segment> =
            (970 - 63..=970 - 49).map(|from| Segment { from, to: from + 63, task: Task::TurnOnLed }).collect();
        assert_eq!(led, whole);
        for segment in &drawer {
            assert_eq!(segment.task, Task::OpenDrawer);
            let start = segment.to - 63;
            assert!(segment.from >= 970 && (16..32).contains(&(segment.from - start)), "{segment:?}");
            assert!((1000 - 63..=1000 - 49).contains(&start), "{segment:?}");
        }
        cut += drawer.len();
    }
    assert!(cut > 20, "{cut}");
}

/// Open for five frames: the five windows that end in them. Closing it again never shows, since at frame 48 it is closed.
#[test]
fn what_does_not_last_to_the_end_is_not_shown() {
    let frames = recording(TWENTY, &[(DRAWER, 0.2, 1000..1005)]);
    let expected: Vec<Segment> = (1000..1005).map(|to| Segment { from: to - 63, to, task: Task::OpenDrawer }).collect();
    assert_eq!(annotate(&frames, 3), expected);
}

#[test]
fn two_tasks_at_once_are_not_shown() {
    let end = TWENTY + WINDOW;
    assert!(annotate(&recording(TWENTY, &[(LED, 1.0, 1000..end), (DRAWER, 0.2, 1000..end)]), 0).is_empty());
}

#[test]
fn the_last_frame_is_in_no_window() {
    let end = TWENTY + WINDOW;
    assert!(annotate(&recording(TWENTY, &[(DRAWER, 0.2, end - 1..end)]), 0).is_empty());
    let last = annotate(&recording(TWENTY, &[(DRAWER, 0.2, end - 2..end)]), 0);
    assert_eq!(last, [Segment { from: end - 65, to: end - 2, task: Task::OpenDrawer }]);
    for frames in [0, 1, WINDOW] {
        assert!(annotate(&recording(0, &[])[..frames], 0).is_empty());
    }
}

/// Two recordings of half of what a segment takes.
#[test]
fn the_limit_counts_over_recordings() {
    let frames = recording(1700, &[(DRAWER, 0.2, 1000..1700 + WINDOW)]);
    let mut annotator = Annotator::new(5);
    assert!(annotator.annotate(&frames).is_empty());
    assert_eq!(annotator.annotate(&frames).len(), 1);
    assert_eq!(annotator.counts()[Task::OpenDrawer.index()], 1);
}
