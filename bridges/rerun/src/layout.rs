//! What stands where on the screen.

use rerun::{
    AsComponents,
    blueprint::components::{BackgroundKind, ContainerKind, Corner2D, LinkAxis},
    external::re_sdk_types::blueprint::{
        archetypes::{Background, EyeControls3D, LineGrid3D, PlotLegend, TextLogColumns, TimeAxis},
        datatypes::{TextLogColumn, TextLogColumnKind, TimelineColumn},
    },
};

use crate::{
    CurvePlot, Plots, ViewerOptions,
    blueprint::{Layout, Node, View},
    servo::opaque,
};

/// Timeline of rollouts.
pub(crate) const TIME: &str = "time";
/// Timeline of training.
pub(crate) const STEP: &str = "step";
/// Text log of either.
pub(crate) const LOG: &str = "log";

/// 3-D left, plots right, the text log below.
pub(crate) fn rollout(options: &ViewerOptions) -> Layout {
    let mut children = Vec::new();
    if !options.cameras.is_empty() {
        let camera = |&(name, origin): &(&'static str, &'static str)| {
            (1.0, Node::View(View { class: "2D", name, origin, contents: &["$origin/**"], properties: Vec::new() }))
        };
        let all = options.cameras.iter().map(camera).collect();
        children.push((2.2, Node::Split { kind: ContainerKind::Horizontal, children: all }));
    }
    children.push((2.2, plot("Joints, rad", "/plots/joints", Legend::Shown)));
    children.push((1.0, plot("Gripper, mm", "/plots/gripper", Legend::Shown)));
    if options.plots == Plots::Servo {
        children.extend([
            (1.0, plot("Tracking error, mm", "/plots/tracking", Legend::Hidden)),
            (
                1.0,
                Node::Tabs(vec![
                    plot("Decode time, ms", "/plots/decode_ms", Legend::Hidden),
                    plot("Network evaluations", "/plots/nfe", Legend::Hidden),
                ]),
            ),
            (1.0, plot("Servo lateness, µs", "/plots/lateness", Legend::Hidden)),
        ]);
    }
    let plots = Node::Split { kind: ContainerKind::Vertical, children };
    let above = Node::Split { kind: ContainerKind::Horizontal, children: vec![(3.0, world(options)), (2.0, plots)] };
    Layout {
        root: Node::Split { kind: ContainerKind::Vertical, children: vec![(5.0, above), (1.0, events(TIME))] },
        timeline: TIME,
    }
}

/// Where the curves of each plot lie.
pub(crate) const CURVE_ORIGINS: [&str; MOST_PLOTS] = ["/train/0", "/train/1", "/train/2", "/train/3", "/train/4", "/train/5"];
/// Most plots of training curves.
pub const MOST_PLOTS: usize = 6;

/// Plots one above the other, the text log below.
pub(crate) fn curves(plots: &[CurvePlot]) -> Layout {
    let legend = |plot: &CurvePlot| if plot.lines.len() > 1 { Legend::Shown } else { Legend::Hidden };
    let mut children: Vec<(f32, Node)> =
        plots.iter().zip(CURVE_ORIGINS).map(|(p, origin)| (2.0, plot(p.title, origin, legend(p)))).collect();
    children.push((1.0, events(STEP)));
    Layout { root: Node::Split { kind: ContainerKind::Vertical, children }, timeline: STEP }
}

/// A legend covers what is below it; a single line needs none, the plot has its name.
enum Legend {
    Shown,
    Hidden,
}

fn plot(name: &'static str, origin: &'static str, legend: Legend) -> Node {
    let legend = PlotLegend::new().with_corner(Corner2D::LeftTop).with_visible(matches!(legend, Legend::Shown));
    let properties: Vec<(&'static str, Box<dyn AsComponents>)> = vec![
        // Zooming one plot zooms the others.
        ("TimeAxis", Box::new(TimeAxis::new().with_link(LinkAxis::LinkToGlobal))),
        ("PlotLegend", Box::new(legend)),
    ];
    Node::View(View { class: "TimeSeries", name, origin, contents: &["$origin/**"], properties })
}

fn events(timeline: &'static str) -> Node {
    let column = |kind| TextLogColumn { visible: true.into(), kind };
    let columns = TextLogColumns::new()
        .with_timeline_columns([TimelineColumn { visible: true.into(), timeline: timeline.into() }])
        .with_text_log_columns([column(TextLogColumnKind::LogLevel), column(TextLogColumnKind::Body)]);
    Node::View(View {
        class: "TextLog",
        name: "Events",
        origin: "/log",
        contents: &["$origin/**"],
        properties: vec![("TextLogColumns", Box::new(columns))],
    })
}

fn world(options: &ViewerOptions) -> Node {
    let eye = EyeControls3D::new()
        .with_position(options.eye_in_world_m)
        .with_look_target(options.look_at_in_world_m)
        .with_eye_up([0.0, 0.0, 1.0]);
    let properties: Vec<(&'static str, Box<dyn AsComponents>)> = vec![
        ("EyeControls3D", Box::new(eye)),
        ("Background", Box::new(Background::new(BackgroundKind::SolidColor).with_color(opaque(0x1E_2126)))),
        ("LineGrid3D", Box::new(LineGrid3D::new().with_visible(true).with_spacing(0.25).with_color(opaque(0x3A_3F47)))),
    ];
    Node::View(View { class: "3D", name: "World", origin: "/world", contents: &["$origin/**"], properties })
}
