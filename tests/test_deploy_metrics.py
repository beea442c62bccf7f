"""What dashboard and alerts look at is what the proxy says of itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from nugetproxy.app.measured import Process
from nugetproxy.engine.outcome import Outcome
from nugetproxy.errors import Reason
from tests.fakes.asking import PACKAGE, SMALL, ask
from tests.fakes.feed import FakeFeed
from tests.fakes.proxy import Proxy

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "deploy" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
NAME = re.compile(r"\b(?:nugetproxy|process)_[a-z_]+")
MATCHERS = re.compile(r"\b((?:nugetproxy|process)_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)(=~|=)"([^"]*)"')
SCRAPED = {"instance", "job"}
"""Labels that whoever reads the metrics adds."""
BESIDE = {"token_wrong", "token_scope", "token_slowed"}
"""Reasons that are counted where they come up."""


def expressions() -> list[str]:
    """Every query of both files."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    rules = re.findall(r"^ +expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", ALERTS.read_text(), flags=re.MULTILINE)
    assert len(rules) == ALERTS.read_text().count("- alert:")
    return [*queries, *(many or one for many, one in rules)]


async def said(proxy: Proxy, feed: FakeFeed) -> dict[str, set[str]]:
    """Every name of a sample that a proxy with something to tell gives, with its labels."""
    feed.add(SMALL)
    await ask(proxy, PACKAGE)
    engine = proxy.app.metrics.engines.of("bucket")  # as where one is shared
    engine.note("package", "hit")
    engine.took(0.1)
    families = list(text_string_to_metric_families((await ask(proxy, "/metrics")).body.decode()))
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_and_label_is_one_of_ours(proxy: Proxy, feed: FakeFeed) -> None:
    found = await said(proxy, feed)
    declared = {name: set(one._labelnames) for name, one in instruments(proxy).items()}
    for query in expressions():
        for name in NAME.findall(query):
            assert name in found or name in declared, f"{name} in {query}"
        for name, matchers in MATCHERS.findall(query):
            labels = found.get(name, set()) | declared.get(name, set()) | SCRAPED
            for label, _, _ in MATCHER.findall(matchers):
                assert label in labels, f"{name} has no label {label}: {query}"
        for grouping in re.findall(r"\bby \(([^)]*)\)", query):
            named = NAME.findall(query)
            labels = set().union(SCRAPED, *(found.get(one, set()) | declared.get(one, set()) for one in named))
            assert set(grouping.replace(" ", "").split(",")) <= labels, query


def instruments(proxy: Proxy) -> dict[str, Any]:
    """Those of the library by the names of their samples, also where nothing was counted yet."""
    found = {}
    for one in vars(proxy.app.metrics).values():
        if hasattr(one, "_labelnames"):
            kind = {"counter": "_total", "histogram": "_bucket"}.get(one._type, "")
            found[f"{one._name}{kind}"] = one
    return found


def test_the_process_is_told_of_where_the_service_sees_processes_alone(tmp_path: Path) -> None:
    assert "ProcSubset=pid" in (ROOT / "deploy" / "nugetproxy.service").read_text()
    (tmp_path / "self").symlink_to("/proc/self")
    told, usual = (
        {family.name: family.samples[0].value for family in one.collect()}
        for one in (Process(proc=str(tmp_path), registry=None), ProcessCollector(registry=None))
    )
    assert told.keys() == usual.keys() > {"process_resident_memory_bytes", "process_cpu_seconds"}
    assert abs(told["process_start_time_seconds"] - usual["process_start_time_seconds"]) < 5


def test_values_of_labels_are_words_of_ours() -> None:
    for query in expressions():
        for _, matchers in MATCHERS.findall(query):
            for label, _, value in MATCHER.findall(matchers):
                known = {"outcome": set(Outcome), "reason": {*Reason, *BESIDE}}.get(label)
                assert known is None or set(value.split("|")) <= known, query


def test_each_alert_says_what_to_do_and_has_a_test() -> None:
    text, tests = ALERTS.read_text(), (ROOT / "tests" / "alerts.test.yaml").read_text()
    names = re.findall(r"- alert: (\w+)", text)
    assert text.count("todo:") == text.count("summary:") == text.count("severity:") == len(names)
    for name in names:
        assert f"alertname: {name}}}" in tests, "that it is silent while all is well"
        assert f'alertname="{name}"' in tests, "that it fires"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("words", [("check", "rules", str(ALERTS)), ("test", "rules", "tests/alerts.test.yaml")])
def test_promtool_agrees(words: tuple[str, ...]) -> None:
    done = subprocess.run(("promtool", *words), cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_lines_that_nobody_took_are_a_counter(proxy: Proxy) -> None:
    assert proxy.metric("logs_dropped_total") == 0
    proxy.app.metrics.logs_dropped.read = lambda: 7
    assert b"nugetproxy_logs_dropped_total 7.0" in (await ask(proxy, "/metrics")).body
