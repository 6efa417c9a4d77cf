"""A gallery that remembers: features of people on disk, or in a database, with cameras, times and images."""

import hashlib
import os
import re
import secrets
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from keras_osnet.identities import gallery_file
from keras_osnet.identities.entries import checked_camera, checked_identity, checked_time, is_list, unit
from keras_osnet.identities.stores import STORES, SQLiteStore
from keras_osnet.metrics.arguments import check_count

NAME = "person {}"  # of people whom nobody has named


@dataclass(frozen=True)
class Match:
    """A row of the gallery that a search has found.

    Args:
        id: number of the row, which no other row of the gallery ever had.
        identity, camera: of the row.
        time: seconds in UTC since 1970.
        distance: 1 - cosine.
    """

    id: int
    identity: str
    camera: str
    time: float
    distance: float


class _RollBack(Exception):
    """Ends a transaction of which nothing is kept."""


class Gallery:
    """Features of people, which stay until they are deleted.

    The gallery is a file (SQLite), or, at an address postgresql://..., the schema `keras_osnet` of a database with
    pgvector. Several processes may read it while one writes; writers wait for each other. Each call is done completely
    or not at all, also if the process is killed. An object belongs to the thread that opened it.

    A search of a file compares with all features: it is exact. On PostgreSQL it is exact unless an index of pgvector is
    made for the column `feature`.
    """

    def __init__(self, store):
        self._open_store, self._in_transaction = store, False

    @property
    def _store(self):
        if self._open_store is None:
            raise ValueError("The gallery is closed.")
        return self._open_store

    @classmethod
    def open(cls, address, *, network, fingerprint, dimension=512, size=None):
        """Opens a gallery, and creates it where there is none.

        Args:
            address: path of a file, or postgresql://USER:PASSWORD@HOST/DATABASE.
            network: name of the network whose features are kept, for messages.
            fingerprint: SHA-256 of its weights, as `fingerprint_of(MODEL)` or `metadata_of(FILE)["weights"]` returns.
                A network and the files that were made from it share a gallery.
            dimension: features of an image, default 512.
            size: (height, width) of the network's images, as `FeatureExtractor.size`: the features of equal weights at
                two sizes differ. A new gallery keeps it. Default: unknown; it fits every gallery, as a gallery without
                a size, which earlier versions made, fits every size.

        Raises:
            ValueError: if the file is no gallery, or the gallery is of another network, dimension or size.
            TimeoutError, OSError: if it is locked for a minute, or cannot be read or written.
            ConnectionError: if the server cannot be reached.
            ImportError: for PostgreSQL if psycopg or pgvector is not installed.
        """
        check_count("dimension", dimension)
        if size is not None:
            if not is_list(size, 2):
                raise ValueError(f"`size` must be (height, width). Received: size={size!r}")
            for side in size:
                check_count("size", side)
        for name, value in (("network", network), ("fingerprint", fingerprint)):
            if not (isinstance(value, str) and value):
                raise ValueError(f"`{name}` must be a string that is not empty. Received: {name}={value!r}")
        if not isinstance(address, (str, os.PathLike)) or str(address) in ("", ":memory:"):  # to SQLite: forgotten
            raise ValueError(f"`address` must be a path or the URL of a database. Received: address={address!r}")
        scheme, separator, _ = str(address).partition("://")
        if separator and scheme not in STORES:
            schemes = " or ".join(f"{name}://" for name in STORES)
            raise ValueError(f"`address` must be a path or start with {schemes}. Received: {scheme}://...")
        gallery = cls((STORES[scheme] if separator else SQLiteStore)(str(address), dimension))
        try:
            wanted = {"network": network, "fingerprint": fingerprint, "dimension": str(dimension)}
            gallery._begin(wanted if size is None else {**wanted, "size": f"{size[0]}x{size[1]}"})
        except BaseException:
            gallery.close()
            raise
        return gallery

    def _begin(self, wanted):
        store = self._store
        if store.is_new:
            with store.writing():
                store.create()
                rows = [*wanted.items(), ("next", "1")]
                store.run_many("INSERT INTO gallery VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
        with store.reading():
            facts = dict(store.run("SELECT key, value FROM gallery").fetchall())
            theirs = {key: facts[key] for key in wanted if key != "size" or key in facts}
        if any(wanted[key] != value for key, value in theirs.items() if key != "network"):
            theirs, ours = (gallery_file.described(**each) for each in (theirs, wanted))
            raise ValueError(f"The gallery holds features of {theirs}. They cannot be compared with those of {ours}.")
        self.network, self.fingerprint, self.dimension = facts["network"], facts["fingerprint"], int(facts["dimension"])
        self.size = facts.get("size", "")
        if "deleted" in facts:  # and the process was killed before the files were clean
            try:
                self._vacuum(facts["deleted"])
            except OSError as error:
                warnings.warn(str(error), stacklevel=3)

    @contextmanager
    def transaction(self):
        """Context manager that makes several calls of this object one: other writers wait, and all are kept or none.

        Raises:
            ValueError: for `delete` and `expire` within it, and for a second one within it.
        """
        self._require_no_transaction()
        own = None  # an error of the caller, which says nothing about the file: the store must not translate it
        try:
            with self._store.writing():
                self._in_transaction = True
                try:
                    yield
                except Exception as error:
                    own = error
                    raise _RollBack from error
                finally:
                    self._in_transaction = False
        except _RollBack:
            pass
        if own:
            raise own

    def _require_no_transaction(self):
        if self._in_transaction:
            raise ValueError("`delete`, `expire` and `transaction` must not be called within `transaction`")

    def add(self, features, identities, cameras, times, images=None):
        """Adds one row for each feature. When it returns, the rows are on disk.

        Args:
            features: (N, D) finite, none all zero. They are kept with length 1.
            identities: N names, in Unicode's form NFC as in all of this project.
            cameras: N strings.
            times: N seconds in UTC since 1970, as `time.time()`.
            images: N encoded images (bytes), or None where there is none.

        Returns:
            list of N ids, by which `image` returns the images.

        Raises:
            ValueError: if an argument is not as described. Nothing is added.
        """
        features = unit(features, self.dimension)
        count = len(features)
        columns = {"identities": identities, "cameras": cameras, "times": times}
        columns["images"] = [None] * count if images is None else images
        for name, values in columns.items():
            if not is_list(values, count):
                rule = f"`{name}` must have one entry per row of `features` ({count})"
                raise ValueError(f"{rule}. Received: {values!r:.200}")
        names = [checked_identity(name) for name in identities]
        cameras = [checked_camera(camera) for camera in cameras]
        times = [checked_time("times", time) for time in times]
        for image in columns["images"]:
            if not (image is None or (isinstance(image, bytes) and image)):
                raise ValueError(f"`images` must be bytes of encoded images, or None. Received: {type(image)}")
        store = self._store
        with store.writing():
            store.run("UPDATE gallery SET value = CAST(CAST(value AS BIGINT) + ? AS TEXT) WHERE key = 'next'", [count])
            end = int(store.run("SELECT value FROM gallery WHERE key = 'next'").fetchone()[0])
            ids = list(range(end - count, end))
            rows = zip(ids, names, cameras, times, store.encode(features), strict=True)
            store.run_many("INSERT INTO sightings VALUES (?, ?, ?, ?, ?)", rows)
            rows = [(id, image) for id, image in zip(ids, columns["images"], strict=True) if image is not None]
            store.run_many("INSERT INTO images VALUES (?, ?)", rows)
        return ids

    def search(self, features, k=10, *, cameras=None, after=None, before=None):
        """Finds the k nearest rows of each feature.

        Args:
            features: (Q, D) finite, none all zero.
            k: rows for each feature; fewer where the gallery has fewer.
            cameras: list of the cameras to search; None: all.
            after, before: only rows with after <= time < before; None: no limit.

        Returns:
            list of Q lists of `Match`, nearest first, at equal distances in the order in which they were added.

        Raises:
            ValueError: if an argument is not as described.
        """
        queries = unit(features, self.dimension)
        check_count("k", k)
        conditions, values = ["1 = 1"], []
        if cameras is not None:
            if not is_list(cameras):
                raise ValueError(f"`cameras` must be a list of cameras that is not empty. Received: {cameras!r}")
            conditions.append(f"camera IN ({', '.join('?' * len(cameras))})")
            values += [checked_camera(camera) for camera in cameras]
        for name, limit, sign in (("after", after, ">="), ("before", before, "<")):
            if limit is not None:
                conditions.append(f"time {sign} ?")
                values.append(checked_time(name, limit))
        if not len(queries):
            return []
        store = self._store
        with store.reading():
            ids, distances = store.nearest(queries, int(k), " AND ".join(conditions), values)
            return [self._matches(*row) for row in zip(ids, distances, strict=True)]

    def _matches(self, ids, distances):
        numbers = ", ".join(str(int(id)) for id in ids) or "NULL"
        rows = self._store.run(f"SELECT id, identity, camera, time FROM sightings WHERE id IN ({numbers})").fetchall()
        facts = {row[0]: row for row in rows}
        for id, *names, time in rows:
            if not (all(isinstance(name, str) for name in names) and isinstance(time, float) and np.isfinite(time)):
                raise TypeError(f"row {id} without an identity, a camera or a time")
        return [Match(*facts[int(id)], float(distance)) for id, distance in zip(ids, distances, strict=True)]

    def image(self, id):
        """The encoded image of a row as bytes; None if it has none, or is not there."""
        check_count("id", id, 2**63 - 1, "the largest id")
        with self._store.reading():
            row = self._store.run("SELECT content FROM images WHERE id = ?", [int(id)]).fetchone()
            if row and not isinstance(row[0], bytes):  # bytes(2**30) would be a gigabyte
                raise TypeError(f"row {id} with an image that is no bytes")
        return row and row[0]

    def identities(self):
        """dict of identity -> number of its rows, by name."""
        with self._store.reading():
            return dict(
                sorted(self._store.run("SELECT identity, COUNT(*) FROM sightings GROUP BY identity").fetchall())
            )

    def new_names(self, count):
        """Returns new names, "person N". They count on, also after people of such names were deleted or merged.

        Args:
            count: how many.
        """
        check_count("count", count)
        store = self._store
        with store.writing():
            (given,) = store.run("SELECT value FROM gallery WHERE key = 'people'").fetchone() or ["0"]
            if not given.isdecimal():
                raise TypeError(f"the number of the last person is {given!r}")
            numbers = [re.fullmatch(NAME.format(r"(\d+)"), name) for name in self.identities()]
            last = max([int(given), *(int(found[1]) for found in numbers if found)])
            sql = "INSERT INTO gallery VALUES ('people', ?) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
            store.run(sql, [str(last + count)])
        return [NAME.format(last + number) for number in range(1, count + 1)]

    def delete(self, identity):
        """Removes a person: rows, features and images, from the tables and from their files. Returns how many rows.

        The file is written anew, without what was deleted. If the process is killed meanwhile, the next one that opens
        the gallery does it. Copies elsewhere are not reached: backups, blocks that the file system has freed, and the
        write-ahead log of PostgreSQL, which the server keeps until its checkpoints.

        Raises:
            ValueError: if nobody has this name.
            OSError: if the rows are deleted, but the file cannot be written anew yet. TimeoutError: if others use it.
        """
        count = self._delete("identity = ?", checked_identity(identity))
        if not count:
            raise ValueError(f"`identity` must be in the gallery. Received: {identity!r}")
        return count

    def expire(self, before):
        """Removes all rows with time < before, as `delete` does. Returns how many rows."""
        return self._delete("time < ?", checked_time("before", before))

    def _delete(self, condition, value):
        self._require_no_transaction()
        store, mark = self._store, secrets.token_hex(8)
        with store.writing():
            count = store.run(f"DELETE FROM sightings WHERE {condition}", [value]).rowcount
            if count:
                sql = "INSERT INTO gallery VALUES ('deleted', ?) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
                store.run(sql, [mark])
            else:  # an earlier call may have failed before the files were clean
                (mark,) = store.run("SELECT value FROM gallery WHERE key = 'deleted'").fetchone() or [None]
        if mark:
            self._vacuum(mark)
        return count

    def _vacuum(self, mark):
        try:
            self._store.vacuum()
        except OSError as error:  # TimeoutError among them
            text = f"Deleted rows are still in the files of the gallery: open it again to remove them ({error})"
            raise type(error)(text) from error
        with self._store.writing():  # another process may have deleted since, with a mark of its own
            self._store.run("DELETE FROM gallery WHERE key = 'deleted' AND value = ?", [mark])

    def rename(self, identity, new):
        """Changes the name of a person.

        Raises:
            ValueError: if nobody has this name, or somebody has the new one: then `merge` makes them one.
        """
        self._move(identity, new, taken=False)

    def assign(self, ids, identities):
        """Gives rows to people, who may be new.

        Args:
            ids: N numbers of rows.
            identities: N names.

        Raises:
            ValueError: if an argument is not as described, or a row is not there. Nothing is changed.
        """
        if not (hasattr(ids, "__len__") and is_list(identities, len(ids))):
            raise ValueError(f"`identities` must have one entry per row of `ids`. Received: {identities!r}, {ids!r}")
        for id in ids:
            check_count("ids", id, 2**63 - 1, "the largest id")
        names = [checked_identity(name) for name in identities]
        with self._store.writing():
            for id, name in zip(ids, names, strict=True):
                if not self._store.run("UPDATE sightings SET identity = ? WHERE id = ?", [name, int(id)]).rowcount:
                    raise ValueError(f"`ids` must be in the gallery. Received: {id}")

    def merge(self, kept, other):
        """Makes two people one, with the name `kept`.

        Raises:
            ValueError: if one of them is not in the gallery, or they are the same.
        """
        self._move(other, kept, taken=True)

    def _move(self, old, new, taken):
        old, new, store = checked_identity(old), checked_identity(new), self._store
        if old == new:
            raise ValueError(f"The two identities must differ. Received: {old!r} twice")
        with store.writing():
            for name, there in ((old, True), (new, taken)):
                found = store.run("SELECT 1 FROM sightings WHERE identity = ? LIMIT 1", [name]).fetchone()
                if bool(found) != there:
                    raise ValueError(f"`identity` must {'' if there else 'not '}be in the gallery. Received: {name!r}")
            store.run("UPDATE sightings SET identity = ? WHERE identity = ?", [new, old])

    def export_file(self, path):
        """Writes the gallery as the file of `tflite/run.py --gallery`: names, and features of int8.

        Raises:
            ValueError: if the gallery is empty, the file would be larger than that program reads, or `path` is a file
                of another kind, such as the gallery itself.
            OSError: if the file cannot be written.
        """
        with self._store.reading():
            gallery_file.write(path, self._store.read_features(), **self._made_by())

    def import_file(self, path, *, camera, time):
        """Adds the people of a file that `tflite/run.py` or `export_file` has written. Returns how many features.

        Args:
            path: the file. It has neither cameras nor times.
            camera, time: for all of its features.

        Raises:
            ValueError: if the file is no such gallery, or is of another network or size.
        """
        names, features = gallery_file.read(path, **self._made_by())
        self.add(features, names, [camera] * len(names), [time] * len(names))
        return len(names)

    def _made_by(self):
        return {"network": self.network, "fingerprint": self.fingerprint, "size": self.size}

    def close(self):
        """Closes the file or the connection. After that, every other method raises a ValueError."""
        if self._open_store is not None:
            self._open_store.close()
        self._open_store = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def fingerprint_of(model):
    """SHA-256 of the weights of a Keras model, in hexadecimal. Files that are exported from the model contain it."""
    weights = hashlib.sha256()
    for array in model.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    return weights.hexdigest()
