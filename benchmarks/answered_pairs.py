"""What answers about pairs of images add to clusters, before any training: chosen pairs beside random ones.

python benchmarks/answered_pairs.py --weights runs/adapt/best.keras --data-dir D     the training images of Market-1501

The answers come from the dataset's identities, which choose nothing. Precision, recall and F1 are over
all pairs of images: one is predicted to show one person where both are in one cluster. An outlier is alone.
"""

from pathlib import Path

import numpy as np
import tyro

from keras_osnet import FeatureExtractor
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.adaptation.clusters import OUTLIER, choose_eps, jaccard_distances
from keras_osnet.adaptation.links import Links, with_links
from keras_osnet.adaptation.pairs import choose_pairs
from keras_osnet.data import load_splits
from keras_osnet.weights import load_network


def scores(labels, identities):
    """Precision, recall and F1 of the pairs of images with equal labels."""
    alone = labels == OUTLIER
    labels = np.where(alone, labels.max() + 1 + np.cumsum(alone), labels)

    def pairs(groups):
        sizes = np.unique(groups, axis=1, return_counts=True)[1]
        return (sizes * (sizes - 1) / 2).sum()

    predicted, true, both = pairs(labels[None]), pairs(identities[None]), pairs(np.stack([labels, identities]))
    return both / predicted, both / true, 2 * both / (predicted + true)


def random_pairs(distances, number, links, rng):
    """Pairs of images that share a neighbour, without those whose answer is known."""
    pairs = []
    while len(pairs) < number:
        first = int(rng.integers(distances.shape[0]))
        second = int(rng.choice(distances.indices[distances.indptr[first] : distances.indptr[first + 1]]))
        if links.known(first, second) is None:
            pairs.append((first, second))
    return pairs


def report(name, labels, identities, yes=""):
    precision, recall, f1 = (100 * score for score in scores(labels, identities))
    print(f"{name:32s} {yes:>4}  precision {precision:5.2f}  recall {recall:5.2f}  F1 {f1:5.2f}", flush=True)


def main(
    weights: str,
    data_dir: Path,
    dataset: str = "market1501",
    pairs: tuple[int, ...] = (10, 50),
    rounds: int = 3,
    seeds: int = 3,
) -> None:
    """Print one table.

    Args:
        weights: of the network whose features are clustered.
        data_dir: folder that holds the dataset's official folder.
        dataset: row of keras_osnet.DATASETS.
        pairs: how many are asked about in a round.
        rounds: of questions, without training between them.
        seeds: of the random pairs.
    """
    records = load_splits(dataset, data_dir)[0].train
    cameras, identities = [r.camera for r in records], np.unique([r.identity for r in records], return_inverse=True)[1]
    features = FeatureExtractor(load_network(weights)[0])([r.path for r in records])
    distances = jaccard_distances(CameraNormalizer().fit(features, cameras).transform(features, cameras))
    found = choose_eps(distances).labels
    report(f"{found.max() + 1} clusters", found, identities)
    for number in pairs:
        for seed in (None, *range(seeds)):
            links, labels, rng, yes = Links(), found, np.random.default_rng(seed), 0
            for asked in range(1, rounds + 1):
                if seed is None:
                    asks = choose_pairs(distances, labels, number=number, cameras=cameras, links=links)
                else:
                    asks = random_pairs(distances, number, links, rng)
                for first, second in asks:
                    same = bool(identities[first] == identities[second])
                    if links.known(first, second) is None:  # a random pair may follow from one before it
                        links.add(first, second, same)
                    yes += same
                labels = with_links(found, distances, links)
                name = "chosen" if seed is None else f"random, seed {seed}"
                report(f"{asked} x {number} pairs, {name}", labels, identities, f"{yes}")


if __name__ == "__main__":
    tyro.cli(main)
