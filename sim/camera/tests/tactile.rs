//! What the fingers' pads feel.
#![allow(clippy::unwrap_used)]

mod stage;

use reverie_camera::{TactileConfig, TactileImage, TactileSensor};
use reverie_schema::scene::{Body, Form, Scene};
use stage::{GREY, at, body};

const WIDTH: usize = 120;
const HEIGHT: usize = 160;

/// Fingers 4 cm apart in y about the origin, and a body between them; `form` at `x`, `y`, `z`.
fn feel(form: Form, x: f32, y: f32, z: f32) -> TactileImage {
    let finger = |name: &str| Body { name: name.into(), shapes: vec![] };
    let scene = Scene { bodies: vec![finger("robot/finger1"), finger("robot/finger2"), body("block", form, GREY)] };
    let mut sensor = TactileSensor::new(&scene, TactileConfig::default()).unwrap();
    let mut image = TactileImage::default();
    sensor.feel(&[at(0.0, 0.02, 0.0), at(0.0, -0.02, 0.0), at(x, y, z)], &mut image).unwrap();
    image
}

fn depth(image: &TactileImage, row: usize, column: usize, pad: usize) -> f32 {
    image.depth_m[2 * (row * WIDTH + column) + pad]
}

#[test]
fn a_ball_dents_each_gel_by_what_is_left_of_its_reach() {
    // Right of the middle by 3 mm in x, 0.5 mm off the first pad; 3.5 mm off the second one, out of its reach.
    let radius = 0.018;
    let image = feel(Form::Sphere { radius }, 0.003, 0.0015, 0.1367);
    let mut deepest = (0.0, 0, 0);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let dent = depth(&image, row, column, 0);
            deepest = if dent > deepest.0 { (dent, row, column) } else { deepest };
            assert_eq!(depth(&image, row, column, 1), 0.0);
        }
    }
    assert!((deepest.0 - 0.0015).abs() < 1e-5, "{deepest:?}");
    // The first pad's image has x to its right: 3 mm are 18 pixels.
    assert!(deepest.1.abs_diff(80) <= 1 && deepest.2.abs_diff(78) <= 1, "{deepest:?}");
    // The dent's outline: where the ball is as far as the gel reaches, radius^2 - (radius - 1.5 mm)^2.
    let area = image.depth_m.iter().filter(|&&dent| dent > 0.0).count() as f32;
    let pixels_per_m = WIDTH as f32 / 0.02;
    let expected = std::f32::consts::PI * (radius * radius - (radius - 0.0015_f32).powi(2)) * pixels_per_m * pixels_per_m;
    assert!((area / expected - 1.0).abs() < 0.03, "{area} pixels instead of {expected}");
}

#[test]
fn the_lower_edge_of_the_image_is_the_fingers_tip() {
    let image = feel(Form::Box { half_size: [0.05, 0.019, 0.01] }, 0.0, 0.0, 0.15);
    for pad in 0..2 {
        assert_eq!(depth(&image, 20, 60, pad), 0.0);
        assert!((depth(&image, 150, 60, pad) - 0.001).abs() < 1e-5);
    }
}

#[test]
fn an_untouched_gel_is_of_one_colour_and_a_touched_one_is_not() {
    let untouched = feel(Form::Sphere { radius: 0.01 }, 0.0, 0.0, 1.0);
    assert!(untouched.rgb.chunks(3).all(|pixel| pixel == &untouched.rgb[..3]));
    let touched = feel(Form::Sphere { radius: 0.019 }, 0.0, 0.0, 0.1367);
    let odd = touched.rgb.chunks(3).filter(|&pixel| pixel != &untouched.rgb[..3]).count();
    assert!(odd > 1000);
}
