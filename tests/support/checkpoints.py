"""Inspections with the limits that config.py sets."""

from __future__ import annotations

import config
from preflight import checkpoint
from preflight.stores import Limits, S3Store


def inspect(path, **options):
    return checkpoint.inspect_checkpoint(str(path), Limits.of(config), **options)


def s3_store(address):
    return S3Store(address, Limits.of(config))
