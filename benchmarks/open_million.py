"""Open a COCO keypoints file of a million annotations: seconds, peak memory, bytes a record.

The file is written to a temporary folder (about 0.5 GB for the full million) and opened by `dekey.read` in a fresh
process, so that nothing but the reading counts. The images it names do not exist; opening must not need them::

    python benchmarks/open_million.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record

KEYPOINTS = 17
OBJECTS_PER_IMAGE = 4

# Run in the fresh process. The imports come before the clock and before the first reading of the memory, so that both
# belong to the data alone. VmHWM and not ru_maxrss: the latter remembers the process that started this one.
OPEN = """
import json, sys, time
import dekey, dekey.formats, numpy
def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))
before = memory("VmRSS")
begun, worked = time.perf_counter(), time.process_time()
dataset = dekey.read(sys.argv[1])
seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - worked
after, peak = memory("VmRSS"), memory("VmHWM")
columns = [value for value in vars(dataset.instances).values() if value is not None]
columns += [dataset.sizes, dataset.starts, dataset.image_ids, dataset.annotation_ids]
print(json.dumps({
    "images": len(dataset), "annotations": len(dataset.instances), "problems": len(dataset.problems), "seconds": seconds,
    "cpu_seconds": cpu_seconds,
    "rss_before_mib": before / 2**20, "rss_after_mib": after / 2**20, "peak_rss_mib": peak / 2**20,
    "columns_mib": sum(column.nbytes for column in columns) / 2**20,
}))
"""


def pieces(annotations: int) -> Iterator[str]:
    """Give the text of the file in pieces; coordinates differ from object to object and have a fraction."""
    names = json.dumps([f"point_{number}" for number in range(KEYPOINTS)])
    yield f'{{"categories": [{{"id": 1, "name": "thing", "keypoints": {names}, "skeleton": []}}],\n"images": ['
    images = -(-annotations // OBJECTS_PER_IMAGE)
    for image in range(images):
        comma = "," if image else ""
        yield f'{comma}\n{{"id": {image + 1}, "file_name": "{image:08d}.jpg", "width": 640, "height": 480}}'
    yield '],\n"annotations": ['
    for number in range(annotations):
        left, top = number * 37 % 400, number * 53 % 300
        points = ", ".join(f"{left + 11 * k % 200}.5, {top + 7 * k % 150}.25, {1 + (number + k) % 2}" for k in range(KEYPOINTS))
        yield (
            f'{"," if number else ""}\n{{"id": {number + 1}, "image_id": {number // OBJECTS_PER_IMAGE + 1}, "category_id": 1, '
            f'"bbox": [{left}, {top}, 210, 160], "area": 33600, "iscrowd": 0, "num_keypoints": {KEYPOINTS}, '
            f'"keypoints": [{points}]}}'
        )
    yield "]}\n"


def measure(annotations: int, folder: Path) -> dict[str, Any]:
    """Write the file under `folder`, open it in a fresh process and give what that process reports."""
    path = folder / "annotations.json"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(pieces(annotations))
    done = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise SystemExit(f"opening {annotations} annotations failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    per_annotation = 2**20 / annotations
    found["bytes_per_annotation"] = round((found["rss_after_mib"] - found["rss_before_mib"]) * per_annotation)
    found["peak_bytes_per_annotation"] = round((found["peak_rss_mib"] - found["rss_before_mib"]) * per_annotation)
    found["file_mib"] = path.stat().st_size / 2**20
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="open a synthetic COCO file in a fresh process; seconds, memory")
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    with tempfile.TemporaryDirectory() as folder:
        payload = {"benchmark": "open_million", "keypoints": KEYPOINTS, **measure(arguments.annotations, Path(folder))}
    print(record.write("open_million", payload, begun, arguments.results).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
