"""What the machine could do: a chain of large dense convolutions in the same runtime, precision and number of threads.

A dense 3×3 convolution is what every runtime runs fastest, near the limit of the processor; so the share of its speed that a
network reaches says how much could be gained by other kernels, and how much only by fewer operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.runtime.backends import INPUT, Precision
from dekey.runtime.openvino import HINTS, import_openvino
from dekey.runtime.threads import chosen_threads
from dekey.speed.onnx_bytes import model, node, value

Shape = tuple[int, int, int, int]

CHANNELS, SIDE, LAYERS = 128, 28, 4
"""Of the convolutions, for each core: large enough that calls do not count, small enough for a core's cache."""

INT8_STEP = 0.001
"""By which the kernels are rounded in int8: three deviations fit into 127 steps."""


def shape_of(cores: int) -> Shape:
    """Give the shape (1, C, H, W) that goes through the chain: each core gets as many rows."""
    return 1, CHANNELS, SIDE * cores, SIDE


def operations(shape: Shape) -> float:
    """Count multiplications and additions of the chain.

    >>> operations(shape_of(1)) / 1e9
    0.924844032
    """
    _, channels, height, width = shape
    return 2.0 * LAYERS * height * width * 9 * channels**2


def weights() -> list[NDArray[np.float32]]:
    """Draw the kernels (C, C, 3, 3) of each layer; what goes through stays of about its size, far from denormal numbers."""
    rng = np.random.default_rng(0)
    deviation = (2.0 / (9 * CHANNELS)) ** 0.5
    return [rng.normal(0.0, deviation, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32) for _ in range(LAYERS)]


def onnx_chain(shape: Shape, int8: bool) -> bytes:
    """Write the chain as an ONNX file; in int8 with the pairs of quantisation around each layer that ONNX Runtime fuses."""
    nodes: list[bytes] = []
    tensors: dict[str, NDArray[Any]] = {}
    if int8:
        tensors = {
            "scale": np.array(0.02, np.float32),
            "zero": np.array(128, np.uint8),
            "weight_scale": np.array(INT8_STEP, np.float32),
            "weight_zero": np.array(0, np.int8),
        }
    last = INPUT
    for layer, kernel in enumerate(weights()):
        weight = f"weight{layer}"
        if int8:
            tensors[weight] = np.clip(np.rint(kernel / INT8_STEP), -127, 127).astype(np.int8)
            nodes.append(node("DequantizeLinear", [last, "scale", "zero"], f"real{layer}"))
            nodes.append(node("DequantizeLinear", [weight, "weight_scale", "weight_zero"], f"real_weight{layer}"))
            nodes.append(node("Conv", [f"real{layer}", f"real_weight{layer}"], f"sum{layer}", pads=[1, 1, 1, 1]))
            nodes.append(node("QuantizeLinear", [f"sum{layer}", "scale", "zero"], f"out{layer}"))
        else:
            tensors[weight] = kernel
            nodes.append(node("Conv", [last, weight], f"out{layer}", pads=[1, 1, 1, 1]))
        last = f"out{layer}"
    dtype = "uint8" if int8 else "float32"
    return model(nodes, tensors, [value(INPUT, dtype, shape)], [value(last, dtype, shape)])


def onnx_call(shape: Shape, int8: bool, threads: int | None, providers: Sequence[str]) -> Callable[[], object]:
    """Give a call of the chain in ONNX Runtime, in as many threads as `OnnxBackend` would take."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    asked = chosen_threads(threads)
    if asked is not None:
        options.intra_op_num_threads = asked
    session = onnxruntime.InferenceSession(onnx_chain(shape, int8), options, providers=list(providers))
    rng = np.random.default_rng(0)
    images: NDArray[Any] = rng.integers(0, 256, shape, dtype=np.uint8) if int8 else rng.random(shape, dtype=np.float32)
    return lambda: session.run(None, {INPUT: images})


def openvino_chain(shape: Shape, precision: Precision, threads: int | None) -> Any:
    """Compile the chain in OpenVINO, for as many threads as `OpenvinoBackend` would take; int8 is written as NNCF writes it."""
    openvino = import_openvino()
    opset = openvino.opset13
    images = opset.parameter(list(shape), np.float32)
    last = images
    for kernel in weights():
        weight = opset.constant(kernel)
        if precision == "int8":
            last = opset.fake_quantize(last, *_range(-2.56, 2.54), 256)
            weight = opset.fake_quantize(weight, *_range(-127 * INT8_STEP, 127 * INT8_STEP), 255)
        last = opset.convolution(last, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS["fp32" if precision == "fp32" else "bf16"],
    }
    asked = chosen_threads(threads)
    if asked is not None:
        options["INFERENCE_NUM_THREADS"] = asked
    return openvino.Core().compile_model(openvino.Model([last], [images], "peak"), "CPU", options)


def openvino_call(shape: Shape, precision: Precision, threads: int | None) -> Callable[[], object]:
    """Give a call of the chain in OpenVINO."""
    request = openvino_chain(shape, precision, threads).create_infer_request()
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)


def _range(low: float, high: float) -> tuple[np.float32, ...]:
    return (np.float32(low), np.float32(high)) * 2
