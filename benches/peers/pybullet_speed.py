"""Speed of PyBullet on the content of a CALVIN world: its Panda, a table, three blocks, CALVIN's motors and cameras.

Prints one JSON object. `cargo xtask peers pybullet` installs PyBullet, runs this, and keeps the output.

What is simulated, so that another engine can mirror it (SI units, world frame):

* 240 steps a second, gravity -9.8 along z, PyBullet's solver defaults, `deterministicOverlappingPairs=1` as in CALVIN.
* `franka_panda/panda.urdf` of pybullet_data, fixed at BASE, starting at HOME with open fingers. Fingers coupled by CALVIN's gear
  constraint. Motors as in CALVIN's robot.py: arm to a position with 200 N m and at most 2 rad/s, fingers with 2 N to 0.04 m or
  with 200 N to 0 m, at most 1 m/s; sent again before every step.
* `table/table.urdf` scaled by 0.8 (a box of 1.2 x 0.8 x 0.04 m), its top at TABLE_TOP and its front edge, which the robot stands
  before, at TABLE_FRONT, friction 0.5; `plane.urdf` as the floor. Three blocks of 1 kg, {0.056, 0.04, 0.08} x 0.04 x 0.04 m along
  x, y, z, friction 0.7 (0.001 spinning), at rest on the table.
* Phase "sweep": every arm joint follows HOME + SWEEP_RAD * sin(2 pi t / SWEEP_S + joint index), hand above the blocks.
* Phase "hold": the first block is put between the fingers at HOME, they close on it for a second without gravity and a second
  with it, and then the same motion with a quarter of the amplitude carries it.

Runs on one core. Each figure is measured `--repeat` times and reported for the fastest repeat (by its median), which other
programs disturbed least. An image takes longer than a time slice of the scheduler: on a busy machine give `--clock cpu`, which
counts only while this process runs; on an idle one both clocks agree.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time

import numpy
import pybullet as p
import pybullet_data

HZ = 240
SUB_STEPS = 8
BASE = (-0.34, -0.46, 0.24)
HOME = (-1.218, 1.040, 2.120, -2.342, -0.870, 1.641, 0.553)
TABLE_TOP, TABLE_FRONT = 0.44, -0.18
BLOCKS = ((0.056, (0.05, -0.12)), (0.04, (0.15, -0.08)), (0.08, (0.26, -0.12)))
BLOCK_SIDE = 0.04
SWEEP_RAD, SWEEP_S = 0.15, 4.0
ARM, FINGERS, HAND, TCP = range(7), (9, 10), 8, 11
WARM_UP = 480


class World:
    """The scene, in PyBullet's DIRECT mode."""

    def __init__(self):
        self.cid = p.connect(p.DIRECT)
        p.setAdditionalSearchPath(pybullet_data.getDataPath())
        p.setPhysicsEngineParameter(deterministicOverlappingPairs=1)
        p.setTimeStep(1.0 / HZ)
        p.setGravity(0, 0, -9.8)
        p.loadURDF("plane.urdf")
        # Its top is at 0.625 m, its collision box 1.5 x 1 m.
        place = [0, TABLE_FRONT + 0.8 * 0.5, TABLE_TOP - 0.8 * 0.625]
        self.table = p.loadURDF("table/table.urdf", place, globalScaling=0.8, useFixedBase=True)
        p.changeDynamics(self.table, -1, lateralFriction=0.5)
        self.robot = p.loadURDF("franka_panda/panda.urdf", BASE, useFixedBase=True)
        gear = p.createConstraint(self.robot, FINGERS[0], self.robot, FINGERS[1], p.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0])
        p.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50)
        for joint in ARM:
            p.resetJointState(self.robot, joint, HOME[joint])
        for joint in FINGERS:
            p.resetJointState(self.robot, joint, 0.04)
        self.blocks = [self.block(length, xy) for length, xy in BLOCKS]
        self.time_s = 0.0
        self.center, self.amplitude, self.closed = HOME, SWEEP_RAD, False

    @staticmethod
    def block(length, xy):
        half = [length / 2, BLOCK_SIDE / 2, BLOCK_SIDE / 2]
        shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=half)
        look = p.createVisualShape(p.GEOM_BOX, halfExtents=half, rgbaColor=[0.8, 0.1, 0.1, 1])
        body = p.createMultiBody(1.0, shape, look, [*xy, TABLE_TOP + BLOCK_SIDE / 2])
        p.changeDynamics(body, -1, lateralFriction=0.7, spinningFriction=0.001)
        return body

    def step(self):
        """Motor commands and one step."""
        angle = 2 * math.pi * self.time_s / SWEEP_S
        for joint in ARM:
            p.setJointMotorControl2(
                bodyIndex=self.robot,
                jointIndex=joint,
                controlMode=p.POSITION_CONTROL,
                force=200,
                targetPosition=self.center[joint] + self.amplitude * math.sin(angle + joint),
                maxVelocity=2,
            )
        for joint in FINGERS:
            p.setJointMotorControl2(
                bodyIndex=self.robot,
                jointIndex=joint,
                controlMode=p.POSITION_CONTROL,
                targetPosition=0.0 if self.closed else 0.04,
                force=200 if self.closed else 2,
                maxVelocity=1,
            )
        p.stepSimulation()
        self.time_s += 1.0 / HZ

    def grasp(self):
        """Puts the first block between the fingers, closes them, and checks that it hangs there."""
        self.amplitude = 0.0
        for joint in ARM:
            p.resetJointState(self.robot, joint, HOME[joint])
        position, orientation = p.getLinkState(self.robot, TCP, computeForwardKinematics=True)[4:6]
        # Long side across the fingers' motion, which is along the hand's y.
        p.resetBasePositionAndOrientation(self.blocks[0], position, orientation)
        self.closed = True
        p.setGravity(0, 0, 0)
        for _ in range(HZ):
            self.step()
        p.setGravity(0, 0, -9.8)
        for _ in range(HZ):
            self.step()
        self.amplitude, self.time_s = SWEEP_RAD / 4, 0.0

    def holds(self):
        """Whether the first block touches both fingers."""
        return all(p.getContactPoints(self.blocks[0], self.robot, -1, finger) for finger in FINGERS)

    def observe(self):
        """What CALVIN reads after a control step: TCP, joints, blocks."""
        tcp = p.getLinkState(self.robot, TCP)
        joints = p.getJointStates(self.robot, [*ARM, *FINGERS])
        blocks = [p.getBasePositionAndOrientation(block) for block in self.blocks]
        return tcp, joints, blocks

    @staticmethod
    def static_camera(size):
        view = p.computeViewMatrix((2.8715, -2.1666, 2.5552), (-0.0262, -0.0302, 0.3920), (0.4041, 0.2263, 0.8863))
        return image(size, view, p.computeProjectionMatrixFOV(10, 1, 0.01, 10))

    def gripper_camera(self, size):
        hand = p.getLinkState(self.robot, HAND)[4:6]
        eye, orientation = p.multiplyTransforms(*hand, (-0.1, 0, 0), p.getQuaternionFromEuler((1.3, 0, -1.57)))
        axes = numpy.array(p.getMatrixFromQuaternion(orientation)).reshape(3, 3)
        view = p.computeViewMatrix(eye, eye + axes[:, 1], -axes[:, 2])
        return image(size, view, p.computeProjectionMatrixFOV(75, 1, 0.01, 2))


def image(size, view, projection):
    """Colour and depth, as CALVIN takes them; the segmentation mask is switched off, which only makes PyBullet faster."""
    flags = p.ER_NO_SEGMENTATION_MASK
    _, _, color, depth, _ = p.getCameraImage(size, size, view, projection, renderer=p.ER_TINY_RENDERER, flags=flags)
    return numpy.reshape(color, (size, size, 4))[:, :, :3], numpy.reshape(depth, (size, size))


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(run, count, clock):
    """Seconds of each call."""
    seconds = []
    for _ in range(count):
        begin = clock()
        run()
        seconds.append(clock() - begin)
    return seconds


def best(repeats, scale):
    """Of the repeat with the lowest median."""
    seconds = min(repeats, key=statistics.median)
    figures = {"p50": statistics.median(seconds), "mean": statistics.fmean(seconds), "min": min(seconds)}
    return {name: round(scale * value, 4) for name, value in figures.items()}


def measure(steps, repeat, clock):
    world = World()
    for _ in range(WARM_UP):
        world.step()
    result = {"step_us": {}, "camera_ms": {}}
    result["step_us"]["sweep"] = best([timed(world.step, steps, clock) for _ in range(repeat)], 1e6)

    images = max(10, steps // 100)
    for name, take in [("static", world.static_camera), ("gripper", world.gripper_camera)]:
        for size in (64, 84, 200):
            take(size)
            repeats = [timed(lambda: take(size), images, clock) for _ in range(repeat)]
            result["camera_ms"][f"{name}_{size}"] = best(repeats, 1e3)

    def control_step():
        for _ in range(SUB_STEPS):
            world.step()
        world.static_camera(200)
        world.gripper_camera(84)
        world.observe()

    result["control_step_ms"] = best([timed(control_step, images, clock) for _ in range(repeat)], 1e3)
    result["observe_us"] = best([timed(world.observe, steps, clock) for _ in range(repeat)], 1e6)

    world.grasp()
    if not world.holds():
        sys.exit("pybullet_speed.py: the gripper does not hold the block: its figure would not be of a grasp")
    result["step_us"]["hold"] = best([timed(world.step, steps, clock) for _ in range(repeat)], 1e6)
    if not world.holds():
        sys.exit("pybullet_speed.py: the block fell in the hold phase: its figure would not be of a grasp")
    return result


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="steps measured in each repeat (default 3000)")
    parser.add_argument("--repeat", type=int, default=5, help="repeats, of which the fastest counts (default 5)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="wall, or on a busy machine cpu: the time that this process ran (default wall)"
    )
    options = parser.parse_args()
    if options.steps < 1 or options.repeat < 1:
        parser.error("--steps and --repeat must be at least 1")
    if hasattr(os, "sched_setaffinity"):
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    from importlib.metadata import version

    result = {
        "program": "pybullet",
        "version": version("pybullet"),
        "cpu": cpu_model(),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "steps": options.steps,
        "repeat": options.repeat,
        "clock": options.clock,
        "statistic": "of the repeat with the lowest median",
        **measure(options.steps, options.repeat, CLOCKS[options.clock]),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
