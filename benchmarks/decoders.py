"""What each decoder costs, on features of a real backbone's shapes, and what it finds after equal minutes of training.

    python benchmarks/decoders.py
    python benchmarks/decoders.py --train ../shared/data/faces68 --minutes 10 --seeds 0 1

Times are those of a decoder alone, without its backbone: forward in torch, forward in ONNX Runtime, forward and backward in
torch. Beside them stand the layers alone that double the size. What is compared runs in turns, one runtime at a time. With
`--train` every decoder is trained by `accuracy.py`, one after the other, and measured on the untouched test split.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import record
import torch
from torch import Tensor, nn

from dekey.models.backbone import build_backbone
from dekey.models.decoder import DECODERS, Bilinear, build_decoder, deconvolution
from dekey.models.unpooling import Unpooling, unpool

HERE = Path(__file__).resolve().parent
BATCHES = (1, 8)
# Coarse sizes of the layers that are measured alone: the second and the third step from stride 32 at 224×384.
LAYER_SIZES = ((14, 24), (28, 48))
BLOCK_SECONDS = 0.25
PAUSE_SECONDS = 0.3
COLUMNS = ("torch_forward_ms", "onnxruntime_ms", "torch_forward_backward_ms")


class Listed(nn.Module):
    """A decoder as a module of its features one by one, the finest first."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        """Run the decoder on features (B, F, h, w)."""
        answer: Tensor = self.decoder(features)
        return answer


class Layer(nn.Module):
    """What doubles the size, as a module of the coarse map and the finer one that may hold its switches."""

    def __init__(self, layer: nn.Module | None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
        """Turn coarse (B, C, h, w) into (B, C, 2h, 2w), the size of finer."""
        if self.layer is None:
            return unpool(coarse, finer)
        answer: Tensor = self.layer(coarse, finer) if isinstance(self.layer, Unpooling) else self.layer(coarse)
        return answer


def layers(channels: int) -> dict[str, nn.Module]:
    """Make the layers to compare, the one to compare with first."""
    return {
        "deconvolution": Layer(deconvolution(channels, channels)),
        "unpooling": Layer(Unpooling(channels, channels)),
        "unpooling without its convolution": Layer(None),
        "bilinear": Layer(Bilinear(channels, channels)),
    }


def session_run(module: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], Any]:
    """Export a module as `dekey export` does and give a function that runs it once, with as many threads as torch."""
    names = [f"input{index}" for index in range(len(inputs))]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "module.onnx"
        torch.onnx.export(
            module,
            tuple(inputs),
            str(path),
            input_names=names,
            output_names=["answer"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "answer")},
            opset_version=18,
            dynamo=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    used = {one.name for one in session.get_inputs()}
    feed = {name: np.ascontiguousarray(value.numpy()) for name, value in zip(names, inputs, strict=True) if name in used}
    with torch.no_grad():
        expected = module(*inputs).numpy()
    difference = float(np.abs(session.run(None, feed)[0] - expected).max())
    # A faster answer that is another answer would be worth nothing.
    if not difference <= 1e-3:
        raise SystemExit(f"ONNX Runtime answers {difference:.1e} away from torch; nothing was measured")
    return lambda: session.run(None, feed)


def runs(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Callable[[], Any]]:
    """Give a function for each of `COLUMNS` that runs a module once; torch runs channels last, as dekey does."""
    in_order = session_run(module.eval(), inputs)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    values = [value.contiguous(memory_format=torch.channels_last) for value in inputs]

    def forward() -> None:
        module.eval()
        with torch.no_grad():
            module(*values)

    def forward_backward() -> None:
        module.train()
        answer = module(*(value.detach().requires_grad_() for value in values))
        answer.backward(torch.ones_like(answer))
        module.zero_grad(set_to_none=True)

    return dict(zip(COLUMNS, (forward, in_order, forward_backward), strict=True))


def block(run: Callable[[], Any]) -> float:
    """Give the median of a call in ms, over a quarter of a second and at least three calls."""
    run()
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < BLOCK_SECONDS:
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def timed(modules: Mapping[str, nn.Module], inputs: Sequence[Tensor], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Time modules over the same inputs: {name: {column: [ms, one a round]}}, in turns within each column."""
    calls = {name: runs(module, inputs) for name, module in modules.items()}
    found: dict[str, dict[str, list[float]]] = {name: {column: [] for column in COLUMNS} for name in modules}
    for column in COLUMNS:
        time.sleep(PAUSE_SECONDS)
        for _ in range(rounds):
            for name in modules:
                found[name][column].append(round(block(calls[name][column]), 4))
    return found


def costs(makers: Callable[[], dict[str, nn.Module]], shapes: Sequence[Sequence[int]], rounds: int) -> list[dict[str, Any]]:
    """Give a row for each module: its parameters and its times at each of `BATCHES`; shapes are (F, h, w) of the inputs."""
    rows = [
        {"name": name, "parameters": sum(value.numel() for value in module.parameters()), "times": []}
        for name, module in makers().items()
    ]
    for batch in BATCHES:
        found = timed(makers(), [torch.randn(batch, *shape) for shape in shapes], rounds)
        for row in rows:
            row["times"].append({"batch": batch, **found[row["name"]]})
        print(f"batch {batch}, inputs {[tuple(shape) for shape in shapes]}", file=sys.stderr)
        first = next(iter(found.values()))
        for name, columns in found.items():
            told = (
                f"{column} {statistics.median(columns[column]):.2f} ({ratio(columns[column], first[column]):.2f}×)"
                for column in COLUMNS
            )
            print(f"  {name:34}", *told, sep="  ", file=sys.stderr, flush=True)
    return rows


def ratio(own: Sequence[float], others: Sequence[float]) -> float:
    """Give the median over the rounds of a ratio of times taken in the same round."""
    return statistics.median(one / other for one, other in zip(own, others, strict=True))


def trained(arguments: argparse.Namespace, decoder: str) -> list[dict[str, Any]]:
    """Train one decoder by `accuracy.py`, a run a seed, and give what it found on the test split."""
    results = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(HERE / "accuracy.py"), "--data", str(arguments.train), "--results", folder]
            command += ["--minutes", str(arguments.minutes), "--seed", str(seed)]
            for change in (f"model.decoder={decoder}", f"model.backbone={arguments.backbone}", *arguments.set):
                command += ["--set", change]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (path,) = Path(folder).glob("*.json")
            result = json.loads(path.read_text(encoding="utf-8"))
        names = ("seed", "minutes", "input_size", "epochs", "images_per_second", "nme", "median_px", "p90_px", "detection")
        results.append({name: result[name] for name in names if name in result})
        print(decoder, results[-1], file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of each decoder, and its accuracy after equal minutes of training")
    parser.add_argument("--backbone", default="hgnetv2_b0")
    parser.add_argument("--input", type=int, nargs=2, default=[224, 384], metavar=("H", "W"), help="network input, px")
    parser.add_argument("--decoder", type=int, nargs="+", default=[64, 64, 64], help="channels of each layer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--train", type=Path, metavar="DATA", help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the training")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    if arguments.train and not (arguments.train / "test.json").is_file():
        parser.error(f"found no test.json in {arguments.train}; name a folder with train.json and test.json")
    # accuracy.py puts settings into the name of its file, and would say so only after the training.
    for change in arguments.set:
        if not all(letter.isalnum() or letter in "-_.=" for letter in change):
            parser.error(f"'{change}' cannot be part of a file name; use letters, digits, '-', '_', '.' and '='")
    begun = record.facts()
    backbone = build_backbone(arguments.backbone).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, *arguments.input))

    def decoders() -> dict[str, nn.Module]:
        parts = backbone.channels, backbone.strides, arguments.decoder
        return {name: Listed(build_decoder(name, *parts)) for name in DECODERS}

    rows = costs(decoders, [one.shape[1:] for one in features], arguments.rounds)
    channels = arguments.decoder[-1]
    alone = []
    for height, width in LAYER_SIZES:
        shapes = [(channels, height, width), (channels, 2 * height, 2 * width)]
        for row in costs(lambda: layers(channels), shapes, arguments.rounds):
            alone.append({"coarse_size": [height, width], **row})
    if arguments.train:
        for row in rows:
            row["accuracy"] = trained(arguments, row["name"])
    payload = {
        "benchmark": "decoders",
        "backbone": arguments.backbone,
        "input_size": arguments.input,
        "decoder_channels": arguments.decoder,
        "threads": torch.get_num_threads(),
        "data": arguments.train.name if arguments.train else None,
        "rows": rows,
        "layers": alone,
    }
    name = f"decoders-{arguments.backbone}"
    if arguments.train:
        name += f"-{arguments.train.name}-{arguments.minutes:g}m"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()
