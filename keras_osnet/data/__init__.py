"""Datasets, read from people's own official folders, and the pipeline that feeds the network."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_osnet.data.datasets import (
        ATTRIBUTE_DATASETS,
        DATASETS,
        Dataset,
        load,
        load_attributes,
        load_classes,
        load_splits,
    )
    from keras_osnet.data.records import AttributeSplits, ClassArrays, Record, Splits, hold_out

__all__ = [
    "ATTRIBUTE_DATASETS",
    "DATASETS",
    "AttributeSplits",
    "ClassArrays",
    "Dataset",
    "Record",
    "Splits",
    "hold_out",
    "load",
    "load_attributes",
    "load_classes",
    "load_splits",
]
# The modules of the names, imported on first use.
_HOMES = {
    "datasets": ("ATTRIBUTE_DATASETS", "DATASETS", "Dataset", "load", "load_attributes", "load_classes", "load_splits"),
    "records": ("AttributeSplits", "ClassArrays", "Record", "Splits", "hold_out"),
}


def __getattr__(name):
    for module, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"keras_osnet.data.{module}"), name)
            return value
    if "." not in name and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'keras_osnet.data' has no attribute {name!r}")
