//! Rigid parts: one description serves collision, contact sets and drawing.

use rapier3d::prelude::*;
use reverie_schema::scene::{Form, Shape, Texture};

use crate::convert;

/// What a collider belongs to, in the sense of CALVIN's contact sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Hand and fingers.
    Robot,
    /// The table's own body.
    Table,
    /// The shelf in the sliding cabinet.
    Plank,
    /// The drawer.
    Drawer,
    /// The sliding door.
    Door,
    /// The switch's lever.
    Switch,
    /// The button's cap.
    Button,
    /// The ground under everything.
    Floor,
    /// A block, by index in CALVIN's order: red, blue, pink.
    Block(usize),
}

impl Link {
    const fn code(self) -> u128 {
        match self {
            Self::Robot => 0,
            Self::Table => 1,
            Self::Plank => 2,
            Self::Drawer => 3,
            Self::Door => 4,
            Self::Switch => 5,
            Self::Button => 6,
            Self::Floor => 7,
            Self::Block(index) => 16 + index as u128,
        }
    }

    pub(crate) fn of(collider: &Collider) -> Option<Self> {
        Some(match collider.user_data {
            0 => Self::Robot,
            1 => Self::Table,
            2 => Self::Plank,
            3 => Self::Drawer,
            4 => Self::Door,
            5 => Self::Switch,
            6 => Self::Button,
            7 => Self::Floor,
            code => Self::Block(usize::try_from(code.checked_sub(16)?).ok()?),
        })
    }

    /// The table and its mechanisms overlap each other by construction (a drawer in its case), so only robot and blocks
    /// collide with them.
    fn groups(self) -> InteractionGroups {
        const ROBOT: Group = Group::GROUP_1;
        const FIXTURE: Group = Group::GROUP_2;
        const BLOCK: Group = Group::GROUP_3;
        let (member, filter) = match self {
            Self::Robot => (ROBOT, FIXTURE.union(BLOCK)),
            Self::Block(_) => (BLOCK, Group::ALL),
            _ => (FIXTURE, ROBOT.union(BLOCK)),
        };
        InteractionGroups::new(member, filter, InteractionTestMode::And)
    }

    /// CALVIN's lateral friction; rapier multiplies the two of a pair, as Bullet does.
    const fn friction(self) -> f32 {
        match self {
            Self::Robot => 1.0,
            Self::Block(_) => 0.7,
            _ => 0.5,
        }
    }
}

/// A rigid part: a form at a pose on its body.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub shape: Shape,
    /// Whether it takes part in contact, or is only drawn.
    pub solid: bool,
}

impl Part {
    pub fn cuboid(centre: [f32; 3], half_size: [f32; 3], rgb: [u8; 3]) -> Self {
        Self::new(Form::Box { half_size }, centre, [0.0; 3], rgb)
    }

    pub fn new(form: Form, centre: [f32; 3], rpy: [f32; 3], [r, g, b]: [u8; 3]) -> Self {
        let pose = convert::scene_pose(&convert::pose(centre, rpy));
        Self { shape: Shape::plain(form, pose, [r, g, b, 255]), solid: true }
    }

    pub const fn drawn_only(mut self) -> Self {
        self.solid = false;
        self
    }

    pub const fn textured(mut self, texture: Texture) -> Self {
        self.shape.texture = texture;
        self
    }

    /// The collider, without mass: bodies carry their own mass properties.
    pub fn collider(&self, link: Link) -> ColliderBuilder {
        // Rapier's cylinders and capsules stand along y, ours along z.
        let upright = Rotation::from_rotation_x(std::f32::consts::FRAC_PI_2);
        let pose = &self.shape.pose;
        let local = Pose::from_parts(convert::vector(pose.translation), Rotation::from_array(pose.rotation_xyzw));
        let (builder, local) = match self.shape.form {
            Form::Box { half_size: [x, y, z] } => (ColliderBuilder::cuboid(x, y, z), local),
            Form::Cylinder { radius, half_height } => {
                (ColliderBuilder::cylinder(half_height, radius), Pose::from_parts(local.translation, local.rotation * upright))
            }
            Form::Capsule { radius, half_height } => (ColliderBuilder::capsule_z(half_height, radius), local),
            Form::Sphere { radius } => (ColliderBuilder::ball(radius), local),
        };
        builder
            .position(local)
            .density(0.0)
            .friction(link.friction())
            .friction_combine_rule(CoefficientCombineRule::Multiply)
            .restitution(0.0)
            .collision_groups(link.groups())
            .user_data(link.code())
    }
}
