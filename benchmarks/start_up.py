"""Wall time of starting: an empty interpreter, `import dekey`, `dekey --help`, each in fresh processes, in turn.

python benchmarks/start_up.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    'python -c "import dekey"': [sys.executable, "-c", "import dekey"],
    "dekey --help": [str(Path(sys.executable).with_name("dekey")), "--help"],
}


def wall_time(command: list[str]) -> float:
    """Run a command with its output thrown away and give its wall time, s."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def measure(rounds: int) -> list[dict[str, Any]]:
    """Time every command once a round, so that a slow moment of the machine meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            seconds = wall_time(command)
            if number:  # the first round fills the disk cache and writes the byte code
                times[name].append(seconds)
    return [
        {"command": name, "best_s": round(min(taken), 3), "median_s": round(statistics.median(taken), 3)}
        for name, taken in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="wall time of `import dekey` and `dekey --help`")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    payload = {"benchmark": "start_up", "rounds": arguments.rounds, "rows": measure(arguments.rounds)}
    print(record.write("start_up", payload, begun, arguments.results).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
