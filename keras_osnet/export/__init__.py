"""Models for other runtimes."""

from keras_osnet.export.tflite import TFLiteReport, run_tflite, to_tflite

__all__ = ["TFLiteReport", "run_tflite", "to_tflite"]
