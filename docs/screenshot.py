#!/usr/bin/env python3
"""Take a picture of a recording, without a screen.

    pip install rerun-sdk==0.36.3
    apt-get install mesa-vulkan-drivers libvulkan1     # a Vulkan driver in software, where there is no GPU
    python docs/screenshot.py demo.rrd docs/viewer.png --time 12.5

Starts a viewer without a window that listens on this machine only, shows the recording in the layout that it carries, and
saves what is seen at the given time.

A viewer puts its time cursor to the newest data of a live stream, and to nowhere in particular in a file. So the file only
brings the layout, and its rows up to the wanted time are streamed.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import rerun as rr
import rerun_cli
from rerun.experimental import Chunk, RrdReader, ViewerClient, send_chunks

TIMELINE = "time"
PATIENCE_S = 60.0


def until(recording: Path, end_s: float | None) -> Iterator[Chunk]:
    """The recording's chunks without the rows after `end_s` seconds."""
    for chunk in RrdReader(recording).stream():
        if chunk.is_static or end_s is None or TIMELINE not in chunk.timeline_names:
            yield chunk
            continue
        rows = chunk.to_record_batch()
        end = pa.scalar(round(end_s * 1e9), pa.duration("ns"))
        kept = rows.filter(pc.less_equal(rows.column(TIMELINE), end))
        if kept.num_rows:
            yield from Chunk.from_record_batch(kept)


def application_id(recording: Path) -> str:
    entries = RrdReader(recording).recordings()
    if not entries:
        sys.exit(f"{recording} holds no recording")
    return entries[0].application_id


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, viewer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if viewer.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit("the viewer does not start; is there a Vulkan driver (apt-get install mesa-vulkan-drivers libvulkan1)?")


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            sys.exit(f"the viewer wrote no {path}")
        time.sleep(0.2)
    # It is written in one go, but not at once.
    time.sleep(1.0)


def take(recording: Path, picture: Path, size: str, end_s: float | None, settle_s: float) -> None:
    port = free_port()
    url = f"rerun+http://127.0.0.1:{port}/proxy"
    # The `rerun` script in front of it would leave the viewer behind when it is ended.
    program = Path(rerun_cli.__file__).with_name("rerun")
    command = [str(program), "--headless", "--bind", "127.0.0.1", "--port", str(port), "--window-size", size]
    command += ["--hide-welcome-screen", str(recording)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as viewer:
        try:
            wait_for_port(port, viewer)
            stream = rr.RecordingStream(application_id(recording), recording_id=f"screenshot-{port}")
            stream.connect_grpc(url)
            send_chunks(until(recording, end_s), recording=stream)
            stream.flush()
            stream.disconnect()
            # Notices fade, views find their ranges.
            time.sleep(settle_s)
            picture.unlink(missing_ok=True)
            ViewerClient.connect(url).save_screenshot(str(picture.resolve()))
            wait_for_file(picture)
        finally:
            viewer.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path, help="the .rrd file")
    parser.add_argument("picture", type=Path, help="the .png file to write")
    parser.add_argument("--time", type=float, help=f"seconds on the timeline '{TIMELINE}' (default: the end)")
    parser.add_argument("--size", default="1600x1000", help="of the picture, pixels (default: %(default)s)")
    parser.add_argument("--settle", type=float, default=8.0, help="seconds between data and picture (default: %(default)s)")
    args = parser.parse_args()
    if not args.recording.is_file():
        sys.exit(f"{args.recording}: no such file")
    take(args.recording, args.picture, args.size, args.time, args.settle)
    print(args.picture)


if __name__ == "__main__":
    main()
