"""Rounds of clustering and training on small images: interrupted ones end as others do, and faults end them."""

import hashlib
import importlib.util
import json
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="rounds train with TensorFlow")
pytest.importorskip("sklearn", reason="clusters need scikit-learn")
import tensorflow as tf

from keras_osnet.adaptation import CameraNormalizer, clusters, rounds
from keras_osnet.adaptation.answers import newest_pairs, read_answers, unanswered, write_answers
from keras_osnet.adaptation.distillation import Distillation, check_teachers
from keras_osnet.adaptation.rounds import adapt
from keras_osnet.adaptation.settings import Rounds, State, Target, fault_of
from keras_osnet.data.augment import Augmentation
from keras_osnet.inference import FeatureExtractor
from keras_osnet.models import OSNet
from keras_osnet.training.settings import Execution
from tests.training.small import convolutional
from tests.weights.servers import serving


@dataclass(frozen=True, kw_only=True)
class Settings(Rounds, Augmentation):
    """As a recipe has them."""


SETTINGS = Settings(
    rounds=2,
    height=32,
    clusters_per_batch=3,
    images_per_cluster=2,
    k1=6,
    k2=2,
    eps=0.7,
    min_samples=2,
    ema=0.5,
    least_silhouette=-1,
)
EVERY_STEP = Execution(checkpoint_minutes=0)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Eight people in their own colours, six images of each, under two cameras, one of which is darker."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    paths, cameras = [], []
    for person in range(8):
        colours = rng.integers(40, 250, (4, 2, 3))
        for number in range(6):
            rows = np.kron(colours, np.ones((8, 8, 1))) * (0.6 if number % 2 else 1) + rng.normal(0, 6, (32, 16, 3))
            paths.append(str(folder / f"{person}-{number}.png"))
            Image.fromarray(rows.clip(0, 255).astype("uint8")).save(paths[-1])
            cameras.append(("door", "yard")[number % 2])
    return Target(paths, cameras)


def start(size):
    keras.utils.set_random_seed(3)
    return convolutional(size, 24)


def adapted(target, work_dir, settings=SETTINGS, execution=Execution(), **options):  # noqa: B008
    states, best, fault = adapt(start, target, settings, execution, work_dir, tf.distribute.get_strategy(), **options)
    return states, best, fault, keras.models.load_model(work_dir / "best.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def undisturbed(target, tmp_path_factory):
    return adapted(target, tmp_path_factory.mktemp("undisturbed"))


def test_every_state_has_its_figures_and_the_best_one_is_kept(undisturbed):
    states, best, fault, _ = undisturbed
    assert [state.round for state in states] == [0, 1, 2]
    assert fault is None
    assert best.silhouette == max(state.silhouette for state in states)
    assert states[0].agreement is None
    assert all(-1 <= state.agreement <= 1 for state in states[1:])
    assert all(0 < state.clustered <= 1 for state in states)


@pytest.mark.parametrize(("schedule", "rates"), [("cosine", [4e-3, 3e-3, 1e-3]), ("single_step", [4e-3, 4e-3, 1e-3])])
def test_each_round_trains_with_the_learning_rate_of_its_schedule(target, tmp_path, schedule, rates):
    # 4e-3 (1 + cos x) / 2 at x = 0, pi / 3, 2 pi / 3; a quarter from the third round on
    settings = replace(SETTINGS, rounds=3, epochs=1, learning_rate=4e-3, schedule=schedule, decay_round=3, decay=0.25)
    adapted(target, tmp_path, settings)
    for number, rate in enumerate(rates, 1):
        line = json.loads((tmp_path / f"rounds/{number:02d}/metrics.jsonl").read_text())
        assert line["learning_rate"] == pytest.approx(rate, rel=1e-6)


class Killed(Exception):
    pass


class KillAtStep(keras.callbacks.Callback):
    """Stops the training as a kill does: after a step, before its checkpoint."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_a_run_that_is_killed_in_a_step_and_between_rounds_ends_as_an_undisturbed_one(target, undisturbed, tmp_path):
    def kill(state):
        if state.round == 1:
            raise Killed

    for options in ({"callbacks": [KillAtStep(3)]}, {"on_state": kill}):
        with pytest.raises(Killed):
            adapted(target, tmp_path, execution=EVERY_STEP, **options)
    found = adapted(target, tmp_path, execution=EVERY_STEP)
    assert found[:3] == undisturbed[:3]
    for mine, theirs in zip(found[3], undisturbed[3], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert adapted(target, tmp_path, callbacks=[KillAtStep(1)])[:3] == found[:3]  # finished: nothing is trained


class Seen(keras.callbacks.Callback):
    """Keeps the optimizer, and the loss scale and rate at the end of each training."""

    def __init__(self):
        super().__init__()
        self.trainings = []

    def on_train_end(self, logs=None):
        self.optimizer = self.model.optimizer
        self.trainings.append((float(self.optimizer.dynamic_scale.value), float(self.optimizer.learning_rate.value)))


def test_a_round_in_float16_scales_its_loss_and_is_resumed(target, tmp_path):
    seen, settings = Seen(), replace(SETTINGS, precision="mixed_float16")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(Killed):
            adapted(target, tmp_path, settings, EVERY_STEP, callbacks=[KillAtStep(3)])
        states, *_ = adapted(target, tmp_path, settings, EVERY_STEP, callbacks=[seen])
    finally:
        keras.config.set_dtype_policy("float32")
    assert [state.round for state in states] == [0, 1, 2]
    (scale, _), (_, rate) = seen.trainings
    assert scale >= 1
    assert rate == pytest.approx(settings.rate(2))
    assert len(seen.optimizer.apply_functions) == 1  # one graph for all rounds
    assert [variable.path for variable in seen.optimizer.variables].count("loss_scale/dynamic_scale") == 1


def person_of(image):
    return Path(image["path"]).name.split("-")[0]


def answer_all(work_dir):
    """Answers all pairs of the newest round by the names of the images."""
    answers = read_answers(work_dir / "answers.csv")
    _, pairs = newest_pairs(work_dir)
    for row in unanswered(pairs, answers):
        first, second = pairs[row]
        answers.append((first["path"], second["path"], person_of(first) == person_of(second)))
    write_answers(work_dir / "answers.csv", answers)


def test_the_next_round_agrees_with_the_answers_and_a_resumed_one_uses_the_same(target, tmp_path):
    def answer(state):
        """Says that a cluster holds two people, and that two clusters are one person."""
        if state.round == 0:
            labels = np.load(tmp_path / "rounds/01/clusters.npz")["labels"]
            split, merged = np.flatnonzero(labels == 0)[:2], [np.flatnonzero(labels == label)[0] for label in (1, 2)]
            rows = [(*split, False), (*merged, True)]
            write_answers(tmp_path / "answers.csv", [(target.paths[i], target.paths[j], same) for i, j, same in rows])

    states, *_ = adapted(target, tmp_path, pairs=3, on_state=answer)
    used = read_answers(tmp_path / "rounds/02/answers.csv")
    assert [same for *_, same in used] == [False, True]
    labels, rows = np.load(tmp_path / "rounds/02/clusters.npz")["labels"], target.paths.index
    for first, second, same in used:
        one, two = labels[rows(first)], labels[rows(second)]
        assert one == two != -1 if same else one != two or one == -1
    assert read_answers(tmp_path / "rounds/01/answers.csv") == []
    number, pairs = newest_pairs(tmp_path)
    assert (number, 1 <= len(pairs) <= 3) == (2, True)  # after the last round nothing is asked
    assert unanswered(pairs, used) == list(range(len(pairs)))
    write_answers(tmp_path / "answers.csv", [])
    (tmp_path / "rounds/02/clusters.npz").unlink()  # as if it was killed before the file was written
    assert adapted(target, tmp_path, pairs=3)[0][1] == states[1]


def test_a_run_with_answers_goes_on_where_its_images_have_moved(target, tmp_path):
    def answer_and_kill(state):
        answer_all(tmp_path / "run")
        raise Killed

    with pytest.raises(Killed):
        adapted(target, tmp_path / "run", pairs=3, on_state=answer_and_kill)
    before = read_answers(tmp_path / "run/answers.csv")
    moved = tmp_path / "moved"  # not the name that it had
    shutil.copytree(Path(target.paths[0]).parent, moved)
    there = Target([str(moved / Path(path).name) for path in target.paths], target.cameras)
    adapted(there, tmp_path / "run", pairs=3, wait=True, on_state=lambda state: answer_all(tmp_path / "run"))
    after = [(str(moved / Path(a).name), str(moved / Path(b).name), same) for a, b, same in before]
    assert read_answers(tmp_path / "run/answers.csv")[: len(after)] == after
    assert read_answers(tmp_path / "run/rounds/02/answers.csv") == after
    assert {str(Path(image["path"]).parent) for path in (tmp_path / "run/rounds").glob("*/pairs.json")
            for pair in json.loads(path.read_text()) for image in pair} == {str(moved)}  # fmt: skip


def test_pairs_are_asked_about_under_cameras_that_are_numbers_of_numpy(target, tmp_path):
    numbered = Target(target.paths, [*np.arange(48) % 2])
    adapted(numbered, tmp_path, replace(SETTINGS, rounds=1), pairs=2)
    cameras = {image["camera"] for pair in newest_pairs(tmp_path)[1] for image in pair}
    assert cameras <= {0, 1}
    assert set(CameraNormalizer.load(tmp_path / "cameras.json").counts) == {0, 1}


def test_a_round_waits_for_the_answers_where_it_is_asked_to(target, tmp_path):
    began = []

    def answer_later(state):
        if state.round == 0:
            began.append(time.monotonic())
            threading.Timer(1.5, answer_all, [tmp_path]).start()

    adapted(target, tmp_path, replace(SETTINGS, rounds=1), pairs=2, wait=True, on_state=answer_later)
    assert time.monotonic() - began[0] > 1.5
    number, pairs = newest_pairs(tmp_path)
    assert number == 1
    assert unanswered(pairs, []) != unanswered(pairs, read_answers(tmp_path / "rounds/02/answers.csv")) == []


def test_bad_answers_are_refused_before_anything_is_computed(target, tmp_path):
    (tmp_path / "answers.csv").write_text(f"first,second,same\n{target.paths[0]},elsewhere.png,yes\n")
    with pytest.raises(ValueError, match=r"answers\.csv, line 2: an image must be .* Received: elsewhere\.png"):
        adapted(target, tmp_path)
    with pytest.raises(ValueError, match=r"`pairs` must be an integer of at least 0\. Received: pairs=-1"):
        adapted(target, tmp_path, pairs=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("best.json", b'{"silhouette"'), ("best.json", b"{}"), ("best.json", b"[1]"),
     ("rounds/01/clusters.npz", b"PK\x03\x04"), ("rounds/01/clusters.npz", None)],
)  # fmt: skip
def test_a_damaged_file_of_a_round_is_refused_by_its_name(target, tmp_path, name, content):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    if content is None:  # of another program
        np.savez(tmp_path / name, state="{}")
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"`path` must be a file that this adaptation wrote. Received: path=.*{name}"):
        adapted(target, tmp_path)


def test_the_first_rounds_may_have_small_images_and_scores_change_nothing(target, tmp_path):
    settings, execution = replace(SETTINGS, rounds=1, height=64, small_rounds=1), Execution(evaluate_every=1)
    scores = {"cosine": {"rank1": 1.0}}
    states, best, _ = adapt(
        start, target, settings, execution, tmp_path, tf.distribute.get_strategy(), score=lambda *_: scores
    )
    assert [(state.round, state.height) for state in states] == [(0, 64), (0, 32), (1, 64)]
    assert [state.scores for state in states] == [scores] * 3
    assert best.height == 64
    assert keras.models.load_model(tmp_path / "best.keras", compile=False).input_shape == (None, 64, 32, 3)
    assert set(CameraNormalizer.load(tmp_path / "cameras.json").counts) == {"door", "yard"}


def test_an_unknown_camera_has_other_proxies_than_one_called_none(target, tmp_path):
    cameras = [(None, "None", "door")[number % 3] for number in range(len(target.paths))]
    adapted(Target(target.paths, cameras), tmp_path, replace(SETTINGS, rounds=0))
    with np.load(tmp_path / "rounds/01/clusters.npz") as found:
        pairs = {(label, camera) for label, camera in zip(found["labels"].tolist(), cameras, strict=True) if label >= 0}
        assert sorted(found["proxy_clusters"].tolist()) == sorted(label for label, _ in pairs)


def test_without_cameras_nothing_is_normalised(target, tmp_path):
    states, *_ = adapted(Target(target.paths, [None] * 48), tmp_path, replace(SETTINGS, rounds=1))
    assert len(states) == 2
    assert not (tmp_path / "cameras.json").exists()
    lines = (tmp_path / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1]


def test_neighbours_are_sought_by_camera_and_silhouettes_stay_those_of_one_list(target, tmp_path):
    (state,), *_ = adapted(target, tmp_path, replace(SETTINGS, rounds=0, camera_neighbours=True))
    features = FeatureExtractor(start((32, 16)))(target.paths)
    features = CameraNormalizer().fit(features, target.cameras).transform(features, target.cameras)
    one_list = clusters.jaccard_distances(features, k1=6, k2=2)
    of_cameras = clusters.jaccard_distances(features, k1=6, k2=2, cameras=target.cameras)
    labels = [clusters.cluster(distances, eps=0.7, min_samples=2).labels for distances in (of_cameras, one_list)]
    assert labels[0].tolist() != labels[1].tolist()
    assert np.load(tmp_path / "rounds/01/clusters.npz")["labels"].tolist() == labels[0].tolist()
    assert state.silhouette == pytest.approx(clusters.silhouettes(one_list, labels[0]).mean(), abs=1e-5)


@pytest.mark.parametrize("cameras", [[None] * 48, ["door"] * 48, ["door", None] * 24])
def test_neighbours_are_not_sought_by_a_single_camera(target, tmp_path, cameras):
    with pytest.raises(ValueError, match="`camera_neighbours` must be False for fewer than two known cameras"):
        adapted(Target(target.paths, cameras), tmp_path / "new", replace(SETTINGS, camera_neighbours=True))
    assert not (tmp_path / "new").exists()


def test_images_that_are_all_alike_end_the_rounds_and_leave_the_start(target, tmp_path):
    alike = Target(target.paths[:1] * 20, [None] * 20)
    states, best, fault, weights = adapted(alike, tmp_path)
    assert fault == "1 cluster is found, fewer than the 3 of a batch"
    assert (len(states), best.round) == (1, 0)
    for mine, theirs in zip(weights, start((32, 16)).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ((16, 0.9, 0.1), None),
        ((15, 0.9, 0.1), "15 clusters are found, fewer than the 16 of a batch"),
        ((40, 0.9, 0.6), "one cluster holds 60 % of the images"),
        ((40, 0.05, 0.01), "5 % of the images are in clusters, fewer than 10 %"),
        # As 751 images of 751 people, on which a training lost 5.6 points of Rank-1.
        (
            (20, 0.41, 0.03, 0.148),
            "the silhouette is 0.148, below 0.2: the clusters may hold look-alikes in place of people, and training on "
            "them may do harm",
        ),
    ],
)
def test_clusters_that_teach_nothing_are_named(figures, fault):
    clusters, clustered, largest, silhouette = (*figures, 0.2)[:4]
    assert fault_of(State(1, 256, 0.55, clusters, clustered, largest, silhouette), Settings(), 10_000) == fault


def test_small_images_of_a_network_that_was_trained_on_large_ones_are_not_taken_for_look_alikes():
    # The MSMT17 network on Market-1501: .304 at 256 x 128, .126 at 128 x 64; one small round repairs it.
    start = State(0, 128, 0.55, clusters=467, clustered=0.36, largest=0.01, silhouette=0.126)
    assert fault_of(start, Settings(small_rounds=1), 12_936) is None
    assert fault_of(start, Settings(height=128), 12_936).startswith("the silhouette is 0.126, below 0.2")


def test_the_start_is_judged_at_the_full_size_before_small_rounds(target, tmp_path):
    settings = replace(SETTINGS, height=64, small_rounds=1, least_silhouette=0.999)
    states, best, fault, _ = adapted(target, tmp_path, settings)
    assert [(state.round, state.height) for state in states] == [(0, 64)]
    assert best.round == 0
    assert fault.endswith("training on them may do harm")


def after_the_start(monkeypatch, **figures):
    """Gives these figures to all clusters but the first."""
    found = []

    def cluster(*arguments, **options):
        found.append(clusters.cluster(*arguments, **options))
        return replace(found[-1], **figures) if len(found) > 1 else found[-1]

    monkeypatch.setattr(rounds, "cluster", cluster)


def test_a_collapse_is_not_kept_however_tight_its_clusters_are(target, tmp_path, monkeypatch):
    after_the_start(monkeypatch, silhouette=0.9, largest=0.75)
    _, best, fault, weights = adapted(target, tmp_path)
    assert (best.round, fault) == (0, "one cluster holds 75 % of the images")
    for mine, theirs in zip(weights, start((32, 16)).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("rounds", -1, "an integer of at least 0"),
        ("epochs", 0, "a positive integer"),
        ("height", 0, "an integer of at least 2"),
        ("small_rounds", 3, r"0 \.\. `rounds`"),
        ("clusters_per_batch", 1, "an integer of at least 2"),
        ("images_per_cluster", 1, "an integer of at least 2"),
        ("k1", 0, "a positive integer"),
        ("k2", 0, "a positive integer"),
        ("k2", 7, r"1 \.\. 6, the `k1`"),
        ("eps", 1.0, "0, or above 0 and below 1"),
        ("min_samples", 1, "an integer of at least 2"),
        ("temperature", 0.0, "a positive number"),
        ("momentum", 1.1, r"a number in 0 \.\. 1"),
        ("camera_weight", -0.1, "a number of at least 0"),
        ("optimizer", "rms", "one of "),
        ("schedule", "step", "one of "),
        ("learning_rate", 0.0, "a positive number"),
        ("decay", -1.0, "a number of at least 0"),
        ("l2", -1.0, "at least 0"),
        ("ema", 1.0, r"a number in 0 \.\. 1, 1 excluded"),
        ("accumulate", 2, "1, as the loss compares all images of a batch"),
        ("seed", -1, "an integer of at least 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_before_anything_is_written(target, tmp_path, name, value, rule):
    with pytest.raises(ValueError, match=rf"^`{name}` must be {rule}.*Received: {name}={value!r}"):
        adapted(target, tmp_path, replace(SETTINGS, **{name: value}))
    assert not list(tmp_path.iterdir())


def test_a_network_of_one_size_is_refused_for_small_rounds_before_anything_is_written(target, tmp_path):
    def of_one_size(size):
        if size != (64, 32):
            raise ValueError("`height` must be that of the network, 64")
        return start(size)

    settings, strategy = replace(SETTINGS, height=64, small_rounds=1), tf.distribute.get_strategy()
    with pytest.raises(ValueError, match="that of the network, 64"):
        adapt(of_one_size, target, settings, Execution(), tmp_path, strategy)
    assert not list(tmp_path.iterdir())


def test_a_single_image_is_refused(target, tmp_path):
    with pytest.raises(ValueError, match=r"`target` must be at least 2 images\. Received: 1"):
        adapted(Target(target.paths[:1], [None]), tmp_path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda cameras: [float("nan"), *cameras[1:]], r"`cameras` must be names, finite numbers or None\. Received: nan"),
    (lambda cameras: cameras[1:], "`cameras` must be one per feature. Received: 47 for 48"),
])  # fmt: skip
def test_cameras_that_do_not_fit_are_refused_before_anything_is_written(target, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        adapted(Target(target.paths, change(target.cameras)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_is_not_resumed_on_other_images(target, tmp_path):
    adapted(target, tmp_path, replace(SETTINGS, rounds=1))
    shutil.copyfile(target.paths[0], tmp_path / "new.png")
    other = replace(target, paths=[*target.paths[:-1], str(tmp_path / "new.png")])
    with pytest.raises(ValueError, match="`work_dir` must be new, or of an adaptation to the same images"):
        adapted(other, tmp_path, replace(SETTINGS, rounds=1))


def test_too_few_images_in_clusters_end_the_rounds():
    state = State(0, 32, 0.5, clusters=20, clustered=0.5, largest=0.1, silhouette=0.5)
    assert fault_of(state, Settings(), 126) == "63 images are in clusters, fewer than the 64 of a batch"
    assert fault_of(state, Settings(), 128) is None


@pytest.fixture
def a_start_without_clusters(monkeypatch):
    """The start is not kept, as if it had no clusters: its silhouette may be the highest on these images."""
    may_be_kept = rounds._Run.may_be_kept
    monkeypatch.setattr(rounds._Run, "may_be_kept", lambda run, state: state.round > 0 and may_be_kept(run, state))


@pytest.mark.usefixtures("a_start_without_clusters")
def test_the_best_network_teaches_one_that_starts_again(target, tmp_path):
    """In a finished run, killed in between."""
    before = adapted(target, tmp_path)
    with pytest.raises(Killed):
        adapted(target, tmp_path, execution=EVERY_STEP, distillation=2, callbacks=[KillAtStep(3)])
    states, best, _, weights = adapted(target, tmp_path, distillation=2)
    assert [(state.round, state.distilled) for state in states] == [(0, False), (1, False), (2, False), (3, True)]
    assert best == states[-1]
    lines = [json.loads(line) for line in (tmp_path / "distillation/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    teacher = keras.models.load_model(tmp_path / "distillation/teacher.keras", compile=False).get_weights()
    for ours, theirs in zip(teacher, before[3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = adapted(target, tmp_path)  # without asking for it: it is part of the run
    assert (again[0], again[1]) == (states, best)
    with pytest.raises(ValueError, match="epochs: 2 there, 3 now"):
        adapted(target, tmp_path, distillation=3)
    new = adapted(target, tmp_path / "new", distillation=2)
    assert new[:2] == (states, best)
    for ours, theirs in zip(new[3], weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("a_start_without_clusters")
def test_every_training_writes_curves_for_tensorboard(target, tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs TensorBoard")
    settings, execution, find_spec = replace(SETTINGS, rounds=1), Execution(tensorboard=True), importlib.util.find_spec
    with monkeypatch.context() as patched:
        patched.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name == "tensorboard" else find_spec(name, *a)
        )
        with pytest.raises(ImportError, match="pip install tensorboard"):
            adapted(target, tmp_path / "run", settings, execution)
    assert not (tmp_path / "run").exists()
    adapted(target, tmp_path / "run", settings, execution, distillation=1)
    for training, epochs in (("rounds/01", 3), ("distillation", 1)):
        events = reader.EventAccumulator(str(tmp_path / "run" / training / "tensorboard/train")).Reload()
        assert len(events.Tensors("epoch_loss")) == epochs


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """File of another network of the same size and length of features."""
    file = tmp_path_factory.mktemp("other") / "model.keras"
    keras.utils.set_random_seed(4)
    convolutional((32, 16), 24).save(file)
    return file


@pytest.mark.usefixtures("a_start_without_clusters")
def test_further_networks_teach_with_the_best_one(target, tmp_path, other):
    """The labels are the clusters of all features side by side, the target is the mean of all features."""
    options = {"distillation": 2, "teachers": [str(other)]}
    adapted(target, tmp_path)
    with pytest.raises(Killed):
        adapted(target, tmp_path, execution=EVERY_STEP, callbacks=[KillAtStep(3)], **options)
    states, best, _, weights = adapted(target, tmp_path, **options)
    assert best == states[-1]
    assert best.distilled
    features = []
    for network in (tmp_path / "distillation/teacher.keras", other):
        found = FeatureExtractor(network)(target.paths)
        features.append(CameraNormalizer().fit(found, target.cameras).transform(found, target.cameras))
    distances = clusters.jaccard_distances(np.concatenate(features, 1), k1=SETTINGS.k1, k2=SETTINGS.k2)
    expected = clusters.cluster(distances, eps=SETTINGS.eps, min_samples=SETTINGS.min_samples)
    with np.load(tmp_path / "distillation/clusters.npz") as file:
        np.testing.assert_array_equal(file["labels"], expected.labels)
    new = adapted(target, tmp_path / "new", **options)
    alone = adapted(target, tmp_path / "alone", distillation=2)
    assert new[:2] == (states, best)
    for ours, theirs in zip(new[3], weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not all(np.array_equal(ours, theirs) for ours, theirs in zip(alone[3], weights, strict=True))
    with pytest.raises(ValueError, match="differs in teachers: None there"):
        adapted(target, tmp_path / "alone", **options)
    copy = shutil.copyfile(other, tmp_path / "moved.keras")
    assert adapted(target, tmp_path, distillation=2, teachers=[str(copy)])[:2] == (states, best)


@pytest.mark.usefixtures("a_start_without_clusters")
def test_a_file_of_another_runtime_teaches(target, tmp_path):
    pytest.importorskip("ai_edge_litert")
    from keras_osnet.export import to_tflite

    keras.utils.set_random_seed(5)
    network, labels = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1), feature_dim=24), []
    network.save(tmp_path / "network.keras")
    to_tflite(network, tmp_path / "network.tflite")
    for kind in ("keras", "tflite"):
        options = {"distillation": 1, "teachers": [str(tmp_path / f"network.{kind}")]}
        assert adapted(target, tmp_path / kind, replace(SETTINGS, rounds=1, epochs=1), **options)[1].distilled
        labels.append(np.load(tmp_path / kind / "distillation/clusters.npz")["labels"].tolist())
    assert labels[0] == labels[1]


def test_teachers_are_known_by_the_contents_of_their_files(tmp_path, monkeypatch):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1), feature_dim=24)
    plan = Distillation.of(SETTINGS, 1)
    (tmp_path / "run").mkdir()
    network.save(tmp_path / "run/model.keras")
    network.save_to_preset(tmp_path / "preset")
    monkeypatch.chdir(tmp_path)
    for name, file in (("run", "run/model.keras"), ("preset", "preset/model.weights.h5")):
        expected = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
        for given in (name, f"./{name}/", tmp_path / name):
            assert plan.identity([given]) == plan.identity() | {"teachers": [expected]}


def test_a_teacher_at_an_address_is_known_by_the_contents_of_its_file(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    from keras_osnet.export import to_tflite

    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1), feature_dim=24)
    to_tflite(network, tmp_path / "teacher.tflite")
    content = (tmp_path / "teacher.tflite").read_bytes()
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    with serving({"teacher.tflite": content}) as (address, _):
        identity = Distillation.of(SETTINGS, 1).identity([f"{address}/teacher.tflite"])
    assert identity["teachers"] == [hashlib.sha256(content).hexdigest()]


def test_a_network_without_features_is_refused_as_the_one_that_is_to_learn(other):
    network = convolutional((32, 16), 24)
    logits = keras.Model(network.input, {"logits": keras.layers.Dense(3)(network.get_layer("pool").output)})
    with pytest.raises(ValueError, match=r"`model` must return \(B, D\) features\. Received: .* returns logits"):
        check_teachers([str(other)], logits)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (12, "`teachers` must have features as long as the network's, 24. Received: 12, of "),
        (None, "There is no weights file"),
    ],
)
def test_teachers_that_cannot_teach_are_refused_before_the_rounds(target, tmp_path, length, message):
    file = tmp_path / "teacher.keras"
    if length:
        convolutional((32, 16), length).save(file)
    with pytest.raises((ValueError, OSError), match=message):
        adapted(target, tmp_path / "run", distillation=2, teachers=[str(file)])
    assert not (tmp_path / "run").exists()


def test_another_pooling_of_a_network_without_one_is_refused_before_the_rounds(target, tmp_path):
    with pytest.raises(ValueError, match=r"`pooling` must be None for a network that is no OSNet\. Received: gem"):
        adapted(target, tmp_path / "run", distillation=2, pooling="gem")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("a_start_without_clusters")
def test_teachers_without_common_clusters_leave_the_best_round(target, tmp_path, other, monkeypatch):
    before = adapted(target, tmp_path)
    clustered = rounds._Run.cluster

    def cluster(run, number, features):
        found = clustered(run, number, features)
        return replace(found, largest=0.9) if features.shape[1] == 48 else found

    monkeypatch.setattr(rounds._Run, "cluster", cluster)
    states, best, fault, _ = adapted(target, tmp_path, distillation=2, teachers=[str(other)])
    assert (states, best) == before[:2]
    assert fault == "with the features of all teachers, one cluster holds 90 % of the images"
    assert adapted(target, tmp_path, distillation=1)[1].distilled


@pytest.mark.usefixtures("a_start_without_clusters")
def test_a_run_that_is_killed_while_it_seeks_common_clusters_may_get_other_teachers(
    target, tmp_path, other, monkeypatch
):
    adapted(target, tmp_path)
    clustered, stopped = rounds._Run.cluster, []

    def cluster(run, number, features):
        if features.shape[1] == 48 and not stopped:
            stopped.extend(sorted(path.name for path in (tmp_path / "distillation").iterdir()))
            raise Killed
        return clustered(run, number, features)

    monkeypatch.setattr(rounds._Run, "cluster", cluster)
    with pytest.raises(Killed):
        adapted(target, tmp_path, distillation=1, teachers=[str(other)])
    assert stopped == ["teacher.keras", "teacher.npz"]  # no settings yet
    assert adapted(target, tmp_path, distillation=2, teachers=[str(other)])[1].distilled


@pytest.mark.parametrize("name", ["best.keras", "model.keras", "linked.keras"])
def test_a_teacher_that_the_run_itself_replaces_is_refused_before_the_rounds(target, tmp_path, other, name):
    work_dir = tmp_path / "run"
    work_dir.mkdir()
    if name == "linked.keras":
        (tmp_path / name).symlink_to(shutil.copyfile(other, work_dir / "model.keras"))
    else:
        shutil.copyfile(other, work_dir / name)
    teacher = (tmp_path if name == "linked.keras" else work_dir) / name
    with pytest.raises(ValueError, match=rf"`teachers` must not be a file that the run replaces\. Received: .*{name}"):
        adapted(target, work_dir, distillation=2, teachers=[str(teacher)])
    assert len(list(work_dir.iterdir())) == 1


@pytest.mark.usefixtures("a_start_without_clusters")
@pytest.mark.parametrize(("largest", "kept"), [(0.1, True), (0.9, False)])
def test_the_student_is_kept_at_any_silhouette_unless_its_clusters_collapse(
    target, tmp_path, monkeypatch, largest, kept
):
    adapted(target, tmp_path)
    before = (tmp_path / "best.keras").read_bytes()
    monkeypatch.setattr(rounds, "distilled", lambda make_network, *rest: make_network((32, 16)))
    clustered = rounds._Run.cluster

    def cluster(run, number, features):
        found = clustered(run, number, features)
        low = {"clustered": 1.0, "largest": largest, "silhouette": -0.5}
        return replace(found, **low) if number == SETTINGS.rounds + 2 else found

    monkeypatch.setattr(rounds._Run, "cluster", cluster)
    states, best, fault, weights = adapted(target, tmp_path, distillation=2)
    assert (states[-1].distilled, fault) == (True, None)
    assert best.distilled == kept
    if kept:
        for ours, theirs in zip(weights, start((32, 16)).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    else:
        assert (tmp_path / "best.keras").read_bytes() == before
    assert (tmp_path / "distillation/teacher.keras").read_bytes() == before
    assert adapted(target, tmp_path)[:2] == (states, best)


def test_a_run_that_ends_early_or_has_no_better_round_teaches_nobody(target, tmp_path, monkeypatch):
    states, _, fault, _ = adapted(target, tmp_path / "a", replace(SETTINGS, least_silhouette=0.99), distillation=2)
    assert fault
    after_the_start(monkeypatch, silhouette=-0.5)
    others, best, fault, _ = adapted(target, tmp_path / "b", replace(SETTINGS, rounds=1), distillation=2)
    assert (best.round, fault) == (0, None)
    assert not any(state.distilled for state in states + others)
    assert not list(tmp_path.glob("*/distillation"))


@pytest.mark.usefixtures("a_start_without_clusters")
def test_clusters_that_collapse_in_the_last_round_leave_the_best_round_to_teach(target, tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "distilled", lambda make_network, *rest: make_network((32, 16)))
    clustered = rounds._Run.cluster

    def cluster(run, number, features):
        found = clustered(run, number, features)
        return replace(found, largest=0.9) if number == SETTINGS.rounds + 1 else found

    monkeypatch.setattr(rounds._Run, "cluster", cluster)
    states, _, fault, _ = adapted(target, tmp_path, distillation=2)
    assert [state.distilled for state in states] == [False] * (SETTINGS.rounds + 1) + [True]
    assert (states[-2].largest, fault) == (0.9, None)
