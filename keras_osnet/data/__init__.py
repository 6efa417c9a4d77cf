"""Datasets, read from people's own official folders, and the pipeline that feeds the network."""

from keras_osnet.data.datasets import (
    ATTRIBUTE_DATASETS,
    DATASETS,
    Dataset,
    load,
    load_attributes,
    load_classes,
    load_splits,
)
from keras_osnet.data.records import AttributeSplits, ClassArrays, Record, Splits

__all__ = [
    "ATTRIBUTE_DATASETS",
    "DATASETS",
    "AttributeSplits",
    "ClassArrays",
    "Dataset",
    "Record",
    "Splits",
    "load",
    "load_attributes",
    "load_classes",
    "load_splits",
]
