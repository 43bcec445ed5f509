"""``dekey benchmark``: how fast a model is on this machine, stage by stage."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dekey.cli.console import Progress, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from dekey.speed import Bench, Speed

HELP = "Time a model on this machine: milliseconds a stage, images per second, memory, share of what the machine could do."

STAGES = {
    "read": "read and decode the file",
    "warp": "cut out and scale",
    "network": "network, decoding inside",
    "answers": "map back, one answer an object",
    "whole": "file in, keypoints out",
}
# Share of the time without a core above which the figures are not the model's.
DISTURBED = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="exported .onnx or .xml file, run folder or .keras file")
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument("--image", metavar="FILE", help="picture to predict (default: an embedded one, 640x480)")
    pictures.add_argument("--images", metavar="DIR", help="folder of pictures to predict in turn")
    parser.add_argument("--threads", metavar="N", type=int, help="cores to use (default: as dekey predict)")
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="how long to measure (default: 10)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="images at once when read ahead (default: 16)")
    parser.add_argument("--runtime", metavar="NAME", default="auto", help="auto, onnx, openvino or torch (default: auto)")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Open, measure, print."""
    from dekey.cli.output import check_batch_size
    from dekey.runtime.threads import chosen_threads

    check_batch_size(arguments.batch_size)
    chosen_threads(arguments.threads)
    if not 0 < arguments.seconds <= 3600:
        raise DekeyError(f"found --seconds {arguments.seconds:g}, expected more than 0 and at most 3600, such as 10")
    with pictures_of(arguments) as files:
        with Progress(f"opening {arguments.model}"):
            from dekey.speed import Bench

            bench = Bench(
                arguments.model,
                files,
                device=arguments.device,
                runtime=arguments.runtime,
                threads=arguments.threads,
                batch_size=arguments.batch_size,
            )
        with Progress(f"timing for about {arguments.seconds:g} s", unit="blocks") as progress:
            speed = bench.measure(arguments.seconds, progress.reach)
    answer = figures(arguments, bench, speed)
    print(json.dumps(answer, indent=2) if arguments.json else table(answer))
    if speed.waited is not None and speed.waited > DISTURBED:
        message(
            f"for {100 * speed.waited:.0f} % of the time something else used these cores, so the figures are too slow; "
            "measure again on a quiet machine"
        )
    return 0


@contextmanager
def pictures_of(arguments: argparse.Namespace) -> Iterator[list[Path]]:
    """Give the pictures asked for, or the embedded one of a usual size, which is gone afterwards."""
    from dekey.cli.pictures import image_files

    given = arguments.image or arguments.images
    if given is not None:
        if arguments.image is not None and Path(arguments.image).is_dir():
            raise DekeyError(f"--image {arguments.image} is a folder, expected a picture; use --images")
        if arguments.images is not None and not Path(arguments.images).is_dir():
            raise DekeyError(f"--images {arguments.images} is no folder, expected one that holds pictures; use --image")
        yield image_files([given])
        return
    from dekey.speed.picture import write_picture

    with tempfile.TemporaryDirectory(prefix="dekey-") as folder:
        yield [write_picture(Path(folder))]


def figures(arguments: argparse.Namespace, bench: Bench, speed: Speed) -> dict[str, Any]:
    """Gather everything that was measured, and on what, as it is printed by --json."""
    from dekey.runtime.threads import usable_cores

    height, width = bench.picture_size
    computing, manifest = bench.computing, bench.manifest
    times = {**speed.stages, "network_alone": speed.network}
    return {
        "model": arguments.model,
        "kind": manifest.kind,
        "input_size": list(manifest.input_size),
        "runtime": computing.runtime,
        "device": computing.device,
        "precision": computing.precision,
        "threads": arguments.threads,
        "cores": usable_cores(),
        "pictures": bench.pictures,
        "first_picture": {"width": width, "height": height, "bytes": bench.picture_bytes},
        "objects_per_picture": bench.objects,
        "milliseconds": {name: {"median": one.median, "p90": one.p90, "calls": one.calls} for name, one in times.items()},
        "images_per_second": speed.images_per_second,
        "batch_size": bench.batch_size,
        "at_once": bench.callers,
        "gflop_per_image": speed.operations / 1e9,
        "gflop_per_second": speed.operations_per_second / 1e9,
        "peak_gflop_per_second": speed.peak / 1e9,
        "share_of_peak": speed.share_of_peak,
        "bytes": {name: {"now": one.now, "peak": one.peak} for name, one in bench.memory.items()},
        "waited": speed.waited,
    }


def table(answer: dict[str, Any]) -> str:
    """Write the figures for a person."""
    height, width = answer["input_size"]
    threads = "as many as the runtime takes" if answer["threads"] is None else answer["threads"]
    first, times, rates = answer["first_picture"], answer["milliseconds"], answer["images_per_second"]
    objects = answer["objects_per_picture"]
    picture = f"{first['width']}x{first['height']}, {first['bytes'] / 1e3:.0f} kB"
    lines = [
        f"model      {answer['model']}: {answer['kind']}, input {width}x{height}, {answer['precision']}",
        f"runtime    {answer['runtime']} on {answer['device']}, threads: {threads}, cores of the process: {answer['cores']}",
        f"pictures   {answer['pictures']}, the first of {picture}; {objects:.3g} objects found in a picture",
        "",
        f"{'one image at a time':<38}{'median ms':>10}{'p90 ms':>10}",
        *(_row(text, times[name]) for name, text in STAGES.items()),
        _row("network alone, called again and again", times["network_alone"]),
        "",
        "images per second",
        f"{'  one at a time':<38}{rates['one_at_a_time']:>10.1f}",
        f"{'  read ahead, batches of ' + str(answer['batch_size']):<38}{rates['batches']:>10.1f}",
    ]
    if "at_once" in rates:
        lines.append(f"{'  throughput mode, ' + str(answer['at_once']) + ' at once':<38}{rates['at_once']:>10.1f}")
    lines += [
        "",
        f"work       {answer['gflop_per_image']:.3g} GFLOP an image; the network alone does {answer['gflop_per_second']:.0f} "
        f"GFLOP/s, {100 * answer['share_of_peak']:.0f} % of the",
        f"           {answer['peak_gflop_per_second']:.0f} GFLOP/s of a dense convolution in the same runtime and precision",
        f"memory     {_memory(answer['bytes'])}",
    ]
    return "\n".join(lines)


def _row(text: str, taken: dict[str, float]) -> str:
    return f"  {text:<36}{taken['median']:>10.2f}{taken['p90']:>10.2f}"


def _memory(taken: dict[str, dict[str, int | None]]) -> str:
    def megabytes(phase: str, when: str) -> str:
        value = taken[phase][when]
        return "unknown" if value is None else f"{value / 1e6:.0f} MB"

    return (
        f"{megabytes('start', 'now')} before the model, {megabytes('one_at_a_time', 'now')} with it "
        f"(at most {megabytes('one_at_a_time', 'peak')}), at most {megabytes('many', 'peak')} with many images"
    )
