"""Keras on torch, or a sentence that says why not.

Keras reads its backend once, when it is imported, from the environment variable ``KERAS_BACKEND``, else from its settings
file ``~/.keras/keras.json``. dekey's networks are torch modules, so nothing but the torch backend can train them.

- ``KERAS_BACKEND`` is not set and Keras not imported yet: it is set to ``torch``, in this process and those that it starts.
  The settings file does not count as a choice: Keras writes one with ``tensorflow`` in it by itself.
- ``KERAS_BACKEND`` or an imported Keras says another backend: a `DekeyError`; nothing is changed.

Keras writes its settings file when it is first imported and there is none; ``KERAS_HOME`` says where.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from dekey.errors import DekeyError

VARIABLE = "KERAS_BACKEND"


def use_torch() -> None:
    """Make sure that Keras is there and runs on torch; import it.

    Raises:
        DekeyError: if Keras or torch is not installed, or another backend was chosen.
    """
    for name in ("torch", "keras"):
        if sys.modules.get(name) is None and find_spec(name) is None:
            raise DekeyError(f'{name} is not installed, which dekey.keras needs: pip install "dekey[keras]"')
    imported = "keras" in sys.modules
    # An empty value is none, as Keras itself takes it.
    if not imported and not os.environ.get(VARIABLE):
        os.environ[VARIABLE] = "torch"
    elif not imported and os.environ[VARIABLE] != "torch":
        raise DekeyError(
            f"found {VARIABLE}={os.environ[VARIABLE]}, expected torch, on which dekey's networks run; set {VARIABLE}=torch or "
            "unset it"
        )
    import keras

    if keras.config.backend() != "torch":
        raise DekeyError(
            f"Keras was imported before dekey.keras and runs on {keras.config.backend()}, expected torch, on which dekey's "
            f"networks run; import dekey.keras first, or set {VARIABLE}=torch"
        )
