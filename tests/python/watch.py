#!/usr/bin/env python3
"""Watch a robot's observations and a policy's chunks over zenoh, as JSON lines.

    pip install eclipse-zenoh msgpack
    python tests/python/watch.py --observations 30 --chunks 5

Prints one line per message, `{"topic": "obs" | "chunk", ...the message's fields}`, and ends as soon as it has seen as many of
each as asked for. On the way it checks what any reader relies on:

- the schema version is the one it knows;
- fields have the documented shapes;
- the numbers of a topic rise by one. A gap tells of messages that were dropped on the way, which the link is allowed to do;
  gaps are counted, and `--no-gaps` makes them a failure.

Exit code: 0 all seen and checked, 1 a message was not as it must be, 2 timeout (or a command line that can't be used).
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import time
from dataclasses import dataclass
from typing import Any

import msgpack
import zenoh

SCHEMA_VERSION = 1
N_ACT = 7
ROBOT_OBS = 15
SCENE_OBS = 24


class BadMessage(Exception):
    """A message that is not as documented."""


@dataclass
class Topic:
    """What was seen of one topic."""

    name: str
    wanted: int
    seen: int = 0
    gaps: int = 0
    last_seq: int | None = None

    @property
    def done(self) -> bool:
        return self.seen >= self.wanted

    def take(self, payload: bytes) -> dict[str, Any]:
        """Checks one payload and returns its fields."""
        try:
            fields = msgpack.unpackb(payload)
        except ValueError as error:
            raise BadMessage(f"{self.name}: no MessagePack: {error}") from error
        if not isinstance(fields, dict):
            raise BadMessage(f"{self.name}: not a map of named fields but {type(fields).__name__}")
        version = fields.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BadMessage(f"{self.name}: schema_version is {version}, this script knows {SCHEMA_VERSION}")
        CHECKS[self.name](fields)
        self._number(fields["seq"])
        self.seen += 1
        return fields

    def _number(self, seq: int) -> None:
        if self.last_seq is not None:
            if seq <= self.last_seq:
                raise BadMessage(f"{self.name}: number {seq} came after {self.last_seq}")
            self.gaps += seq - self.last_seq - 1
        self.last_seq = seq


def check_obs(fields: dict[str, Any]) -> None:
    for name, length in (("robot", ROBOT_OBS), ("scene", SCENE_OBS)):
        if len(fields[name]) != length:
            raise BadMessage(f"obs {fields['seq']}: {name} has {len(fields[name])} entries, not {length}")


def check_chunk(fields: dict[str, Any]) -> None:
    rows = fields["rows"]
    if not rows or any(len(row) != N_ACT for row in rows):
        raise BadMessage(f"chunk {fields['seq']}: rows must be a non-empty list of {N_ACT} numbers each")
    if fields["period_ns"] <= 0:
        raise BadMessage(f"chunk {fields['seq']}: period_ns is {fields['period_ns']}")


CHECKS = {"obs": check_obs, "chunk": check_chunk}


def open_session(endpoint: str) -> zenoh.Session:
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("listen/endpoints", "[]")
    config.insert_json5("connect/endpoints", json.dumps([endpoint]))
    return zenoh.open(config)


def watch(session: zenoh.Session, robot: str, topics: list[Topic], timeout_s: float) -> bool:
    """Prints messages until every topic is done; False if the time is up first."""
    # Zenoh calls back on its own threads; the checks belong on this one.
    inbox: queue.SimpleQueue[tuple[Topic, bytes]] = queue.SimpleQueue()
    subscribers = [
        session.declare_subscriber(
            f"reverie/{robot}/{topic.name}",
            lambda sample, topic=topic: inbox.put((topic, sample.payload.to_bytes())),
        )
        for topic in topics
    ]
    deadline = time.monotonic() + timeout_s
    try:
        while not all(topic.done for topic in topics):
            try:
                topic, payload = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if not topic.done:
                print(json.dumps({"topic": topic.name, **topic.take(payload)}), flush=True)
        return True
    finally:
        for subscriber in subscribers:
            subscriber.undeclare()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", default="tcp/127.0.0.1:7447", help="where the robot listens (default: %(default)s)")
    parser.add_argument("--robot", default="panda", help="the robot's name in the key expressions (default: %(default)s)")
    parser.add_argument("--observations", type=int, default=10, help="end after so many observations (default: %(default)s)")
    parser.add_argument("--chunks", type=int, default=10, help="... and so many chunks (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="give up after so many seconds (default: %(default)s)")
    parser.add_argument("--no-gaps", action="store_true", help="a number left out is a failure")
    args = parser.parse_args()

    topics = [Topic("obs", args.observations), Topic("chunk", args.chunks)]
    try:
        session = open_session(args.endpoint)
    except zenoh.ZError as error:
        print(f"cannot connect to {args.endpoint}: {error}", file=sys.stderr)
        return 2
    try:
        complete = watch(session, args.robot, topics, args.timeout)
    except (BadMessage, KeyError) as error:
        print(f"bad message: {error!r}" if isinstance(error, KeyError) else f"bad message: {error}", file=sys.stderr)
        return 1
    finally:
        session.close()

    for topic in topics:
        print(f"{topic.name}: {topic.seen} of {topic.wanted} seen, {topic.gaps} numbers left out", file=sys.stderr)
    if not complete:
        print(f"nothing more within {args.timeout} s", file=sys.stderr)
        return 2
    return 1 if args.no_gaps and any(topic.gaps for topic in topics) else 0


if __name__ == "__main__":
    sys.exit(main())
