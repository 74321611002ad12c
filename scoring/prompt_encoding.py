"""Encode prompts in pieces: a passage once, however many prompts quote it.

Two neighbouring pieces are joined by encoding the few characters on both sides of their seam. For
byte-pair encoding this gives the tokens of the whole text, because a sequence of tokens is the
encoding of its text if every two neighbours are (docs/scoring.md). Other tokenizers, and texts
whose seam does not agree with the pieces, are encoded whole.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from scoring.number_trie import NumberTokenizer, TokenPath, common_prefix

logger = logging.getLogger(__name__)

BETWEEN: Final = "\n\n"
# Characters on each side of a seam that are encoded again; the second where the first are too few.
SEAM_CHARACTERS: Final = (24, 96)
# Tokens on each side of a seam that must come out as they are in the pieces.
AGREEING: Final = 2
# Only bounds a long run: a wave of 16 large prompts has about 2,000 pieces and seams.
MAX_KEPT: Final = 8192


class PromptEncoder:
    """Token ids of texts, of which the pieces that repeat are kept."""

    def __init__(self, numbers: NumberTokenizer) -> None:
        self.numbers = numbers
        self._kept: dict[tuple[str, bool], TokenPath] = {}
        self._compared = False

    @cached_property
    def in_pieces(self) -> bool:
        """Whether the tokens of a text depend on nothing far away: byte-pair encoding.

        Tokenizers in plain Python (tiktoken, mistral-common) do not say; today they are.
        """
        model = getattr(getattr(self.numbers.tokenizer, "backend_tokenizer", None), "model", None)
        return model is None or type(model).__name__ == "BPE"

    def piece(self, text: str, *, add_special_tokens: bool = False) -> TokenPath:
        """Return the token ids of a text by itself; kept."""
        key = (text, add_special_tokens)
        ids = self._kept.get(key)
        if ids is None:
            ids = tuple(self.numbers.encode(text, add_special_tokens=add_special_tokens))
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = ids
        return ids

    def encode(
        self, text: str, blocks: Sequence[str], *, add_special_tokens: bool = False
    ) -> TokenPath:
        """Return the token ids of a prompt that quotes ``blocks``, ``BETWEEN`` them."""
        head, found, tail = text.partition(BETWEEN.join(blocks)) if blocks else (text, "", "")
        if found and self.in_pieces and self._agrees(head, blocks, tail, add_special_tokens):
            ids = self._joined(head, blocks, tail, add_special_tokens)
            if ids is not None:
                return ids
        return tuple(self.numbers.encode(text, add_special_tokens=add_special_tokens))

    def _agrees(self, head: str, blocks: Sequence[str], tail: str, special: bool) -> bool:
        """Compare pieces with the whole, once and on a short prompt."""
        if not self._compared:
            self._compared = True
            few = blocks[:2]
            whole = self.numbers.encode(head + BETWEEN.join(few) + tail, add_special_tokens=special)
            if self._joined(head, few, tail, special) not in (None, tuple(whole)):
                logger.warning(
                    "this tokenizer encodes pieces of a text in another way than the whole"
                )
                self.in_pieces = False
        return self.in_pieces

    def _joined(
        self, head: str, blocks: Sequence[str], tail: str, special: bool
    ) -> TokenPath | None:
        """Join the pieces of a prompt; None where a seam does not agree."""
        ids = list(self.piece(head, add_special_tokens=special))
        done = head
        for number, piece in enumerate((*blocks, tail)):
            between = BETWEEN if 0 < number < len(blocks) else ""
            if not any(self._append(ids, done, between, piece, n) for n in SEAM_CHARACTERS):
                return None
            done = (done[-SEAM_CHARACTERS[-1] :] + between + piece)[-SEAM_CHARACTERS[-1] :]
        return tuple(ids)

    def _append(self, ids: list[int], done: str, between: str, piece: str, reach: int) -> bool:
        """Append a piece to the ids of a text that ends in ``done``, if they agree."""
        left, right = done[-reach:], piece[:reach]
        before, after, added = self.piece(left), self.piece(right), self.piece(piece)
        seam = self.piece(left + between + right)
        same_before = len(common_prefix([before, seam]))
        same_after = len(common_prefix([after[::-1], seam[same_before:][::-1]]))
        lost_before, lost_after = len(before) - same_before, len(after) - same_after
        checked = lost_before + AGREEING
        if same_before < AGREEING or tuple(ids[-checked:]) != before[-checked:]:
            return False
        checked = lost_after + AGREEING
        if right != piece and (same_after < AGREEING or added[:checked] != after[:checked]):
            return False
        del ids[len(ids) - lost_before :]
        ids += seam[same_before : len(seam) - same_after] + added[lost_after:]
        return True
