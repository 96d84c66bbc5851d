"""Makes tests/golden/: a CALVIN split as numpy writes it, shrunk, and what numpy reads from it.

Run with numpy 1.26.4, whose pickles name the modules that CALVIN's published files name:

    python make_golden.py

numpy 2 names them differently; `python make_golden.py --numpy2` with it adds auto_lang_ann.numpy2.npy.
"""

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
TRAINING = GOLDEN / "training"
# Two recordings with a gap between them, in the random order in which CALVIN's split script leaves them.
RECORDINGS = [(1010, 1012), (1000, 1003)]
TASKS = [(1000, 1003, "open_drawer", "pull the handle to open the drawer"), (1010, 1013, "turn_on_led", "schalte die grüne LED an")]


def frame(number):
    random = np.random.default_rng(number)
    gripper = 1.0 if number % 2 else -1.0
    vector = lambda size: random.uniform(-1, 1, size)  # noqa: E731
    static = random.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    depth = random.uniform(3, 5, (8, 8)).astype(np.float32)
    return {
        "actions": np.append(vector(6), gripper),
        "rel_actions": np.append(np.clip(vector(6) * 1.5, -1, 1), gripper),
        "robot_obs": np.append(vector(14), gripper),
        "scene_obs": vector(24),
        "rgb_static": static[:, :, :3],
        "rgb_gripper": random.integers(0, 256, (4, 4, 3), dtype=np.uint8),
        "rgb_tactile": random.integers(0, 256, (4, 2, 6), dtype=np.uint8),
        # Column by column in the file of one frame.
        "depth_static": np.asfortranarray(depth) if number == 1001 else depth,
        "depth_gripper": random.uniform(0.1, 1, (4, 4)).astype(np.float32),
        "depth_tactile": random.uniform(0, 1, (4, 2, 2)).astype(np.float32),
    }


def annotations():
    number = np.int64
    return {
        "language": {
            "ann": [text for *_, text in TASKS],
            "task": [task for *_, task, _ in TASKS],
            "emb": np.random.default_rng(0).normal(size=(len(TASKS), 1, 4)).astype(np.float32),
        },
        "info": {"episodes": [], "indx": [(number(first), number(end)) for first, end, *_ in TASKS]},
    }


def main():
    lang = TRAINING / "lang_annotations"
    lang.mkdir(parents=True, exist_ok=True)
    if "--numpy2" in sys.argv:
        np.save(GOLDEN / "auto_lang_ann.numpy2.npy", annotations())
        return
    expected = {}
    for first, last in RECORDINGS:
        for number in range(first, last + 1):
            path = TRAINING / f"episode_{number:07d}.npz"
            # One frame packed, one not, as both occur in the wild.
            (np.savez if number == 1002 else np.savez_compressed)(path, **frame(number))
            with np.load(path) as read:
                # Weighted sums tell the order of the elements, too.
                weighted = lambda a: float(np.dot(a.ravel().astype(np.float64), np.arange(1, a.size + 1)))  # noqa: E731
                expected[number] = {key: weighted(read[key]) for key in read.files}
    np.save(TRAINING / "ep_start_end_ids.npy", RECORDINGS)
    np.save(TRAINING / "ep_lens.npy", [last - first + 1 for first, last in RECORDINGS])
    np.save(TRAINING / "scene_info.npy", {"calvin_scene_B": [0, 1003], "calvin_scene_D": [1004, 2000]})
    np.save(lang / "auto_lang_ann.npy", annotations())
    lines = [f"{number} {key} {total!r}" for number, row in sorted(expected.items()) for key, total in row.items()]
    (GOLDEN / "weighted_sums.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
