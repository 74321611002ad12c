"""Tokenizers with a vocabulary of characters and some longer tokens, and prompts scored with them."""

from __future__ import annotations

from scoring.number_trie import NumberTokenizer
from scoring.scorer import ForecastScoring


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


DIGITS = FakeTokenizer()
WHOLE = FakeTokenizer([str(n) for n in range(10, 101)])
MERGES = FakeTokenizer(["10", "12", "20", "50", "75", "99", "100"])
SPACED = FakeTokenizer([f" {d}" for d in range(10)])
THREE = FakeTokenizer([str(n) for n in range(10, 1000)])  # as Llama 3: 1,000 digit tokens
PROMPT = "Answer:\n"


def scoring_of(tokenizer, text=PROMPT, lead="") -> ForecastScoring:
    numbers = NumberTokenizer(tokenizer)
    prompt, trie = numbers.place(text, lead)
    return ForecastScoring(prompt, trie, numbers)
