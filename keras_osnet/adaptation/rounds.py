"""Rounds of clustering and training on images without labels; each can be interrupted at any moment and resumed."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from keras_osnet.adaptation.cameras import CameraNormalizer, camera_numbers, unit_rows
from keras_osnet.adaptation.clusters import OUTLIER, agreement, choose_eps, cluster, clustering_of, jaccard_distances
from keras_osnet.adaptation.distillation import Distillation, check_teachers, copied, distilled, file_of
from keras_osnet.adaptation.links import with_links
from keras_osnet.adaptation.memory import ClusterContrast, with_memory
from keras_osnet.adaptation.questions import Questions
from keras_osnet.adaptation.settings import Rounds, State, Target, check_rounds, fault_of
from keras_osnet.data.pipeline import training_batches
from keras_osnet.data.sampling import identity_batches
from keras_osnet.files import read_json, reading, write_atomically, writing_atomically
from keras_osnet.inference import FeatureExtractor
from keras_osnet.layers.checks import count
from keras_osnet.optimizers import OPTIMIZERS
from keras_osnet.preprocessing import require_training_preprocessing
from keras_osnet.training.callbacks import progress_callbacks
from keras_osnet.training.checkpoints import Checkpoint, save_model
from keras_osnet.training.execution import synchronize_norms, with_loss_scale
from keras_osnet.training.loop import CHECKPOINT, train
from keras_osnet.training.replicas import gathered, is_chief
from keras_osnet.training.step import check_loss
from keras_osnet.training.work_dir import check_settings, digest_of

CLUSTERS, LINES, CAMERAS, DISTILLATION = "clusters.npz", "rounds.jsonl", "cameras.json", "distillation"
BEST, BEST_CLUSTERS, BEST_STATE = "best.keras", "best.npz", "best.json"
MODEL = "model.keras"  # the copy of the best network that the recipe leaves
WRITTEN = "a file that this adaptation wrote"


def adapt(
    make_network, target, settings, execution, work_dir, strategy, *, distillation=0, teachers=(), pooling=None,
    pairs=0, wait=False, score=None, on_state=None, callbacks=(),
):  # fmt: skip
    """Adapts a network to unlabelled images. A call with the same folder resumes an interrupted one.

    A round clusters the features of the averaged network, whose weights are the moving average of the network's, and
    trains the network for `epochs` epochs to tell the clusters apart. best.keras is the network with the highest
    silhouette at the full image size: the start itself, if no round is better. cameras.json holds its camera means,
    best.npz the cluster and the silhouette of each image.

    After the last round the best network may be the teacher of a student that starts from the first weights
    (`distilled`), which is one more state. The student replaces best.keras unless its clusters have a fault
    (`fault_of`). Its silhouette is not compared: only the rounds train for a high one. Networks of other runs on the
    same images may be teachers too. The student then learns the clusters of the features of all teachers side by side.

    A person may answer questions: each round writes the pairs of images whose answers would change its clusters most to
    rounds/NN/pairs.json. The clusters of the next round agree with the answers that are in answers.csv by then, of
    which rounds/NN/answers.csv keeps a copy.

    Args:
        make_network: function of (height, width) that returns the network to start from, with the same name each time.
        target: `Target`.
        settings: `Rounds`, and an `Augmentation`.
        execution: `Execution`.
        work_dir: folder of the run, held by the caller.
        strategy: `tf.distribute.Strategy`.
        distillation: epochs of the training that the best network teaches. Default 0: none. There is none if the rounds
            end early, none is better than the start, or the clusters of the features of all teachers have a fault.
        teachers: names or files of the further networks, as `FeatureExtractor` accepts them. Default: none.
        pooling: of the network that learns in the last training, as `OSNet.with_pooling`. Default: that of the start.
        pairs: pairs of images to ask about in each round. Default 0.
        wait: wait before each round until the pairs of the round before are answered.
        score: function of (network, `CameraNormalizer` or None) that returns scores of a test set. They are reported as
            `State.scores`, and change nothing.
        on_state: function that is called with each new `State`.
        callbacks: Keras callbacks of the trainings, beside those of `progress_callbacks`.

    Returns:
        (list of `State`, `State` of best.keras, why the adaptation ended early or None).

    Raises:
        ValueError: before anything is computed, if a setting is out of its range (`check_rounds`, `check_loss`),
            answers.csv is not valid (`read_answers`), a teacher is best.keras or model.keras of `work_dir`, or as
            `check_teachers` and `Distillation.start`.
        OSError: if a file cannot be written, and what `train` raises.
        ImportError: if TensorBoard is asked for and is not installed.
    """
    # Errors now rather than after the first features.
    check_rounds(settings, target, pairs)
    check_loss(ClusterContrast, strategy, settings, execution)
    progress_callbacks(execution, Path(work_dir), None, strategy)
    questions = Questions(Path(work_dir), target, strategy, pairs, wait)
    questions.follow_images()
    run = _Run(make_network, target, settings, execution, Path(work_dir), strategy, score, callbacks, questions)
    plan = Distillation.of(settings, count("distillation", distillation, 0), pooling)
    run.distills(plan, teachers)
    if teachers or pooling:
        network = plan.start(run.network(run.height(settings.rounds + 1))[0])
        if teachers:
            check_teachers(teachers, network)
    if settings.small_rounds:
        run.network(run.height(1))  # not every network has two sizes
    states, fault = [], None
    for number in range(0 if settings.small_rounds else 1, settings.rounds + 2):  # 0: the start at the full size
        state = run.state(number, run.height(number), max(number - 1, 0))
        states.append(state)
        if on_state:
            on_state(state)
        run.write(states)
        if number > settings.rounds:
            break
        fault = fault_of(state, settings, len(target.paths))
        if fault:
            break
        if number and not run.finished(number):
            run.train(number)
    if run.distills(plan, teachers) and not fault and run.best().round:
        state, fault = run.distil(plan, teachers)
        if state:
            states.append(state)
            if on_state:
                on_state(state)
            run.write(states)
    return states, run.best(), fault


@dataclass(eq=False)
class _Run:
    make_network: Callable
    target: Target
    settings: Rounds
    execution: object
    work_dir: Path
    strategy: object
    score: Callable | None
    callbacks: tuple
    questions: Questions

    def __post_init__(self):
        self.networks = {}

    def height(self, number):
        return self.settings.height // (2 if 1 <= number <= self.settings.small_rounds else 1)

    def folder(self, number):
        return self.work_dir / "rounds" / f"{number:02d}"

    def finished(self, number):
        return (self.folder(number + 1) / CLUSTERS).exists()

    def network(self, height):
        """The network at an image size, and its optimizer."""
        if height not in self.networks:
            s = self.settings
            with self.strategy.scope():
                network = self.make_network((height, height // 2))
                require_training_preprocessing(network)
                if s.synchronize_norms:
                    synchronize_norms(network)
                average = {"use_ema": True, "ema_momentum": s.ema} if s.ema else {}
                optimizer = OPTIMIZERS[s.optimizer](s.learning_rate, l2=s.l2, **average)
                optimizer = with_loss_scale(optimizer, s, name="loss_scale")
                optimizer.build(network.trainable_variables)
            self.networks = {height: (network, optimizer)}  # the other size is not needed again
        return self.networks[height]

    def model(self, number, height):
        """The network with the memories of a round, and the loss."""
        found, s = _read(self.folder(number) / CLUSTERS), self.settings
        proxies = (found["proxy_centroids"], found["proxy_clusters"]) if "proxies" in found else None
        with self.strategy.scope():
            return found, *with_memory(
                self.network(height)[0], found["centroids"], proxies,
                temperature=s.temperature, momentum=s.momentum, weight=s.camera_weight,
            )  # fmt: skip

    def restore(self, number, height):
        """Brings network and optimizer to the end of a round."""
        if number:
            found, model, _ = self.model(number, height)
            path, optimizer = self.folder(number) / CHECKPOINT, self.network(height)[1]
            Checkpoint(path, model, optimizer, self.strategy, int(found["steps"])).restore(self.settings.epochs)

    def averaged(self, rounds, height):
        """The network at the end of a round, with the moving averages as its weights until the next `restore`."""
        network, optimizer = self.network(height)
        self.restore(rounds, height)
        if rounds and self.settings.ema:
            optimizer.finalize_variable_values(network.trainable_variables)
        return network

    def state(self, number, height, rounds, make=None):
        """The state after `rounds` rounds, from its file or computed. The folder of round `number` keeps its clusters.

        `make` returns the network, in place of that of the rounds.
        """
        path = self.folder(number) / CLUSTERS
        if path.exists():
            found = _read(path)
            images = digest_of(self.target.paths), _names(self.target)
            if str(found.get("images", images[0])) not in images:  # labels are by position
                raise ValueError(
                    "`work_dir` must be new, or of an adaptation to the same images. Received: other images than "
                    f"those of {path}"
                )
            with reading(path, WRITTEN):
                return State(**json.loads(str(found["state"])))
        network = make() if make else self.averaged(rounds, height)
        features, normalizer, normalised = self.features(network, self.strategy)
        found = self.cluster(number, normalised)
        state = State(
            rounds, height, **_figures(found), agreement=self.agreement(number, found.labels), distilled=bool(make)
        )
        every = self.execution.evaluate_every
        if self.score and every and (rounds % every == 0 or rounds >= self.settings.rounds):
            state = replace(state, scores=self.score(network, normalizer))
        if self.may_be_kept(state):
            self.keep(state, network, normalizer, found)
        self.write_clusters(path, state, features, found.labels)
        return state

    def features(self, network, strategy=None):
        """The features of the images, the `CameraNormalizer` or None, and what it makes of them.

        Each worker computes all images of a network that was not made in the scope of the strategy.
        """
        features = FeatureExtractor(network, strategy=strategy)(self.target.paths)
        if not self.target.normalizes:
            return features, None, features
        normalizer = CameraNormalizer().fit(features, self.target.cameras)
        return features, normalizer, normalizer.transform(features, self.target.cameras)

    def cluster(self, number, features):
        """The clusters of a round, which agree with the answers. Writes the pairs to ask about.

        The silhouettes are of distances with one list of neighbours for all cameras, so that all runs are comparable.
        """
        s, folder = self.settings, self.folder(number)
        links = self.questions.links(folder)
        cameras = self.target.cameras if s.camera_neighbours else None
        distances = jaccard_distances(features, k1=s.k1, k2=s.k2, cameras=cameras)
        if s.eps:
            found = cluster(distances, eps=s.eps, min_samples=s.min_samples)
        else:
            found = choose_eps(distances, min_samples=s.min_samples)
        if links.groups:
            found = clustering_of(distances, with_links(found.labels, distances, links), found.eps)
        if number <= s.rounds:
            self.questions.ask(folder, distances, found.labels, links)
        if cameras:
            found = clustering_of(jaccard_distances(features, k1=s.k1, k2=s.k2), found.labels, found.eps)
        return found

    def agreement(self, number, labels):
        before = self.folder(number - 1) / CLUSTERS
        return agreement(_read(before)["labels"], labels) if number > 1 else None

    def distills(self, plan, teachers):
        """Whether there is a distillation, now or from an earlier call. Refuses another plan than the earlier one."""
        for teacher in teachers:
            if file_of(teacher).resolve() in [(self.work_dir / name).resolve() for name in (BEST, MODEL)]:
                raise ValueError(f"`teachers` must not be a file that the run replaces. Received: {teacher}")
        if plan.epochs:
            check_settings(self.work_dir / DISTILLATION, plan.identity(teachers))
        return plan.epochs or self.finished(self.settings.rounds + 1)

    def distil(self, plan, teachers):
        """The state of the network that learns from the best one, and from others; or None and why there is none."""
        s, folder, common = self.settings, self.work_dir / DISTILLATION, None
        if not self.finished(s.rounds + 1):
            network, clusters = copied(self.work_dir / BEST, self.work_dir / BEST_CLUSTERS, folder, self.strategy)
            networks = [network, *teachers]
            if teachers:
                clusters = folder / CLUSTERS
                if not clusters.exists():  # the features of all networks side by side
                    features = [unit_rows(self.features(network)[2]) for network in networks]
                    common = self.cluster(s.rounds + 2, np.concatenate(features, axis=1))
                    fault = fault_of(State(s.rounds + 1, s.height, **_figures(common)), s, len(self.target.paths))
                    # Workers may round features differently. None of them may go on alone.
                    if gathered(self.strategy, np.array([bool(fault)])).any():
                        return None, f"with the features of all teachers, {fault or 'another worker finds a fault'}"

        def labels():
            if common and is_chief(self.strategy):
                with writing_atomically(clusters) as file:
                    np.savez(file, labels=common.labels)
            gathered(self.strategy, np.array([True]))  # no worker reads before the file is complete
            return _read(clusters)["labels"]

        def make():
            return distilled(
                self.make_network, networks, self.target, labels, s, plan, self.execution, folder, self.strategy,
                self.callbacks,
            )  # fmt: skip

        return self.state(s.rounds + 2, s.height, s.rounds + 1, make), None

    def best(self):
        """The state of best.keras."""
        path = self.work_dir / BEST_STATE
        with reading(path, WRITTEN):
            return State(**read_json(path))

    def may_be_kept(self, state):
        """Whether a state may become best.keras: it has the full image size, and is the start or has no fault."""
        fault = fault_of(state, self.settings, len(self.target.paths))
        return state.height == self.settings.height and (state.round == 0 or not fault)

    def keep(self, state, network, normalizer, found):
        """Saves the network if no earlier round has a higher silhouette."""
        note = self.work_dir / BEST_STATE
        if note.exists() and not state.distilled and self.best().silhouette >= state.silhouette:
            return
        save_model(network, self.work_dir / BEST, self.strategy)
        if is_chief(self.strategy):
            if normalizer:
                normalizer.save(self.work_dir / CAMERAS)
            with writing_atomically(self.work_dir / BEST_CLUSTERS) as file:
                np.savez(file, labels=found.labels, silhouettes=found.silhouettes)
            write_atomically(note, json.dumps(asdict(state)).encode())

    def write_clusters(self, path, state, features, labels):
        inside = labels != OUTLIER
        units = features[inside] / np.linalg.norm(features[inside], axis=1, keepdims=True)
        arrays = {
            "labels": labels,
            "centroids": _means(units, labels[inside]),
            "steps": inside.sum() // self.settings.batch_size,
            "state": json.dumps(asdict(state)),
            "images": digest_of(self.target.paths),
        }
        if self.target.normalizes and self.settings.camera_weight and state.clusters:
            numbers = camera_numbers(self.target.cameras, len(inside))[inside]
            pairs, proxies = np.unique(np.stack([labels[inside], numbers], 1), axis=0, return_inverse=True)
            arrays |= {"proxies": proxies.ravel(), "proxy_clusters": pairs[:, 0]}
            arrays["proxy_centroids"] = _means(units, proxies.ravel())
        if is_chief(self.strategy):
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing_atomically(path) as file:
                np.savez(file, **arrays)
        gathered(self.strategy, np.array([True]))  # no worker reads before the file is complete

    def train(self, number):
        s, folder, height = self.settings, self.folder(number), self.height(number)
        optimizer = self.network(height)[1]
        if not (folder / CHECKPOINT).exists():
            self.restore(number - 1, height)
        found, model, loss = self.model(number, height)
        optimizer.learning_rate = s.rate(number)
        inside = found["labels"] != OUTLIER
        labels, steps = found["labels"][inside], int(found["steps"])
        seed = s.seed + 7919 * number

        def order(epoch):
            sizes = {"batch_size": s.batch_size, "images_per_identity": s.images_per_cluster}
            return identity_batches(labels, **sizes, steps=steps, seed=seed, epoch=epoch)

        def batches(first_step, shard=(0, 1)):
            return training_batches(
                [path for path, kept in zip(self.target.paths, inside, strict=True) if kept],
                np.stack([labels, found["proxies"]], 1) if "proxies" in found else labels,
                size=(height, height // 2), batch_size=s.batch_size, augmentation=s, seed=seed, epochs=s.epochs,
                first_step=first_step, shard=shard, cache=self.execution.cache, order=order,
            )  # fmt: skip

        execution = replace(self.execution, evaluate_every=0)
        train(
            model, batches, loss=loss, optimizer=optimizer, epochs=s.epochs, steps_per_epoch=steps,
            work_dir=folder, strategy=self.strategy, numerics=s, execution=execution,
            accuracy=_own_cluster,
            callbacks=[*self.callbacks, *progress_callbacks(execution, folder, batches, self.strategy)],
        )  # fmt: skip

    def write(self, states):
        if is_chief(self.strategy):
            lines = "".join(json.dumps(asdict(state)) + "\n" for state in states)
            write_atomically(self.work_dir / LINES, lines.encode())


def _own_cluster(labels, outputs):
    """1 for each image whose nearest centroid is its cluster's, else 0."""
    import tensorflow as tf

    clusters = labels[:, 0] if len(labels.shape) == 2 else labels
    return tf.cast(tf.argmax(outputs["logits"], 1, clusters.dtype) == clusters, "float32")


def _figures(clustering):
    return {name: value for name, value in asdict(clustering).items() if not isinstance(value, np.ndarray)}


def _names(target):
    """SHA-256 of the images' names and their folders', as earlier versions wrote it in place of `digest_of`."""
    return sha256("\n".join("/".join(Path(path).parts[-2:]) for path in target.paths).encode()).hexdigest()


def _means(rows, labels):
    """(labels, D) mean of the rows of each label, float32."""
    sums = np.zeros((labels.max(initial=-1) + 1, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return (sums / np.maximum(np.bincount(labels)[:, None], 1)).astype("float32") if len(labels) else sums


def _read(path):
    with reading(path, WRITTEN), np.load(path) as file:
        return dict(file)
