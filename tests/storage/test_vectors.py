"""Packed vectors: migrated bit by bit, deleted with their passages, written whole or not at all."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from database import Database
from scoring.prompts import Passage
from storage import migrations
from storage.errors import DatabaseError
from storage.records import Article
from tests.support.older_schema import older_schema

ROOT = Path(__file__).parents[2]


def add(db: Database, title: str, passages: int) -> tuple[int, list[int]]:
    """Store an article; returns its id and those of its passages."""
    article = db.articles.add(
        Article("wiki", title, "1", "2026-01-01T00:00:00Z", "", "text"),
        [Passage(text=f"{title} {n}", tokens=2) for n in range(passages)],
    )
    return article, db.articles.without_embedding("nobody's", [article])


def numbered(ids: list[int], dimension: int = 2) -> list[tuple[int, np.ndarray]]:
    """A vector for each passage that tells whose it is."""
    return [(i, np.full(dimension, i, dtype=np.float32)) for i in ids]


def stored(db: Database, model: str, after: int = 0) -> dict[int, tuple[int, bytes]]:
    """Article and vector of each passage, as a run reads them."""
    ids, articles, found, _ = db.articles.embeddings_after(model, after)
    assert len(set(ids.tolist())) == len(ids) == len(articles) == len(found)
    rows = zip(ids.tolist(), articles.tolist(), found, strict=True)
    return {i: (article, vector.tobytes()) for i, article, vector in rows}


def seen(db: Database) -> dict[tuple[str, int], tuple[int, bytes]]:
    """Dimension and vector by model and passage, as any program reads them."""
    rows = db.connection.query("SELECT model, passage_id, dimension, vector FROM embeddings")
    return {(model, i): (dimension, vector) for model, i, dimension, vector in rows}


def unpacked(path: Path, count: int) -> dict[tuple[str, int], bytes]:
    """A database of schema 13, with vectors of any bits by two models in turn."""
    bits = np.random.default_rng(1).integers(0, 256, (2, count, 12), dtype=np.uint8)
    written = {}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("BEGIN")
        for script in migrations.MIGRATIONS[:13]:
            for statement in migrations._statements(script):
                sql.execute(statement)
        sql.execute("PRAGMA user_version = 13")
        sql.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
        for article in range(1, count // 7 + 2):
            sql.execute(
                "INSERT INTO articles VALUES (?, 'wiki', ?, '1', '2026-01-01', '', '', '', '', '')",
                (article, f"A{article}"),
            )
        for i in range(1, count + 1):
            sql.execute("INSERT INTO passages VALUES (?, ?, ?, '', '', 1)", (i, i // 7 + 1, i % 7))
        # Not in the passages' order.
        for n in np.random.default_rng(2).permutation(count).tolist():
            for model, dimension in (("a", 3), ("b", 2)):
                blob = bits["ab".index(model), n, : 4 * dimension].tobytes()
                written[model, n + 1] = blob
                sql.execute(
                    "INSERT INTO embeddings (passage_id, model, dimension, vector)"
                    " VALUES (?, ?, ?, ?)",
                    (n + 1, model, dimension, blob),
                )
        sql.execute("COMMIT")
    return written


def sound(db: Database) -> None:
    assert db.connection.query("PRAGMA integrity_check")[0][0] == "ok"
    assert db.connection.query("PRAGMA foreign_key_check") == []


def killed(program: str, path: Path) -> None:
    """Run a program on a database that kills itself; it ends so."""
    head = "import os, signal, sys\nfrom database import Database\nfrom storage import vectors\n"
    process = subprocess.run([sys.executable, "-c", head + program, str(path)], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL


# --- older databases ------------------------------------------------------------------------------


def test_vectors_of_an_older_database_are_kept_bit_by_bit(tmp_path):
    path = tmp_path / "old.db"
    written = unpacked(path, 1100)
    with contextlib.closing(sqlite3.connect(path)) as sql:
        order = sql.execute("SELECT passage_id FROM embeddings WHERE model = 'a' ORDER BY id")
        read = [row[0] for row in order]
        sql.execute("DELETE FROM passages WHERE id = 500")  # as sqlite3 does: the vectors stay
        sql.commit()
    size = path.stat().st_size
    del written["a", 500], written["b", 500]
    with Database(path) as db:
        sound(db)
        assert {key: vector for key, (_, vector) in seen(db).items()} == written
        for model in "ab":
            assert stored(db, model) == {
                i: (i // 7 + 1, vector) for (of, i), vector in written.items() if of == model
            }
        # In the order they had, so that equal scores rank as before.
        assert db.articles.embeddings_after("a")[0].tolist() == [i for i in read if i != 500]
        packs = db.connection.query("SELECT count(*) FROM vector_packs GROUP BY model")
        assert [row[0] for row in packs] == [18, 18]
        assert not db.connection.query("SELECT 1 FROM sqlite_schema WHERE name LIKE 'unpacked%'")
        assert db.articles.without_embedding("a", [72]) == []
    assert path.stat().st_size < 1.5 * size
    assert (tmp_path / "old.db.schema-13.bak").exists()


def test_a_migration_that_is_killed_loses_no_vector(tmp_path):
    path = tmp_path / "old.db"
    written = unpacked(path, 1100)
    killed(
        "insert, packs = vectors._insert, []\n"
        "def second(*given):\n"
        "    insert(*given)\n"
        "    packs.append(1)\n"
        "    if len(packs) == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "vectors._insert = second\n"
        "Database(sys.argv[1])",
        path,
    )
    with contextlib.closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA user_version").fetchone()[0] == 13
        assert sql.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 2200
    with Database(path) as db:
        sound(db)
        assert {key: vector for key, (_, vector) in seen(db).items()} == written


# --- writing --------------------------------------------------------------------------------------


def test_vectors_written_together_are_one_row_for_each_model(tmp_path):
    with Database(tmp_path / "new.db") as db:
        first, ids = add(db, "First", 3)
        second, more = add(db, "Second", 2)
        db.articles.add_embeddings("a", numbered([*more, *ids]))
        db.articles.add_embeddings("b", numbered(ids[:2], 5))
        db.articles.add_embeddings("a", [])
        counts = db.connection.query(
            "SELECT model, dimension, length(vectors) FROM vector_packs ORDER BY id"
        )
        assert [tuple(row) for row in counts] == [("a", 2, 40), ("b", 5, 40)]
        owners = dict.fromkeys(ids, first) | dict.fromkeys(more, second)
        expected = {i: (owners[i], v.tobytes()) for i, v in numbered([*ids, *more])}
        assert stored(db, "a") == expected
        assert stored(db, "b") == {i: (first, v.tobytes()) for i, v in numbered(ids[:2], 5)}
        assert seen(db)["b", ids[1]] == (5, numbered([ids[1]], 5)[0][1].tobytes())
        assert db.articles.embeddings_after("c")[2].shape[0] == 0
        sound(db)


def test_a_batch_that_is_killed_is_stored_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new.db"
    with Database(path) as db:
        article, ids = add(db, "First", 4)
        db.articles.add_embeddings("m", numbered(ids[:2]))
    killed(
        "import numpy as np\n"
        "insert = vectors._insert\n"
        "def last(*given):\n"
        "    insert(*given)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "vectors._insert = last\n"
        "one = np.ones(2, dtype=np.float32)\n"
        f"Database(sys.argv[1]).articles.add_embeddings('m', [(i, one) for i in {ids[2:]}])",
        path,
    )
    with Database(path) as db:
        sound(db)
        assert stored(db, "m") == {i: (article, v.tobytes()) for i, v in numbered(ids[:2])}
        assert db.articles.without_embedding("m", [article]) == ids[2:]


def test_a_passage_that_is_gone_gets_no_vector(tmp_path):
    with Database(tmp_path / "new.db") as db:
        _, ids = add(db, "First", 2)
        with pytest.raises(DatabaseError, match="FOREIGN KEY"):
            db.articles.add_embeddings("m", numbered([*ids, 99]))
        assert stored(db, "m") == {}


def test_two_processes_that_embed_the_same_keep_the_first_vectors(tmp_path):
    path = tmp_path / "new.db"
    with Database(path) as one, Database(path) as other:
        article, ids = add(one, "First", 4)
        one.articles.add_embeddings("m", numbered(ids[:3]))
        last = other.articles.embeddings_after("m")[3]
        other.articles.add_embeddings("m", [(i, v + 1) for i, v in numbered(ids[1:])])
        other.articles.add_embeddings("m", [(i, v + 2) for i, v in numbered(ids)])
        expected = {i: (article, v.tobytes()) for i, v in numbered(ids[:3])}
        new = {ids[3]: (article, (numbered(ids[3:])[0][1] + 1).tobytes())}
        assert stored(one, "m") == expected | new
        assert stored(one, "m", last) == new
        sound(one)


def test_two_writers_at_once_store_each_vector_once(tmp_path):
    path = tmp_path / "new.db"
    with Database(path) as db:
        article, ids = add(db, "First", 240)
    begin = threading.Barrier(2)

    def write(size: int) -> None:
        with Database(path) as own:
            begin.wait()
            for start in range(0, len(ids), size):
                own.articles.add_embeddings("m", numbered(ids[start : start + size]))

    writers = [threading.Thread(target=write, args=(size,)) for size in (7, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with Database(path) as db:
        assert stored(db, "m") == {i: (article, v.tobytes()) for i, v in numbered(ids)}
        sound(db)


@pytest.mark.parametrize(
    ("passages", "articles", "size"), [(16, 16, 15), (16, 8, 16), (8, 8, 16), (16, 16, 20)]
)
def test_a_pack_of_another_size_than_its_passages_is_refused(tmp_path, passages, articles, size):
    with Database(tmp_path / "new.db") as db:
        values = (bytes(passages), bytes(articles), bytes(size))
        insert = "INSERT INTO vector_packs VALUES (NULL, 'm', 2, ?, ?, ?)"
        with pytest.raises(sqlite3.IntegrityError):
            db.connection.sql.execute(insert, values)
        db.connection.sql.execute(insert, (bytes(16), bytes(16), bytes(16)))


# --- deleting -------------------------------------------------------------------------------------


def test_vectors_go_with_their_article_and_the_others_of_the_pack_stay(tmp_path):
    with Database(tmp_path / "new.db") as db:
        articles = [add(db, title, 3) for title in ("First", "Second", "Third")]
        everything = [i for _, ids in articles for i in ids]
        for model in "ab":
            db.articles.add_embeddings(model, numbered(everything))
        with db.connection.atomic() as sql:
            sql.execute("DELETE FROM articles WHERE title = 'Second'")
            sql.execute("DELETE FROM passages WHERE id = ?", (everything[0],))
        left = {i: (articles[n // 3][0], v.tobytes()) for n, (i, v) in enumerate(numbered(everything)) if n in (1, 2, 6, 7, 8)}  # fmt: skip
        for model in "ab":
            assert stored(db, model) == left
        assert seen(db) == {(m, i): (2, v) for m in "ab" for i, (_, v) in left.items()}
        sound(db)


@pytest.mark.parametrize("schema", [15, migrations.SCHEMA_VERSION])
def test_vectors_go_with_passages_where_foreign_keys_are_off(tmp_path, schema):
    path = tmp_path / "new.db"
    with older_schema(schema):
        with Database(path) as db:
            article, ids = add(db, "First", 3)
            for model in "ab":
                db.articles.add_embeddings(model, numbered(ids))
        with contextlib.closing(sqlite3.connect(path)) as sql:
            sql.execute("DELETE FROM passages WHERE id = ?", (ids[0],))
            sql.commit()
    with Database(path) as db:
        for model in "ab":
            assert stored(db, model) == {i: (article, v.tobytes()) for i, v in numbered(ids[1:])}
        sound(db)


def test_numbers_given_again_bring_no_older_vector_back(tmp_path):
    with Database(tmp_path / "new.db") as db:
        _, kept = add(db, "First", 1)
        gone, ids = add(db, "Second", 2)
        db.articles.add_embeddings("m", numbered([*kept, *ids]))
        db.articles.add_embeddings("other", numbered(ids))
        last = db.articles.embeddings_after("other")[3]
        with db.connection.atomic() as sql:
            sql.execute("DELETE FROM articles WHERE id = ?", (gone,))
        assert db.connection.query("SELECT count(*) FROM vector_packs")[0][0] == 1
        assert add(db, "Third", 2) == (gone, ids)  # SQLite gives the numbers again
        assert list(stored(db, "m")) == kept
        assert db.articles.without_embedding("m", [gone]) == ids
        new = [(i, -v) for i, v in numbered(ids)]
        db.articles.add_embeddings("other", new)
        expected = {i: (gone, v.tobytes()) for i, v in new}
        # A program that had read the pack that is gone reads the new one.
        assert stored(db, "other", last) == stored(db, "other") == expected


def test_without_its_vectors_a_model_embeds_anew(tmp_path):
    with Database(tmp_path / "new.db") as db:
        article, ids = add(db, "First", 2)
        for model in "ab":
            db.articles.add_embeddings(model, numbered(ids))
        with db.connection.atomic() as sql:
            sql.execute("DELETE FROM vector_packs WHERE model = 'a'")
        assert db.articles.without_embedding("a", [article]) == ids
        assert db.articles.embedding_models(ids) == ["b"]
        assert sorted(stored(db, "b")) == ids
