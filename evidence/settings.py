"""How evidence is searched: the settings of config.py as values that flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import requests

import config
from terminal.redaction import keep_secret
from terminal.web_addresses import web_address

# Wikimedia: 200 requests a minute with a contact in the User-Agent, 10 without.
INTERVAL_WITH_CONTACT_SECONDS: Final = 0.3
INTERVAL_WITHOUT_CONTACT_SECONDS: Final = 6.0


def _configured(name: str) -> Any:
    """Default a field to what config.py says when a settings object is made."""
    return field(default_factory=lambda: getattr(config, name))


@dataclass(frozen=True)
class WikiSettings:
    """How the wiki client behaves, in seconds and bytes.

    ``interval`` None follows Wikimedia's limits by ``contact``. User and password in the address
    are moved to ``auth``, so that they are sent and never shown.
    """

    api_url: str = _configured("WIKIPEDIA_API_URL")
    contact: str = _configured("WIKIPEDIA_CONTACT")
    interval: float | None = _configured("WIKIPEDIA_MIN_INTERVAL_SECONDS")
    read_timeout: float = _configured("WIKIPEDIA_READ_TIMEOUT_SECONDS")
    total_timeout: float = _configured("WIKIPEDIA_TOTAL_TIMEOUT_SECONDS")
    max_bytes: int = _configured("WIKIPEDIA_MAX_BYTES")
    maxlag: int = _configured("WIKIPEDIA_MAXLAG_SECONDS")
    max_attempts: int = _configured("WIKIPEDIA_MAX_ATTEMPTS")
    max_wait: float = _configured("WIKIPEDIA_MAX_WAIT_SECONDS")
    offline_after: int = _configured("WIKIPEDIA_OFFLINE_AFTER")
    auth: tuple[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if "@" in self.api_url:
            found = web_address(self.api_url)
            object.__setattr__(self, "api_url", found.url)
            object.__setattr__(self, "auth", found.auth)
            user, password = found.auth or ("", "")
            keep_secret(password or user)

    @property
    def seconds_between(self) -> float:
        """Seconds kept between the starts of two requests."""
        if self.interval is not None:
            return self.interval
        return INTERVAL_WITH_CONTACT_SECONDS if self.contact else INTERVAL_WITHOUT_CONTACT_SECONDS

    @property
    def user_agent(self) -> str:
        """One User-Agent for every request: program, operator's contact, library."""
        contact = f" ({self.contact})" if self.contact else ""
        return f"Forecaster/1.0{contact} python-requests/{requests.__version__}"


@dataclass(frozen=True)
class RetrievalSettings:
    """What is searched and how it is ranked; sizes in the embedding model's tokens.

    ``candidates`` of each ranking are fused, and the passages are chosen among them.
    """

    embedding_model: str = _configured("EMBEDDING_MODEL_PATH")
    max_embedding_size: int = _configured("MAX_EMBEDDING_SIZE")
    embedding_batch_size: int = _configured("EMBEDDING_BATCH_SIZE")
    embedding_device: str = _configured("EMBEDDING_DEVICE")
    embed_all_up_to: int = _configured("EMBED_ALL_UP_TO_PASSAGES")
    cross_encoder: str = _configured("CROSS_ENCODER_MODEL_PATH")
    rerank_candidates: int = _configured("RERANK_CANDIDATES")
    ranking: str = _configured("RANKING")
    candidates: int = 100
    passage_tokens: int = _configured("PASSAGE_TOKENS")
    passage_overlap: int = _configured("PASSAGE_OVERLAP_TOKENS")
    passages_per_question: int = _configured("PASSAGES_PER_QUESTION")
    passages_per_article: int = _configured("PASSAGES_PER_ARTICLE")
    min_similarity: float = _configured("MIN_PASSAGE_SIMILARITY")
    near_duplicate_share: float = _configured("NEAR_DUPLICATE_SHARE")
    context_tokens: int = _configured("CONTEXT_TOKENS")
    searches: int = _configured("WIKIPEDIA_SEARCHES")
    search_results: int = _configured("WIKIPEDIA_SEARCH_RESULTS")
    articles: int = _configured("WIKIPEDIA_ARTICLES")
    freshness_hours: float = _configured("FRESHNESS_HOURS")
    wiki: WikiSettings | None = None
    documents: str | None = None
    sources: tuple[str, ...] | None = None

    @classmethod
    def from_config(cls) -> RetrievalSettings:
        """Search the wiki that config.py names, if it names one."""
        return cls(wiki=WikiSettings() if config.WIKIPEDIA_API_URL else None)
