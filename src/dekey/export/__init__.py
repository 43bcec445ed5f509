"""Trained models as files that run without torch, each proven against the model it was made of."""

from dekey.export.onnx import PARITY_PX, PARITY_SCORE, Parity, compare, export_onnx

__all__ = ["PARITY_PX", "PARITY_SCORE", "Parity", "compare", "export_onnx"]
