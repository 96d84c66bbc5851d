//! What a recorded observation looked like: every body's pose from CALVIN's two vectors, without physics.

use nalgebra::{Isometry3, Translation3};
use rapier3d::math::Pose;
use reverie_schema::{
    Observation, RobotSpec,
    scene::{self, Scene},
};

use crate::{
    SimError, StartState, World, WorldConfig, convert,
    geometry::{DARK_PLACE_M, LEAN_RAD, Layout, SceneId, UP_THE_FRONT},
};

/// Draws recorded observations of one scene.
pub struct Replay {
    spec: RobotSpec,
    layout: &'static Layout,
    scene: Scene,
}

impl Replay {
    /// For recordings of `scene` by the robot `spec`.
    ///
    /// # Errors
    /// Those of [`World::new`].
    pub fn new(scene: SceneId, spec: RobotSpec) -> Result<Self, SimError> {
        let config = WorldConfig { scene, ..WorldConfig::default() };
        let world = World::new(&config, &spec, &StartState::neutral(), &spec.home_rad)?;
        Ok(Self { scene: world.scene(), layout: scene.layout(), spec })
    }

    /// All bodies and their shapes, in the order of [`Replay::poses`].
    pub const fn scene(&self) -> &Scene {
        &self.scene
    }

    /// `world_from_body` of every body at the moment of `observation`.
    pub fn poses(&self, observation: &Observation, out: &mut Vec<scene::Pose>) {
        let mut links = [self.spec.world_from_base(); 8];
        for (i, joint) in self.spec.joints.iter().enumerate() {
            links[i + 1] = links[i] * joint.parent_from_link(observation.robot[7 + i].into());
        }
        let hand = links[7] * self.spec.link7_from_hand();
        out.clear();
        out.extend(self.scene.bodies.iter().map(|body| convert::scene_pose(&self.pose(&body.name, observation, &links, &hand))));
    }

    fn pose(&self, name: &str, observation: &Observation, links: &[Isometry3<f64>; 8], hand: &Isometry3<f64>) -> Pose {
        let (scene, layout) = (&observation.scene, self.layout);
        let slid = |[x, y, z]: [f32; 3], lean: f32, along: [f32; 3], travel: f32| {
            convert::pose([x + along[0] * travel, y + along[1] * travel, z + along[2] * travel], [lean, 0.0, 0.0])
        };
        let finger = |side: f64| hand * Translation3::new(0.0, side * 0.5 * f64::from(observation.robot[6]), 0.0);
        let light = |on: bool, at: [f32; 3]| convert::pose(if on { at } else { DARK_PLACE_M }, [0.0; 3]);
        let block = |index: usize| {
            let [x, y, z, roll, pitch, yaw] = std::array::from_fn(|i| scene[6 + 6 * index + i]);
            convert::pose([x, y, z], [roll, pitch, yaw])
        };
        match name {
            "robot/base" => convert::pose_from_isometry(&links[0]),
            "robot/hand" => convert::pose_from_isometry(hand),
            "robot/finger1" => convert::pose_from_isometry(&finger(1.0)),
            "robot/finger2" => convert::pose_from_isometry(&finger(-1.0)),
            "table/door" => slid(layout.door_origin(), LEAN_RAD, [-1.0, 0.0, 0.0], scene[0]),
            "table/drawer" => slid(layout.drawer_origin(), 0.0, [0.0, -1.0, 0.0], scene[1]),
            "table/button" => slid(layout.button_origin(), 0.0, [0.0, 0.0, -1.0], scene[2]),
            "table/switch" => slid(layout.switch_origin(), LEAN_RAD, UP_THE_FRONT, scene[3]),
            "table/bulb_light" => light(scene[4] > 0.5, layout.bulb_m),
            "table/led_light" => light(scene[5] > 0.5, layout.led_m),
            "block/red" => block(0),
            "block/blue" => block(1),
            "block/pink" => block(2),
            _ => match name.strip_prefix("robot/link").and_then(|number| number.parse::<usize>().ok()) {
                Some(number @ 1..=7) => convert::pose_from_isometry(&links[number]),
                _ => convert::pose([0.0; 3], [0.0; 3]),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use reverie_schema::JointCommand;

    use super::*;

    #[test]
    fn bodies_stand_where_the_world_had_them() {
        for scene in SceneId::ALL {
            let spec = RobotSpec::panda();
            let start = StartState { drawer_m: 0.13, slider_m: 0.11, bulb: true, led: true, ..StartState::neutral() };
            let config = WorldConfig { scene, ..WorldConfig::default() };
            let mut world = World::new(&config, &spec, &start, &spec.home_rad).unwrap();
            let mut command = JointCommand { position: spec.home_rad, ..JointCommand::default() };
            command.gripper = reverie_schema::GripperCommand::Close;
            for step in 0..64 {
                command.position[0] += 0.002;
                command.position[3] -= 0.001;
                world.step(&command).unwrap();
                if step == 8 {
                    command.gripper = reverie_schema::GripperCommand::Open;
                }
            }
            let replay = Replay::new(scene, spec).unwrap();
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            world.poses(&mut expected);
            replay.poses(&world.observe(), &mut got);
            for ((body, want), have) in replay.scene().bodies.iter().zip(&expected).zip(&got) {
                for (a, b) in want.translation.iter().zip(have.translation) {
                    assert!((a - b).abs() < 1e-3, "{scene} {}: {want:?} {have:?}", body.name);
                }
                let dot: f32 = want.rotation_xyzw.iter().zip(have.rotation_xyzw).map(|(a, b)| a * b).sum();
                assert!(dot.abs() > 0.9999, "{scene} {}: {want:?} {have:?}", body.name);
            }
        }
    }
}
