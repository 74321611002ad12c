"""The identity of a model's weights: what counts, and what does not."""

from __future__ import annotations

import pytest

from runs import weights_identity as weights_module
from runs.weights_identity import weights_identity


def test_nothing_is_known_of_what_is_neither_a_folder_nor_a_name_of_the_hub():
    assert weights_identity("owner/name/more") == "unknown"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model whose safetensors file is read in four blocks of 8 bytes: 0, 330, 661 and 992."""
    monkeypatch.setattr(weights_module, "WHOLE_FILE_BYTES", 500)
    monkeypatch.setattr(weights_module, "BLOCK_BYTES", 8)
    monkeypatch.setattr(weights_module, "SAMPLED_BLOCKS", 4)
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_bytes(bytes(500))
    (place / "model.safetensors").write_bytes((40).to_bytes(8, "little") + bytes(992))
    (place / "small.safetensors").write_bytes(bytes(3))
    return place


def changed(folder, name, at):
    """Whether another byte at one place of a file changes the folder's identity."""
    before = weights_identity(str(folder))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:at] + b"\7" + content[at + 1 :])
    after = weights_identity(str(folder))
    (folder / name).write_bytes(content)
    assert before.startswith("folder sha256:")
    assert len(before) == len("folder sha256:") + 32
    return after != before


def test_small_files_count_with_every_byte(folder):
    assert all(changed(folder, "config.json", at) for at in (0, 100, 499))
    assert changed(folder, "small.safetensors", 2)


def test_weights_count_with_their_header_and_evenly_spaced_blocks(folder):
    header, blocks, between = (8, 30, 47), (330, 337, 661, 668, 992, 999), (48, 329, 500, 991)
    assert all(changed(folder, "model.safetensors", at) for at in (*header, *blocks))
    assert not any(changed(folder, "model.safetensors", at) for at in between)


def test_names_and_sizes_count_and_hidden_files_and_subfolders_do_not(folder):
    first = weights_identity(str(folder))
    (folder / ".cache").write_text("x")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("x")
    assert weights_identity(str(folder)) == first
    (folder / "config.json").rename(folder / "config2.json")
    renamed = weights_identity(str(folder))
    assert renamed != first
    (folder / "dot.").write_text("x")
    assert weights_identity(str(folder)) != renamed


def test_a_tokenizer_of_some_megabytes_counts_with_every_byte(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(bytes(6_000_000))
    assert changed(tmp_path, "tokenizer.json", 65_536 + 10)
