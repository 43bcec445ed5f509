"""What a data set is: schema, instances, samples, geometry. NumPy only."""

from dekey.data.dataset import Dataset, PictureFiles, Problem, Sample
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE, Instances, Points
from dekey.data.merge import merge
from dekey.data.schema import Schema

__all__ = [
    "OCCLUDED",
    "UNLABELLED",
    "VISIBLE",
    "Dataset",
    "Instances",
    "PictureFiles",
    "Points",
    "Problem",
    "Sample",
    "Schema",
    "merge",
]
