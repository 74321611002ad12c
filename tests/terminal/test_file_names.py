"""Names from outside never decide where this program writes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import config
import forecaster
from agents_vllm import Agent
from reporting import svg
from terminal.file_names import is_file_name, new_file, write_whole
from tests.support.checkpoints import inspect, s3_store
from tests.support.needed import needs
from tests.support.object_store import ObjectStore
from tests.support.stub_run import ChatLLM

CONFIG = b'{"architectures": ["LlamaForCausalLM"]}'
# What a small model has, and nothing that needs its weights to be read.
MODEL = {
    "m/config.json": CONFIG,
    "m/tokenizer.json": b"{}",
    "m/model.safetensors": b"\x02\0\0\0\0\0\0\0{}",
}


@pytest.mark.parametrize(
    "name", ["config.json", ".gitattributes", "a b.txt", "größe-模型.json", "..a", "x" * 255]
)
def test_plain_file_names_pass(name):
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "a/b.json", "../a.json", "a\\b.json", "C:\\a.json", "C:a.json", "a\0.json", "a\nb.json",
     "a\x1b[2J.json", "a\u202e.json", "a\x85.json", "a\udce9.json", "x" * 256, "ä" * 128],
)  # fmt: skip
def test_everything_else_is_no_file_name(name):
    assert not is_file_name(name)


# --- a store that lists what it likes -----------------------------------------------------------------


def escaping_keys(outside: Path) -> list[str]:
    up = "../" * 12
    return [
        f"m/{outside}/absolute.json", f"m/{up}{str(outside)[1:]}/relative.json", f"m/..{outside}/up.json", "m/../near.json",
        f"{outside}/no-prefix.json", f"../{outside}/no-prefix.py", "m/..\\..\\windows.json", "m/sub/config.json",
        f"m/{outside}/code.py", f"m/{outside}/template.jinja", f"m/{outside}/words.txt", "m/" + "x" * 300 + ".json",
        "m/a\u202ecod.json", "other/config.json",
    ]  # fmt: skip


def everything_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@needs({"boto3": "boto3"})
def test_a_store_cannot_make_this_program_write_outside_of_its_folder(tmp_path, monkeypatch):
    outside, temporary = tmp_path / "outside", tmp_path / "tmp"
    outside.mkdir()
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    hostile = escaping_keys(outside)
    with ObjectStore(MODEL | dict.fromkeys(hostile, b"a program of a stranger")) as store:
        found = inspect(store.use(monkeypatch, tmp_path / "assets"), load_format="dummy")
        written = {path.name for path in found.folder.iterdir()}
        assert everything_below(tmp_path) == {
            str(path) for path in (outside, temporary, found.folder, *found.folder.iterdir())
        }
        found.close()
    assert written == {"config.json", "tokenizer.json"}
    assert found.problems == ()
    (note,) = found.notes
    assert f"{len(hostile)} objects below other folders are left out" in note
    assert not set(store.read) - set(MODEL)
    assert everything_below(temporary) == set()


@needs({"boto3": "boto3"})
@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_a_store_is_downloaded_only_where_it_may_run(tmp_path, monkeypatch, trusted):
    with ObjectStore(MODEL | {"m/modeling.py": b"boom()", "m/chat_template.jinja": b"x"}) as store:
        address = store.use(monkeypatch, tmp_path)
        found = inspect(address, load_format="dummy", trust_remote_code=trusted)
        names = {path.name for path in found.folder.iterdir()}
        found.close()
    assert names == {"config.json", "tokenizer.json", "chat_template.jinja"} | (
        {"modeling.py"} if trusted else set()
    )
    assert ("m/modeling.py" in store.read) == trusted


@needs({"boto3": "boto3"})
def test_a_subfolder_that_a_store_lists_is_ignored_but_for_weights_that_would_be_streamed(
    tmp_path, monkeypatch
):
    subfolder = {
        "m/": b"",
        "m/original/": b"",
        "m/original/params.json": b"{}",
        "m/original/consolidated.pth": b"0",
    }
    with ObjectStore(MODEL | subfolder) as store:
        address = store.use(monkeypatch, tmp_path)
        found = inspect(address, load_format="dummy")
        found.close()
        assert found.problems == ()
        assert (
            "2 objects below other folders are left out ('original/params.json'" in found.notes[0]
        )
        store.objects["m/original/consolidated.safetensors"] = b"\x02\0\0\0\0\0\0\0{}"
        found = inspect(address, load_format="runai_streamer")
        found.close()
    assert any(
        "original/consolidated.safetensors: a stray weight file" in problem
        for problem in found.problems
    )


@needs({"boto3": "boto3"})
def test_an_answer_longer_than_what_was_asked_for_is_cut_off(tmp_path, monkeypatch):
    with ObjectStore({"m/config.json": b"x" * 1000}) as store:
        assert s3_store(store.use(monkeypatch, tmp_path)).read("config.json", 0, 10) == b"x" * 10


@needs({"boto3": "boto3"})
def test_a_hostile_store_costs_its_model_and_writes_nothing_outside(tmp_path, monkeypatch, capsys):
    """On the command line: the run ends with its table, and the refused model's line."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with ObjectStore(
        MODEL | {f"m/{outside}/abs.json": b"{}", f"m/{outside}/w.safetensors": b"0"}
    ) as store:
        address = store.use(monkeypatch, tmp_path / "assets")
        settings = {
            "WIKIPEDIA_API_URL": "",
            "RANKING": "bm25",
            "VLLM_CONFIG": {"load_format": "runai_streamer"},
        }
        for name, value in settings.items():
            monkeypatch.setattr(config, name, value)
        monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"remote": address})
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "remote")
        for module in ("preflight.model_entries", "preflight.settings"):
            monkeypatch.setattr(f"{module}.package_problems", lambda *_: [])
        monkeypatch.setattr(forecaster, "draw", lambda *_: True)
        monkeypatch.setenv("LOG_DIR", str(tmp_path))
        code = forecaster.main(
            [
                "--question",
                "Will A happen?",
                "--no-retrieval",
                "--database",
                str(tmp_path / "run.db"),
            ],
            agent_factory=lambda spec: Agent(spec, llm_factory=ChatLLM),
        )
    assert code == 1
    assert re.search(
        r"Failed: remote, 1 forecasts: .*w\.safetensors: a stray weight file",
        capsys.readouterr().out,
    )
    assert list(outside.iterdir()) == []


# --- files of our own ---------------------------------------------------------------------------------


class Figure:
    """Saves nothing but its name."""

    def savefig(self, buffer, **_):
        buffer.write(b"a picture")


def plot(folder: Path) -> Path:
    return svg.save(Figure(), folder / "run1_a.svg")


def page(folder: Path) -> Path:
    write_whole(folder / "report.html", b"<!doctype html>")
    return folder / "report.html"


@pytest.mark.parametrize("write", [plot, page])
def test_a_link_in_the_place_of_a_file_or_its_draft_is_never_followed(tmp_path, monkeypatch, write):
    monkeypatch.setattr(svg, "render", lambda _: "a picture")
    victim, shared = tmp_path / "victim", tmp_path / "shared"
    victim.write_text("precious")
    shared.mkdir()
    target = write(shared)
    target.unlink()
    for name in (target.name, f".{target.name}.part", f"{target.name}.partial"):
        (shared / name).symlink_to(victim)
    assert write(shared) == target
    assert victim.read_text() == "precious"
    assert target.is_file()
    assert not target.is_symlink()


def test_a_backup_is_never_written_through_a_link(tmp_path):
    from database import Database
    from tests.storage.test_database import stored_schema

    path = tmp_path / "old.db"
    stored_schema(1, path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    backup = "old.db.schema-1.bak"
    for name in (backup, f"{backup}.partial"):
        (tmp_path / name).symlink_to(victim)
    Database(path).close()
    assert victim.read_text() == "precious"
    assert not (tmp_path / backup).is_symlink()
    assert (tmp_path / backup).read_bytes().startswith(b"SQLite format 3")


def test_a_draft_is_exclusive_and_gone_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".a.known.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"new")
    (tmp_path / ".a.known.part").unlink()
    with pytest.raises(RuntimeError), new_file(tmp_path / "a"):
        raise RuntimeError
    assert sorted(os.listdir(tmp_path)) == ["victim"]
    assert victim.read_text() == "precious"
    write_whole(tmp_path / "a", json.dumps({}).encode())
    assert sorted(os.listdir(tmp_path)) == ["a", "victim"]


def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        write_whole(pipe, b"page")
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
