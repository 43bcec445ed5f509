"""The allocator: what is set, and that prediction does not undo what training set."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from dekey.runtime import pages
{set}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones({bytes}, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
@pytest.mark.parametrize(
    ("calls", "size", "kept"),
    [
        ("", 40 << 20, False),
        ("pages.keep_pictures()", 20 << 20, True),
        ("pages.keep_pictures()", 40 << 20, False),
        ("pages.keep_everything(); pages.keep_pictures()", 40 << 20, True),
    ],
)
def test_freed_memory_is_kept_up_to_what_was_asked_for(calls: str, size: int, kept: bool) -> None:
    program = PROGRAM.format(set=calls, bytes=size)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # Huge pages bring a block back in a few dozen faults instead of one for each 4 KiB.
    assert (int(result.stdout) < 10) is kept
