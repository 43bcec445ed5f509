"""How fast a model is on this machine: stage by stage, alone and in numbers, against what the machine could do."""

from dekey.speed.measure import Bench, Speed

__all__ = ["Bench", "Speed"]
