"""Models for other runtimes."""

from keras_osnet.export.calibration import calibration_images
from keras_osnet.export.folded import fold
from keras_osnet.export.graph import Node
from keras_osnet.export.litert import run_tflite
from keras_osnet.export.metadata import ExportReport, metadata_of
from keras_osnet.export.onnx import to_onnx
from keras_osnet.export.openvino import to_openvino
from keras_osnet.export.proof.certificate import Certificate
from keras_osnet.export.proof.certify import certify
from keras_osnet.export.proof.files import read_certificate, write_certificate
from keras_osnet.export.proof.test_sets import Calibration, TestSet, load_test_set
from keras_osnet.export.targets import TARGETS, Target
from keras_osnet.export.tflite import TFLiteReport, recommended_float_parts, to_tflite

__all__ = [
    "TARGETS",
    "Calibration",
    "Certificate",
    "ExportReport",
    "Node",
    "TFLiteReport",
    "Target",
    "TestSet",
    "calibration_images",
    "certify",
    "fold",
    "load_test_set",
    "metadata_of",
    "read_certificate",
    "recommended_float_parts",
    "run_tflite",
    "to_onnx",
    "to_openvino",
    "to_tflite",
    "write_certificate",
]
