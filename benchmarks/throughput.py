"""Training throughput: dekey's run against the plain loop over the same network, in turn, each in a process of its own.

    python benchmarks/throughput.py --data ../shared/data/faces68 --input 128 --backbone resnet18 --decoder 256 256 256

dekey's figures are those of its own log: images/s between validations, and the share of that time spent waiting for data.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import record

HERE = Path(__file__).resolve().parent


def plain(arguments: argparse.Namespace) -> dict[str, float]:
    """Time the plain loop over dekey's network."""
    from crops import Crops
    from plain_loop import PlainDataset, batches, plain_rate
    from torch import Tensor, nn

    import dekey.formats
    from dekey.models.build import build_heatmap_model

    dataset = dekey.formats.read(arguments.data / "train.json")
    model = build_heatmap_model(
        arguments.backbone,
        arguments.decoder,
        arguments.up,
        sigma=1.5,
        keypoint_count=len(dataset.schema.keypoints),
        input_size=(arguments.input, arguments.input),
        learned_scales=None,  # as dekey train builds it from random weights
    )

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.decoder, self.head = model.backbone, model.decoder, model.heatmap_head

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.head(self.decoder(self.network(images)))
            return maps

    make_batch = batches(PlainDataset(Crops(dataset, arguments.input)), arguments.batch_size, arguments.workers)
    rate = plain_rate(Maps(), make_batch, arguments.seconds)
    return {"images_per_second": rate.images_per_second, "waiting": rate.waiting}


def ours(arguments: argparse.Namespace) -> dict[str, float]:
    """Time `dekey train` over the same network and data."""
    from dekey.config import read_config
    from dekey.training import train

    values: dict[str, Any] = {
        "data": {"train": str(arguments.data / "train.json"), "val_fraction": 0.02},
        "model": {
            "kind": "heatmap",
            "backbone": arguments.backbone,
            "pretrained": False,
            "decoder_channels": arguments.decoder,
            "decoder": arguments.up,
            "input_size": [arguments.input, arguments.input],
        },
        "run": {"budget": arguments.seconds + 15, "batch_size": arguments.batch_size},
    }
    with tempfile.TemporaryDirectory() as folder:
        train(read_config(values), Path(folder) / "run")
        with (Path(folder) / "run" / "log.csv").open() as stream:
            rows = list(csv.DictReader(stream))[1:]
    return {name: statistics.median(float(row[name]) for row in rows) for name in ("images_per_second", "waiting")}


def main() -> None:
    parser = argparse.ArgumentParser(description="training images/s of dekey and of the plain loop, interleaved")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json")
    parser.add_argument("--input", type=int, default=128, help="side of the network input, px")
    parser.add_argument("--backbone", default="mobilenetv4_conv_small")
    parser.add_argument("--decoder", type=int, nargs="+", default=[64, 64, 64], help="channels of the transposed convolutions")
    parser.add_argument("--up", default="plain", help="way up: lateral, plain, unpooling or bilinear")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="processes of the plain loop's DataLoader")
    parser.add_argument("--seconds", type=float, default=25.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=["plain", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps({"plain": plain, "ours": ours}[arguments.only](arguments)))
        return
    begun = record.facts()
    turns: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    for turn in range(arguments.turns):
        for loop, results in turns.items():
            command = [sys.executable, str(HERE / "throughput.py"), *sys.argv[1:], "--only", loop]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(answer.stdout.splitlines()[-1]))
            print(turn, loop, results[-1], file=sys.stderr, flush=True)
    names = {"plain": "plain fp32 NCHW loop", "ours": "dekey train"}
    rows = [
        {
            "loop": names[loop],
            "images_per_second": [result["images_per_second"] for result in results],
            "waiting": [result["waiting"] for result in results],
        }
        for loop, results in turns.items()
    ]
    payload = {
        "benchmark": "throughput",
        "data": arguments.data.name,
        "input_size": arguments.input,
        "batch_size": arguments.batch_size,
        "network": f"{arguments.backbone}, {arguments.up} decoder {arguments.decoder}",
        "rows": rows,
    }
    print(record.write(f"throughput-{arguments.backbone}-{arguments.input}px", payload, begun, arguments.results))


if __name__ == "__main__":
    main()
