//! Recordings, read back with rerun's own decoder.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use rerun::{
    StoreKind,
    external::{re_log_encoding::DecoderApp, re_log_types::LogMsg},
    log::Chunk,
};
use reverie_rerun::{CurvePlot, Curves, Error, Level, ServoPoint, Viewer, ViewerOptions};
use reverie_schema::{
    DecodeReport, Stamp,
    scene::{Body, Form, Pose, Scene, Shape},
};

/// A folder of the test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reverie-rerun-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a file holds.
#[derive(Default)]
struct Contents {
    chunks: Vec<Chunk>,
    layout: BTreeSet<String>,
    activations: usize,
}

impl Contents {
    fn read(path: &Path) -> Self {
        let mut contents = Self::default();
        for message in DecoderApp::decode_lazy(BufReader::new(File::open(path).unwrap())) {
            match message.unwrap() {
                LogMsg::SetStoreInfo(_) => {}
                LogMsg::BlueprintActivationCommand(_) => contents.activations += 1,
                LogMsg::ArrowMsg(store, message) => {
                    let chunk = Chunk::from_arrow_msg(&message).unwrap();
                    match store.kind() {
                        StoreKind::Recording => contents.chunks.push(chunk),
                        StoreKind::Blueprint => {
                            contents.layout.insert(chunk.entity_path().to_string());
                        }
                    }
                }
            }
        }
        contents
    }

    /// Times of the rows of `entity`, nanoseconds on timeline `time` (or steps on `step`), sorted.
    fn times(&self, entity: &str) -> Vec<i64> {
        let mut times: Vec<i64> = self
            .chunks
            .iter()
            .filter(|chunk| chunk.entity_path().to_string() == entity)
            .flat_map(|chunk| chunk.timelines().values().flat_map(|column| column.times_raw().to_vec()).collect::<Vec<_>>())
            .collect();
        times.sort_unstable();
        times
    }

    fn static_entities(&self) -> BTreeSet<String> {
        self.chunks.iter().filter(|chunk| chunk.is_static()).map(|chunk| chunk.entity_path().to_string()).collect()
    }
}

fn scene() -> Scene {
    let shape = |form| Shape::plain(form, Pose::IDENTITY, [200, 200, 200, 255]);
    let body = |name: &str, forms: Vec<Form>| Body { name: name.to_owned(), shapes: forms.into_iter().map(shape).collect() };
    Scene {
        bodies: vec![
            body("table", vec![Form::Box { half_size: [0.5, 0.3, 0.2] }, Form::Sphere { radius: 0.02 }]),
            body("table/drawer", vec![Form::Box { half_size: [0.2, 0.1, 0.05] }]),
            body(
                "robot/link0",
                vec![Form::Capsule { radius: 0.05, half_height: 0.1 }, Form::Cylinder { radius: 0.1, half_height: 0.02 }],
            ),
        ],
    }
}

fn ms(milliseconds: i64) -> Stamp {
    Stamp(milliseconds * 1_000_000)
}

fn tick(milliseconds: i64) -> ServoPoint {
    let x = milliseconds as f64 * 1e-4;
    ServoPoint { stamp: ms(milliseconds), tcp_measured_in_world_m: [x, 0.0, 0.5], ..ServoPoint::default() }
}

/// One second of an episode that begins at `start_ms`: poses and decodes at 20 Hz, servo at 1 kHz.
fn play(viewer: &mut Viewer, name: &str, start_ms: i64) {
    viewer.begin_episode(name, ms(start_ms)).unwrap();
    for step in 0..20 {
        let now = start_ms + step * 50;
        let moving = Pose { translation: [0.0, step as f32 * 0.01, 0.0], ..Pose::IDENTITY };
        viewer.poses(ms(now), &[Pose::IDENTITY, moving, moving]).unwrap();
        viewer.plan(ms(now), &[[0.0; 3], [0.1; 3]]).unwrap();
        viewer.decode(ms(now), &DecodeReport { nfe: 5, decode_us: 800.0, ..DecodeReport::default() }).unwrap();
        viewer.servo(&(0..50).map(|i| tick(now + i)).collect::<Vec<_>>()).unwrap();
    }
    viewer.event(ms(start_ms + 1000), Level::Info, "done").unwrap();
}

#[test]
fn all_that_was_shown_is_in_the_file_and_nothing_else_is_beside_it() {
    let folder = Folder::new("whole");
    let path = folder.0.join("run.rrd");
    let mut viewer = Viewer::to_file(&path, &scene(), &ViewerOptions::default()).unwrap();
    // A monotonic clock does not begin at zero; the time axis does.
    play(&mut viewer, "open_drawer", 5_000_000);
    assert!(!path.exists(), "the file has its name before it is whole");
    let written = viewer.finish().unwrap().unwrap();
    assert_eq!((written.path.as_path(), written.bytes), (path.as_path(), fs::metadata(&path).unwrap().len()));
    assert_eq!(folder.names(), ["run.rrd"]);

    let contents = Contents::read(&path);
    let times = |entity: &str| contents.times(entity);
    let rows: BTreeMap<&str, usize> = [
        // One row more than samples: it ends the lines of the episode before.
        ("/plots/joints/measured", 201),
        ("/plots/joints/commanded", 201),
        ("/plots/lateness", 201),
        ("/plots/nfe", 21),
        ("/world/table", 1),
        ("/world/table/drawer", 20),
        ("/world/robot/link0", 20),
        ("/log", 2),
        ("/episode", 1),
    ]
    .into();
    for (entity, count) in rows {
        assert_eq!(times(entity).len(), count, "{entity}");
    }
    assert_eq!(*times("/log").last().unwrap(), 1_000_000_000);
    assert!((2..=12).contains(&times("/world/path").len()), "the path is drawn {} times", times("/world/path").len());
    for entity in ["/world/table/boxes", "/world/table/spheres", "/world/robot/link0/capsules", "/plots/joints/commanded"] {
        assert!(contents.static_entities().contains(entity), "{entity} is not drawn");
    }
}

#[test]
fn the_file_carries_its_layout() {
    let folder = Folder::new("layout");
    let path = folder.0.join("run.rrd");
    Viewer::to_file(&path, &scene(), &ViewerOptions::default()).unwrap().finish().unwrap();
    let contents = Contents::read(&path);
    assert_eq!(contents.activations, 1);
    for part in ["/viewport", "/time_panel"] {
        assert!(contents.layout.contains(part), "{part} is missing in {:?}", contents.layout);
    }
    for property in ["EyeControls3D", "Background", "ViewContents"] {
        assert!(contents.layout.iter().any(|entity| entity.starts_with("/view/") && entity.ends_with(property)), "{property}");
    }
}

#[test]
fn an_episode_whose_clock_begins_anew_is_put_behind_the_last() {
    let folder = Folder::new("episodes");
    let path = folder.0.join("run.rrd");
    let mut viewer = Viewer::to_file(&path, &scene(), &ViewerOptions::default()).unwrap();
    play(&mut viewer, "first", 0);
    play(&mut viewer, "second", 0);
    viewer.finish().unwrap();
    let contents = Contents::read(&path);
    assert_eq!(contents.times("/episode"), [0, 1_500_000_000]);
    let measured = contents.times("/plots/joints/measured");
    assert_eq!(measured.len(), 402);
    assert!(measured[200] < 1_000_000_000 && measured[201] == 1_500_000_000, "{} {}", measured[200], measured[201]);
    // Begun anew, the path is wiped with the plan.
    let wiped: BTreeSet<String> = contents
        .chunks
        .iter()
        .filter(|chunk| chunk.components_identifiers().any(|component| component.as_str().starts_with("Clear")))
        .map(|chunk| chunk.entity_path().to_string())
        .collect();
    assert_eq!(wiped, ["/world/path", "/world/plan"].map(str::to_owned).into());
}

#[test]
fn a_viewer_dropped_before_the_end_leaves_nothing_and_an_old_file_stays() {
    let folder = Folder::new("dropped");
    let path = folder.0.join("run.rrd");
    fs::write(&path, b"old").unwrap();
    let mut viewer = Viewer::to_file(&path, &scene(), &ViewerOptions::default()).unwrap();
    play(&mut viewer, "cut short", 0);
    drop(viewer);
    assert_eq!(folder.names(), ["run.rrd"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let folder = Folder::new("unwritable");
    for path in [folder.0.join("no/such/folder/run.rrd"), folder.0.clone()] {
        let Err(error) = Viewer::to_file(&path, &scene(), &ViewerOptions::default()) else { panic!("{path:?} was taken") };
        assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error}");
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_scene_that_cannot_be_told_apart_and_a_wrong_number_of_poses_are_refused() {
    let folder = Folder::new("scene");
    let mut twins = scene();
    twins.bodies[2].name = "table".to_owned();
    let result = Viewer::to_file(folder.0.join("a.rrd"), &twins, &ViewerOptions::default());
    assert!(matches!(result, Err(Error::BodyName { index: 2, .. })));
    let mut viewer = Viewer::to_file(folder.0.join("b.rrd"), &scene(), &ViewerOptions::default()).unwrap();
    assert!(matches!(viewer.poses(ms(0), &[Pose::IDENTITY]), Err(Error::PoseCount { expected: 3, got: 1 })));
    drop(viewer);
    assert!(folder.names().is_empty());
}

#[test]
fn no_viewer_at_the_address_is_an_error_that_names_it() {
    let url = "rerun+http://127.0.0.1:1/proxy";
    let Err(error) = Viewer::connect(url, &scene(), &ViewerOptions::default()) else { panic!("somebody answers at {url}") };
    assert!(error.to_string().contains(url), "{error}");
}

#[test]
fn curves_are_written_step_by_step() {
    let folder = Folder::new("curves");
    let path = folder.0.join("train.rrd");
    const PLOTS: &[CurvePlot] = &[
        CurvePlot { title: "Success", lines: &[("imagined", 0x66_CCEE), ("in simulation", 0xCC_BB44)] },
        CurvePlot { title: "Loss", lines: &[("loss", 0x66_CCEE)] },
    ];
    let mut curves = Curves::to_file(&path, "train", PLOTS).unwrap();
    for step in 0..250 {
        // The second line is known at every tenth step only.
        let rare = if step % 10 == 0 { 0.5 } else { f64::NAN };
        curves.point(step, &[0.1, rare, 1.0 / (step + 1) as f64]).unwrap();
    }
    curves.event(250, Level::Info, "saved").unwrap();
    curves.finish().unwrap().unwrap();
    let contents = Contents::read(&path);
    assert_eq!(contents.times("/train/1/loss"), (0..250).collect::<Vec<i64>>());
    assert_eq!(contents.times("/train/0/in_simulation"), (0..250).step_by(10).collect::<Vec<i64>>());
    assert_eq!(contents.times("/log"), [250]);
}

#[test]
fn a_disabled_viewer_takes_everything_and_writes_nothing() {
    let mut viewer = Viewer::disabled();
    play(&mut viewer, "unseen", 0);
    assert!(!viewer.is_enabled());
    assert_eq!(viewer.finish().unwrap(), None);
    assert_eq!(Curves::disabled().finish().unwrap(), None);
}
