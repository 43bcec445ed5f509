from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dekey.training.run_folder import RunFolder

Dies = Callable[[Callable[[], object], int], None]


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Dies:
    """Run something that dies without a word, of an exception nobody expects, once so many checkpoints are written."""

    def killed(run: Callable[[], object], checkpoints: int) -> None:
        save = RunFolder.save_checkpoint
        written = 0

        class Killed(BaseException):
            pass

        def save_then_die(folder: RunFolder, state: Any) -> None:
            nonlocal written
            save(folder, state)
            written += 1
            if written == checkpoints:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(RunFolder, "save_checkpoint", save_then_die)
            with pytest.raises(Killed):
                run()

    return killed
