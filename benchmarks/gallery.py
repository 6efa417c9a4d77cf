"""Insert rate, query time, recall, memory and size of stores for a gallery, on the same random clustered features.

    python benchmarks/gallery.py                                             SQLite, 10,000 and 100,000 features of 512
    python benchmarks/gallery.py --stores sqlite lancedb milvus postgresql postgresql-hnsw --sizes 10000

`sqlite` and `postgresql` are `keras_osnet.identities.Gallery`; `postgresql-hnsw` has an index of pgvector. LanceDB and
Milvus Lite are called directly, for comparison, without an index. A store that is not installed is left out. Recall is
the fraction of the exact ten nearest images that the store finds. After the searches one person of ten images is
deleted; the last column says whether the bytes of a deleted feature are in no file any more.

    pip install 'keras-osnet[recipes,postgresql]' pgserver lancedb pymilvus milvus-lite
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np

D, BATCH, QUERIES, K, IMAGES = 512, 1000, 50, 10, 10  # IMAGES of a person
NETWORK = {"network": "random", "fingerprint": "0" * 64, "dimension": D}
HNSW = "CREATE INDEX ON keras_osnet.sightings USING hnsw (feature vector_cosine_ops);"


def batch(number):
    """(BATCH, D) float32 features of length 1, ten of each person."""
    g = np.random.default_rng(number)
    centres = np.repeat(g.standard_normal((BATCH // IMAGES, D), dtype=np.float32), IMAGES, axis=0)
    features = np.maximum(centres + g.standard_normal((BATCH, D), dtype=np.float32), 0)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def exact(queries, size):
    """(QUERIES, K) rows of the nearest features."""
    values = [queries @ batch(number).T for number in range(size // BATCH)]
    return np.argsort(-np.concatenate(values, axis=1), axis=1, kind="stable")[:, :K]


def person(row):
    return f"person {row // IMAGES}"


class Ours:
    """`Gallery`, in a file or on a PostgreSQL server that is started in the folder."""

    def __init__(self, folder, server=False, index=None):
        from keras_osnet.identities import Gallery

        self.server, self.index, address = None, index, folder / "gallery.db"
        if server:
            import pgserver

            self.server = pgserver.get_server(folder)
            address = self.server.get_uri()
        self.gallery = Gallery.open(address, **NETWORK)

    def add(self, start, features):
        rows = range(start, start + len(features))
        self.gallery.add(features, [person(row) for row in rows], ["camera"] * len(rows), rows)

    def finish(self):
        if self.index:
            self.server.psql(self.index)

    def search(self, queries):
        found = self.gallery.search(queries, K, cameras=["camera"])
        return [[match.id - 1 for match in matches] for matches in found]

    def delete(self, row):
        self.gallery.delete(person(row))
        if self.server:
            self.server.psql("CHECKPOINT;")

    def close(self):
        self.gallery.close()
        if self.server:
            self.server.cleanup()


class Lance:
    """LanceDB."""

    def __init__(self, folder):
        import lancedb
        import pyarrow

        self.pa = pyarrow
        kinds = {"row": pyarrow.int64(), "person": pyarrow.string(), "camera": pyarrow.string()}
        kinds["feature"] = pyarrow.list_(pyarrow.float32(), D)
        self.table = lancedb.connect(str(folder)).create_table("people", schema=pyarrow.schema(kinds.items()))

    def add(self, start, features):
        rows = range(start, start + len(features))
        columns = {"row": rows, "person": [person(row) for row in rows], "camera": ["camera"] * len(rows)}
        columns["feature"] = self.pa.FixedSizeListArray.from_arrays(features.ravel(), D)
        self.table.add(self.pa.table(columns, schema=self.table.schema))

    def finish(self):
        self.table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def search(self, queries):
        found = [self.table.search(q).distance_type("cosine").where("camera = 'camera'").limit(K) for q in queries]
        return [[row["row"] for row in each.select(["row", "_distance"]).to_list()] for each in found]

    def delete(self, row):
        self.table.delete(f"person = '{person(row)}'")
        self.finish()

    def close(self):
        pass


class Milvus:
    """Milvus Lite."""

    def __init__(self, folder):
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "gallery.db"))
        schema, index = self.client.create_schema(), self.client.prepare_index_params()
        schema.add_field("row", DataType.INT64, is_primary=True)
        for name in ("person", "camera"):
            schema.add_field(name, DataType.VARCHAR, max_length=99)
        schema.add_field("feature", DataType.FLOAT_VECTOR, dim=D)
        index.add_index("feature", index_type="FLAT", metric_type="COSINE")
        self.client.create_collection("people", schema=schema, index_params=index)

    def add(self, start, features):
        named = {"camera": "camera"}
        rows = [named | {"row": i, "person": person(i), "feature": f} for i, f in enumerate(features, start)]
        self.client.insert("people", rows)

    def finish(self):
        self.client.flush("people")

    def search(self, queries):
        found = self.client.search("people", data=list(queries), limit=K, filter="camera == 'camera'")
        return [[match["row"] for match in matches] for matches in found]

    def delete(self, row):
        self.client.delete("people", filter=f"person == '{person(row)}'")
        self.client.flush("people")
        self.client.compact("people")
        time.sleep(5)  # it compacts in the background

    def close(self):
        self.client.close()


STORES = {
    "sqlite": (Ours, []),
    "postgresql": (lambda folder: Ours(folder, server=True), ["psycopg", "pgvector", "pgserver"]),
    "postgresql-hnsw": (lambda folder: Ours(folder, server=True, index=HNSW), ["psycopg", "pgvector", "pgserver"]),
    "lancedb": (Lance, ["lancedb"]),
    "milvus": (Milvus, ["pymilvus", "milvus_lite"]),
}


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def measure(name, size):
    """A row of the table, as a dict."""
    queries = batch(10**6)[:: BATCH // QUERIES]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        folder = Path(folder)
        warnings.simplefilter("ignore")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store = STORES[name][0](folder)
        seconds = sum(timed(store.add, n * BATCH, batch(n))[0] for n in range(size // BATCH))
        seconds += timed(store.finish)[0]
        store.search(queries[:1])
        one = np.median([timed(store.search, query[None])[0] for query in queries[:9]])
        eight = np.median([timed(store.search, queries[i : i + 8])[0] for i in range(0, 24, 8)])
        found = store.search(queries)
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        nearest = exact(queries, size).tolist()
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, nearest, strict=True)])
        files = [path for path in folder.rglob("*") if path.is_file()]
        size_on_disk = sum(path.stat().st_size for path in files if "pg_wal" not in path.parts) / 2**20
        deleting, _ = timed(store.delete, 777)
        trace, left = batch(0)[777].tobytes()[:64], False
        for path in folder.rglob("*"):
            with suppress(OSError):  # sockets, and files that a server has just removed
                left |= path.is_file() and "pg_wal" not in path.parts and trace in path.read_bytes()
        store.close()
    row = {"store": name, "features": size, "rows/s": size / seconds, "1 query, ms": one * 1e3}
    row |= {"8 queries, ms": eight * 1e3, "recall@10": recall, "MiB of memory": memory, "MiB on disk": size_on_disk}
    return row | {"delete, s": deleting, "deleted is gone": not left}


def main(stores: tuple[Literal[tuple(STORES)], ...] = ("sqlite",), sizes: tuple[int, ...] = (10_000, 100_000)) -> None:
    """Print one table. Each row is measured by a process of its own.

    Args:
        stores: which to measure.
        sizes: numbers of features, multiples of 1000.
    """
    if wrong := [size for size in sizes if size < BATCH or size % BATCH]:
        sys.exit(f"error: `sizes` must be multiples of {BATCH}. Received: {wrong[0]}")
    print(f"features of {D}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    print(
        "memory: by which the peak of the client process grew; PostgreSQL's own is not in it, nor its log on the disk"
    )
    headed = False
    for size in sizes:
        for name in stores:
            lacking = [package for package in STORES[name][1] if importlib.util.find_spec(package) is None]
            if lacking:
                print(f"{name}: not run, not installed: {', '.join(lacking)}")
                continue
            command = [sys.executable, __file__, "--measure", name, str(size)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{name}, {size}: failed")
                continue
            row = json.loads(done.stdout.splitlines()[-1])
            if not headed:
                print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
                headed = True
            cells = [f"{v:,.0f}" if isinstance(v, float) and v >= 100 else f"{v:.3g}" for v in list(row.values())[2:-1]]
            print(
                f"| {name} | {size:,} | {' | '.join(cells)} | {'yes' if row['deleted is gone'] else 'no'} |", flush=True
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(
            json.dumps(
                {k: v.item() if hasattr(v, "item") else v for k, v in measure(sys.argv[2], int(sys.argv[3])).items()}
            )
        )
    else:
        import tyro

        tyro.cli(main)
