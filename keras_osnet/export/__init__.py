"""Models for other runtimes."""

from keras_osnet.export.calibration import calibration_pictures
from keras_osnet.export.folded import Node, fold
from keras_osnet.export.tflite import TFLiteReport, run_tflite, to_tflite

__all__ = ["Node", "TFLiteReport", "calibration_pictures", "fold", "run_tflite", "to_tflite"]
