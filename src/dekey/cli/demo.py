"""``dekey demo``: the whole way on the embedded photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Train on the embedded photographs, measure on the held-out ones, write the report."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--budget", metavar="TIME", default="2m30s", help="how long to train (default: 2m30s)")
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/demo, or the next free number)")


def run(arguments: argparse.Namespace) -> int:
    """Train on the embedded data as `dekey train` would."""
    from dekey.cli.console import message
    from dekey.cli.train import free_folder, train_and_tell
    from dekey.config import parse_duration, read_config
    from dekey.data import embedded

    message(f"dekey demo: 111 photographs of glue tubes, two keypoints each; training takes {arguments.budget}")
    values = {
        "data": {"train": str(embedded.path("train")), "val": str(embedded.path("test"))},
        # Two and a half minutes are enough to place keypoints in given boxes, and too few to learn to find the boxes as well.
        "model": {"kind": "heatmap"},
        "run": {"budget": parse_duration(arguments.budget)},
    }
    out = Path(arguments.out or free_folder(Path("runs/demo")))
    result = train_and_tell(read_config(values), out)
    message(f"the report is a page to open in a browser: {(result.folder / 'report.html').resolve()}")
    message(f"next: dekey export {out}")
    return 0
