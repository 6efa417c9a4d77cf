"""Encoders for trackers: features of the boxes of a frame, behind the interface that each tracker calls.

No tracker is imported: the encoders only have the methods that a tracker calls, and read the attributes that it sets.
"""

from keras_osnet.integrations.boxes import BoxEncoder
from keras_osnet.integrations.boxmot import BoxmotEncoder
from keras_osnet.integrations.deep_sort import DeepSortEncoder
from keras_osnet.integrations.norfair import NorfairEncoder, reid_distance
from keras_osnet.integrations.roboflow import RoboflowEncoder
from keras_osnet.integrations.ultralytics import to_ultralytics

__all__ = [
    "BoxEncoder",
    "BoxmotEncoder",
    "DeepSortEncoder",
    "NorfairEncoder",
    "RoboflowEncoder",
    "reid_distance",
    "to_ultralytics",
]
