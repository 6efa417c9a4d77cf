"""Training on every `tf.distribute` strategy, resumable at any step."""

from keras_osnet.training.loop import Stopped, train

__all__ = ["Stopped", "train"]
