"""Tokenizers with a vocabulary of characters and some longer tokens, and prompts scored with them."""

from __future__ import annotations

from scoring.number_trie import NumberTokenizer
from scoring.scorer import ForecastScoring, ScoringError


class FakeTokenizer:
    """Greedy longest match over single characters and the given longer tokens."""

    def __init__(self, longer=()):
        characters = [chr(c) for c in range(32, 127)] + ["\n"]
        self.texts = [*characters, *longer]
        self.vocabulary = {text: i for i, text in enumerate(self.texts)}
        self.longest = max(map(len, self.texts))
        self.all_special_ids = ()

    def encode(self, text, *, add_special_tokens=False):
        ids, at = [], 0
        while at < len(text):
            size = next(
                n for n in range(self.longest, 0, -1) if text[at : at + n] in self.vocabulary
            )
            ids.append(self.vocabulary[text[at : at + size]])
            at += size
        return ids

    def decode(self, token_ids):
        return "".join(self.texts[i] for i in token_ids)

    def get_vocab(self):
        return dict(self.vocabulary)


class HalfBytes(FakeTokenizer):
    """Two tokens for each digit from 2 on, as a vocabulary that falls back to bytes."""

    def encode(self, text, *, add_special_tokens=False):
        ids = []
        for one in super().encode(text):
            ids += [self.vocabulary["~"], one] if self.texts[one] in "23456789" else [one]
        return ids

    def decode(self, token_ids):
        return super().decode(token_ids).replace("~", "")


DIGITS = FakeTokenizer()
WHOLE = FakeTokenizer([str(n) for n in range(10, 101)])
MERGES = FakeTokenizer(["10", "12", "20", "50", "75", "99", "100"])
PARTIAL = FakeTokenizer(["10", "25", "0."])  # "100" is "10" + "0", and "0.5" begins as no integer
BYTES = HalfBytes()
SPACED = FakeTokenizer([f" {d}" for d in range(10)])
THREE = FakeTokenizer([str(n) for n in range(10, 1000)])  # as Llama 3: 1,000 digit tokens
PROMPT = "Answer:\n"


def scoring_of(tokenizer, text=PROMPT, lead="") -> ForecastScoring:
    numbers = NumberTokenizer(tokenizer)
    prompt, trie = numbers.place(text, lead)
    return ForecastScoring(prompt, trie)


def score(scoring, engine, tolerance):
    """Ask round by round, each in one call of ``engine``; the result, or the error it ends with."""
    try:
        while asked := scoring.next_requests(tolerance):
            for (node, _), reply in zip(asked, engine([r for _, r in asked]), strict=True):
                scoring.record(node, reply)
        return scoring.result()
    except ScoringError as error:
        return error
