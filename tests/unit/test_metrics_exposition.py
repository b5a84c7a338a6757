"""Which format a scraper gets, and how labels are written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor.metrics.exposition import ExpositionFormat, Family, accepts_gzip, escape, negotiate

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_TEXT = (
    "text/plain;version=1.0.0;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", ExpositionFormat.TEXT, id="none"),
        pytest.param("*/*", ExpositionFormat.TEXT, id="curl"),
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", ExpositionFormat.TEXT, id="browser"),
        pytest.param(PROMETHEUS_2, ExpositionFormat.OPENMETRICS, id="prometheus-2"),
        pytest.param(PROMETHEUS_3, ExpositionFormat.OPENMETRICS, id="prometheus-3"),
        pytest.param(PROMETHEUS_3_TEXT, ExpositionFormat.TEXT, id="prometheus-3-that-prefers-text"),
        pytest.param(
            "application/openmetrics-text", ExpositionFormat.OPENMETRICS, id="openmetrics-of-any-version"
        ),
        pytest.param(
            "Application/OpenMetrics-Text; Version=1.0.0", ExpositionFormat.OPENMETRICS, id="any-case"
        ),
        pytest.param(
            "application/openmetrics-text;version=0.0.1", ExpositionFormat.TEXT, id="openmetrics-draft"
        ),
        pytest.param(
            "application/openmetrics-text;version=2.0.0", ExpositionFormat.TEXT, id="openmetrics-to-come"
        ),
        pytest.param("application/openmetrics-text;q=0", ExpositionFormat.TEXT, id="openmetrics-forbidden"),
        pytest.param("application/openmetrics-text;q=x", ExpositionFormat.TEXT, id="weight-unreadable"),
    ],
)
def test_negotiate_chooses(accept: str, form: ExpositionFormat) -> None:
    """Whoever prefers OpenMetrics 1.x gets it, everyone else the text format."""
    assert negotiate(accept) is form


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        pytest.param("", False, id="none"),
        pytest.param("gzip", True, id="gzip"),
        pytest.param("br, GZip;q=0.5", True, id="among-others"),
        pytest.param("gzip;q=0", False, id="forbidden"),
        pytest.param("identity", False, id="identity"),
    ],
)
def test_accepts_gzip_reads_the_header(accept_encoding: str, accepted: bool) -> None:
    """Gzip is used only where it is named and not forbidden."""
    assert accepts_gzip(accept_encoding) is accepted


def test_family_header_names_a_counter_as_each_format_wants() -> None:
    """OpenMetrics names a counter's family without `_total`, the text format with it."""
    family = Family("voicelink_syncs_total", "counter", "Syncs.")
    assert family.header(ExpositionFormat.TEXT) == (
        b"# HELP voicelink_syncs_total Syncs.\n# TYPE voicelink_syncs_total counter\n"
    )
    assert (
        family.header(ExpositionFormat.OPENMETRICS)
        == b"# HELP voicelink_syncs Syncs.\n# TYPE voicelink_syncs counter\n"
    )


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_escape_comes_back_from_both_parsers(value: str) -> None:
    """Whatever a label value holds, a parser of either format reads it back."""
    text = f'# TYPE m gauge\nm{{label="{escape(value)}"}} 1\n'
    for parse, document in ((parse_text, text), (parse_openmetrics, text + "# EOF\n")):
        (family,) = parse(document)
        assert [sample.labels for sample in family.samples] == [{"label": value}]
