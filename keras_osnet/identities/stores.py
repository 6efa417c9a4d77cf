"""Where a gallery is kept: an SQLite file, or a PostgreSQL database with pgvector. Both have the same tables.

A store is a connection. It has `run` and `run_many` for SQL with `?` in the place of values, a transaction for reading
and one for writing, `encode` for features that are written, `read_features`, `nearest`, and `vacuum`, after which no
table holds what was deleted.
"""

import sqlite3
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from keras_osnet.files import locked
from keras_osnet.metrics.search import search

SECONDS = 60.0  # to wait for another process
BLOCK = 8192  # features in memory at a time
MARK = 0x4F534E47  # the application_id of the SQLite file, the number of the lock in PostgreSQL
TABLES = (
    "CREATE TABLE gallery (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE sightings (id {id} PRIMARY KEY, identity TEXT NOT NULL, camera TEXT NOT NULL, "
    "time DOUBLE PRECISION NOT NULL, feature {feature} NOT NULL)",
    "CREATE TABLE images (id {id} PRIMARY KEY REFERENCES sightings ON DELETE CASCADE, content {bytes} NOT NULL)",
    "CREATE INDEX sightings_identity ON sightings (identity)",
    "CREATE INDEX sightings_time ON sightings (time)",
)


class SQLiteStore:
    """One file. Its journal exists only while a transaction is written: there is no log that could keep features."""

    # Of the sizes that SQLite has, the one in which a feature of 512 leaves little space unused: 15 in a page.
    SETTINGS = ("page_size=32768", "secure_delete=ON", "foreign_keys=ON", "synchronous=FULL")

    def __init__(self, address, dimension):
        self.path, self.dimension = Path(address).absolute(), dimension  # as SQLite, also where the folder changes
        with self._errors():
            self.connection = sqlite3.connect(self.path, timeout=SECONDS, isolation_level=None)
            try:
                for setting in self.SETTINGS:
                    self.run(f"PRAGMA {setting}")
                self.is_new = not self._pragma("schema_version")
                if not self.is_new and self._pragma("application_id") != MARK:
                    raise ValueError(f"`address` must be a gallery, or new. Received: {address}, another database")
            except BaseException:
                self.close()
                raise

    def create(self):
        if not self._pragma("schema_version"):  # no other process was faster
            self.run(f"PRAGMA application_id={MARK}")
            for table in TABLES:
                self.run(table.format(id="INTEGER", feature="BLOB", bytes="BLOB"))

    def run(self, sql, values=()):
        return self.connection.execute(sql, values)

    def run_many(self, sql, rows):
        self.connection.executemany(sql, rows)

    def reading(self):
        return self._transaction("BEGIN")

    @contextmanager
    def writing(self):
        if self.connection.in_transaction:  # of `Gallery.transaction`, which holds the lock
            with self._errors():
                self.run("SAVEPOINT call")
                try:
                    yield
                except BaseException:
                    if self.connection.in_transaction:
                        self.run("ROLLBACK TO call")
                    raise
                self.run("RELEASE call")
        else:
            with locked(self.path, seconds=SECONDS), self._transaction("BEGIN IMMEDIATE"):
                yield

    def encode(self, features):
        return [feature.tobytes() for feature in np.asarray(features, "<f4")]

    def read_features(self):
        """Yields (identities, features) of all rows, by identity."""
        rows = self.run("SELECT identity, feature FROM sightings ORDER BY identity, id")
        while block := rows.fetchmany(BLOCK):
            identities, features = zip(*block, strict=True)
            yield identities, self._decode(features)

    def nearest(self, queries, k, condition, values):
        """Ids and cosine distances (queries, up to k) of the nearest rows, by comparison with all of them."""
        ids, distances = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        rows = self.run(f"SELECT id, feature FROM sightings WHERE {condition}", values)
        while block := rows.fetchmany(BLOCK):
            block.sort()  # of equal distances, the smaller id comes first
            numbers, features = zip(*block, strict=True)
            found, near = search(queries, self._decode(features), k=min(k, len(block)), metric="cosine", index="exact")
            ids = np.concatenate([ids, np.array(numbers)[found]], axis=1)
            distances = np.concatenate([distances, near], axis=1)
            order = np.lexsort((ids, distances))[:, :k]
            ids, distances = (np.take_along_axis(each, order, axis=1) for each in (ids, distances))
        return ids, distances

    def vacuum(self):
        # `secure_delete` overwrites what is deleted, but not the copies that stay when rows move between pages.
        with locked(self.path, seconds=SECONDS), self._errors():
            self.run("VACUUM")

    def close(self):
        self.connection.close()

    def _decode(self, features):
        if {len(feature) for feature in features} != {4 * self.dimension}:
            raise TypeError("a feature of another length")
        decoded = np.frombuffer(b"".join(features), "<f4").reshape(-1, self.dimension)
        if not (np.abs(np.einsum("nd,nd->n", decoded, decoded) - 1) < 1e-3).all():
            raise TypeError("a feature that is not of length 1")
        return decoded

    def _pragma(self, name):
        return self.run(f"PRAGMA {name}").fetchone()[0]

    @contextmanager
    def _transaction(self, begin):
        with self._errors():
            if self.connection.in_transaction:
                yield
                return
            self.run(begin)
            try:
                yield
                self.run("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # SQLite itself has ended it where the disk is full
                    self.run("ROLLBACK")
                raise

    @contextmanager
    def _errors(self):
        """Turns SQLite's errors into those of Python that name the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            # Python's own errors of the module, as of text that is not UTF-8, have no code.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise TimeoutError(f"{self.path} is locked by another process, also after {SECONDS:g} s.") from error
            raise OSError(f"{self.path} cannot be read or written ({error}).") from error
        except sqlite3.ProgrammingError as error:
            raise ValueError(f"A gallery must be used by the thread that opened it ({error})") from error
        # SQLite's columns accept values of every type: a damaged file has others than ours, or lacks some.
        except (sqlite3.DatabaseError, AttributeError, KeyError, OverflowError, TypeError, UnicodeError) as error:
            raise ValueError(f"`address` must be a gallery. Received: {self.path}, but {error}") from error


class PostgresStore:
    """The tables in the schema `keras_osnet` of a database of PostgreSQL."""

    def __init__(self, address, dimension):
        try:
            import psycopg
            from pgvector.psycopg import register_vector
        except ImportError as error:
            message = "a gallery on PostgreSQL needs psycopg and pgvector: pip install 'keras-osnet[postgresql]'"
            raise ImportError(message, name=error.name) from error
        self.dimension, self.module = dimension, psycopg
        try:
            self.connection = psycopg.connect(address, autocommit=True)
        except psycopg.OperationalError as error:
            raise ConnectionError(f"The server of the gallery cannot be reached ({error})") from error
        except psycopg.ProgrammingError as error:
            raise ValueError(f"`address` must be one that PostgreSQL understands ({error})") from error
        try:
            with self._errors():
                self.run("SET search_path TO keras_osnet, public")
                self.run(f"SET lock_timeout TO '{SECONDS:g}s'")
                self.is_new = self._is_new()
                if self.is_new:
                    self.run("SELECT pg_advisory_lock(?)", [MARK])
                    self.run("CREATE EXTENSION IF NOT EXISTS vector")
                    self.run("SELECT pg_advisory_unlock(?)", [MARK])
                register_vector(self.connection)
        except BaseException:
            self.close()
            raise

    def create(self):
        if self._is_new():
            self.run("CREATE SCHEMA IF NOT EXISTS keras_osnet")
            for table in TABLES:
                self.run(table.format(id="BIGINT", feature=f"vector({self.dimension})", bytes="BYTEA"))
            self.run("ALTER TABLE sightings ALTER feature SET STORAGE PLAIN")
            self.run("ALTER TABLE images ALTER content SET STORAGE EXTERNAL")  # images are compressed already
            # Statistics are samples of the values, which would outlive them.
            for table, column in (("sightings", "identity"), ("sightings", "feature"), ("images", "content")):
                self.run(f"ALTER TABLE {table} ALTER {column} SET STATISTICS 0")

    def run(self, sql, values=()):
        return self.connection.execute(sql.replace("?", "%s"), values)

    def run_many(self, sql, rows):
        with self.connection.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), list(rows))

    @contextmanager
    def reading(self):
        alone = self.connection.info.transaction_status == self.module.pq.TransactionStatus.IDLE
        with self._errors(), self.connection.transaction():
            if alone:  # all statements see one state of the tables
                self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    @contextmanager
    def writing(self):
        with self._errors(), self.connection.transaction():
            self.run("SELECT pg_advisory_xact_lock(?)", [MARK])
            yield

    @contextmanager
    def _errors(self):
        """Turns psycopg's errors into those of Python."""
        try:
            yield
        except self.module.errors.LockNotAvailable as error:
            raise TimeoutError(f"The gallery is locked by another process, also after {SECONDS:g} s.") from error
        except self.module.OperationalError as error:
            raise ConnectionError(f"The server of the gallery has ended the connection ({error})") from error
        except self.module.Error as error:
            raise OSError(f"The gallery cannot be read or written ({error})") from error

    def encode(self, features):
        return list(features)

    def read_features(self):
        """Yields (identities, features) of all rows, by identity."""
        with self.connection.cursor("rows") as rows:
            rows.execute("SELECT identity, feature::real[] FROM sightings ORDER BY identity, id")
            while block := rows.fetchmany(BLOCK):
                identities, features = zip(*block, strict=True)
                yield identities, np.array(features, np.float32)

    def nearest(self, queries, k, condition, values):
        """Ids and cosine distances of the up to k nearest rows of each query, by an index of pgvector if there is."""
        sql = f"SELECT id, feature <=> ? FROM sightings WHERE {condition} ORDER BY feature <=> ?, id LIMIT ?"
        found = [self.run(sql, [q, *values, q, k]).fetchall() for q in queries]
        return [[row[0] for row in rows] for rows in found], [[row[1] for row in rows] for rows in found]

    def vacuum(self):
        with self._errors():
            for table in ("sightings", "images"):
                self.run(f"VACUUM (FULL) {table}")  # writes the rest of the table to a new file

    def close(self):
        self.connection.close()

    def _is_new(self):
        return self.run("SELECT to_regclass('keras_osnet.gallery') IS NULL").fetchone()[0]


STORES = {"postgresql": PostgresStore, "postgres": PostgresStore}  # by the scheme of the address; a path: SQLiteStore
