//! Drawer, sliding door, switch and button: pushed and pulled with closed fingers.

use rand::Rng;
use reverie_schema::Observation;

use super::{
    Expert, FINGERS_DOWN, FINGERS_HALF_M, Hand, Waypoint,
    motion::{add, scale},
};
use crate::{
    Lamp, Rule, Slide,
    geometry::{
        BAR_HALF_DEPTH_M, BAR_IN_DRAWER_M, BUTTON_TOP_M, CROSSBAR_IN_SWITCH_M, CROSSBAR_RADIUS_M, HANDLE_HALF_WIDTH_M,
        HANDLE_IN_DOOR_M, Layout, OUT_OF_FRONT, UP_THE_FRONT,
    },
};

/// Fingers tilted away from the base, since straight down a lever on the right is at the very end of the arm's reach; more to lift
/// the lever than to press it.
pub(super) const FINGERS_UNDER_LEVER: [f32; 3] = [std::f32::consts::PI - 0.35, -0.50, std::f32::consts::FRAC_PI_2];
pub(super) const FINGERS_ON_LEVER: [f32; 3] = [std::f32::consts::PI - 0.40, -0.45, std::f32::consts::FRAC_PI_2];

impl Expert {
    /// Whether the fingers are no longer where the way-points behind the first make sense.
    pub(super) fn lost_mechanism(&self, observation: &Observation) -> bool {
        let (scene, tcp) = (&observation.scene, observation.tcp_in_world());
        let layout = self.layout;
        match self.rule {
            Rule::Move { slide: Slide::Drawer, by_m } if by_m > 0.0 => {
                let [_, bar_y, z] = bar(layout, scene[1]);
                tcp[1] < bar_y - 0.005 || tcp[2] > z + 0.16
            }
            Rule::Move { slide: Slide::Drawer, .. } => tcp[1] > bar(layout, scene[1])[1] + 0.005,
            Rule::Move { slide: Slide::Door, by_m } => (tcp[0] - handle(layout, scene[0])[0]) * (by_m as f32).signum() < 0.0,
            Rule::Switch { lamp: Lamp::Bulb, on } => {
                let lever = crossbar(layout, scene[3]);
                if on { tcp[2] > lever[2] + 0.05 } else { tcp[2] < lever[2] - 0.01 || tcp[2] > lever[2] + 0.12 }
            }
            Rule::Switch { lamp: Lamp::Led, .. } => {
                let [x, y] = layout.button_xy();
                (tcp[0] - x).hypot(tcp[1] - y) > 0.05
            }
            _ => false,
        }
    }

    /// A point near the work from which a demonstration may begin: people do not start over from a neutral pose after each try.
    /// `None` where that is not a way-point of a mechanism.
    pub fn stray(&mut self, observation: &Observation) -> Option<[f32; 3]> {
        let (layout, scene) = (self.layout, &observation.scene);
        let around = match self.rule {
            Rule::Move { slide: Slide::Drawer, by_m } if by_m > 0.0 => add(bar(layout, scene[1]), [self.along_bar_m, 0.0, 0.05]),
            Rule::Move { slide: Slide::Drawer, .. } => add(bar(layout, scene[1]), [self.along_bar_m, -0.06, 0.06]),
            Rule::Move { slide: Slide::Door, .. } => add(handle(layout, scene[0]), [0.0, -0.03, 0.02]),
            Rule::Switch { lamp: Lamp::Bulb, on: true } => add(crossbar(layout, scene[3]), [-0.03, -0.06, 0.0]),
            // Straight down, the fingers do not reach above the lever.
            Rule::Switch { lamp: Lamp::Bulb, on: false } => add(crossbar(layout, scene[3]), [-0.03, -0.09, -0.05]),
            Rule::Switch { lamp: Lamp::Led, .. } => {
                let [x, y] = layout.button_xy();
                [x, y, BUTTON_TOP_M + 0.05]
            }
            _ => return None,
        };
        Some(add(around, std::array::from_fn(|_| self.rng.random_range(-0.06..0.06))))
    }

    pub(super) fn shut(&self, at: [f32; 3], near_m: Option<f32>, turn: [f32; 3]) -> Waypoint {
        Waypoint { at: add(at, self.offset), turn, hand: Hand::Shut, near_m, settle: 0 }
    }

    pub(super) fn move_slide(&self, observation: &Observation, slide: Slide, forth: bool) -> Vec<Waypoint> {
        match slide {
            Slide::Drawer if forth => self.open_drawer(observation),
            Slide::Drawer => self.close_drawer(observation),
            Slide::Door => self.slide(observation, if forth { 1.0 } else { -1.0 }),
        }
    }

    pub(super) fn switch(&self, observation: &Observation, lamp: Lamp, on: bool) -> Vec<Waypoint> {
        match lamp {
            Lamp::Bulb if on => self.lift_lever(observation),
            Lamp::Bulb => self.press_lever(observation),
            Lamp::Led => {
                let [x, y] = self.layout.button_xy();
                vec![
                    self.shut([x, y, BUTTON_TOP_M + 0.02 + self.clearance_m], Some(0.015), FINGERS_DOWN),
                    self.shut([x, y, BUTTON_TOP_M - 0.02], None, FINGERS_DOWN),
                ]
            }
        }
    }

    fn open_drawer(&self, observation: &Observation) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        let [x, bar_y, z] = bar(self.layout, observation.scene[1]);
        // Behind the bar, then outwards together with it.
        let y = bar_y + BAR_HALF_DEPTH_M + FINGERS_HALF_M[1] + 0.008;
        let x = x + self.along_bar_m;
        if self.phase == 0 && tcp[2] < z + 0.05 && (tcp[1] - y).abs() > 0.012 {
            // Beside the bar and below its top: straight up first.
            return vec![self.shut([tcp[0], tcp[1], z + 0.10], Some(0.01), FINGERS_DOWN)];
        }
        vec![
            self.shut([x, y, z + 0.08 + self.clearance_m], Some(0.015), FINGERS_DOWN),
            self.shut([x, y, z + 0.012], Some(0.008), FINGERS_DOWN),
            self.shut([x, y - 0.07, z + 0.012], None, FINGERS_DOWN),
        ]
    }

    fn close_drawer(&self, observation: &Observation) -> Vec<Waypoint> {
        let [x, bar_y, z] = bar(self.layout, observation.scene[1]);
        let y = bar_y - BAR_HALF_DEPTH_M - FINGERS_HALF_M[1] - self.clearance_m;
        let x = x + self.along_bar_m;
        vec![
            self.shut([x, y, z + 0.10], Some(0.03), FINGERS_DOWN),
            self.shut([x, y, z + 0.01], Some(0.015), FINGERS_DOWN),
            self.shut([x, y + self.clearance_m + 0.07, z + 0.01], None, FINGERS_DOWN),
        ]
    }

    /// Beside the handle, in front of the door, then along it; `side` is the side from which to push, in x.
    fn slide(&self, observation: &Observation, side: f32) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        let handle = handle(self.layout, observation.scene[0]);
        let beside = side * (HANDLE_HALF_WIDTH_M + FINGERS_HALF_M[0]);
        let ready = [handle[0] + beside + side * self.clearance_m, handle[1] - 0.012, handle[2] - 0.008];
        if self.phase == 0 && side * (tcp[0] - handle[0]) < 0.03 && tcp[1] > ready[1] - 0.04 {
            // On or beyond the handle: back out before going round it.
            return vec![self.shut([tcp[0], ready[1] - 0.07, ready[2] + 0.02], Some(0.01), FINGERS_DOWN)];
        }
        vec![
            self.shut(add(ready, [0.0, -0.06, 0.01]), Some(0.025), FINGERS_DOWN),
            self.shut(ready, Some(0.012), FINGERS_DOWN),
            self.shut([handle[0] + beside - side * 0.05, ready[1], ready[2]], None, FINGERS_DOWN),
        ]
    }

    fn lift_lever(&self, observation: &Observation) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        let lever = crossbar(self.layout, observation.scene[3]);
        // In front of the crossbar, up to it, then up the front with it.
        let touch = add(lever, [0.0, -CROSSBAR_RADIUS_M - FINGERS_HALF_M[1], -0.014]);
        if self.phase == 0 && tcp[1] > lever[1] - 0.035 {
            // Over or behind it: back out first.
            let back = [tcp[0], lever[1] - 0.09, tcp[2].max(lever[2] + 0.02)];
            return vec![self.shut(back, Some(0.01), FINGERS_UNDER_LEVER)];
        }
        vec![
            self.shut(add(touch, [0.0, -0.015 - self.clearance_m, 0.0]), Some(0.012), FINGERS_UNDER_LEVER),
            self.shut(add(touch, [0.0, 0.004, 0.0]), Some(0.010), FINGERS_UNDER_LEVER),
            self.shut(add(add(touch, [0.0, 0.02, 0.0]), scale(UP_THE_FRONT, 0.04)), None, FINGERS_UNDER_LEVER),
        ]
    }

    fn press_lever(&self, observation: &Observation) -> Vec<Waypoint> {
        let tcp = observation.tcp_in_world();
        let lever = crossbar(self.layout, observation.scene[3]);
        // Above the crossbar, down to it, then down the front with it.
        let touch = add(lever, [0.0, 0.004, CROSSBAR_RADIUS_M + 0.010]);
        if self.phase == 0 && tcp[2] < lever[2] + 0.035 && (tcp[1] - lever[1]).abs() < 0.08 {
            // Before or under it: back out and up first.
            return vec![self.shut([tcp[0], lever[1] - 0.10, lever[2] + 0.06], Some(0.01), FINGERS_ON_LEVER)];
        }
        vec![
            self.shut(add(touch, [0.0, 0.0, 0.02 + self.clearance_m]), Some(0.010), FINGERS_ON_LEVER),
            self.shut(touch, Some(0.008), FINGERS_ON_LEVER),
            self.shut(add(touch, scale(UP_THE_FRONT, -0.05)), None, FINGERS_ON_LEVER),
        ]
    }
}

/// Middle of the drawer's bar, world frame.
pub(super) fn bar(layout: &Layout, drawer: f32) -> [f32; 3] {
    add(add(layout.drawer_origin(), BAR_IN_DRAWER_M), [0.0, -drawer, 0.0])
}

/// Middle of the door's handle, world frame.
pub(super) fn handle(layout: &Layout, door: f32) -> [f32; 3] {
    add(add(layout.door_origin(), [HANDLE_IN_DOOR_M[0] - door, 0.0, 0.0]), scale(OUT_OF_FRONT, -HANDLE_IN_DOOR_M[1]))
}

/// Middle of the lever's crossbar, world frame.
pub(super) fn crossbar(layout: &Layout, switch: f32) -> [f32; 3] {
    let out = scale(OUT_OF_FRONT, -CROSSBAR_IN_SWITCH_M[1]);
    add(add(layout.switch_origin(), out), scale(UP_THE_FRONT, switch))
}
