from __future__ import annotations

import numpy as np
import pytest

from dekey.data import Dataset, embedded


@pytest.fixture(scope="session")
def one_each() -> Dataset:
    """Eight real photographs with one glue tube each."""
    data = embedded.load("train")
    return data.subset(np.flatnonzero(np.diff(data.starts) == 1)[:8])
