"""Which backend Keras has, and what is said where it is another or Keras is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dekey.errors import DekeyError
from dekey.keras.engine import use_torch

keras = pytest.importorskip("keras")


def said(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter that has not chosen a backend and give what it printed."""
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**own, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


REFUSED = """
import os, sys
{before}
try:
    import dekey.keras
except Exception as error:
    print(type(error).__name__, error, "|", os.environ.get("KERAS_BACKEND"), "torch" in sys.modules)
"""


def test_a_backend_that_the_user_chose_is_neither_changed_nor_imported() -> None:
    answer = said(REFUSED.format(before=""), KERAS_BACKEND="tensorflow")
    assert answer.startswith("DekeyError found KERAS_BACKEND=tensorflow, expected torch")
    assert answer.endswith("| tensorflow False")


def test_without_keras_the_extra_is_named() -> None:
    answer = said(REFUSED.format(before="sys.modules['keras'] = None"))
    assert answer == ('DekeyError keras is not installed, which dekey.keras needs: pip install "dekey[keras]" | None False')


def test_an_imported_keras_of_another_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(DekeyError, match=r"imported before dekey\.keras and runs on jax"):
        use_torch()


def test_the_backend_is_torch_for_this_process_and_its_children() -> None:
    use_torch()
    assert keras.config.backend() == "torch"
    assert os.environ["KERAS_BACKEND"] == "torch"


def test_dekey_alone_does_not_import_keras() -> None:
    assert said("import dekey, dekey.data, dekey.formats, dekey.runtime, sys; print('keras' in sys.modules)") == "False"
