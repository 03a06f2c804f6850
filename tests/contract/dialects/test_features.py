"""The tables of docs/providers.md say what the dialects do, and every request in them is one that its vendor takes."""

from __future__ import annotations

import pytest

from tests.contract.dialects.features import FEATURES, PAGE, Feature, filled, send
from tests.contract.dialects.vendors import VENDORS

ROWS = [feature for features in FEATURES.values() for feature in features]


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert page == filled(page), "run: python -m tests.contract.dialects.features"


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("feature", ROWS, ids=lambda feature: feature.name)
def test_what_is_sent_is_what_the_vendor_takes(feature: Feature, dialect: str) -> None:
    sent = send(dialect, feature.fields)
    if sent.body is not None and not (dialect == "openai" and feature.beyond_openai):
        VENDORS[dialect].check(sent.raw)


@pytest.mark.parametrize("dialect", VENDORS)
@pytest.mark.parametrize("feature", ROWS, ids=lambda feature: feature.name)
def test_nothing_is_lost_in_silence(feature: Feature, dialect: str) -> None:
    sent, base = send(dialect, feature.fields), send(dialect, feature.base)
    assert sent.body is None or sent.body != base.body or sent.dropped or sent.adjusted
