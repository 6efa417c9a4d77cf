"""Models for other runtimes."""

from keras_osnet.export.calibration import calibration_pictures
from keras_osnet.export.folded import Node, fold
from keras_osnet.export.metadata import metadata_of
from keras_osnet.export.onnx import ExportReport, to_onnx
from keras_osnet.export.openvino import to_openvino
from keras_osnet.export.proof.certificate import Certificate, certify
from keras_osnet.export.proof.test_sets import Calibration, Judge, load_judge
from keras_osnet.export.tflite import TFLiteReport, recommended_float_parts, run_tflite, to_tflite

__all__ = [
    "Calibration",
    "Certificate",
    "ExportReport",
    "Judge",
    "Node",
    "TFLiteReport",
    "calibration_pictures",
    "certify",
    "fold",
    "load_judge",
    "metadata_of",
    "recommended_float_parts",
    "run_tflite",
    "to_onnx",
    "to_openvino",
    "to_tflite",
]
