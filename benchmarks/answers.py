"""Answers the questions of an adaptation by the dataset's identities, as a person who makes no mistakes would.

    python recipes/adapt.py --weights osnet_x0_25_people --height 128 --dataset market1501 --data-dir D --pairs 50 \\
        --wait --evaluate-every 1 --work-dir RUN
    python benchmarks/answers.py RUN --data-dir D        beside it; it ends with the adaptation

With --wait, each round begins when all pairs of the round before are answered.
"""

import time
from pathlib import Path

import tyro

from keras_osnet.adaptation.answers import ANSWERS, newest_pairs, read_answers, unanswered, write_answers
from keras_osnet.data import load_splits


def main(work_dir: tyro.conf.Positional[Path], data_dir: Path, dataset: str = "market1501") -> None:
    """Print a line for each round.

    Args:
        work_dir: folder of the adaptation.
        data_dir: folder that holds the dataset's official folder.
        dataset: row of keras_osnet.DATASETS.
    """
    identities = {str(record.path): record.identity for record in load_splits(dataset, data_dir)[0].train}
    while not (work_dir / "metrics.json").exists():
        number, pairs = newest_pairs(work_dir)
        answers = read_answers(work_dir / ANSWERS, identities)
        known = len(answers)
        while asked := unanswered(pairs, answers):
            first, second = (image["path"] for image in pairs[asked[0]])
            answers.append((first, second, identities[first] == identities[second]))
        if len(answers) > known:
            write_answers(work_dir / ANSWERS, answers)
            yes = sum(same for _, _, same in answers[known:])
            print(
                f"round {number}: {len(answers) - known} of {len(pairs)} pairs asked, {yes} of one person", flush=True
            )
        time.sleep(1)


if __name__ == "__main__":
    tyro.cli(main)
