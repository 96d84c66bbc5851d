//! Once the sizes are known, no picture allocates.
#![allow(clippy::unwrap_used)]

mod stage;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use reverie_camera::{Camera, Image, Light, RenderConfig, Renderer};
use reverie_schema::scene::{Body, Form, Pose, Scene};
use stage::{GREY, at, body};

struct Counting;

thread_local! {
    // Of this thread alone: the test harness allocates beside the test.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every request to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_picture_of_a_known_size_allocates_nothing() {
    let hand = Body { name: "robot/hand".into(), shapes: Vec::new() };
    let forms = [
        Form::Box { half_size: [0.1; 3] },
        Form::Capsule { radius: 0.1, half_height: 0.1 },
        Form::Cylinder { radius: 0.1, half_height: 0.1 },
        Form::Sphere { radius: 0.1 },
    ];
    let scene = Scene { bodies: forms.map(|form| body("part", form, GREY)).into_iter().chain([hand]).collect() };
    let mut poses = vec![Pose::IDENTITY; 5];
    for samples_per_axis in [1, 2] {
        let mut renderer = Renderer::with_config(&scene, RenderConfig { samples_per_axis, ..RenderConfig::default() }).unwrap();
        let cameras = [Camera::calvin_static(), Camera::calvin_gripper()];
        let mut images = [Image::default(), Image::default()];
        let light = Light::default();
        let mut round = |step: f32| {
            for (i, pose) in poses.iter_mut().enumerate() {
                *pose = at(0.1 * i as f32 + step, 0.0, 0.4);
            }
            for (camera, image) in cameras.iter().zip(&mut images) {
                renderer.render(camera, &poses, &light, image).unwrap();
            }
        };
        round(0.0);
        let before = ALLOCATIONS.get();
        for step in 1..20 {
            round(0.01 * step as f32);
        }
        assert_eq!(ALLOCATIONS.get(), before);
    }
}
