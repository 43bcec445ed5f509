"""Write the newest versions of everything dekey is developed with into pyproject.toml.

    python .ci/pins.py

Resolves for every supported Python without the present pins, then replaces the block between ``# pins`` and ``# /pins``.
The CUDA packages that torch pins exactly itself are left out. Needs Python 3.11 and uv.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?<=# pins\n).*?(?=# /pins\n)", re.DOTALL)
PINNED_BY_TORCH = re.compile(r"cuda-toolkit|nvidia-(?!nvjitlink)")


def resolve(project: str) -> dict:
    """Lock `project` (the text of pyproject.toml) in a folder of its own and give the lock file's content."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        Path(folder, "pyproject.toml").write_text(project)
        subprocess.run(["uv", "lock", "--quiet"], cwd=folder, check=True)
        return tomllib.loads(Path(folder, "uv.lock").read_text())


def build_pins(project: str) -> list[str]:
    """Resolve what the wheel is built with, which no lock file holds."""
    wanted = "\n".join(tomllib.loads(project)["build-system"]["requires"])
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version=3.10", "--no-annotate", "--no-header", "-"]
    return subprocess.run(command, input=wanted, check=True, capture_output=True, text=True).stdout.splitlines()


def marker(forks: list[str], versions: list[str]) -> str:
    """Say for which Pythons a package version holds; uv lists its forks from the newest Python to the oldest."""
    places = [versions.index(fork) for fork in forks]
    newest, oldest = min(places), max(places)
    parts = []
    if oldest < len(versions) - 1:
        parts.append(f"python_full_version >= '{_python(versions[oldest])}'")
    if newest > 0:
        parts.append(f"python_full_version < '{_python(versions[newest - 1])}'")
    return f" ; {' and '.join(parts)}" if parts else ""


def toml_list(name: str, items: list[str]) -> str:
    """Write a TOML array of strings, one a line."""
    return "".join([f"{name} = [\n", *(f'    "{item}",\n' for item in items), "]\n"])


def _python(fork: str) -> str:
    found = re.search(r"\d+\.\d+", fork)
    assert found, f"uv names a fork that this script does not understand: {fork}"
    return found.group()


def main() -> None:
    """Resolve and rewrite the block."""
    path = ROOT / "pyproject.toml"
    project = path.read_text()
    lock = resolve(BLOCK.sub("", project))
    pins = []
    for package in lock["package"]:
        if "registry" not in package["source"] or PINNED_BY_TORCH.match(package["name"]):
            continue
        held = marker(package["resolution-markers"], lock["resolution-markers"]) if "resolution-markers" in package else ""
        pins.append(f"{package['name']}=={package['version']}{held}")
    block = toml_list("constraint-dependencies", pins) + toml_list("build-constraint-dependencies", build_pins(project))
    path.write_text(BLOCK.sub(lambda _: block, project))


if __name__ == "__main__":
    main()
