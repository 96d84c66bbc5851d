//! What pictures show: occlusion, light, shadows, textures, and that nothing else changes them.
#![allow(clippy::unwrap_used)]

mod stage;

use reverie_camera::{Backdrop, Camera, CameraError, Image, Light, Mount, RenderConfig, RenderReport, Renderer};
use reverie_schema::scene::{Body, Form, Pattern, Pose, Scene, Shape, Texture};
use stage::{GREY, Numbers, at, bare, body, scene, standing};

const RED: [u8; 4] = [220, 40, 30, 255];
const BLUE: [u8; 4] = [30, 60, 220, 255];

fn take(scene: &Scene, config: RenderConfig, camera: &Camera, poses: &[Pose], light: &Light) -> (Image, RenderReport) {
    let mut image = Image::default();
    let report = Renderer::with_config(scene, config).unwrap().render(camera, poses, light, &mut image).unwrap();
    (image, report)
}

fn linear(byte: u8) -> f32 {
    let c = f32::from(byte) / 255.0;
    if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
}

/// Many shapes of every form at random places, in view of `camera()`.
fn clutter(seed: u64) -> (Scene, Vec<Pose>) {
    let mut numbers = Numbers(seed);
    let mut number = || numbers.next() as f32;
    let mut bodies = Vec::new();
    let mut poses = Vec::new();
    for i in 0..24 {
        let form = match i % 4 {
            0 => Form::Box { half_size: [0.08, 0.05, 0.03] },
            1 => Form::Cylinder { radius: 0.05, half_height: 0.04 },
            2 => Form::Capsule { radius: 0.04, half_height: 0.08 },
            _ => Form::Sphere { radius: 0.06 },
        };
        bodies.push((form, [(20 + 9 * i) as u8, 120, (240 - 9 * i) as u8, 255]));
        let [x, y, z, w] = [number(), number(), number(), number()];
        let length = (x * x + y * y + z * z + w * w).sqrt();
        let rotation_xyzw = [x / length, y / length, z / length, w / length];
        poses.push(Pose { translation: [0.3 * number(), 0.3 * number(), 0.4 + 0.2 * number()], rotation_xyzw });
    }
    (scene(&bodies), poses)
}

fn camera() -> Camera {
    standing([1.5, -0.8, 1.2], [0.0, 0.0, 0.4], 120, 40.0)
}

#[test]
fn the_nearer_of_two_shapes_is_seen_whatever_their_order() {
    let near = (Form::Box { half_size: [0.02, 0.1, 0.1] }, RED);
    let far = (Form::Sphere { radius: 0.3 }, BLUE);
    let camera = standing([2.0, 0.0, 0.0], [0.0; 3], 101, 30.0);
    let light = Light::default();
    let (a, _) = take(&scene(&[near, far]), bare(), &camera, &[at(0.8, 0.0, 0.0), Pose::IDENTITY], &light);
    let (b, _) = take(&scene(&[far, near]), bare(), &camera, &[Pose::IDENTITY, at(0.8, 0.0, 0.0)], &light);
    assert_eq!(a, b);
    let [red, _, blue] = a.rgb_at(50, 50).unwrap();
    assert!(red > blue);
    let [red, _, blue] = a.rgb_at(50, 72).unwrap();
    assert!(blue > red, "the ball behind is seen beside the box");
}

#[test]
fn depth_of_clutter_is_the_least_of_the_depths_of_its_shapes() {
    let (all, poses) = clutter(5);
    let (together, _) = take(&all, bare(), &camera(), &poses, &Light::default());
    let mut least = vec![20.0_f32; together.depth_m.len()];
    for (body, pose) in all.bodies.iter().zip(&poses) {
        let (alone, _) = take(&Scene { bodies: vec![body.clone()] }, bare(), &camera(), &[*pose], &Light::default());
        least.iter_mut().zip(&alone.depth_m).for_each(|(least, &depth)| *least = least.min(depth));
    }
    for (got, expected) in together.depth_m.iter().zip(&least) {
        assert!((got - expected).abs() < 2e-5, "{got} instead of {expected}");
    }
}

#[test]
fn colour_is_the_skys_exactly_where_depth_is_the_far_plane() {
    let (all, poses) = clutter(9);
    let config = RenderConfig { backdrop: Backdrop { floor_m: None, sky_rgb: [1, 2, 3], ..Backdrop::default() }, ..bare() };
    let (image, report) = take(&all, config, &camera(), &poses, &Light::default());
    assert!(report.drawn > 20 && report.not_finite == 0);
    let sky = image.depth_m.iter().filter(|&&depth| depth == 20.0).count();
    assert!(sky > 1000 && sky < 14_000);
    for (rgb, &depth) in image.rgb.chunks(3).zip(&image.depth_m) {
        assert_eq!(rgb == [1, 2, 3], depth == 20.0);
    }
}

#[test]
fn a_symmetric_scene_gives_a_symmetric_picture() {
    let half = [
        Form::Sphere { radius: 0.1 },
        Form::Box { half_size: [0.1, 0.05, 0.07] },
        Form::Capsule { radius: 0.05, half_height: 0.1 },
    ];
    let (mut bodies, mut poses) = (Vec::new(), Vec::new());
    for (i, form) in half.into_iter().enumerate() {
        for sign in [-1.0, 1.0] {
            bodies.push((form, GREY));
            poses.push(at(0.2 * i as f32 - 0.2, sign * (0.1 + 0.11 * i as f32), 0.15 * i as f32 + 0.1));
        }
    }
    let camera = standing([2.0, 0.0, 1.0], [0.0, 0.0, 0.2], 160, 35.0);
    let light = Light { direction_in_world: [-0.5, 0.0, -1.0], ..Light::default() };
    let config = RenderConfig { shadow_map_px: 0, ..RenderConfig::default() };
    let (image, _) = take(&scene(&bodies), config, &camera, &poses, &light);
    let mut odd = 0;
    for row in 0..160 {
        for column in 0..80 {
            let mirror = 159 - column;
            let apart = (image.depth_at(row, column).unwrap() - image.depth_at(row, mirror).unwrap()).abs();
            let colours = image
                .rgb_at(row, column)
                .unwrap()
                .iter()
                .zip(image.rgb_at(row, mirror).unwrap())
                .all(|(a, b)| a.abs_diff(b) <= 1);
            odd += usize::from(apart > 1e-4 || !colours);
        }
    }
    assert!(odd <= 4, "{odd} pixels differ; only some on outlines may, by rounding");
}

#[test]
fn a_faces_colour_is_lamberts() {
    // The camera looks down on a box's top under a slanting sun.
    let camera = standing([0.01, 0.0, 2.0], [0.0; 3], 31, 20.0);
    let light = Light { direction_in_world: [-0.6, 0.0, -0.8], ambient: 0.3, diffuse: 0.5, colour: [1.0, 0.9, 0.8], shadow: 1.0 };
    let block = scene(&[(Form::Box { half_size: [0.3; 3] }, [200, 100, 50, 255])]);
    let (image, _) = take(&block, RenderConfig::default(), &camera, &[Pose::IDENTITY], &light);
    let got = image.rgb_at(15, 15).unwrap();
    for ((&got, albedo), colour) in got.iter().zip([200, 100, 50]).zip(light.colour) {
        let expected = linear(albedo) * colour * (0.3 + 0.5 * 0.8);
        assert!((linear(got - 1)..=linear(got + 1)).contains(&expected), "{got} for {expected}");
    }
}

#[test]
fn a_shadow_lies_where_the_sun_casts_it() {
    // A small plate 0.3 m above the floor, the sun at 45 degrees: the shadow is 0.3 m further along x.
    let plate = scene(&[(Form::Box { half_size: [0.05, 0.05, 0.005] }, GREY)]);
    let light = Light { direction_in_world: [1.0, 0.0, -1.0], shadow: 1.0, ..Light::default() };
    let camera = standing([0.15, 0.0, 3.0], [0.151, 0.0, 0.0], 301, 20.0);
    let (image, _) = take(&plate, RenderConfig::default(), &camera, &[at(0.0, 0.0, 0.3)], &light);
    let (free, _) = take(&plate, RenderConfig::default(), &camera, &[at(0.0, 0.0, 0.3)], &Light { shadow: 0.0, ..light });
    let Mount::World(world_from_camera) = &camera.mount else { unreachable!() };
    let isometry = {
        let [x, y, z, w] = world_from_camera.rotation_xyzw;
        nalgebra::Isometry3::from_parts(
            nalgebra::Translation3::from(nalgebra::Vector3::from(world_from_camera.translation)),
            nalgebra::UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(w, x, y, z)),
        )
    };
    let mut darker = 0;
    for row in 0..301 {
        for column in 0..301 {
            let depth = image.depth_at(row, column).unwrap();
            let ray = nalgebra::Vector3::new(
                (column as f32 - 150.0) / camera.focal_px(),
                (row as f32 - 150.0) / camera.focal_px(),
                1.0,
            );
            let place = isometry * nalgebra::Point3::from(ray * depth);
            if place.z > 0.01 {
                continue;
            }
            // The plate's silhouette from its lower to its upper face.
            let outside = ((place.x - 0.3).abs() - 0.05).max(place.y.abs() - 0.05);
            let dark = image.rgb_at(row, column) != free.rgb_at(row, column);
            darker += usize::from(dark);
            if outside > 0.025 {
                assert!(!dark, "a shadow at {place}");
            } else if outside < -0.025 {
                assert!(dark, "no shadow at {place}");
            }
        }
    }
    assert!(darker > 100);
}

#[test]
fn what_glows_keeps_its_colour_in_any_light() {
    let mut ball = body("ball", Form::Sphere { radius: 0.2 }, [255, 222, 60, 255]);
    ball.shapes[0].texture = Texture::Glow;
    let night = Light { ambient: 0.0, diffuse: 0.0, ..Light::default() };
    let camera = standing([2.0, 0.0, 0.0], [0.0; 3], 31, 20.0);
    let (image, _) = take(&Scene { bodies: vec![ball] }, bare(), &camera, &[Pose::IDENTITY], &night);
    assert_eq!(image.rgb_at(15, 15), Some([255, 222, 60]));
}

#[test]
fn stripes_have_the_width_that_they_claim_and_every_pattern_shows_two_colours() {
    let pattern = Pattern { scale_m: 0.1, second_rgb: [0; 3] };
    let textured = |texture| {
        let shape = Shape { texture, ..Shape::plain(Form::Box { half_size: [0.5, 0.5, 0.1] }, Pose::IDENTITY, [255; 4]) };
        Scene { bodies: vec![Body { name: "board".into(), shapes: vec![shape] }] }
    };
    // From above, x of the board along the image's columns.
    let mount = Mount::World(reverie_camera::look_at([0.0, 0.0, 2.1], [0.0; 3], [0.0, 1.0, 0.0]));
    let camera = Camera { mount, ..standing([0.0; 3], [1.0; 3], 400, 20.0) };
    let picture = |texture| take(&textured(texture), bare(), &camera, &[Pose::IDENTITY], &Light::default()).0;
    let stripes = picture(Texture::Stripes(pattern));
    let changes: Vec<usize> = (1..400).filter(|&c| stripes.rgb_at(200, c) != stripes.rgb_at(200, c - 1)).collect();
    let expected = 0.05 / 2.0 * camera.focal_px();
    assert!(changes.len() > 5);
    for pair in changes.windows(2) {
        assert!(((pair[1] - pair[0]) as f32 - expected).abs() <= 1.0);
    }
    for texture in [Texture::Stripes(pattern), Texture::Checker(pattern), Texture::Wood(pattern), Texture::Noise(pattern)] {
        let image = picture(texture);
        let values: Vec<u8> = (0..400).flat_map(|row| image.rgb_at(row, (row * 7) % 400)).map(|[red, ..]| red).collect();
        let (dark, bright) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        assert!(bright - dark > 60, "{texture:?}: {dark} to {bright}");
    }
}

#[test]
fn several_samples_smooth_edges_and_leave_depth_on_the_shapes() {
    let (all, poses) = clutter(11);
    let config = RenderConfig { samples_per_axis: 2, ..bare() };
    let (smooth, _) = take(&all, config, &camera(), &poses, &Light::default());
    let (sharp, _) = take(&all, bare(), &camera(), &poses, &Light::default());
    let same = smooth.depth_m.iter().zip(&sharp.depth_m).filter(|(a, b)| (*a - *b).abs() < 2e-3).count();
    assert!(same as f32 > 0.9 * sharp.depth_m.len() as f32, "{same}");
    // Blends occur that no single sample gives: more colours than before.
    let colours = |image: &Image| {
        let mut all: Vec<_> = image.rgb.chunks(3).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert!(colours(&smooth) > colours(&sharp));
}

#[test]
fn the_same_input_gives_the_same_bytes_whatever_was_drawn_before() {
    let (all, poses) = clutter(1);
    let light = Light::default();
    let (fresh, _) = take(&all, RenderConfig::default(), &camera(), &poses, &light);
    let mut renderer = Renderer::new(&all).unwrap();
    let mut image = Image::new(7, 9);
    let mut moved = poses.clone();
    moved.rotate_left(5);
    renderer.render(&Camera::calvin_static(), &moved, &light, &mut image).unwrap();
    renderer.render(&camera(), &moved, &Light { direction_in_world: [1.0, 0.0, -1.0], ..Light::default() }, &mut image).unwrap();
    renderer.render(&camera(), &poses, &light, &mut image).unwrap();
    assert_eq!(image, fresh);
    let mut other_colours = all.clone();
    other_colours.bodies[0].shapes[0].rgba = RED;
    renderer.set_scene(&other_colours).unwrap();
    renderer.set_scene(&all).unwrap();
    renderer.render(&camera(), &poses, &light, &mut image).unwrap();
    assert_eq!(image, fresh);
}

#[test]
fn a_body_whose_pose_is_not_finite_is_left_out_and_counted() {
    let (all, mut poses) = clutter(2);
    let (mut rest, mut rest_poses) = (all.clone(), poses.clone());
    for body in [10, 3] {
        rest.bodies.remove(body);
        rest_poses.remove(body);
    }
    poses[3].translation[1] = f32::NAN;
    poses[10].rotation_xyzw = [0.0, f32::INFINITY, 0.0, 1.0];
    let (image, report) = take(&all, RenderConfig::default(), &camera(), &poses, &Light::default());
    assert_eq!(report.not_finite, 2);
    assert_eq!(image, take(&rest, RenderConfig::default(), &camera(), &rest_poses, &Light::default()).0);
}

#[test]
fn shapes_at_absurd_places_do_no_harm() {
    let mut numbers = Numbers(4);
    let (all, mut poses) = clutter(3);
    let mut renderer = Renderer::new(&all).unwrap();
    let mut image = Image::default();
    for _ in 0..300 {
        for pose in &mut poses {
            let scale = 10_f64.powf(12.0 * numbers.next());
            pose.translation = std::array::from_fn(|_| (scale * numbers.next()) as f32);
        }
        renderer.render(&camera(), &poses, &Light::default(), &mut image).unwrap();
        // Right at the lens, too.
        poses[0].translation = [1.5, -0.8, 1.2];
        poses[1].translation = [1.495, -0.797, 1.197];
        renderer.render(&camera(), &poses, &Light::default(), &mut image).unwrap();
        assert!(image.depth_m.iter().all(|depth| (0.0099..=20.0).contains(depth)));
    }
}

#[test]
fn bad_input_is_refused_with_what_is_wrong() {
    let (all, poses) = clutter(2);
    let mut renderer = Renderer::new(&all).unwrap();
    let mut image = Image::default();
    let light = Light::default();
    let mut refuse = |camera: &Camera, poses: &[Pose], light: &Light| {
        renderer.render(camera, poses, light, &mut image).unwrap_err().to_string()
    };
    assert!(refuse(&Camera::calvin_gripper(), &poses, &light).contains("`robot/hand`"));
    assert!(refuse(&camera(), &poses[1..], &light).contains("got 23 poses for a scene of 24 bodies"));
    assert!(refuse(&camera().with_size(0, 10), &poses, &light).contains("the image's width is 0"));
    let dark = Light { direction_in_world: [0.0; 3], ..light.clone() };
    assert!(refuse(&camera(), &poses, &dark).contains("direction"));
    let lost = Camera { mount: Mount::World(at(f32::NAN, 0.0, 0.0)), ..camera() };
    assert!(refuse(&lost, &poses, &light).contains("not finite"));
    let mut flat = all;
    flat.bodies[7].shapes[0].form = Form::Sphere { radius: 0.0 };
    let expected = CameraError::Shape { body: "body7".into(), shape: 0, reason: "a length is not positive and below 10 km" };
    assert_eq!(Renderer::new(&flat).err(), Some(expected));
}
