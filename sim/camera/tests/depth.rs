//! Depth against closed forms, and against rays marched through signed distances in double precision.
#![allow(clippy::unwrap_used)]

mod stage;

use nalgebra::{Isometry3, Point3, Quaternion, Translation3, UnitQuaternion, Vector3};
use reverie_camera::{Image, Light, Mount, Renderer};
use reverie_schema::scene::{Form, Pose};
use stage::{GREY, Numbers, at, bare, scene, standing};

fn picture(form: Form, world_from_body: Pose, camera: &reverie_camera::Camera) -> Image {
    let mut renderer = Renderer::with_config(&scene(&[(form, GREY)]), bare()).unwrap();
    let mut image = Image::default();
    renderer.render(camera, &[world_from_body], &Light::default(), &mut image).unwrap();
    image
}

#[test]
fn depths_before_the_camera_equal_their_closed_forms() {
    // The camera looks along -x; 81 pixels, so that pixel 40 is the axis.
    let camera = standing([3.0, 0.0, 0.0], [0.0; 3], 81, 30.0);
    let depth = |form| picture(form, Pose::IDENTITY, &camera).depth_at(40, 40).unwrap();
    let close = |got: f32, expected: f32| assert!((got - expected).abs() < 2e-6, "{got} instead of {expected}");
    close(depth(Form::Sphere { radius: 0.2 }), 2.8);
    close(depth(Form::Box { half_size: [0.3, 0.1, 0.1] }), 2.7);
    close(depth(Form::Cylinder { radius: 0.25, half_height: 0.1 }), 2.75);
    close(depth(Form::Capsule { radius: 0.25, half_height: 0.1 }), 2.75);
    // Ten pixels beside the axis the ray is (x, 0, 1).
    let x = 10.0 / camera.focal_px();
    let beside = picture(Form::Box { half_size: [0.3, 0.4, 0.1] }, Pose::IDENTITY, &camera).depth_at(40, 50).unwrap();
    close(beside, 2.7);
    let beside = picture(Form::Sphere { radius: 0.3 }, Pose::IDENTITY, &camera).depth_at(40, 50).unwrap();
    close(beside, (3.0 - (9.0 - (1.0 + x * x) * (9.0 - 0.09)).sqrt()) / (1.0 + x * x));
}

#[test]
fn a_capsule_and_a_cylinder_seen_along_their_axis_show_their_ends() {
    let camera = standing([1e-4, 0.0, 2.0], [0.0; 3], 41, 20.0);
    for (form, expected) in
        [(Form::Capsule { radius: 0.1, half_height: 0.3 }, 1.6), (Form::Cylinder { radius: 0.1, half_height: 0.3 }, 1.7)]
    {
        let got = picture(form, Pose::IDENTITY, &camera).depth_at(20, 20).unwrap();
        assert!((got - expected).abs() < 1e-5, "{form:?}: {got}");
    }
}

fn signed_distance(form: Form, p: Point3<f64>) -> f64 {
    match form {
        Form::Box { half_size } => {
            let q = p.coords.abs() - Vector3::from(half_size.map(f64::from));
            q.map(|c| c.max(0.0)).norm() + q.max().min(0.0)
        }
        Form::Sphere { radius } => p.coords.norm() - f64::from(radius),
        Form::Cylinder { radius, half_height } => {
            let [beside, above] = [p.x.hypot(p.y) - f64::from(radius), p.z.abs() - f64::from(half_height)];
            beside.max(0.0).hypot(above.max(0.0)) + beside.max(above).min(0.0)
        }
        Form::Capsule { radius, half_height } => {
            let h = f64::from(half_height);
            Vector3::new(p.x, p.y, p.z - p.z.clamp(-h, h)).norm() - f64::from(radius)
        }
    }
}

fn isometry(pose: &Pose) -> Isometry3<f64> {
    let [x, y, z, w] = pose.rotation_xyzw.map(f64::from);
    Isometry3::from_parts(
        Translation3::from(Vector3::from(pose.translation.map(f64::from))),
        UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z)),
    )
}

#[test]
fn every_pixel_of_random_shapes_equals_a_marched_ray() {
    let mut numbers = Numbers(7);
    for round in 0..60 {
        let mut length = || (0.06 + 0.05 * numbers.next()) as f32;
        let form = match round % 4 {
            0 => Form::Box { half_size: [length(), length(), length()] },
            1 => Form::Cylinder { radius: length(), half_height: length() },
            2 => Form::Capsule { radius: length(), half_height: length() },
            _ => Form::Sphere { radius: length() },
        };
        let q = UnitQuaternion::from_quaternion(Quaternion::new(numbers.next(), numbers.next(), numbers.next(), numbers.next()));
        let mut number = || numbers.next() as f32;
        let pose = Pose {
            translation: [0.1 * number(), 0.1 * number(), 0.1 * number()],
            rotation_xyzw: q.coords.map(|c| c as f32).into(),
        };
        // Near with a wide angle, so that shapes leave the image, and far with a narrow one.
        let (distance, fov) = if round % 2 == 0 { (0.35, 75.0) } else { (4.0, 5.0) };
        let camera = standing([distance, 0.3 * distance * number(), 0.4 * distance], [0.0; 3], 48, fov);
        let image = picture(form, pose, &camera);
        let Mount::World(world_from_camera) = &camera.mount else { unreachable!() };
        let shape_from_camera = isometry(&pose).inverse() * isometry(world_from_camera);
        let per_pixel = 1.0 / f64::from(camera.focal_px());
        for row in 0..48 {
            for column in 0..48 {
                let ray = Vector3::new((column as f64 - 23.5) * per_pixel, (row as f64 - 23.5) * per_pixel, 1.0);
                let (mut depth, mut closest) = (0.01, f64::INFINITY);
                for _ in 0..2000 {
                    let gap = signed_distance(form, shape_from_camera * Point3::from(ray * depth));
                    closest = gap.min(closest);
                    depth += gap / ray.norm();
                    if gap < 1e-10 || depth > 20.0 {
                        break;
                    }
                }
                let got = f64::from(image.depth_at(row, column).unwrap());
                if got == 20.0 {
                    assert!(
                        closest > -1e-9 && (depth > 20.0 || closest < 2e-5),
                        "round {round}: missed {form:?} at {row}, {column}"
                    );
                    // A ray that only grazes may miss; one that marched into the shape may not.
                    if closest < 1e-9 {
                        let inside = signed_distance(form, shape_from_camera * Point3::from(ray * (depth + 1e-3)));
                        assert!(inside > -1e-3 * 0.2, "round {round}: missed {form:?} at {row}, {column}");
                    }
                } else if depth < 20.0 && closest < 1e-6 {
                    // Where a ray grazes, its depth is as uncertain as rounding makes the distance over the slope.
                    let further = signed_distance(form, shape_from_camera * Point3::from(ray * (depth + 1e-4)));
                    let slope = (further / -1e-4).max(1e-2);
                    assert!((got - depth).abs() < 1e-5 / slope, "round {round} {form:?} {row}, {column}: {got} for {depth}");
                } else {
                    assert!(closest < 2e-5, "round {round}: hit {form:?} at {row}, {column}, {closest} m beside it");
                }
            }
        }
    }
}

#[test]
fn a_sphere_covers_the_area_of_its_ellipse() {
    let radius = 0.3_f64;
    let mut camera = standing([0.0; 3], [1.0, 0.0, 0.0], 600, 80.0);
    camera.width = 900;
    for centre in [[2.0, 0.0, 0.0], [1.5, 0.7, -0.4], [1.0, -0.6, 0.3]] {
        let image = picture(Form::Sphere { radius: radius as f32 }, at(centre[0], centre[1], centre[2]), &camera);
        let got = image.depth_m.iter().filter(|&&depth| depth < 20.0).count() as f64;
        // The section of the plane at depth 1 with the cone about the sphere.
        let c = Vector3::from(centre.map(f64::from));
        let sine = radius / c.norm();
        let below = (c.x / c.norm()).powi(2) - sine * sine;
        let (long, short) = (sine * (1.0 - sine * sine).sqrt() / below, sine / below.sqrt());
        let expected = std::f64::consts::PI * long * short * f64::from(camera.focal_px()).powi(2);
        assert!((got / expected - 1.0).abs() < 2e-3, "{centre:?}: {got} pixels instead of {expected}");
    }
}

#[test]
fn what_the_near_plane_cuts_is_cut_exactly() {
    // A bar through the camera's near plane beside the axis: what is left begins where the bar's inner face is 1 cm away.
    let mut camera = standing([0.0; 3], [1.0, 0.0, 0.0], 101, 90.0);
    camera.near_m = 0.1;
    let image = picture(Form::Box { half_size: [0.5, 0.05, 0.05] }, at(0.3, -0.15, 0.0), &camera);
    // The inner face is at y = -0.1, to the right: column offset x has depth 0.1 / x.
    for column in 56..100 {
        let x = (column as f32 - 50.0) / camera.focal_px();
        let depth = image.depth_at(50, column).unwrap();
        let expected = 0.1 / x;
        if expected > 0.801 {
            assert!(depth > 0.79, "column {column}: {depth}");
        } else {
            assert!((depth - expected).abs() < 1e-5, "column {column}: {depth} instead of {expected}");
        }
    }
}

#[test]
fn neighbouring_faces_leave_no_gap() {
    let mut numbers = Numbers(3);
    for _ in 0..40 {
        let mut number = || numbers.next() as f32;
        let camera = standing([1.0 + 0.3 * number(), number(), number()], [0.0; 3], 100, 40.0);
        let image = picture(Form::Box { half_size: [0.2, 0.15, 0.1] }, Pose::IDENTITY, &camera);
        for row in image.depth_m.chunks(100) {
            let hits: Vec<usize> = (0..100).filter(|&column| row[column] < 20.0).collect();
            if let (Some(first), Some(last)) = (hits.first(), hits.last()) {
                assert_eq!(hits.len(), last - first + 1);
            }
        }
    }
}
