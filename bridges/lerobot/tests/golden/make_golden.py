"""Writes the golden files of this folder with lerobot 0.4.4: pip install lerobot==0.4.4, then python make_golden.py.

`set/` is a small data set; `stats.json` holds lerobot's own statistics of episodes that a test can generate again.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset

HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
SIZE = 16


def pixels(episode, frame):
    """Integers that the test computes too."""
    y, x, c = np.meshgrid(np.arange(SIZE), np.arange(SIZE), np.arange(3), indexing="ij")
    return ((y * 13 + x * 7 + c * 50 + frame * 31 + episode * 101) % 256).astype(np.uint8)


def make_set(root):
    shutil.rmtree(root, ignore_errors=True)
    features = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "z"]},
        "observation.images.static": {"dtype": "image", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": {"axes": ["dx", "dy"]}},
        "next.reward": {"dtype": "float64", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    }
    data = LeRobotDataset.create("golden/set", 30, features, root=root, robot_type="panda", use_videos=False)
    for episode, length in enumerate([3, 5]):
        for frame in range(length):
            data.add_frame(
                {
                    "observation.state": np.array([frame, episode, -0.5 * frame], np.float32),
                    "observation.images.static": pixels(episode, frame),
                    "action": np.array([0.25 * frame, -1.0], np.float32),
                    "next.reward": np.array([frame / 8], np.float64),
                    "next.done": np.array([frame == length - 1]),
                    "task": ["push the block", "open the drawer"][episode],
                }
            )
        data.save_episode()
    data.finalize()
    shutil.rmtree(root / "images", ignore_errors=True)


class Lcg:
    """Knuth's generator, with the upper 24 bits as a number in [-1, 1)."""

    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.x >> 40) / 2**23 - 1


def make_stats(path):
    """Vectors of three sizes and two precisions, integers; lengths on both sides of numpy's buffer of 8192."""
    features = {
        "vector": {"dtype": "float32", "shape": (3,)},
        "scalar": {"dtype": "float32", "shape": (1,)},
        "double": {"dtype": "float64", "shape": (2,)},
        "integer": {"dtype": "int64", "shape": (1,)},
        "timestamp": {"dtype": "float32", "shape": (1,)},
        "index": {"dtype": "int64", "shape": (1,)},
    }
    random, episodes, start = Lcg(5), [], 0
    for length in [1, 2, 9, 130, 9001]:
        rows = [[random.next() for _ in range(7)] for _ in range(length)]
        rows = np.array(rows)
        data = {
            # The second entry is constant, the third has a small spread around a large mean.
            "vector": np.stack([rows[:, 0], np.full(length, 0.7), 40 + rows[:, 1] / 64], axis=1).astype(np.float32),
            "scalar": (3 * rows[:, 2:3]).astype(np.float32),
            "double": 5 * rows[:, 3:5],
            "integer": np.floor(1000 * rows[:, 5:6]).astype(np.int64),
            "timestamp": np.stack([i / 30 for i in range(length)]),
            "index": np.arange(start, start + length),
        }
        start += length
        episodes.append(compute_episode_stats(data, features))
    total = episodes[0]
    for episode in episodes[1:]:
        total = aggregate_stats([total, episode])
    plain = lambda stats: {f: {k: v.tolist() for k, v in s.items()} for f, s in sorted(stats.items())}
    path.write_text(json.dumps({"episodes": [plain(e) for e in episodes], "total": plain(total)}, indent=1) + "\n")


make_set(HERE / "set")
make_stats(HERE / "stats.json")
