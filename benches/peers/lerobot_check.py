"""Opens a data set with the Python package lerobot and compares it with what was recorded.

    python lerobot_check.py FOLDER [--states FILE --entries N] [--pixels FILE]

Every frame is read through LeRobotDataset. The statistics of each episode and of the data set are computed again with lerobot's own
functions and must equal the files' to 1e-6, relative to the value where that is above 1. Pixels are widened from 8 bits first, as
later versions of lerobot do: 0.4.4 squares them in 8 bits, where they overflow, and finds a standard deviation of 0. States must equal
the raw dump exactly (rows of N little-endian float32, all vector features one after another), images the raw bytes.

Prints one JSON object; exits 1 on a difference. Needs: pip install lerobot==0.4.4
"""

import argparse
import contextlib
import io
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets import compute_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image

TOLERANCE = 1e-6
INDEX_COLUMNS = ["timestamp", "frame_index", "episode_index", "index", "task_index"]


def difference(ours, theirs):
    """Largest relative difference over all statistics of a feature, and where it is."""
    worst = (0.0, None)
    for key, value in theirs.items():
        a, b = np.asarray(ours[key], np.float64), np.asarray(value, np.float64)
        if a.shape != b.shape:
            return np.inf, f"{key}: shape {a.shape} instead of {b.shape}"
        worst = max(worst, (float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))), key), key=lambda w: w[0])
    return worst


def image_stats(pngs):
    """lerobot's statistics of the sampled images; also its standard deviation as version 0.4.4 computes it."""
    files = [io.BytesIO(png) for png in pngs]
    sampled = compute_stats.sample_images(files)
    kwargs = {"axis": (0, 2, 3), "keepdims": True}
    scale = lambda stats: {k: v if k == "count" else np.squeeze(v / 255.0, axis=0) for k, v in stats.items()}
    wide = scale(compute_stats.get_feature_stats(sampled.astype(np.int64), **kwargs))
    return wide, scale(compute_stats.get_feature_stats(sampled, **kwargs))["std"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--entries", type=int, default=46)
    parser.add_argument("--pixels", type=Path)
    args = parser.parse_args()

    with contextlib.redirect_stdout(sys.stderr):
        data = LeRobotDataset("check/local", root=args.folder)
    features = data.meta.features
    vectors = [k for k, f in features.items() if f["dtype"] != "image" and k not in INDEX_COLUMNS]
    cameras = data.meta.image_keys
    report = {"frames": len(data), "episodes": data.num_episodes, "max_stat_error": 0.0, "failures": []}
    fail = report["failures"].append

    # Frames, one by one, as a training loop gets them.
    states = np.memmap(args.states, "<f4", "r").reshape(-1, args.entries) if args.states else None
    shape = tuple(features[cameras[0]]["shape"]) if cameras else None
    pixels = np.memmap(args.pixels, np.uint8, "r").reshape(-1, *shape) if args.pixels and cameras else None
    report["states_equal"] = None if states is None else True
    report["images_equal"] = None if pixels is None else True
    tasks = list(data.meta.tasks.index)
    for i in range(len(data)):
        item = data[i]
        episode = data.meta.episodes[int(item["episode_index"])]
        frame = i - episode["dataset_from_index"]
        if int(item["index"]) != i or int(item["frame_index"]) != frame or abs(float(item["timestamp"]) - frame / data.fps) > 1e-4:
            fail(f"frame {i} has the wrong indices")
        if item["task"] not in episode["tasks"] or item["task"] != tasks[int(item["task_index"])]:
            fail(f"frame {i} has the wrong task")
        if states is not None:
            row = np.concatenate([np.atleast_1d(item[k].numpy()) for k in vectors])
            if not np.array_equal(row, states[i]):
                report["states_equal"] = False
        if pixels is not None:
            # lerobot hands images out as float32 [channels, height, width] in [0, 1].
            image = np.round(item[cameras[0]].numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
            if not np.array_equal(image, pixels[i]):
                report["images_equal"] = False
    if False in (report["states_equal"], report["images_equal"]):
        fail("frames differ from what was recorded")

    # Statistics, episode by episode, as lerobot would have written them.
    table = pq.ParquetDataset(sorted((args.folder / "meta/episodes").glob("*/*.parquet"))).read().to_pylist()
    total, worst = None, (0.0, None)
    report["image_std_of_lerobot_0_4_4_max"] = 0.0
    for episode in table:
        number = episode["episode_index"]
        path = args.folder / data.meta.info["data_path"].format(
            chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"]
        )
        rows = pq.read_table(path, filters=[("episode_index", "==", number)])
        buffer = {}
        for key, feature in features.items():
            if feature["dtype"] == "image":
                continue
            values = rows[key].combine_chunks()
            # A recorder of lerobot has timestamps in double precision when it computes the statistics.
            if key == "timestamp":
                buffer[key] = np.stack([i / data.fps for i in range(episode["length"])])
            elif len(feature["shape"]) == 1 and feature["shape"][0] > 1:
                buffer[key] = np.array(values.to_pylist(), feature["dtype"])
            elif key in INDEX_COLUMNS:
                buffer[key] = values.to_numpy(zero_copy_only=False)
            else:
                buffer[key] = values.to_numpy(zero_copy_only=False).reshape(-1, 1)
        theirs = compute_stats.compute_episode_stats(buffer, features)
        for key in cameras:
            pngs = [row["bytes"] for row in rows[key].to_pylist()]
            theirs[key], overflown = image_stats(pngs)
            report["image_std_of_lerobot_0_4_4_max"] = max(report["image_std_of_lerobot_0_4_4_max"], float(overflown.max()))
        for key, stats in theirs.items():
            ours = {stat: episode[f"stats/{key}/{stat}"] for stat in stats}
            found = difference(ours, stats)
            worst = max(worst, (found[0], f"episode {number}, {key}, {found[1]}"), key=lambda w: w[0])
        total = theirs if total is None else compute_stats.aggregate_stats([total, theirs])
        # A recorder that was killed may have left one more episode in the table than info.json counts.
        if number + 1 == data.meta.total_episodes:
            counted = total
    finished = int(data.meta.stats["index"]["count"][0]) == data.meta.total_frames
    report["stats_json_ahead_by_an_unfinished_episode"] = not finished
    for key, stats in (counted if finished else total).items():
        found = difference(data.meta.stats[key], stats)
        worst = max(worst, (found[0], f"stats.json, {key}, {found[1]}"), key=lambda w: w[0])
    report["max_stat_error"], report["max_stat_error_at"] = worst
    if not worst[0] <= TOLERANCE:
        fail("statistics differ from lerobot's")

    report["failures"] = report["failures"][:20]
    print(json.dumps(report, indent=2))
    return 1 if report["failures"] else 0


sys.exit(main())
