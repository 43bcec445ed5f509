"""Trained models as files that run without torch, each proven against the model it was made of."""

from dekey.export.accuracy import ALLOWED_LOSS, AccuracyLoss, accuracy_loss, check_loss
from dekey.export.onnx import PARITY_PX, PARITY_SCORE, Parity, compare, export_onnx
from dekey.export.openvino import export_int8_onnx, export_openvino

__all__ = [
    "ALLOWED_LOSS",
    "PARITY_PX",
    "PARITY_SCORE",
    "AccuracyLoss",
    "Parity",
    "accuracy_loss",
    "check_loss",
    "compare",
    "export_int8_onnx",
    "export_onnx",
    "export_openvino",
]
