//! Chains of the long-horizon benchmark, walked again through a table of words.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reverie_sim::{BlockPlace, CHAIN_LENGTH, Chain, Side, SymbolicState, Task, chains};

type State = BTreeMap<String, String>;
type Words = BTreeSet<(String, String)>;

/// Task, what it asks for, what it makes; X, Y and Z stand for different colours, and `slider_*` for either half.
const TABLE: &str = "
rotate_X_block_right | X=table hand=empty |
rotate_X_block_left | X=table hand=empty |
push_X_block_right | X=table hand=empty |
push_X_block_left | X=table hand=empty |
move_slider_left | door=right hand=empty | door=left
move_slider_right | door=left hand=empty | door=right
open_drawer | drawer=closed hand=empty | drawer=open
close_drawer | drawer=open hand=empty | drawer=closed
lift_X_block_table | X=table hand=empty | X=grasped hand=full
lift_X_block_slider | X=slider_left door=right hand=empty | X=grasped hand=full
lift_X_block_slider | X=slider_right door=left hand=empty | X=grasped hand=full
lift_X_block_drawer | X=drawer drawer=open hand=empty | X=grasped hand=full
place_in_slider | X=grasped door=right hand=full | X=slider_right hand=empty
place_in_slider | X=grasped door=left hand=full | X=slider_left hand=empty
place_in_drawer | X=grasped drawer=open hand=full | X=drawer hand=empty
stack_block | X=grasped Y=table hand=full | X=stacked_top Y=stacked_bottom hand=empty
unstack_block | X=stacked_top Y=stacked_bottom hand=empty | X=table Y=table
turn_on_lightbulb | bulb=off hand=empty | bulb=on
turn_off_lightbulb | bulb=on hand=empty | bulb=off
turn_on_led | led=off hand=empty | led=on
turn_off_led | led=on hand=empty | led=off
push_into_drawer | X=table Y=slider_* Z=slider_* drawer=open hand=empty | X=drawer
";

/// By the beginning of the name, the first match counts.
const CATEGORIES: [(&str, u8); 14] = [
    ("rotate", 1),
    ("push_into", 9),
    ("push", 1),
    ("move_slider", 2),
    ("open", 3),
    ("close", 3),
    ("lift_red_block_", 4),
    ("lift_blue_block_", 4),
    ("lift_pink_block_", 4),
    ("place", 7),
    ("turn", 8),
    ("stack", 10),
    ("unstack", 11),
    ("", 0),
];

fn category(name: &str) -> u8 {
    let base = CATEGORIES.iter().find(|(start, _)| name.starts_with(start)).unwrap().1;
    match name.rsplit('_').next() {
        Some("slider") if base == 4 => 5,
        Some("drawer") if base == 4 => 6,
        _ => base,
    }
}

fn words(text: &str) -> Words {
    text.split_whitespace().map(|word| word.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
}

fn table() -> BTreeMap<String, BTreeSet<(Words, Words)>> {
    let mut table: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    let orders = [["red", "blue", "pink"], ["red", "pink", "blue"], ["blue", "red", "pink"]];
    let orders = orders.into_iter().chain([["blue", "pink", "red"], ["pink", "red", "blue"], ["pink", "blue", "red"]]);
    for [x, y, z] in orders {
        for line in TABLE.trim().lines() {
            let line = line.replace('X', x).replace('Y', y).replace('Z', z);
            let [task, asks, makes] = line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
            table.entry(task.into()).or_default().insert((words(asks), words(makes)));
        }
    }
    table
}

fn next_states(rules: &BTreeSet<(Words, Words)>, state: &State) -> Vec<State> {
    let fits = |(key, value): &(String, String)| {
        value.strip_suffix('*').map_or_else(|| state[key] == *value, |start| state[key].starts_with(start))
    };
    let follow = |makes: &Words| {
        let mut next = state.clone();
        next.extend(makes.iter().cloned());
        next
    };
    rules.iter().filter(|(asks, _)| asks.iter().all(fits)).map(|(_, makes)| follow(makes)).collect()
}

fn in_words(state: &SymbolicState) -> State {
    let side = |side| if side == Side::Left { "left" } else { "right" };
    let block = |place| match place {
        BlockPlace::Table => "table",
        BlockPlace::Shelf(Side::Left) => "slider_left",
        BlockPlace::Shelf(Side::Right) => "slider_right",
        BlockPlace::Drawer => "drawer",
        BlockPlace::Grasped => "grasped",
        BlockPlace::StackedTop => "stacked_top",
        BlockPlace::StackedBottom => "stacked_bottom",
    };
    let pairs = [
        ("led", if state.led { "on" } else { "off" }),
        ("bulb", if state.bulb { "on" } else { "off" }),
        ("door", side(state.door)),
        ("drawer", if state.drawer_open { "open" } else { "closed" }),
        ("red", block(state.blocks[0])),
        ("blue", block(state.blocks[1])),
        ("pink", block(state.blocks[2])),
        ("hand", if state.blocks.contains(&BlockPlace::Grasped) { "full" } else { "empty" }),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The half of the cabinet in which each block lies, with stored blocks in the half that is open; false if one is to be lifted from behind
/// the door.
fn reaches_every_block(chain: &Chain) -> bool {
    let mut door_left = chain.initial.door == Side::Left;
    let mut shelf: HashMap<&str, bool> = ["red", "blue", "pink"]
        .into_iter()
        .zip(chain.initial.blocks)
        .filter_map(|(colour, place)| if let BlockPlace::Shelf(side) = place { Some((colour, side == Side::Left)) } else { None })
        .collect();
    let mut held = None;
    for name in chain.tasks.map(Task::name) {
        match name.split('_').collect::<Vec<_>>()[..] {
            ["move", "slider", to] => door_left = to == "left",
            ["lift", colour, "block", from] => {
                if from == "slider" && shelf.remove(colour) != Some(!door_left) {
                    return false;
                }
                held = Some(colour);
            }
            ["place", "in", "slider"] => {
                shelf.insert(held.unwrap(), !door_left);
            }
            _ => {}
        }
    }
    true
}

#[test]
fn categories_and_successors_equal_the_table() {
    let table = table();
    assert_eq!(table.len(), 34);
    for task in Task::ALL {
        assert_eq!(task.category(), category(task.name()), "{task}");
    }
    // Every state within three steps of the beginning.
    let mut reached: BTreeSet<State> = BTreeSet::new();
    let mut layer: Vec<SymbolicState> = SymbolicState::initial();
    for _ in 0..4 {
        let mut next = Vec::new();
        for state in layer {
            if !reached.insert(in_words(&state)) {
                continue;
            }
            for task in Task::ALL {
                let ours = state.successors(task);
                let words: BTreeSet<State> = ours.iter().map(in_words).collect();
                assert_eq!(words.len(), ours.len(), "{task} from {state:?} repeats itself");
                let theirs: BTreeSet<State> = next_states(&table[task.name()], &in_words(&state)).into_iter().collect();
                assert_eq!(words, theirs, "{task} from {state:?}");
                next.extend(ours);
            }
        }
        layer = next;
    }
    assert!(reached.len() > 1000, "{}", reached.len());
}

#[test]
fn a_thousand_chains_are_valid() {
    let table = table();
    let all = chains(1000, 0);
    assert_eq!(all.len(), 1000);
    let mut tasks_seen = BTreeSet::new();
    for chain in &all {
        let mut state = in_words(&chain.initial);
        for task in chain.tasks {
            let next = next_states(&table[task.name()], &state);
            assert_eq!(next.len(), 1, "{task} in {chain:?}");
            state = next.into_iter().next().unwrap();
            tasks_seen.insert(task.name());
        }
        let categories: BTreeSet<u8> = chain.tasks.iter().map(|task| category(task.name())).collect();
        assert_eq!(categories.len(), CHAIN_LENGTH, "{chain:?}");
        assert!(reaches_every_block(chain), "{chain:?}");
        assert!(chain.is_valid());
    }
    assert_eq!(tasks_seen.len(), 34);

    let mut per_state: HashMap<SymbolicState, usize> = HashMap::new();
    all.iter().for_each(|chain| *per_state.entry(chain.initial).or_default() += 1);
    let sixes = per_state.values().filter(|&&count| count == 6).count();
    let fives = per_state.values().filter(|&&count| count == 5).count();
    assert_eq!((per_state.len(), sixes, fives), (192, 40, 152));
    for (index, state) in SymbolicState::initial().iter().enumerate() {
        assert_eq!(per_state[state], if index < 40 { 6 } else { 5 }, "the first states have one more");
    }
}

#[test]
fn the_same_seed_gives_the_same_chains() {
    let first = chains(300, 7);
    assert_eq!(chains(300, 7), first);
    assert_ne!(chains(300, 8), first);
    assert!(chains(0, 7).is_empty());
}

/// Stored with the door on the right, red lies in the open half, on the left; CALVIN's table has it on the right.
#[test]
fn a_stored_block_is_not_lifted_from_behind_the_door() {
    let initial = SymbolicState {
        led: false,
        bulb: false,
        door: Side::Right,
        drawer_open: false,
        blocks: [BlockPlace::Table, BlockPlace::Table, BlockPlace::Shelf(Side::Right)],
    };
    let behind = [Task::LiftRedBlockTable, Task::PlaceInSlider, Task::MoveSliderLeft, Task::LiftRedBlockSlider];
    let chain = Chain { initial, tasks: [behind[0], behind[1], behind[2], Task::TurnOnLed, behind[3]] };
    assert!(!chain.is_valid() && !reaches_every_block(&chain));
    let other = Chain { tasks: [behind[0], behind[1], behind[2], Task::TurnOnLed, Task::LiftPinkBlockSlider], ..chain };
    assert!(other.is_valid() && reaches_every_block(&other));
    // Two blocks to stack on: no single successor.
    let ambiguous = SymbolicState { blocks: [BlockPlace::Grasped, BlockPlace::Table, BlockPlace::Table], ..initial };
    assert_eq!(ambiguous.successors(Task::StackBlock).len(), 2);
}

#[test]
fn initial_scenes_follow_their_state() {
    let mut orders = BTreeSet::new();
    for (index, state) in SymbolicState::initial().into_iter().enumerate() {
        let placement = state.placement(3).unwrap();
        assert_eq!(state.placement(3), Some(placement));
        assert_eq!((placement.bulb, placement.led), (state.bulb, state.led));
        assert_eq!(placement.slider_m, if state.door == Side::Left { 0.28 } else { 0.0 });
        assert_eq!(placement.drawer_m, if state.drawer_open { 0.22 } else { 0.0 });
        for (block, place) in placement.blocks.iter().zip(state.blocks) {
            let [x, y, z, yaw] = *block;
            assert!((yaw - std::f32::consts::FRAC_PI_2).abs() <= std::f32::consts::FRAC_PI_8);
            let (expected_x, expected_y): (&[f32], f32) = match place {
                BlockPlace::Table => (&[0.05, 0.23], -0.12),
                BlockPlace::Shelf(Side::Left) => (&[-0.2409], 0.0924),
                _ => (&[0.0703], 0.0924),
            };
            assert!(expected_x.iter().any(|expected| (x - expected).abs() < 1e-4), "state {index}: {block:?}");
            assert!((y - expected_y).abs() < 1e-4 && (z - 0.46).abs() < 0.002, "state {index}: {block:?}");
        }
        let xs = placement.blocks.map(|block| (block[0] * 1000.0) as i32);
        assert_eq!(BTreeSet::from(xs).len(), 3, "state {index}: two blocks in one place");
        orders.insert(xs[0]);
        assert_ne!(state.placement(4), Some(placement));
    }
    assert_eq!(orders.len(), 4, "red is found in both slots and on both shelves");
    let held = SymbolicState { blocks: [BlockPlace::Grasped; 3], ..SymbolicState::initial()[0] };
    assert_eq!(held.placement(3), None);
}
