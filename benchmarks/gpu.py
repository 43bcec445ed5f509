"""What a GPU makes of a network: training images/s, plain and as dekey trains, latency, and the share of the chip's peak.

    python benchmarks/gpu.py --backbone hgnetv2_b0 --input 256 --batch-size 64

Random weights and pictures that lie on the device: what is timed is the network with its loss and AdamW, no data. The forms
take turns in one process, a round each, and every clock waits for the device. The peak is that of a product of square bf16
matrices, measured in the same run. ``--device cpu`` is for trying the script out; its figures are not to be published.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record
import torch
from torch import Tensor, nn
from trained import gflop

from dekey.models.base import Batch
from dekey.models.build import build_heatmap_model

KEYPOINTS = 17


@dataclass(frozen=True)
class Form:
    """One way to compute a network.

    Attributes:
        bf16: by autocast.
        channels_last: of weights and pictures.
        compiled: by torch.compile.
    """

    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False


FORMS = {
    "plain fp32": Form(),
    "channels last": Form(channels_last=True),
    "bf16": Form(bf16=True),
    "bf16, channels last, as dekey trains": Form(bf16=True, channels_last=True),
    "bf16, channels last, compiled": Form(bf16=True, channels_last=True, compiled=True),
}


def network(arguments: argparse.Namespace) -> nn.Module:
    """Build the heatmap model that is timed."""
    size = (arguments.input, arguments.input)
    model: nn.Module = build_heatmap_model(
        arguments.backbone,
        arguments.decoder,
        arguments.up,
        sigma=1.5,
        keypoint_count=KEYPOINTS,
        input_size=size,
        learned_scales=None,  # as dekey train builds it from random weights
    )
    return model.to(arguments.device)


def pictures(count: int, side: int, device: str) -> Batch:
    """Make pictures of noise with one object each."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, device=device)
    keypoints = side * torch.rand(count, 1, KEYPOINTS, 2, device=device)
    return Batch(
        images=images,
        boxes=torch.tensor([0.0, 0.0, side, side], device=device).expand(count, 1, 4),
        labels=torch.zeros(count, 1, dtype=torch.int64, device=device),
        keypoints=keypoints,
        visibility=torch.full((count, 1, KEYPOINTS), 2, dtype=torch.uint8, device=device),
        valid=torch.ones(count, 1, dtype=torch.bool, device=device),
        image_to_input=torch.eye(2, 3, dtype=torch.float64, device=device).expand(count, 2, 3),
    )


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], seconds: float, device: str) -> list[float]:
    """Do some work again and again for so many seconds and give the seconds of each time; three times are not counted."""
    for _ in range(3):
        work()
    taken: list[float] = []
    wait(device)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not taken:
        began = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - began)
    return taken


def training_step(model: nn.Module, form: Form, batch: Batch) -> Callable[[], Tensor]:
    """Give a step of training in one form."""
    model.train()
    if form.channels_last:
        model.to(memory_format=torch.channels_last)
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    images = batch.images.contiguous(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward: Callable[[Tensor], Any] = torch.compile(model) if form.compiled else model

    def step() -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=form.bf16):
            terms: dict[str, Tensor] = model.loss(batch, forward(images))  # type: ignore[operator]
            loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def peak_tflops(side: int, seconds: float, device: str) -> float:
    """Measure the product of two square bf16 matrices, in 10¹² operations a second."""
    left, right = torch.randn(2, side, side, dtype=torch.bfloat16, device=device)
    return 2 * side**3 / statistics.median(timed(lambda: left @ right, seconds, device)) / 1e12


def latency(model: nn.Module, form: Form, batch: Batch, seconds: float, device: str) -> float:
    """Give the median ms of one picture, decoding included."""
    model.eval()
    detect = torch.compile(model.detect, mode="reduce-overhead") if form.compiled else model.detect  # type: ignore[arg-type]

    def look() -> None:
        with torch.inference_mode(), torch.autocast(batch.images.device.type, torch.bfloat16, enabled=form.bf16):
            detect(batch.images)  # type: ignore[operator]

    return round(1000 * statistics.median(timed(look, seconds, device)), 3)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time every form in turns."""
    device = arguments.device
    forms = {name: form for name, form in FORMS.items() if not (form.compiled and arguments.no_compile)}
    work = gflop(network(arguments), (arguments.input, arguments.input), device)
    peak = peak_tflops(arguments.matrix, arguments.seconds, device)
    many, one = (pictures(count, arguments.input, device) for count in (arguments.batch_size, 1))
    rates: dict[str, list[float]] = {name: [] for name in forms}
    delays: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(arguments.rounds):
        for name, form in forms.items():
            model = network(arguments)
            step = training_step(model, form, many)
            rates[name].append(round(arguments.batch_size / statistics.median(timed(step, arguments.seconds, device)), 1))
            delays[name].append(latency(model, form, one, arguments.seconds, device))
            print(f"{name}: {rates[name][-1]} images/s, {delays[name][-1]} ms", flush=True)
    rows = [
        {
            "form": name,
            "images_per_second": rates[name],
            "ms": delays[name],
            # A way back costs about twice the way forward.
            "share_of_peak": round(3 * work * statistics.median(rates[name]) / 1000 / peak, 4),
        }
        for name in forms
    ]
    return {"gflop": work, "peak_bf16_tflops": round(peak, 2), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="training images/s and latency of a network on a GPU")
    parser.add_argument("--backbone", default="hgnetv2_b0")
    parser.add_argument("--decoder", type=int, nargs="+", default=[64, 64, 64], help="channels of the transposed convolutions")
    parser.add_argument("--up", default="lateral", help="way up: lateral, plain, unpooling or bilinear")
    parser.add_argument("--input", type=int, default=256, help="side of the network input, px")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each block")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices of the peak")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    if torch.device(arguments.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here; --device cpu tries the script out")
    begun = record.facts()
    cuda = torch.device(arguments.device).type == "cuda"
    payload = {
        "benchmark": "gpu",
        "network": f"{arguments.backbone}, {arguments.up} decoder {arguments.decoder}",
        "device": torch.cuda.get_device_name(arguments.device) if cuda else "cpu",
        "input_size": arguments.input,
        "batch_size": arguments.batch_size,
        **measure(arguments),
    }
    print(record.write(f"gpu-{arguments.backbone}", payload, begun, arguments.results))


if __name__ == "__main__":
    main()
