//! Both CALVIN cameras against OpenGL's matrices, as PyBullet builds them.
#![allow(clippy::unwrap_used)]

mod stage;

use nalgebra::{Isometry3, Matrix4, Point3, Rotation3, Translation3, UnitQuaternion, Vector3, Vector4};
use reverie_camera::{Camera, Image, Light, Renderer};
use reverie_schema::scene::{Body, Form, Pose, Scene};
use stage::{GREY, at, bare, body};

/// `gluLookAt` and `gluPerspective`, then CALVIN's `Camera.project`: column and row of a world point, pixels, and its depth.
fn project(eye: Point3<f64>, target: Point3<f64>, up: Vector3<f64>, camera: &Camera, point: Point3<f64>) -> [f64; 3] {
    let view = Matrix4::look_at_rh(&eye, &target, &up);
    let [near, far] = [camera.near_m, camera.far_m].map(f64::from);
    let scale = 1.0 / (0.5 * f64::from(camera.fov_y_rad)).tan();
    let aspect = camera.width as f64 / camera.height as f64;
    #[rustfmt::skip]
    let projection = Matrix4::new(
        scale / aspect, 0.0, 0.0, 0.0,
        0.0, scale, 0.0, 0.0,
        0.0, 0.0, (near + far) / (near - far), 2.0 * near * far / (near - far),
        0.0, 0.0, -1.0, 0.0,
    );
    let clip: Vector4<f64> = projection * view * point.to_homogeneous();
    let device = clip.xyz() / clip.w;
    let buffer = 0.5 * (device.z + 1.0);
    let depth = far * near / (far - (far - near) * buffer);
    [0.5 * (device.x + 1.0) * camera.width as f64, (1.0 - 0.5 * (device.y + 1.0)) * camera.height as f64, depth]
}

/// Where a small ball at `point` is seen: the middle of its pixels, and the depth in front of its centre.
fn see(camera: &Camera, hand: &Pose, point: Point3<f64>) -> Option<[f64; 3]> {
    let radius = 0.012;
    let ball = body("ball", Form::Sphere { radius }, GREY);
    let scene = Scene { bodies: vec![Body { name: "robot/hand".into(), shapes: Vec::new() }, ball] };
    let mut image = Image::default();
    let ball_at = at(point.x as f32, point.y as f32, point.z as f32);
    Renderer::with_config(&scene, bare()).unwrap().render(camera, &[*hand, ball_at], &Light::default(), &mut image).unwrap();
    let hits = || (0..image.depth_m.len()).filter(|&i| image.depth_m[i] < camera.far_m);
    let count = hits().count() as f64;
    let mean = |value: &dyn Fn(usize) -> f64| hits().map(value).sum::<f64>() / count;
    let nearest = hits().map(|i| image.depth_m[i]).fold(f32::INFINITY, f32::min);
    (count > 0.0).then(|| {
        let [column, row] = [mean(&|i| (i % image.width) as f64 + 0.5), mean(&|i| (i / image.width) as f64 + 0.5)];
        [column, row, f64::from(nearest + radius)]
    })
}

fn assert_seen(camera: &Camera, hand: &Pose, point: Point3<f64>, expected: [f64; 3]) {
    let [column, row, depth] = see(camera, hand, point).unwrap_or_else(|| panic!("{point} is not seen"));
    let far = (column - expected[0]).hypot(row - expected[1]);
    assert!(far < 0.5, "{point} is seen at column {column}, row {row} instead of {expected:?}");
    assert!((depth - expected[2]).abs() < 2e-3, "{point} has depth {depth} instead of {expected:?}");
}

#[test]
fn the_static_camera_sees_points_where_calvins_does() {
    let camera = Camera::calvin_static();
    let eye = Point3::new(2.871459009488717, -2.166602199425597, 2.555159848480571);
    let target = Point3::new(-0.026242351159453392, -0.0302329882979393, 0.3920000493526459);
    let up = Vector3::new(0.4041403970338857, 0.22629790978217404, 0.8862616969685161);
    for point in [[0.0, 0.0, 0.44], [0.3, -0.12, 0.46], [-0.12, -0.12, 0.48], [0.02, -0.23, 0.57], [-0.3, 0.1, 0.6]] {
        let point = Point3::from(point);
        assert_seen(&camera, &Pose::IDENTITY, point, project(eye, target, up, &camera, point));
    }
}

#[test]
fn the_gripper_camera_sees_points_where_calvins_does() {
    let camera = Camera::calvin_gripper();
    let rpy = |r, p, y| UnitQuaternion::from_rotation_matrix(&Rotation3::from_euler_angles(r, p, y));
    let world_from_hand = Isometry3::from_parts(Translation3::new(0.1, -0.1, 0.7), rpy(3.0, 0.1, 0.7));
    let link = world_from_hand * Isometry3::from_parts(Translation3::new(-0.1, 0.0, 0.0), rpy(1.3, 0.0, -1.57));
    let hand = Pose {
        translation: world_from_hand.translation.vector.map(|c| c as f32).into(),
        rotation_xyzw: world_from_hand.rotation.coords.map(|c| c as f32).into(),
    };
    let eye = Point3::from(link.translation.vector);
    let (target, up) = (eye + link * Vector3::y(), -(link * Vector3::z()));
    for in_hand in [[0.0, 0.0, 0.14], [0.02, 0.05, 0.2], [-0.05, -0.08, 0.25], [0.1, 0.06, 0.3]] {
        let point = world_from_hand * Point3::from(in_hand);
        assert_seen(&camera, &hand, point, project(eye, target, up, &camera, point));
    }
}
