"""What a person is asked during an adaptation, and which answers a round uses."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_osnet.adaptation.answers import (
    ANSWERS,
    PAIRS,
    finder,
    links_of,
    newest_pairs,
    read_answers,
    unanswered,
    write_answers,
    write_pairs,
)
from keras_osnet.adaptation.cameras import plain_cameras
from keras_osnet.adaptation.pairs import choose_pairs
from keras_osnet.adaptation.settings import Target
from keras_osnet.files import locked
from keras_osnet.training.replicas import gathered, is_chief


@dataclass(frozen=True, eq=False)
class Questions:
    """The pairs and answers in the folder of an adaptation.

    Attributes:
        work_dir: the folder.
        target: `Target`, the images.
        strategy: `tf.distribute.Strategy`, whose chief writes all files.
        pairs: pairs of images to ask about in each round.
        wait: whether a round waits until the pairs of the round before are answered.
    """

    work_dir: Path
    target: Target
    strategy: object
    pairs: int = 0
    wait: bool = False

    def answers(self):
        """The answers that are there now. Raises ValueError as `read_answers`."""
        return read_answers(self.work_dir / ANSWERS, self.target.paths)

    def follow_images(self):
        """Writes answers.csv and the newest pairs again where the images have moved. Raises as `read_answers`."""
        path, answers = self.work_dir / ANSWERS, self.answers()
        number, pairs = newest_pairs(self.work_dir)
        if not is_chief(self.strategy):
            return
        if answers != read_answers(path):
            with locked(path):  # a person may be answering
                write_answers(path, self.answers())
        find = finder(self.target.paths)
        now = [[{**image, "path": find(image["path"]) or image["path"]} for image in pair] for pair in pairs]
        if now != pairs:
            write_pairs(self.work_dir / "rounds" / f"{number:02d}", now)

    def links(self, folder):
        """The `Links` of image numbers for a round. Its folder keeps the answers, for a resumed run."""
        used = folder / ANSWERS
        if is_chief(self.strategy) and not used.exists():
            while self.wait and unanswered(newest_pairs(self.work_dir)[1], self.answers()):
                time.sleep(1)
            folder.mkdir(parents=True, exist_ok=True)
            write_answers(used, self.answers())
        gathered(self.strategy, np.array([True]))  # no worker reads before the file is complete
        rows = {str(path): row for row, path in enumerate(self.target.paths)}
        return links_of((rows[first], rows[second], same) for first, second, same in read_answers(used, rows))

    def ask(self, folder, distances, labels, links):
        """Writes the pairs to ask about after a round. Those of an interrupted round stay: the page may show them."""
        if self.pairs and is_chief(self.strategy) and not (folder / PAIRS).exists():
            paths = self.target.paths
            cameras = plain_cameras(self.target.cameras, len(paths))
            # The page does not ask again about those that a person was unsure about.
            seen = {frozenset(answer[:2]) for answer in self.answers()}
            pairs = choose_pairs(distances, labels, number=self.pairs + len(seen), cameras=cameras, links=links)
            pairs = [pair for pair in pairs if frozenset(str(paths[row]) for row in pair) not in seen][: self.pairs]
            folder.mkdir(parents=True, exist_ok=True)
            images = [[{"path": str(paths[row]), "camera": cameras[row]} for row in pair] for pair in pairs]
            write_pairs(folder, images)
