//! Two ends in one process, over TCP on this machine.
#![allow(clippy::unwrap_used)]

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use reverie_schema::{
    Action, ActionChunk, Control, EpisodeEvent, GripperCommand, Observation, ROBOT_OBS, SCENE_OBS, Stamp, Status, Versioned,
};
use reverie_zenoh::{Error, Inbox, LinkConfig, PolicyLink, RobotLink, wire::Message};
use zenoh::Wait;

/// For what must come; reached only when it does not.
const PATIENCE: Duration = Duration::from_secs(20);

fn free_endpoint() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp/127.0.0.1:{port}")
}

fn robot_at(endpoint: &str) -> LinkConfig {
    LinkConfig { listen: vec![endpoint.to_owned()], ..LinkConfig::default() }
}

fn connected() -> (RobotLink, PolicyLink, String) {
    let endpoint = free_endpoint();
    let robot = RobotLink::open(&robot_at(&endpoint)).unwrap();
    let policy = PolicyLink::open(&LinkConfig::connecting_to(&endpoint)).unwrap();
    assert!(policy.wait_for_robot(PATIENCE).unwrap() && robot.wait_for_policy(PATIENCE).unwrap());
    (robot, policy, endpoint)
}

/// A zenoh session that is no link of ours.
fn stranger(endpoint: &str) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", "\"client\"".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("listen/endpoints", "[]".to_owned()),
        ("connect/endpoints", format!("[\"{endpoint}\"]")),
    ] {
        config.insert_json5(key, &value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

fn observation(seq: u64) -> Observation {
    Observation { seq, stamp: Stamp(seq as i64), robot: [0.5; ROBOT_OBS], scene: [-0.5; SCENE_OBS] }
}

fn receive<T: Message>(inbox: &Inbox<T>) -> T {
    inbox.recv_timeout(PATIENCE).unwrap().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_topic_goes_round() {
    let (robot, policy, _) = connected();

    robot.publish_obs(&observation(1)).unwrap();
    assert_eq!(receive(policy.obs()), observation(1));

    let rows = [Action([0.1; 7]), Action::hold(GripperCommand::Close)];
    let mut chunk = ActionChunk::from_rows(Stamp(9), &rows).unwrap();
    (chunk.seq, chunk.obs_seq) = (4, 1);
    policy.publish_chunk(&chunk).unwrap();
    assert_eq!(receive(robot.chunks()), chunk);

    let order = Control::Reset { seq: 1, task: "open_drawer".to_owned(), seed: 7, max_steps: 360 };
    policy.send_control(&order).unwrap();
    policy.send_control(&Control::Stop { seq: 2 }).unwrap();
    assert_eq!((receive(robot.controls()), receive(robot.controls())), (order, Control::Stop { seq: 2 }));

    let event = EpisodeEvent::Started { seq: 1, task: "open_drawer".to_owned(), stamp: Stamp(3) };
    robot.publish_episode(&event).unwrap();
    assert_eq!(receive(policy.episodes()), event);

    let status = Status { seq: 5, chunk_seq: 4, ..Status::default() };
    robot.publish_status(&status).unwrap();
    assert_eq!(receive(policy.status()), status);
}

#[test]
fn a_slow_policy_sees_the_newest_observation_only_and_knows_what_it_missed() {
    let (robot, policy, _) = connected();
    robot.publish_obs(&observation(10)).unwrap();
    receive(policy.obs());
    for seq in 11..=40 {
        robot.publish_obs(&observation(seq)).unwrap();
    }
    // Nothing to wait for: whatever is taken out early is not overtaken.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(receive(policy.obs()).seq, 40);
    assert_eq!(policy.obs().try_recv().unwrap(), None);
    let counts = policy.obs().counts();
    assert_eq!((counts.received, counts.skipped, counts.rejected), (2, 29, 0));
}

#[test]
fn orders_do_not_overtake_each_other() {
    let (robot, policy, _) = connected();
    for seq in 0..50 {
        policy.send_control(&Control::Stop { seq }).unwrap();
    }
    let got: Vec<Control> = (0..50).map(|_| receive(robot.controls())).collect();
    assert_eq!(got, (0..50).map(|seq| Control::Stop { seq }).collect::<Vec<_>>());
}

#[test]
fn garbage_and_another_version_are_errors_with_the_key_and_the_link_goes_on() {
    let (robot, policy, endpoint) = connected();
    let stranger = stranger(&endpoint);
    let publisher = stranger.declare_publisher("reverie/panda/control").wait().unwrap();
    until("the stranger is connected", || publisher.matching_status().wait().unwrap().matching());

    publisher.put(b"\xc1 this is no message".as_slice()).wait().unwrap();
    let error = robot.controls().recv_timeout(PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Decode { key, .. } if key == "reverie/panda/control"), "{error}");

    let newer = Versioned { schema_version: 99, body: Control::Stop { seq: 1 } };
    publisher.put(rmp_serde::to_vec_named(&newer).unwrap()).wait().unwrap();
    let error = robot.controls().recv_timeout(PATIENCE).unwrap_err();
    assert!(matches!(error, Error::SchemaVersion { expected: 1, got: 99, .. }), "{error}");

    policy.send_control(&Control::Stop { seq: 3 }).unwrap();
    assert_eq!(receive(robot.controls()), Control::Stop { seq: 3 });
    assert_eq!(robot.controls().counts().rejected, 2);
}

#[test]
fn a_port_in_use_is_named() {
    let endpoint = free_endpoint();
    let _first = RobotLink::open(&robot_at(&endpoint)).unwrap();
    let Err(error) = RobotLink::open(&robot_at(&endpoint)) else { panic!("two robots listen on {endpoint}") };
    assert!(matches!(&error, Error::PortInUse { endpoint: named } if *named == endpoint), "{error}");
    assert!(error.to_string().contains(&endpoint));
}

#[test]
fn a_policy_that_goes_is_noticed_and_its_successor_is_heard() {
    let (robot, policy, endpoint) = connected();
    assert_eq!((robot.policy().count(), robot.policy().departures()), (1, 0));
    drop(policy);
    until("the departure", || !robot.policy().is_alive());
    assert_eq!(robot.policy().departures(), 1);

    let successor = PolicyLink::open(&LinkConfig::connecting_to(&endpoint)).unwrap();
    until("the successor", || robot.policy().is_alive());
    assert!(successor.wait_for_robot(PATIENCE).unwrap());
    successor.send_control(&Control::Stop { seq: 8 }).unwrap();
    assert_eq!(receive(robot.controls()), Control::Stop { seq: 8 });
    assert_eq!((robot.policy().arrivals(), robot.policy().departures()), (2, 1));
}

#[test]
fn a_robot_that_starts_later_is_found() {
    let endpoint = free_endpoint();
    let policy = PolicyLink::open(&LinkConfig::connecting_to(&endpoint)).unwrap();
    assert!(!policy.wait_for_robot(Duration::from_millis(50)).unwrap());
    let robot = RobotLink::open(&robot_at(&endpoint)).unwrap();
    assert!(policy.wait_for_robot(PATIENCE).unwrap());
    until("the policy's token", || robot.policy().is_alive());
}

#[test]
fn robots_of_another_name_do_not_hear_each_other() {
    let (robot, policy, endpoint) = connected();
    let other = PolicyLink::open(&LinkConfig { robot: "ur5".to_owned(), ..LinkConfig::connecting_to(&endpoint) }).unwrap();
    other.send_control(&Control::Stop { seq: 99 }).unwrap();
    thread::sleep(Duration::from_millis(300));
    policy.send_control(&Control::Stop { seq: 1 }).unwrap();
    assert_eq!(receive(robot.controls()), Control::Stop { seq: 1 });
    assert_eq!(robot.policy().count(), 1);
}
