//! CALVIN's table and what moves on it, in the world frame, metres, after CALVIN's global scale of 0.8.
//!
//! The four scenes A-D differ in where button, switch, door, drawer and shelf stand, in the door's range, in the blocks' sizes and in
//! the wood ([`Layout`]). Source: `calvin_env`, `data/calvin_table_*/urdf` and `conf/scene/calvin_scene_*.yaml`. CALVIN's collision
//! meshes are convex hulls; here each is a few boxes with the same footprints, joint origins and ranges.

use reverie_schema::scene::{Form, Pattern, Texture};
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// One of CALVIN's four scenes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SceneId {
    /// Dark wood; drawer in the middle, button on the left.
    A,
    /// Light wood; switch on the left, button on the right.
    B,
    /// Brown wood with dark drawer and door; switch on the left.
    C,
    /// Dark wood; drawer on the right. CALVIN evaluates in it.
    #[default]
    D,
}

impl SceneId {
    /// All four.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// A to D.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }

    /// Where things stand in this scene.
    pub const fn layout(self) -> &'static Layout {
        match self {
            Self::A => &LAYOUT_A,
            Self::B => &LAYOUT_B,
            Self::C => &LAYOUT_C,
            Self::D => &LAYOUT_D,
        }
    }
}

impl std::fmt::Display for SceneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.letter())
    }
}

impl std::str::FromStr for SceneId {
    type Err = crate::SimError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scene| scene.letter().eq_ignore_ascii_case(name))
            .ok_or_else(|| crate::SimError::UnknownScene { name: name.into() })
    }
}

/// A rectangle on which blocks are put at a reset: `[x, y]` of its lower and upper corner.
pub type Surface = [[f32; 2]; 2];

/// Where things stand in a scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Which scene this is.
    pub id: SceneId,
    /// The button's axis.
    pub button_x_m: f32,
    /// The switch's joint origin.
    pub switch_x_m: f32,
    /// The sliding door's joint origin: its left edge when it stands right.
    pub door_x_m: f32,
    /// Travel of the door from right (0) to left.
    pub slider_range_m: f32,
    /// The drawer's middle.
    pub drawer_x_m: f32,
    /// The shelf's middle.
    pub plank_x_m: f32,
    /// The light bulb, on top of the cabinet.
    pub bulb_m: [f32; 3],
    /// The LED, on top of the cabinet.
    pub led_m: [f32; 3],
    /// Half sizes of red, blue and pink.
    pub block_half_size_m: [[f32; 3]; 3],
    /// The part of the table top on which blocks are put.
    pub table: Surface,
    /// The part of the shelf that the open door lets one reach when it stands right.
    pub shelf_left: Surface,
    /// The part of the shelf that the open door lets one reach when it stands left.
    pub shelf_right: Surface,
    pub(crate) colours: Colours,
}

/// Colours of the wood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Colours {
    body: [u8; 3],
    top: [u8; 3],
    moving: [u8; 3],
    inside: [u8; 3],
}

const SMALL: [f32; 3] = [0.02, 0.02, 0.02];
const MIDDLE: [f32; 3] = [0.028, 0.02, 0.02];
const BIG: [f32; 3] = [0.04, 0.02, 0.02];

static LAYOUT_A: Layout = Layout {
    id: SceneId::A,
    button_x_m: -0.28,
    switch_x_m: 0.30,
    door_x_m: -0.10,
    slider_range_m: 0.28,
    drawer_x_m: 0.10,
    plank_x_m: -0.10,
    bulb_m: [0.30, 0.150, 0.668],
    led_m: [-0.28, 0.150, 0.660],
    block_half_size_m: [MIDDLE, BIG, SMALL],
    table: [[-0.20, -0.15], [0.35, -0.03]],
    shelf_left: [[-0.32, 0.05], [-0.16, 0.12]],
    shelf_right: [[-0.05, 0.05], [0.13, 0.12]],
    colours: Colours { body: [142, 92, 64], top: [126, 78, 52], moving: [156, 106, 76], inside: [82, 52, 38] },
};

static LAYOUT_B: Layout = Layout {
    id: SceneId::B,
    button_x_m: 0.28,
    switch_x_m: -0.32,
    door_x_m: 0.088,
    slider_range_m: 0.304,
    drawer_x_m: 0.18,
    plank_x_m: 0.08,
    bulb_m: [-0.32, 0.150, 0.668],
    led_m: [0.28, 0.150, 0.660],
    block_half_size_m: [SMALL, BIG, MIDDLE],
    table: [[-0.35, -0.15], [0.15, -0.03]],
    shelf_left: [[-0.12, 0.05], [0.06, 0.12]],
    shelf_right: [[0.15, 0.05], [0.33, 0.12]],
    colours: Colours { body: [240, 224, 205], top: [247, 232, 214], moving: [228, 208, 186], inside: [186, 168, 148] },
};

static LAYOUT_C: Layout = Layout {
    id: SceneId::C,
    button_x_m: -0.12,
    switch_x_m: -0.32,
    door_x_m: 0.06,
    slider_range_m: 0.24,
    drawer_x_m: 0.10,
    plank_x_m: 0.08,
    bulb_m: [-0.32, 0.150, 0.668],
    led_m: [-0.12, 0.150, 0.660],
    block_half_size_m: [BIG, SMALL, MIDDLE],
    table: [[0.0, -0.15], [0.35, -0.03]],
    shelf_left: [[-0.12, 0.05], [0.06, 0.12]],
    shelf_right: [[0.15, 0.05], [0.30, 0.12]],
    colours: Colours { body: [172, 120, 74], top: [184, 132, 84], moving: [112, 66, 44], inside: [98, 66, 42] },
};

static LAYOUT_D: Layout = Layout {
    id: SceneId::D,
    button_x_m: -0.12,
    switch_x_m: 0.30,
    door_x_m: -0.10,
    slider_range_m: 0.28,
    drawer_x_m: 0.18,
    plank_x_m: -0.10,
    bulb_m: [0.30, 0.150, 0.668],
    led_m: [-0.12, 0.150, 0.660],
    block_half_size_m: [MIDDLE, SMALL, BIG],
    table: [[0.0, -0.15], [0.35, -0.03]],
    shelf_left: [[-0.32, 0.05], [-0.16, 0.12]],
    shelf_right: [[-0.05, 0.05], [0.13, 0.12]],
    colours: Colours { body: [142, 92, 64], top: [126, 78, 52], moving: [156, 106, 76], inside: [82, 52, 38] },
};

const METAL: [u8; 3] = [168, 172, 178];
const GLASS: [u8; 3] = [120, 124, 128];

/// Height of the table top.
pub const TABLE_TOP_M: f32 = 0.44;
/// Half of the shelf's length.
pub const PLANK_HALF_M: f32 = 0.26;
/// Top of the button's cap at rest.
pub const BUTTON_TOP_M: f32 = 0.484;
/// The button counts as pressed beyond this travel.
pub const BUTTON_PRESSED_M: f32 = 0.010;
/// The bulb is lit while the switch is beyond this travel.
pub const SWITCH_ON_M: f32 = 0.044;

/// Travel of the drawer.
pub const DRAWER_RANGE_M: f32 = 0.22;
/// Travel of the button.
pub const BUTTON_RANGE_M: f32 = 0.020;
/// Travel of the switch.
pub const SWITCH_RANGE_M: f32 = 0.088;

/// The cabinet's front leans back by 30 degrees from the vertical.
pub const LEAN_RAD: f32 = -std::f32::consts::FRAC_PI_6;
/// Up along the leaning front.
pub const UP_THE_FRONT: [f32; 3] = [0.0, 0.5, 0.866_025_4];
/// Out of the leaning front, towards the robot.
pub const OUT_OF_FRONT: [f32; 3] = [0.0, -0.866_025_4, 0.5];

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

/// Inside the table's case, where a light that is off hides.
pub(crate) const DARK_PLACE_M: [f32; 3] = [-0.245, 0.0, 0.2];

/// Colours of red, blue and pink.
pub const BLOCK_RGB: [[u8; 3]; 3] = [[204, 60, 54], [58, 110, 198], [232, 100, 190]];

impl Layout {
    /// Joint origin of the sliding door.
    pub const fn door_origin(&self) -> [f32; 3] {
        [self.door_x_m, 0.075, 0.535]
    }

    /// Joint origin of the drawer.
    pub const fn drawer_origin(&self) -> [f32; 3] {
        [self.drawer_x_m, 0.0, 0.32]
    }

    /// Joint origin of the switch.
    pub const fn switch_origin(&self) -> [f32; 3] {
        [self.switch_x_m, 0.061, 0.495]
    }

    /// Where the button stands.
    pub const fn button_xy(&self) -> [f32; 2] {
        [self.button_x_m, -0.12]
    }

    /// Joint origin of the button's cap.
    pub const fn button_origin(&self) -> [f32; 3] {
        [self.button_x_m, -0.12, 0.472]
    }

    /// The grain of a plank of this colour.
    const fn wood([r, g, b]: [u8; 3]) -> Texture {
        const fn darker(channel: u8) -> u8 {
            (channel as u16 * 5 / 8) as u8
        }
        Texture::Wood(Pattern { scale_m: 0.3, second_rgb: [darker(r), darker(g), darker(b)] })
    }

    pub(crate) fn table(&self) -> Vec<Part> {
        let Colours { body, top, inside, .. } = self.colours;
        let lean = [LEAN_RAD, 0.0, 0.0];
        let slope = |from: f32, to: f32| {
            // Behind the leaning plane through the switch's origin, from the table top to the frame's top.
            let half_size = [0.5 * (to - from), 0.01, 0.12];
            Part::new(Form::Box { half_size }, [0.5 * (from + to), 0.101, 0.540], lean, body).textured(Self::wood(body))
        };
        let between = |from: [f32; 3], to: [f32; 3], rgb: [u8; 3]| {
            let centre = std::array::from_fn(|i| 0.5 * (from[i] + to[i]));
            Part::cuboid(centre, std::array::from_fn(|i| 0.5 * (to[i] - from[i])), rgb).textured(Self::wood(rgb))
        };
        let [left, right] = [self.plank_x_m - PLANK_HALF_M, self.plank_x_m + PLANK_HALF_M];
        let [drawer_left, drawer_right] = [self.drawer_x_m - 0.23, self.drawer_x_m + 0.22];
        let [button_x, button_y] = self.button_xy();
        vec![
            // Top: in front of the cabinet, and around the plank.
            between([-0.44, -0.18, 0.40], [0.44, 0.02, 0.44], top),
            between([-0.44, 0.02, 0.40], [left, 0.18, 0.44], top),
            between([right, 0.02, 0.40], [0.44, 0.18, 0.44], top),
            between([left, 0.16, 0.40], [right, 0.18, 0.44], top),
            // The case around the drawer.
            between([-0.44, -0.18, 0.0], [drawer_left, 0.18, 0.40], body),
            between([drawer_right, -0.18, 0.0], [0.44, 0.18, 0.40], body),
            between([drawer_left, -0.18, 0.0], [drawer_right, 0.18, 0.29], body),
            // The cabinet: back, lid, the panels beside the opening.
            between([-0.44, 0.168, 0.44], [0.44, 0.18, 0.648], body),
            between([-0.44, 0.13, 0.632], [0.44, 0.18, 0.649], top),
            slope(right + 0.03, 0.44),
            slope(-0.44, left - 0.03),
            lamp(0.020, self.bulb_m, GLASS),
            lamp(0.012, self.led_m, GLASS),
            // The button's ring.
            Part::new(Form::Cylinder { radius: 0.04, half_height: 0.010 }, [button_x, button_y, 0.450], [0.0; 3], inside),
        ]
    }

    pub(crate) fn plank(&self) -> Vec<Part> {
        vec![Part::cuboid([self.plank_x_m, 0.09, 0.43], [PLANK_HALF_M, 0.07, 0.01], self.colours.inside)]
    }

    /// In the drawer's frame: [`Layout::drawer_origin`] when closed.
    pub(crate) fn drawer(&self) -> Vec<Part> {
        let Colours { moving, inside, .. } = self.colours;
        let [bx, by, bz] = BAR_IN_DRAWER_M;
        vec![
            Part::cuboid([0.0, -0.01, 0.00], [0.21, 0.15, 0.02], inside),
            Part::cuboid([0.0, -0.17, 0.03], [0.22, 0.01, 0.05], moving).textured(Self::wood(moving)),
            Part::cuboid([0.0, 0.13, 0.05], [0.21, 0.01, 0.03], inside),
            Part::cuboid([-0.195, -0.01, 0.05], [0.018, 0.15, 0.03], inside),
            Part::cuboid([0.195, -0.01, 0.05], [0.018, 0.15, 0.03], inside),
            Part::cuboid([bx, by, bz], [0.096, BAR_HALF_DEPTH_M, 0.02], METAL),
            Part::cuboid([-0.088, -0.21, bz], [0.008, 0.03, 0.02], METAL),
            Part::cuboid([0.088, -0.21, bz], [0.008, 0.03, 0.02], METAL),
        ]
    }

    /// In the door's frame, which leans with the front.
    pub(crate) fn door(&self) -> Vec<Part> {
        vec![
            Part::cuboid([0.14, 0.0, 0.0], [0.14, 0.006, 0.100], self.colours.moving).textured(Self::wood(self.colours.moving)),
            Part::cuboid(HANDLE_IN_DOOR_M, [HANDLE_HALF_WIDTH_M, 0.023, 0.030], METAL),
        ]
    }

    pub(crate) fn block(&self, index: usize) -> Vec<Part> {
        vec![Part::cuboid([0.0; 3], self.block_half_size_m[index], BLOCK_RGB[index])]
    }
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
    vec![Part::new(Form::Cylinder { radius: 0.032, half_height: 0.012 }, [0.0; 3], [0.0; 3], [40, 40, 42])]
}
