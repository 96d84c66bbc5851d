//! Layouts, written as the viewer's blueprint store wants them.
//!
//! `rerun::blueprint` has no setters for the eye, the background and the grid of a 3-D view, nor for a plot's axes; the archetypes
//! behind it have. A blueprint is a store of its own: containers and views are entities `container/<uuid>` and `view/<uuid>`, a
//! view's property stands below it under the archetype's name.

use rerun::{
    AsComponents, RecordingStream, RecordingStreamBuilder,
    blueprint::components::{ContainerKind, PanelState},
    external::{
        re_log_types::BlueprintActivationCommand,
        re_sdk_types::blueprint::{
            archetypes::{
                ContainerBlueprint, PanelBlueprint, TimePanelBlueprint, ViewBlueprint, ViewContents, ViewportBlueprint,
            },
            components::RootContainer,
        },
    },
    log::LogMsg,
};

use crate::Error;

/// Recordings with this id share the layout.
pub(crate) const APPLICATION_ID: &str = "reverie";

/// A layout: what is where, and the timeline that is shown.
pub(crate) struct Layout {
    pub(crate) root: Node,
    pub(crate) timeline: &'static str,
}

/// A part of the screen.
pub(crate) enum Node {
    /// Side by side or one above the other, each with its share of the room.
    Split {
        kind: ContainerKind,
        children: Vec<(f32, Node)>,
    },
    /// One behind the other, the first in front.
    Tabs(Vec<Node>),
    View(View),
}

/// One view of the data.
pub(crate) struct View {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    pub(crate) origin: &'static str,
    pub(crate) contents: &'static [&'static str],
    pub(crate) properties: Vec<(&'static str, Box<dyn AsComponents>)>,
}

impl Layout {
    /// Sends the layout ahead of the data, and makes it the one that is shown.
    pub(crate) fn send(&self, recording: &RecordingStream) -> Result<(), Error> {
        let messages = self.messages().map_err(|reason| Error::Log { entity: "blueprint".to_owned(), reason })?;
        let Some(LogMsg::SetStoreInfo(store)) = messages.first() else {
            return Err(Error::Log { entity: "blueprint".to_owned(), reason: "the store has no head".to_owned() });
        };
        let blueprint_id = store.info.store_id.clone();
        recording.send_blueprint(messages, BlueprintActivationCommand { blueprint_id, make_active: true, make_default: true });
        Ok(())
    }

    fn messages(&self) -> Result<Vec<LogMsg>, String> {
        let (store, storage) =
            RecordingStreamBuilder::new(APPLICATION_ID).enabled(true).blueprint().memory().map_err(|error| error.to_string())?;
        store.set_log_time_enabled(false);
        store.set_time_sequence("blueprint", 0);
        let mut writer = Writer { store, last_id: 0 };
        let root = writer.node(&self.root)?;
        let collapsed = PanelBlueprint::new().with_state(PanelState::Collapsed);
        writer.log(
            "viewport",
            &ViewportBlueprint::new()
                .with_root_container(RootContainer(root.bytes.into()))
                .with_auto_layout(false)
                .with_auto_views(false),
        )?;
        writer.log("blueprint_panel", &collapsed)?;
        writer.log("selection_panel", &collapsed)?;
        writer.log("time_panel", &TimePanelBlueprint::new().with_state(PanelState::Collapsed).with_timeline(self.timeline))?;
        Ok(storage.take())
    }
}

/// Where a node was written.
struct Placed {
    path: String,
    bytes: [u8; 16],
}

struct Writer {
    store: RecordingStream,
    last_id: u128,
}

impl Writer {
    fn node(&mut self, node: &Node) -> Result<Placed, String> {
        match node {
            Node::View(view) => self.view(view),
            Node::Split { kind, children } => {
                let contents = self.nodes(children.iter().map(|(_, child)| child))?;
                let shares = children.iter().map(|(share, _)| *share);
                let container = ContainerBlueprint::new(*kind).with_contents(contents);
                self.container(&match kind {
                    ContainerKind::Horizontal => container.with_col_shares(shares),
                    _ => container.with_row_shares(shares),
                })
            }
            Node::Tabs(children) => {
                let contents = self.nodes(children)?;
                let front = contents.first().cloned();
                let container = ContainerBlueprint::new(ContainerKind::Tabs).with_contents(contents);
                self.container(&match front {
                    Some(front) => container.with_active_tab(front),
                    None => container,
                })
            }
        }
    }

    fn nodes<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>) -> Result<Vec<String>, String> {
        nodes.into_iter().map(|node| Ok(self.node(node)?.path)).collect()
    }

    fn container(&mut self, container: &ContainerBlueprint) -> Result<Placed, String> {
        let placed = self.place("container");
        self.log(&placed.path, container)?;
        Ok(placed)
    }

    fn view(&mut self, view: &View) -> Result<Placed, String> {
        let placed = self.place("view");
        self.log(&placed.path, &ViewBlueprint::new(view.class).with_display_name(view.name).with_space_origin(view.origin))?;
        self.log(&format!("{}/ViewContents", placed.path), &ViewContents::new(view.contents.iter().copied()))?;
        for (name, property) in &view.properties {
            self.log(&format!("{}/{name}", placed.path), property.as_ref())?;
        }
        Ok(placed)
    }

    /// Ids only have to differ within the layout; counted, they are the same each time.
    fn place(&mut self, kind: &str) -> Placed {
        self.last_id += 1;
        let hex = format!("{:032x}", self.last_id);
        let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        Placed { path: format!("{kind}/{uuid}"), bytes: self.last_id.to_be_bytes() }
    }

    fn log(&self, entity: &str, what: &dyn AsComponents) -> Result<(), String> {
        self.store.log(entity, what).map_err(|error| format!("{entity}: {error}"))
    }
}
