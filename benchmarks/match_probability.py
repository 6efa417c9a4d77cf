r"""How well the probability of a match carries over to other cameras, before and after a few pairs from there.

    python benchmarks/match_probability.py --weights W --fitted-on people --fitted-dir P --dataset market1501 \
        --data-dir D

It is fitted on the test set of one dataset and measured on the test set of another: on half of the people there. The
pairs that it is refitted on are drawn from the other half, several times. As many pairs show one person as two.
"""

from pathlib import Path

import numpy as np
import tyro

from keras_osnet import FeatureExtractor
from keras_osnet.data import load_splits
from keras_osnet.inference.scores import features_of_splits, labels_of
from keras_osnet.metrics import MatchProbability, known_pairs, reliability


def pairs_of(extractor, dataset, data_dir):
    """Distances and labels of the pairs of a test set across cameras, and the person of each pair's query."""
    side = load_splits(dataset, data_dir)[0]
    (query, gallery), labels = features_of_splits(extractor, side), labels_of(side)
    distances, same, queries = known_pairs(query, *labels[:2], gallery, *labels[2:])
    return distances, same, np.array(labels[0])[queries]


def report(name, match, distances, same):
    found = reliability(match(distances), same)
    print(f"| {name} | {found.calibration_error:.3f} | {found.brier:.3f} |", flush=True)


def main(
    weights: str,
    fitted_on: str,
    fitted_dir: Path,
    dataset: str,
    data_dir: Path,
    pairs: tuple[int, ...] = (50, 500),
    draws: int = 20,
) -> None:
    """Prints one table.

    Args:
        weights: preset, file, folder or address.
        fitted_on, fitted_dir: dataset of the fit, and the folder that holds its official folder.
        dataset, data_dir: dataset that is measured.
        pairs: numbers of pairs from there.
        draws: of the pairs; the row is that of the median Brier score.
    """
    extractor, rng = FeatureExtractor(weights), np.random.default_rng(0)
    distances, same, people = pairs_of(extractor, dataset, data_dir)
    known = rng.permutation(np.unique(people))
    own = np.isin(people, known[: len(known) // 2])
    measured = distances[~own], same[~own]
    match = MatchProbability.fit(*pairs_of(extractor, fitted_on, fitted_dir)[:2])
    print("| fitted on | calibration error | Brier score |\n|---|---|---|")
    report(fitted_on, match, *measured)
    for count in pairs:
        found = []
        for _ in range(draws):
            rows = np.concatenate(
                [rng.choice(np.flatnonzero(own & (same == kind)), count // 2, replace=False) for kind in (True, False)]
            )
            refitted = match.refit(distances[rows], same[rows])
            found.append((reliability(refitted(measured[0]), measured[1]).brier, len(found), refitted))
        report(f"{fitted_on}, and {count} pairs of {dataset}", sorted(found)[draws // 2][2], *measured)
    report(f"all {own.sum():,} pairs of {dataset}", MatchProbability.fit(distances[own], same[own]), *measured)


if __name__ == "__main__":
    tyro.cli(main)
