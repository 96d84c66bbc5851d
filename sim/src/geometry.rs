//! Scene D of CALVIN: the table and what moves on it, in the world frame, metres, after CALVIN's global scale of 0.8.
//!
//! Source: `calvin_env`, `calvin_scene_D`. CALVIN's collision meshes are convex hulls; here each is a few boxes with the same
//! footprints, joint origins and ranges.

use reverie_schema::scene::{Form, Texture};

use crate::part::Part;

const WOOD: [u8; 3] = [196, 164, 124];
const PALE: [u8; 3] = [222, 203, 172];
const DARK: [u8; 3] = [92, 72, 58];
const METAL: [u8; 3] = [168, 172, 178];
const GLASS: [u8; 3] = [120, 124, 128];

/// Height of the table top.
pub const TABLE_TOP_M: f32 = 0.44;
/// Where the button stands.
pub const BUTTON_XY_M: [f32; 2] = [-0.12, -0.12];
/// Top of the button's cap at rest.
pub const BUTTON_TOP_M: f32 = 0.484;
/// The button counts as pressed beyond this travel.
pub const BUTTON_PRESSED_M: f32 = 0.010;
/// The bulb is lit while the switch is beyond this travel.
pub const SWITCH_ON_M: f32 = 0.044;

/// Travel of each mechanism from 0, metres (scene D).
pub const SLIDER_RANGE_M: f32 = 0.28;
/// Drawer.
pub const DRAWER_RANGE_M: f32 = 0.22;
/// Button.
pub const BUTTON_RANGE_M: f32 = 0.020;
/// Switch.
pub const SWITCH_RANGE_M: f32 = 0.088;

/// The cabinet's front leans back by 30 degrees from the vertical.
pub const LEAN_RAD: f32 = -std::f32::consts::FRAC_PI_6;
/// Up along the leaning front.
pub const UP_THE_FRONT: [f32; 3] = [0.0, 0.5, 0.866_025_4];
/// Out of the leaning front, towards the robot.
pub const OUT_OF_FRONT: [f32; 3] = [0.0, -0.866_025_4, 0.5];

/// Joint origin of the sliding door.
pub const DOOR_ORIGIN_M: [f32; 3] = [-0.10, 0.075, 0.535];
/// Joint origin of the drawer.
pub const DRAWER_ORIGIN_M: [f32; 3] = [0.18, 0.0, 0.32];
/// Joint origin of the switch.
pub const SWITCH_ORIGIN_M: [f32; 3] = [0.30, 0.061, 0.495];
/// Joint origin of the button's cap.
pub const BUTTON_ORIGIN_M: [f32; 3] = [BUTTON_XY_M[0], BUTTON_XY_M[1], 0.472];

/// Centre of the door's handle in the door's frame.
pub const HANDLE_IN_DOOR_M: [f32; 3] = [0.14, -0.029, 0.0];
/// Half of the handle's width along x.
pub const HANDLE_HALF_WIDTH_M: f32 = 0.02;
/// Centre of the drawer's bar in the drawer's frame.
pub const BAR_IN_DRAWER_M: [f32; 3] = [0.0, -0.25, 0.04];
/// Half of the bar's thickness along y.
pub const BAR_HALF_DEPTH_M: f32 = 0.01;
/// Centre of the lever's crossbar in the switch's frame.
pub const CROSSBAR_IN_SWITCH_M: [f32; 3] = [0.0, -0.056, 0.0];
/// Radius of the crossbar.
pub const CROSSBAR_RADIUS_M: f32 = 0.010;

/// Masses, kg.
pub const DRAWER_MASS_KG: f32 = 4.23;
/// Sliding door.
pub const DOOR_MASS_KG: f32 = 1.54;
/// Each block.
pub const BLOCK_MASS_KG: f32 = 1.0;

/// The light bulb, drawn on top of the cabinet.
pub const BULB_M: [f32; 3] = [0.30, 0.150, 0.668];
/// The LED, drawn on top of the cabinet.
pub const LED_M: [f32; 3] = [-0.12, 0.150, 0.660];
/// Inside the table's case, where a light that is off hides.
pub(crate) const DARK_PLACE_M: [f32; 3] = [-0.245, 0.0, 0.2];

/// Half sizes of red, blue and pink (scene D: middle, small, big).
pub const BLOCK_HALF_SIZE_M: [[f32; 3]; 3] = [[0.028, 0.02, 0.02], [0.02, 0.02, 0.02], [0.04, 0.02, 0.02]];
/// Their colours.
pub const BLOCK_RGB: [[u8; 3]; 3] = [[204, 60, 54], [58, 110, 198], [232, 130, 178]];

pub(crate) fn table() -> Vec<Part> {
    let lean = [LEAN_RAD, 0.0, 0.0];
    let slope = |x: f32, half_x: f32| {
        // Behind the leaning plane through the switch's origin, from the table top to the frame's top.
        Part::new(Form::Box { half_size: [half_x, 0.01, 0.12] }, [x, 0.101, 0.540], lean, PALE)
    };
    vec![
        // Top: in front of the cabinet, and around the plank.
        Part::cuboid([0.0, -0.08, 0.42], [0.44, 0.10, 0.02], WOOD),
        Part::cuboid([-0.40, 0.10, 0.42], [0.04, 0.08, 0.02], WOOD),
        Part::cuboid([0.30, 0.10, 0.42], [0.14, 0.08, 0.02], WOOD),
        Part::cuboid([-0.10, 0.17, 0.42], [0.26, 0.01, 0.02], WOOD),
        // The case around the drawer.
        Part::cuboid([-0.245, 0.0, 0.20], [0.195, 0.18, 0.20], PALE),
        Part::cuboid([0.42, 0.0, 0.20], [0.02, 0.18, 0.20], PALE),
        Part::cuboid([0.175, 0.0, 0.145], [0.225, 0.18, 0.145], PALE),
        // The cabinet: back, lid, the panels beside the opening.
        Part::cuboid([0.0, 0.174, 0.544], [0.44, 0.006, 0.104], PALE),
        Part::cuboid([0.0, 0.155, 0.640], [0.44, 0.025, 0.008], DARK),
        slope(0.315, 0.125),
        slope(-0.415, 0.025),
        lamp(0.020, BULB_M, GLASS),
        lamp(0.012, LED_M, GLASS),
        // The button's ring.
        Part::new(Form::Cylinder { radius: 0.04, half_height: 0.010 }, [BUTTON_XY_M[0], BUTTON_XY_M[1], 0.450], [0.0; 3], DARK),
    ]
}

fn lamp(radius: f32, at: [f32; 3], rgb: [u8; 3]) -> Part {
    Part::new(Form::Sphere { radius }, at, [0.0; 3], rgb).drawn_only()
}

/// The light of the bulb, about its own origin.
pub(crate) fn bulb_light() -> Part {
    lamp(0.026, [0.0; 3], [255, 222, 60]).textured(Texture::Glow)
}

/// The light of the LED, about its own origin.
pub(crate) fn led_light() -> Part {
    lamp(0.018, [0.0; 3], [60, 230, 90]).textured(Texture::Glow)
}

pub(crate) fn plank() -> Vec<Part> {
    vec![Part::cuboid([-0.10, 0.09, 0.43], [0.26, 0.07, 0.01], DARK)]
}

/// In the drawer's frame: `DRAWER_ORIGIN_M` when closed.
pub(crate) fn drawer() -> Vec<Part> {
    let [bx, by, bz] = BAR_IN_DRAWER_M;
    vec![
        Part::cuboid([0.0, -0.01, 0.00], [0.21, 0.15, 0.02], DARK),
        Part::cuboid([0.0, -0.17, 0.03], [0.22, 0.01, 0.05], PALE),
        Part::cuboid([0.0, 0.13, 0.05], [0.21, 0.01, 0.03], DARK),
        Part::cuboid([-0.195, -0.01, 0.05], [0.018, 0.15, 0.03], DARK),
        Part::cuboid([0.195, -0.01, 0.05], [0.018, 0.15, 0.03], DARK),
        Part::cuboid([bx, by, bz], [0.096, BAR_HALF_DEPTH_M, 0.02], METAL),
        Part::cuboid([-0.088, -0.21, bz], [0.008, 0.03, 0.02], METAL),
        Part::cuboid([0.088, -0.21, bz], [0.008, 0.03, 0.02], METAL),
    ]
}

/// In the door's frame, which leans with the front.
pub(crate) fn door() -> Vec<Part> {
    vec![
        Part::cuboid([0.14, 0.0, 0.0], [0.14, 0.006, 0.100], WOOD),
        Part::cuboid(HANDLE_IN_DOOR_M, [HANDLE_HALF_WIDTH_M, 0.023, 0.030], METAL),
    ]
}

/// In the switch's frame, which leans with the front.
pub(crate) fn switch() -> Vec<Part> {
    let [x, y, z] = CROSSBAR_IN_SWITCH_M;
    let along_x = [0.0, std::f32::consts::FRAC_PI_2, 0.0];
    vec![
        Part::new(Form::Capsule { radius: CROSSBAR_RADIUS_M, half_height: 0.05 }, [x, y, z], along_x, METAL),
        Part::cuboid([-0.052, -0.028, z], [0.007, 0.028, 0.008], METAL),
        Part::cuboid([0.052, -0.028, z], [0.007, 0.028, 0.008], METAL),
    ]
}

/// In the button's frame.
pub(crate) fn button() -> Vec<Part> {
    vec![Part::new(Form::Cylinder { radius: 0.032, half_height: 0.012 }, [0.0; 3], [0.0; 3], [196, 48, 44])]
}

pub(crate) fn block(index: usize) -> Vec<Part> {
    vec![Part::cuboid([0.0; 3], BLOCK_HALF_SIZE_M[index], BLOCK_RGB[index])]
}
