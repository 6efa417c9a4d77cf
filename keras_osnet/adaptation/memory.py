"""Contrast against a memory of cluster centroids, and of centroids of each cluster under each camera."""

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import count, number
from keras_osnet.losses.base import ImageLoss, at_least_float32, class_indices, of_own_class, own_class
from keras_osnet.losses.objective import TrainingNetwork
from keras_osnet.models.heads import full_precision, unit_vectors

FAR = -1e30  # in place of minus infinity, whose gradient would be 0 times infinity


@keras.saving.register_keras_serializable(package="keras_osnet")
class Memory(keras.layers.Layer):
    """Cosines of a feature to centroids, over a temperature: logits of a softmax over all clusters.

    z_k = c_k u / temperature, with u = f / |f| and c_k of length 1. The centroids are no trainable weights: `moved`
    says where features move them, and a loss assigns them.

    Args:
        classes: number of centroids.
        temperature: positive. Default .05.
        momentum: what a centroid keeps of itself when it moves, 0 to 1. Default .9.

    Input shape: (B, D). Output shape: (B, classes), float32 also under a half precision policy.

    Reference: Ge et al., SpCL (NeurIPS 2020), Equation 1, for the temperature; Dai et al., Cluster Contrast for
        Unsupervised Person Re-identification (2021), Section 3.3, for the memory of hardest images.
    """

    def __init__(self, classes, temperature=0.05, momentum=0.9, dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.classes = count("classes", classes)
        self.temperature = number("temperature", temperature, "a positive number", lambda t: t > 0)
        self.momentum = number("momentum", momentum, "a number in 0 .. 1", lambda m: 0 <= m <= 1)

    def build(self, input_shape):
        # All replicas compute the same centroids from the whole batch, so that the first one's value is everybody's.
        self.centroids = self.add_weight(
            shape=(self.classes, input_shape[-1]), initializer="zeros", trainable=False, name="centroids",
            aggregation="only_first_replica",
        )  # fmt: skip

    def call(self, inputs):
        centroids = ops.stop_gradient(ops.convert_to_tensor(self.centroids))
        return ops.matmul(unit_vectors(inputs), ops.transpose(centroids)) / self.temperature

    def moved(self, labels, features):
        """Returns the centroids after a batch: each moves towards its hardest image, the one at the smallest cosine.

        c_k <- unit(m c_k + (1 - m) u_i), i = argmin of c_k u_i over the images of cluster k in the batch

        Args:
            labels: (B,) integers 0 .. classes - 1.
            features: (B, D).

        Returns:
            (classes, D).
        """
        labels = ops.cast(class_indices(labels), "int32")
        unit = unit_vectors(at_least_float32(features))
        centroids = ops.convert_to_tensor(self.centroids)
        own = ops.take(centroids, labels, axis=0)
        cosines = ops.sum(own * unit, axis=1)
        same = ops.equal(labels[:, None], labels[None])
        hardest = ops.argmin(ops.where(same, cosines[None], -FAR), axis=1)  # the first of equal ones
        rows = unit_vectors(self.momentum * own + (1 - self.momentum) * ops.take(unit, hardest, axis=0))
        # A cluster has several images in the batch, all of which write the same row.
        return ops.scatter_update(centroids, labels[:, None], rows)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def get_config(self):
        own = {"classes": self.classes, "temperature": self.temperature, "momentum": self.momentum}
        return {**super().get_config(), **own}


class _MemoryLoss(ImageLoss):
    """A loss on the features and on the logits of a `Memory`, which moves its centroids when it is called.

    Attributes:
        output: name of the output of the network that holds the logits. The features are the output "features".
    """

    whole_batch = True

    def __init__(self, memory, output, name):
        super().__init__(name=name)
        self.memory, self.output = memory, output

    def call(self, y_true, y_pred):
        values = self.values(y_true, at_least_float32(y_pred[self.output]))
        features = ops.stop_gradient(y_pred["features"])
        self.memory.centroids.assign(self.memory.moved(y_true, features))
        return values


class ClusterContrast(_MemoryLoss):
    """Cross entropy of an image's own cluster among all clusters of a `Memory`.

    L = -z_y + log sum_k exp(z_k). Each call moves the centroids, after the loss is computed.

    Args:
        memory: `Memory` of the clusters.
        output: name of its output. Default "logits".

    Input: labels (B,) integers, dict of "features" (B, D) and logits (B, K). Output of `call`: (B,).

    Reference: Dai et al., Cluster Contrast for Unsupervised Person Re-identification (2021), Equation 3.
    """

    def __init__(self, memory, output="logits", name="cluster_contrast"):
        super().__init__(memory, output, name)

    def values(self, y_true, logits):
        return ops.logsumexp(logits, axis=1) - of_own_class(logits, own_class(y_true, logits.shape[-1]))


class CameraContrast(_MemoryLoss):
    """Pulls an image to the centroids of its own cluster under other cameras, away from the hardest other centroids.

    A proxy is the centroid of the images of one cluster under one camera. With P the proxies of the image's cluster
    under other cameras, and Q the nearest `negatives` proxies of other clusters,

        L = -1 / |P| sum_{p in P} log(exp(z_p) / (exp(z_p) + sum_{q in Q} exp(z_q)))

    An image whose cluster has one camera costs 0. Each call moves the proxies, after the loss is computed.

    Args:
        memory: `Memory` of the proxies.
        clusters: (proxies,) integers, the cluster of each proxy.
        negatives: most proxies in Q, at least 1. Default 50.
        output: name of the memory's output. Default "proxies".

    Input: labels (B,) integers, the proxy of each image; dict of "features" (B, D) and logits (B, proxies). Output of
        `call`: (B,).

    Reference: Chen et al., ICE: Inter-instance Contrastive Encoding for Unsupervised Person Re-identification (ICCV
        2021), Equation 5; Wang et al., Camera-aware Proxies (AAAI 2021), Section 3.3, for the 50 negatives.
    """

    def __init__(self, memory, clusters, *, negatives=50, output="proxies", name="camera_contrast"):
        super().__init__(memory, output, name)
        self.clusters = np.asarray(clusters, "int32")
        if self.clusters.shape != (memory.classes,):
            raise ValueError(
                f"`clusters` must be one per proxy, ({memory.classes},). Received: clusters.shape={self.clusters.shape}"
            )
        self.negatives = min(count("negatives", negatives), memory.classes)

    def values(self, y_true, logits):
        labels = ops.cast(class_indices(y_true), "int32")
        clusters = ops.convert_to_tensor(self.clusters)
        same = ops.equal(ops.take(clusters, labels)[:, None], clusters[None])
        positive = same & ~own_class(labels, self.memory.classes)
        hardest, _ = ops.top_k(ops.where(same, FAR, logits), self.negatives)
        against = ops.logsumexp(hardest, axis=1, keepdims=True)
        terms = ops.where(positive, ops.softplus(against - logits), 0.0)  # -log(e^z / (e^z + e^a))
        number_of = ops.sum(ops.cast(positive, logits.dtype), axis=1)
        return ops.sum(terms, axis=1) / ops.maximum(number_of, 1.0)


class Contrast(ImageLoss):
    """Contrast with the clusters and, weighted, with their proxies under other cameras: L = L_cluster + w L_camera.

    Args:
        clusters: `ClusterContrast`.
        cameras: `CameraContrast`.
        weight: w, at least 0. Default .5.

    Input: labels (B, 2) integers, cluster and proxy of each image; the outputs that both take. Output of `call`: (B,).
    """

    whole_batch = True

    def __init__(self, clusters, cameras, weight=0.5, name="contrast"):
        super().__init__(name=name)
        self.clusters, self.cameras = clusters, cameras
        self.weight = number("weight", weight, "a number of at least 0", lambda w: w >= 0)

    def call(self, y_true, y_pred):
        return self.clusters.call(y_true[:, 0], y_pred) + self.weight * self.cameras.call(y_true[:, 1], y_pred)


def with_memory(network, centroids, proxies=None, *, temperature=0.05, momentum=0.9, weight=0.5):
    """Puts memories on a network that returns features; the new model shares all its layers.

    Args:
        network: keras.Model, images -> (B, D) features.
        centroids: (K, D) centroids of the clusters, to start from.
        proxies: ((P, D) centroids of each cluster under each camera, (P,) the cluster of each); None for no cameras.
        temperature, momentum: of the memories; the proxies have the temperature .07 of their paper.
        weight: of the loss of the proxies.

    Returns:
        (model, loss): the labels are (B,) clusters or, with proxies, (B, 2) clusters and proxies.
    """
    (images,), (features,) = network.inputs, network.outputs  # a Sequential has no `input` and `output`
    outputs = {"features": features}

    def remember(name, rows, temperature):
        memory = Memory(len(rows), temperature, momentum, name=name)
        outputs["logits" if name == "clusters" else name] = memory(features)
        memory.centroids.assign(unit_vectors(ops.convert_to_tensor(rows, "float32")))
        return memory

    loss = ClusterContrast(remember("clusters", centroids, temperature))
    if proxies is not None:
        rows, clusters = proxies
        loss = Contrast(loss, CameraContrast(remember("proxies", rows, 0.07), clusters), weight)
    model = TrainingNetwork(images, outputs)
    model.dtype_policy = network.dtype_policy
    return model, loss
