"""Times one evaluation of a noise-predicting network on OpenVINO and ONNX Runtime, on the weights of our checkpoints.

A server on standard input and output, so that the asker can take turns with it. It prints
    {"ready": true, "versions": {...}, "backends": [...]}
and then answers each line. {"backend": B, "checkpoint": i, "batch": n, "seconds": s} runs that backend for s seconds:
    {"evaluations": ..., "p50_us": ..., "p99_us": ..., "max_us": ...}
{"evaluate": B, "checkpoint": i, "x": [...], "label": t, "cond": [...]} evaluates once, batch 1: {"eps": [...]}.
What goes wrong is answered as {"error": "..."}.

Each backend runs two graphs of the same weights. The plain one is the network as an export of the module gives it: noise level
and condition go in at every evaluation, Softplus-Tanh-Mul for Mish, 1-D convolutions. The other (`..._tuned`) is the fastest
that was found for the peer (roughly, on two cores of Zen 4, U-Nets of 5, 18 and 66 million parameters):
* FiLM's scales and biases, which do not change within a tick, are an input.
* Mish is x n / (n + 2) with n = e^x (e^x + 2): a tenth to a third less time on OpenVINO; the operator Mish gains nothing.
* On ONNX Runtime, convolutions are a Gather of rows and a Gemm, channels last: 0.45 to 0.65 of the time with its Conv. On
  OpenVINO they stay 1-D convolutions: 2-D ones take a tenth to a third longer, Gather and Gemm up to a third longer in bf16
  (and as long in f32).
Group norm is InstanceNormalization in all; the operator GroupNormalization gains nothing.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

BACKENDS = [name + graph for name in ("openvino_f32", "openvino_bf16", "onnxruntime_f32") for graph in ("", "_tuned")]
OPSET, IR_VERSION = 21, 10
NORM_EPS = 1e-5


class Checkpoint:
    def __init__(self, folder):
        self.info = json.loads((folder / "policy.json").read_text())
        self.tensors = load_file(folder / "policy.safetensors")
        self.network = self.info["network"]
        self.horizon, self.n_act = self.info["horizon"], self.info["n_act"]
        # The layers that turn noise level and condition into scales and biases, in the order of the network.
        self.films = [name for name in self.tensors if name.endswith(".cond_encoder.1.weight")]
        self.films = sorted((name.removesuffix(".weight") for name in self.films), key=block_order)

    def n_cond(self):
        embed = self.network["step_embed"]
        if self.network["kind"] == "residual_mlp":
            return self.tensors["input.weight"].shape[1] - self.horizon * self.n_act - embed
        return self.tensors[self.films[0] + ".weight"].shape[1] - embed

    def linear(self, name, x):
        return x @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]

    def time_layers(self):
        if self.network["kind"] == "residual_mlp":
            return "time.0", "time.1"
        return "diffusion_step_encoder.1", "diffusion_step_encoder.3"

    def time(self, label):
        width = self.network["step_embed"]
        half = width // 2
        angles = label * np.exp(-np.log(10000) / (half - 1) * np.arange(half))
        first, second = self.time_layers()
        return self.linear(second, mish(self.linear(first, np.concatenate([np.sin(angles), np.cos(angles)]))))

    def modulation(self, label, cond):
        """FiLM's scales and biases, or what noise level and condition add to the MLP's first layer; `[batch, n]`."""
        joined = np.concatenate([np.repeat(self.time(label)[None], len(cond), 0), cond], 1)
        if self.network["kind"] == "residual_mlp":
            chunk = self.horizon * self.n_act
            return (joined @ self.tensors["input.weight"][:, chunk:].T + self.tensors["input.bias"]).astype(np.float32)
        return np.concatenate([self.linear(name, mish(joined)) for name in self.films], 1).astype(np.float32)


def block_order(name):
    part, level, block = name.split(".")[:3] if not name.startswith("mid") else (*name.split(".")[:2], "0")
    return ["down_modules", "mid_modules", "up_modules"].index(part), int(level), int(block)


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


class Graph:
    """The network as ONNX, for one batch size; between layers `[batch, channels, rows]`, with `gemm` `[batch, rows, channels]`."""

    def __init__(self, checkpoint, batch, tuned, gemm):
        self.c, self.batch, self.tuned, self.gemm, self.nodes, self.constants = checkpoint, batch, tuned, gemm, [], {}

    def op(self, kind, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, name, value, kind=np.float32):
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.constant("shape_" + "_".join(map(str, shape)), shape, np.int64))

    def weight(self, name):
        return self.constant(name, self.c.tensors[name])

    def linear(self, name, x):
        return self.op("Gemm", x, self.weight(name + ".weight"), self.weight(name + ".bias"), transB=1)

    def mish(self, x):
        if not self.tuned:
            return self.op("Mul", x, self.op("Tanh", self.op("Softplus", x)))
        # The bound keeps e^2x finite.
        e = self.op("Exp", self.op("Min", x, self.constant("twenty", 20.0)))
        two = self.constant("two", 2.0)
        n = self.op("Mul", e, self.op("Add", e, two))
        return self.op("Mul", x, self.op("Div", n, self.op("Add", n, two)))

    def conv(self, name, x, rows, stride=1, pad=0):
        weight = self.c.tensors[name + ".weight"]
        n_out, n_in, kernel = weight.shape
        if not self.gemm:
            return self.op("Conv", x, self.weight(name + ".weight"), self.weight(name + ".bias"), strides=[stride], pads=[pad, pad])
        taps = np.arange(0, rows + 2 * pad - kernel + 1, stride)[:, None] + np.arange(kernel) - pad
        return self.gathered(name, x, rows, taps, weight.transpose(2, 1, 0).reshape(kernel * n_in, n_out))

    def double(self, name, x, rows):
        """The transposed convolution with kernel 4, stride 2, padding 1."""
        if not self.gemm:
            return self.op("ConvTranspose", x, self.weight(name + ".weight"), self.weight(name + ".bias"), strides=[2], pads=[1, 1])
        weight = self.c.tensors[name + ".weight"]
        n_out, row, halves = weight.shape[1], np.arange(rows)[:, None], []
        # Row 2 i comes from rows i and i - 1, row 2 i + 1 from rows i and i + 1.
        for half, (neighbour, taps) in enumerate([(-1, (1, 3)), (1, (2, 0))]):
            joined = np.concatenate([weight[:, :, tap] for tap in taps])
            y = self.gathered(name, x, rows, row + [0, neighbour], joined, str(half))
            halves.append(self.reshape(y, self.batch, rows, 1, n_out))
        return self.reshape(self.op("Concat", *halves, axis=2), self.batch, 2 * rows, n_out)

    def gathered(self, name, x, rows, taps, weight, part=""):
        """Rows of `x` by the indices `taps` `[rows out, kernel]`, times `weight` `[kernel n_in, n_out]`; zero outside of `x`."""
        n_in, n_out = weight.shape[0] // taps.shape[1], weight.shape[1]
        if taps.shape[1] > 1:
            zero = self.constant(f"zero_{n_in}", np.zeros((self.batch, 1, n_in)))
            indices = np.where((taps < 0) | (taps >= rows), rows, taps).ravel()
            indices = self.constant("rows_" + "_".join(map(str, indices)), indices, np.int64)
            x = self.op("Gather", self.op("Concat", x, zero, axis=1), indices, axis=1)
        x = self.reshape(x, self.batch * len(taps), weight.shape[0])
        y = self.op("Gemm", x, self.constant(f"{name}.weight{part}", weight), self.weight(name + ".bias"))
        return self.reshape(y, self.batch, len(taps), n_out)

    def block(self, name, x, rows):
        groups, kernel = self.c.network["groups"], self.c.network["kernel"]
        channels = len(self.c.tensors[name + ".block.0.bias"])
        y = self.conv(name + ".block.0", x, rows, pad=kernel // 2)
        width = channels // groups
        if self.gemm:
            y = self.op("Transpose", self.reshape(y, self.batch, rows, groups, width), perm=[0, 2, 1, 3])
        y = self.reshape(y, self.batch, groups, width * rows)
        ones, zeros = self.constant("ones", np.ones(groups)), self.constant("zeros", np.zeros(groups))
        y = self.op("InstanceNormalization", y, ones, zeros, epsilon=NORM_EPS)
        if self.gemm:
            y = self.op("Transpose", self.reshape(y, self.batch, groups, rows, width), perm=[0, 2, 1, 3])
        y = self.reshape(y, *self.dims(channels, rows))
        norm = (self.c.tensors[f"{name}.block.1.{part}"].reshape(self.dims(-1, 1)[1:]) for part in ("weight", "bias"))
        scale, bias = (self.constant(f"{name}.{part}", value) for part, value in zip(("scale", "bias"), norm))
        return self.mish(self.op("Add", self.op("Mul", y, scale), bias))

    def residual(self, name, x, rows):
        channels = len(self.c.tensors[name + ".cond_encoder.1.bias"]) // 2
        index = self.c.films.index(name + ".cond_encoder.1")
        scale, bias = (self.reshape(self.films[2 * index + half], *self.dims(channels, 1)) for half in (0, 1))
        h = self.op("Add", self.op("Mul", self.block(name + ".blocks.0", x, rows), scale), bias)
        h = self.block(name + ".blocks.1", h, rows)
        projection = name + ".residual_conv"
        return self.op("Add", h, self.conv(projection, x, rows) if projection + ".weight" in self.c.tensors else x)

    def dims(self, channels, rows):
        return (self.batch, rows, channels) if self.gemm else (self.batch, channels, rows)

    def split(self, x, sizes, names):
        self.nodes.append(helper.make_node("Split", [x, self.constant("sizes_" + "_".join(map(str, sizes)), sizes, np.int64)], names, axis=1))

    def time(self):
        """The embedded noise level, `[batch, step_embed]`."""
        c, width = self.c, self.c.network["step_embed"]
        frequencies = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
        angles = self.op("Mul", self.reshape("label", 1, 1), self.constant("frequencies", frequencies[None]))
        first, second = c.time_layers()
        embedded = self.linear(first, self.op("Concat", self.op("Sin", angles), self.op("Cos", angles), axis=1))
        return self.op("Expand", self.linear(second, self.mish(embedded)), self.constant("wide", [self.batch, width], np.int64))

    def unet(self):
        c, rows = self.c, self.c.horizon
        sizes = [len(c.tensors[name + ".bias"]) // 2 for name in c.films for _ in range(2)]
        self.films = [f"film{index}" for index in range(len(sizes))]
        if self.tuned:
            self.split("film", sizes, self.films)
        else:
            joined = self.mish(self.op("Concat", self.time(), "cond", axis=1))
            for index, name in enumerate(c.films):
                self.split(self.linear(name, joined), sizes[2 * index : 2 * index + 2], self.films[2 * index : 2 * index + 2])
        h = "x" if self.gemm else self.op("Transpose", "x", perm=[0, 2, 1])
        levels, skips = len(c.network["widths"]), []
        for level in range(levels):
            for block in range(2):
                h = self.residual(f"down_modules.{level}.{block}", h, rows)
            skips.append(h)
            if level + 1 < levels:
                h, rows = self.conv(f"down_modules.{level}.2.conv", h, rows, 2, 1), rows // 2
        for block in range(2):
            h = self.residual(f"mid_modules.{block}", h, rows)
        for level in range(levels - 1):
            h = self.op("Concat", h, skips.pop(), axis=2 if self.gemm else 1)
            for block in range(2):
                h = self.residual(f"up_modules.{level}.{block}", h, rows)
            h, rows = self.double(f"up_modules.{level}.2.conv", h, rows), rows * 2
        h = self.conv("final_conv.1", self.block("final_conv.0", h, rows), rows)
        return h if self.gemm else self.op("Transpose", h, perm=[0, 2, 1]), sum(sizes)

    def mlp(self):
        c = self.c
        chunk, hidden = c.horizon * c.n_act, len(c.tensors["input.bias"])
        flat = self.reshape("x", self.batch, chunk)
        if self.tuned:
            first = self.constant("input.chunk", c.tensors["input.weight"][:, :chunk])
            h = self.op("Add", self.op("Gemm", flat, first, transB=1), "film")
        else:
            h = self.linear("input", self.op("Concat", flat, self.time(), "cond", axis=1))
        for block in range(c.network["blocks"]):
            inner = self.mish(self.linear(f"blocks.{block}.0", self.mish(h)))
            h = self.op("Add", h, self.linear(f"blocks.{block}.1", inner))
        return self.reshape(self.linear("output", h), self.batch, c.horizon, c.n_act), hidden

    def model(self):
        out, n_film = self.unet() if self.c.network["kind"] == "unet1d" else self.mlp()
        self.nodes.append(helper.make_node("Identity", [out], ["eps"]))
        tensor = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        chunk = (self.batch, self.c.horizon, self.c.n_act)
        modulation = [tensor("film", self.batch, n_film)]
        if not self.tuned:
            modulation = [tensor("label", 1), tensor("cond", self.batch, self.c.n_cond())]
        inputs = [tensor("x", *chunk), *modulation]
        graph = helper.make_graph(self.nodes, "denoiser", inputs, [tensor("eps", *chunk)], list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model.SerializeToString()


class Runner:
    """A network on a backend, its inputs and outputs in memory that is not copied."""

    def __init__(self, backend, checkpoint, batch, threads):
        c = checkpoint
        self.tuned = backend.endswith("_tuned")
        backend = backend.removesuffix("_tuned")
        model = Graph(c, batch, self.tuned, gemm=self.tuned and backend == "onnxruntime_f32").model()
        self.c = c
        random = np.random.default_rng(0)
        self.x = random.standard_normal((batch, c.horizon, c.n_act)).astype(np.float32)
        self.inputs = {"x": self.x}
        if self.tuned:
            self.inputs["film"] = c.modulation(5, np.zeros((batch, c.n_cond())))
        else:
            self.inputs |= {"label": np.zeros(1, np.float32), "cond": np.zeros((batch, c.n_cond()), np.float32)}
        self.condition(5, random.standard_normal((batch, c.n_cond())))
        self.eps = np.empty_like(self.x)
        if backend == "onnxruntime_f32":
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            binding = self.session.io_binding()
            for name, value in self.inputs.items():
                binding.bind_input(name, "cpu", 0, np.float32, value.shape, value.ctypes.data)
            binding.bind_output("eps", "cpu", 0, np.float32, self.eps.shape, self.eps.ctypes.data)
            self.run = lambda: self.session.run_with_iobinding(binding)
        else:
            hints = {
                "INFERENCE_PRECISION_HINT": backend.removeprefix("openvino_"),
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            }
            core = openvino.Core()
            self.compiled = core.compile_model(core.read_model(model), "CPU", hints)
            request = self.compiled.create_infer_request()
            for name, value in self.inputs.items():
                request.set_tensor(name, openvino.Tensor(value, shared_memory=True))
            request.set_tensor("eps", openvino.Tensor(self.eps, shared_memory=True))
            self.run = request.infer

    def condition(self, label, cond):
        if self.tuned:
            self.inputs["film"][:] = self.c.modulation(label, cond)
        else:
            self.inputs["label"][:], self.inputs["cond"][:] = label, cond

    def time(self, seconds):
        for _ in range(3):
            self.run()
        samples, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter_ns()
            self.run()
            samples.append(time.perf_counter_ns() - begin)
        us = np.sort(samples) / 1e3
        at = lambda q: float(us[min(int(q * len(us)), len(us) - 1)])
        return {"evaluations": len(us), "p50_us": at(0.5), "p99_us": at(0.99), "max_us": float(us[-1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, action="append", required=True, help="folder of a checkpoint; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    say = lambda answer: print(json.dumps(answer), flush=True)
    checkpoints = []
    for folder in args.checkpoint:
        try:
            checkpoints.append(Checkpoint(folder))
        except Exception as error:  # whatever it is, the asker reports it
            say({"error": f"{folder} is no checkpoint ({error}): give folders with policy.safetensors and policy.json"})
            return 1
    versions = {"openvino": openvino.__version__, "onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
    say({"ready": True, "versions": versions, "backends": BACKENDS})
    runners = {}

    def runner(backend, index, batch):
        # Those of other checkpoints are let go: large networks would fill the memory.
        for key in [key for key in runners if key[1] != index]:
            del runners[key]
        key = (backend, index, batch)
        if key not in runners:
            runners[key] = Runner(backend, checkpoints[index], batch, args.threads)
        return runners[key]

    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "evaluate" in request:
                index = request["checkpoint"]
                r = runner(request["evaluate"], index, 1)
                r.x[:] = np.reshape(request["x"], r.x.shape)
                r.condition(request["label"], np.reshape(request["cond"], (1, -1)))
                r.run()
                say({"eps": r.eps.ravel().astype(float).tolist()})
            else:
                say(runner(request["backend"], request["checkpoint"], request["batch"]).time(request["seconds"]))
        except Exception as error:  # whatever it is, the asker reports it
            say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    sys.exit(main())
