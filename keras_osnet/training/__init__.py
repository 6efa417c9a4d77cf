"""Training on every `tf.distribute` strategy, resumable at any step."""

from keras_osnet.training.loop import Stopped, others_gone, train

__all__ = ["Stopped", "others_gone", "train"]
