"""Numbers with rules: OKS and box average precision, PCK, NME, pixel error. NumPy only."""

from dekey.metrics.baseline import mean_pose_baseline
from dekey.metrics.boxes import BoxAveragePrecision
from dekey.metrics.evaluation import PredictsDataset, evaluate
from dekey.metrics.oks import OksAveragePrecision, oks
from dekey.metrics.result import Evaluation

__all__ = [
    "BoxAveragePrecision",
    "Evaluation",
    "OksAveragePrecision",
    "PredictsDataset",
    "evaluate",
    "mean_pose_baseline",
    "oks",
]
