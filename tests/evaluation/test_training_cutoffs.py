"""Training cut-offs: exact names get their own date, anything unknown in a name makes the date unknown."""

from __future__ import annotations

from datetime import date

import pytest

from evaluation.backtest import leak_warnings
from evaluation.training_cutoffs import cutoff, known_cutoffs
from questions.question import Question


def day(path, name="a model"):
    known = cutoff(name, path)
    return known.day if known else None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("microsoft/phi-4", "2024-06-30"),
        ("microsoft/Phi-4-mini-instruct", "2024-06-30"),
        ("microsoft/Phi-4-mini-reasoning", "2025-02-28"),
        ("microsoft/Phi-4-reasoning-plus", "2025-03-31"),
        ("Qwen/Qwen3-14B", "2025-04-29"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "2025-08-06"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "2025-08-06"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "2025-09-30"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "2025-07-31"),
        ("Qwen/Qwen3-VL-8B-Instruct", "2025-10-21"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "2024-09-19"),
        ("deepseek-ai/DeepSeek-V3", "2024-12-26"),
        ("deepseek-ai/DeepSeek-V3-0324", "2025-03-25"),
        ("deepseek-ai/DeepSeek-V3.1", "2025-08-21"),
        ("deepseek-ai/DeepSeek-V3.2", "2025-12-01"),
        ("deepseek-ai/DeepSeek-R1", "2025-01-20"),
        ("deepseek-ai/DeepSeek-R1-0528", "2025-05-28"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "2025-01-20"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "2023-03-31"),
        ("meta-llama/Meta-Llama-3-70B", "2023-12-31"),
        ("meta-llama/Llama-3.3-70B-Instruct", "2023-12-31"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "2024-08-31"),
        ("google/gemma-3-27b-it", "2024-08-31"),
        ("google/gemma-3n-E4B-it", "2024-06-30"),
        ("google/gemma-2-9b-it", "2024-07-31"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "2024-07-31"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "2025-06-30"),
        ("openai/gpt-oss-120b", "2024-06-30"),
        ("HuggingFaceTB/SmolLM3-3B", "2025-06-30"),
    ],
)
def test_each_model_has_its_own_date(path, expected):
    assert day(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "Qwen/Qwen3.5-9B",
        "Qwen/Qwen3-14B-2510",
        "Qwen/Qwen3-30B-A3B-Instruct",  # the first Qwen3 had no such name: 2507 is likely, nothing is sure
        "Qwen/Qwen3-Coder-Next",
        "Qwen/Qwen3-Embedding-8B",
        "Qwen/Qwen2.5-7B-Instruct-1M",
        "Qwen/Qwen2.5-Coder-7B-Instruct",
        "deepseek-ai/DeepSeek-V3-0925",
        "deepseek-ai/DeepSeek-V4",
        "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",
        "meta-llama/Llama-3.4-8B-Instruct",
        "nvidia/Llama-3.1-Nemotron-70B-Instruct",
        "meta-llama/Llama-3-13B",  # no such size: another model
        "google/gemma-4-27b-it",
        "google/medgemma-27b-it",
        "microsoft/Phi-4-mini-flash-reasoning",
        "mistralai/Mistral-Nemo-Instruct-2507",
        "mistralai/Mistral-Small-4-24B-Instruct-2606",
        "openai/gpt-oss-safeguard-20b",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        "huihui-ai/Qwen3-14B-abliterated",
        "/models/Qwen3-14B-news-2026",
        "/models/Qwen3-14B/checkpoint-3000",
        "somebody/unknown",
    ],
)
def test_an_unknown_part_of_a_name_makes_the_date_unknown(path):
    assert day(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "/mnt/models/Qwen3-14B/",
        "s3://bucket/models/Qwen3-14B",
        "s3://bucket/Qwen3-14B/model",
        "~/.cache/huggingface/hub/models--Qwen--Qwen3-14B/snapshots/0123456789abcdef0123456789abcdef01234567",
        "bartowski/Qwen_Qwen3-14B-GGUF",
        "Qwen/Qwen3-14B-AWQ",
        "Qwen/Qwen3-14B-Base",
        "RedHatAI/Qwen3-14B-quantized.w4a16",
        "unsloth/Qwen3-14B-bnb-4bit",
        "./qwen3-14b-Q4_K_M.gguf",
    ],
)
def test_folders_publishers_and_quantisation_change_nothing(path):
    assert day(path) == "2025-04-29"


def test_the_configured_name_counts_only_where_the_path_says_nothing():
    assert day("s3://bucket/model", name="qwen3-14b") == "2025-04-29"
    assert day("/srv/weights", name="qwen3-14b") == "2025-04-29"
    assert day("/srv/tuned-on-news", name="qwen3-14b") is None
    assert day("Qwen/Qwen3-30B-A3B-Instruct-2507", name="qwen3-14b") == "2025-08-06"
    assert day("s3://qwen3-14b/model") is None  # a bucket's name is no model's


def test_every_cutoff_has_a_day_a_source_and_a_name_of_its_own():
    for known in known_cutoffs():
        assert date.fromisoformat(known.day) < date(2027, 1, 1)
        assert len(known.source) > 15
    assert (
        len({(k.family, k.marks, k.sizes) for k in known_cutoffs()}) == len(known_cutoffs()) == 47
    )


def test_an_unknown_cutoff_warns_and_a_newer_model_is_judged_by_its_own_date():
    questions = [Question("Q?", as_of="2025-06-01"), Question("R?", as_of="2025-12-01")]
    lines = leak_warnings(
        {"a": "Qwen/Qwen3-14B-2510", "b": "Qwen/Qwen3-4B-Instruct-2507"}, questions
    )
    assert lines[0].startswith("a: no training cut-off is known of Qwen/Qwen3-14B-2510")
    assert lines[1].startswith("b: 1 of 2 questions")
    assert "2025-08-06" in lines[1]
