//! A second reading of CALVIN's success conditions, with its own data: contacts as sets of (body, link) numbers, rotations as matrices.

use std::collections::BTreeSet;

use reverie_sim::{Link, LinkSet, SceneState};

pub type Contacts = BTreeSet<(i32, i32)>;

pub const ROBOT: i32 = 0;
pub const TABLE: i32 = 1;
/// Red, blue and pink; their only link is -1.
pub const BLOCKS: [i32; 3] = [2, 3, 4];
/// Links of the table.
pub const BASE: i32 = -1;
pub const BUTTON: i32 = 0;
pub const SWITCH: i32 = 1;
pub const SLIDE: i32 = 2;
pub const DRAWER: i32 = 3;
pub const PLANK: i32 = 5;

#[derive(Clone, Debug, Default)]
pub struct Moment {
    pub slide: f32,
    pub drawer: f32,
    pub bulb: bool,
    pub led: bool,
    pub position: [[f32; 3]; 3],
    pub euler: [[f32; 3]; 3],
    pub velocity: [[f32; 6]; 3],
    pub contacts: [Contacts; 3],
    pub robot_contacts: Contacts,
}

impl Moment {
    /// The same moment as the library has it.
    pub fn state(&self) -> SceneState {
        let mut scene = [0.0; 24];
        (scene[0], scene[1]) = (self.slide, self.drawer);
        (scene[4], scene[5]) = (f32::from(u8::from(self.bulb)), f32::from(u8::from(self.led)));
        for block in 0..3 {
            scene[6 + 6 * block..9 + 6 * block].copy_from_slice(&self.position[block]);
            scene[9 + 6 * block..12 + 6 * block].copy_from_slice(&self.euler[block]);
        }
        SceneState {
            scene,
            block_contacts: [0, 1, 2].map(|block: usize| links(&self.contacts[block])),
            robot_contacts: links(&self.robot_contacts),
            block_velocity: self.velocity,
        }
    }
}

fn links(contacts: &Contacts) -> LinkSet {
    let link = |&(body, link): &(i32, i32)| match (body, link) {
        (ROBOT, _) => Link::Robot,
        (TABLE, BASE) => Link::Table,
        (TABLE, BUTTON) => Link::Button,
        (TABLE, SWITCH) => Link::Switch,
        (TABLE, SLIDE) => Link::Door,
        (TABLE, DRAWER) => Link::Drawer,
        (TABLE, PLANK) => Link::Plank,
        (block, _) => Link::Block(usize::try_from(block - BLOCKS[0]).unwrap()),
    };
    contacts.iter().map(link).collect()
}

enum Check {
    Turn(usize, f64),
    Shift(usize, f64),
    Raise(usize, f64, i32),
    Travel(fn(&Moment) -> f32, f64),
    Put(i32),
    Stacked,
    Unstacked,
    Toggle(fn(&Moment) -> bool, bool),
    Dropped(i32, i32),
}

use Check::{Dropped, Put, Raise, Shift, Stacked, Toggle, Travel, Turn, Unstacked};

const CHECKS: [(&str, Check); 34] = [
    ("rotate_red_block_right", Turn(0, -60.0)),
    ("rotate_red_block_left", Turn(0, 60.0)),
    ("rotate_blue_block_right", Turn(1, -60.0)),
    ("rotate_blue_block_left", Turn(1, 60.0)),
    ("rotate_pink_block_right", Turn(2, -60.0)),
    ("rotate_pink_block_left", Turn(2, 60.0)),
    ("push_red_block_right", Shift(0, 0.1)),
    ("push_red_block_left", Shift(0, -0.1)),
    ("push_blue_block_right", Shift(1, 0.1)),
    ("push_blue_block_left", Shift(1, -0.1)),
    ("push_pink_block_right", Shift(2, 0.1)),
    ("push_pink_block_left", Shift(2, -0.1)),
    ("move_slider_left", Travel(|m| m.slide, 0.15)),
    ("move_slider_right", Travel(|m| m.slide, -0.15)),
    ("open_drawer", Travel(|m| m.drawer, 0.12)),
    ("close_drawer", Travel(|m| m.drawer, -0.12)),
    ("lift_red_block_table", Raise(0, 0.05, BASE)),
    ("lift_red_block_slider", Raise(0, 0.03, PLANK)),
    ("lift_red_block_drawer", Raise(0, 0.05, DRAWER)),
    ("lift_blue_block_table", Raise(1, 0.05, BASE)),
    ("lift_blue_block_slider", Raise(1, 0.03, PLANK)),
    ("lift_blue_block_drawer", Raise(1, 0.05, DRAWER)),
    ("lift_pink_block_table", Raise(2, 0.05, BASE)),
    ("lift_pink_block_slider", Raise(2, 0.03, PLANK)),
    ("lift_pink_block_drawer", Raise(2, 0.05, DRAWER)),
    ("place_in_slider", Put(PLANK)),
    ("place_in_drawer", Put(DRAWER)),
    ("stack_block", Stacked),
    ("unstack_block", Unstacked),
    ("turn_on_lightbulb", Toggle(|m| m.bulb, true)),
    ("turn_off_lightbulb", Toggle(|m| m.bulb, false)),
    ("turn_on_led", Toggle(|m| m.led, true)),
    ("turn_off_led", Toggle(|m| m.led, false)),
    ("push_into_drawer", Dropped(BASE, DRAWER)),
];

/// Names of the tasks done between two moments.
pub fn done(start: &Moment, end: &Moment) -> BTreeSet<&'static str> {
    CHECKS.iter().filter(|(_, check)| holds(check, start, end)).map(|(name, _)| *name).collect()
}

fn bodies(contacts: &Contacts) -> BTreeSet<i32> {
    contacts.iter().map(|contact| contact.0).collect()
}

fn holds(check: &Check, start: &Moment, end: &Moment) -> bool {
    let moved = |block: usize, axis: usize| f64::from(end.position[block][axis]) - f64::from(start.position[block][axis]);
    let is_block = |body: &i32| BLOCKS.contains(body);
    let (slow, any_block) = (|v: &[f32; 6]| v.iter().all(|c| -1.0 < *c && *c < 1.0), |f: &dyn Fn(usize) -> bool| (0..3).any(f));
    match *check {
        Turn(block, least) => {
            let way = (0..3).map(|axis| moved(block, axis).powi(2)).sum::<f64>().sqrt();
            let mut touched = bodies(&end.contacts[block]);
            touched.remove(&ROBOT);
            let [x, y, z] = euler_deg(product(matrix(end.euler[block]), transposed(matrix(start.euler[block]))));
            let enough = if least > 0.0 { least < z && z < 180.0 } else { -180.0 < z && z < least };
            way <= 0.1 && !touched.is_empty() && enough && x.abs() < 30.0 && y.abs() < 30.0
        }
        Shift(block, least) => {
            let no_robot = |contacts: &Contacts| contacts.iter().filter(|c| c.0 != ROBOT).copied().collect::<Contacts>();
            let (before, after) = (no_robot(&start.contacts[block]), no_robot(&end.contacts[block]));
            let stays = !before.is_empty() && before.iter().all(|contact| after.contains(contact));
            stays && moved(block, 0) * least.signum() > least.abs()
        }
        Raise(block, least, link) => {
            moved(block, 2) > least
                && bodies(&end.contacts[block]) == BTreeSet::from([ROBOT])
                && start.contacts[block].contains(&(TABLE, link))
        }
        Travel(read, least) => (f64::from(read(end)) - f64::from(read(start))) * least.signum() > least.abs(),
        Put(link) => {
            let held = bodies(&start.robot_contacts);
            if held.len() != 1 {
                return false;
            }
            let Some(block) = BLOCKS.iter().position(|body| held.contains(body)) else { return false };
            bodies(&start.contacts[block]) == BTreeSet::from([ROBOT])
                && !bodies(&end.robot_contacts).contains(&BLOCKS[block])
                && end.contacts[block].contains(&(TABLE, link))
        }
        Stacked => any_block(&|block| {
            let (before, after) = (bodies(&start.contacts[block]), bodies(&end.contacts[block]));
            !before.iter().any(is_block) && !after.is_empty() && after.iter().all(is_block) && slow(&end.velocity[block])
        }),
        Unstacked => any_block(&|block| {
            let (before, after) = (bodies(&start.contacts[block]), bodies(&end.contacts[block]));
            !before.is_empty() && before.iter().all(is_block) && !after.iter().any(is_block) && slow(&start.velocity[block])
        }),
        Toggle(read, to) => read(start) != to && read(end) == to,
        Dropped(from, to) => any_block(&|block| {
            start.contacts[block] == Contacts::from([(TABLE, from)]) && end.contacts[block].contains(&(TABLE, to))
        }),
    }
}

type Matrix = [[f64; 3]; 3];

/// Rows of `R_z(c) R_y(b) R_x(a)`.
fn matrix(euler: [f32; 3]) -> Matrix {
    let [(sa, ca), (sb, cb), (sc, cc)] = euler.map(|angle| f64::from(angle).sin_cos());
    let about_x = [[1.0, 0.0, 0.0], [0.0, ca, -sa], [0.0, sa, ca]];
    let about_y = [[cb, 0.0, sb], [0.0, 1.0, 0.0], [-sb, 0.0, cb]];
    let about_z = [[cc, -sc, 0.0], [sc, cc, 0.0], [0.0, 0.0, 1.0]];
    product(product(about_z, about_y), about_x)
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

fn transposed(a: Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

fn euler_deg(r: Matrix) -> [f64; 3] {
    let y = (-r[2][0]).atan2(r[2][1].hypot(r[2][2]));
    [r[2][1].atan2(r[2][2]), y, r[1][0].atan2(r[0][0])].map(f64::to_degrees)
}
