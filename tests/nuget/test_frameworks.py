"""Target frameworks: how they are spelled, which dependency group a project takes."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.frameworks import Framework, nearest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("net472", ".NETFramework4.7.2"),
        ("net48", ".NETFramework,Version=v4.8"),
        ("netstandard2.0", ".NETStandard2.0"),
        ("netcoreapp3.1", ".NETCoreApp,Version=v3.1"),
        ("net8.0", ".NETCoreApp,Version=v8.0"),
        ("net10.0", ".NETCoreApp10.0"),
        ("NET6.0", "net6.0"),
        ("net40-client", ".NETFramework,Version=v4.0,Profile=Client"),
        ("monoandroid10", "MonoAndroid1.0"),
    ],
)
def test_short_and_long_names_mean_the_same(one: str, other: str) -> None:
    assert Framework.parse(one) is not None
    assert Framework.parse(one) == Framework.parse(other)


@pytest.mark.parametrize("text", ["", "$(TargetFramework)", "8.0", "net8.0.0.0.0.0", "?"])
def test_what_is_no_framework_is_none(text: str) -> None:
    assert Framework.parse(text) is None


@pytest.mark.parametrize(
    ("target", "offered", "taken"),
    [
        ("net8.0", "netstandard2.0 net6.0 net472", "net6.0"),
        ("net8.0", "netstandard2.0 netstandard2.1", "netstandard2.1"),
        ("net8.0", "net9.0", None),
        ("net8.0", "net9.0 netstandard1.0", "netstandard1.0"),
        ("netcoreapp2.1", "netstandard2.1 netstandard2.0", "netstandard2.0"),
        ("net48", "netstandard2.0 net45", "net45"),
        ("net472", "netstandard2.1 netstandard2.0", "netstandard2.0"),
        ("net45", "netstandard2.0 netstandard1.1", "netstandard1.1"),
        ("net8.0-windows", "net8.0 net6.0-windows", "net8.0"),
        ("net8.0-windows10.0.19041", "net8.0-windows7.0 net8.0", "net8.0-windows7.0"),
        ("net8.0", "net8.0-windows net6.0", "net6.0"),
        ("net8.0-android34.0", "monoandroid10 netstandard2.0", "monoandroid10"),
        ("net10.0", "net461 net472", "net461"),
        ("net10.0", "net20", "net20"),
        ("netstandard1.3", "net461", None),
        ("netstandard2.0", "net5.0", None),
        ("net8.0", "any", "any"),
        ("net8.0", "any netstandard2.0", "netstandard2.0"),
        ("uap10.0.16299", "netstandard2.0 netstandard1.4", "netstandard2.0"),
        ("uap10.0", "netstandard2.0 netstandard1.4", "netstandard1.4"),
        ("xamarinios1.0", "netstandard2.1", "netstandard2.1"),
        ("net472", "portable-net45+win8", "portable-net45+win8"),
        ("net472", "portable-net45+win8 net20", "net20"),
        ("net472", ".NETPortable4.5-Profile259 .NETPortable4.5-Profile7", ".NETPortable4.5-Profile7"),
        ("net472", "portable-net45+win8 netstandard1.1", "portable-net45+win8"),
        ("net472", "portable-net45+win8 netstandard1.2", "netstandard1.2"),
        ("net40", "portable-net45+win8 portable-net40+sl5", "portable-net40+sl5"),
        ("net472", "portable-win8+wp8", None),
        ("net8.0", "portable-net45+win8+wp8", "portable-net45+win8+wp8"),
        ("netcoreapp1.1", "portable-net45+win8", None),
        ("net452", "dotnet5.3 dotnet5.4 dotnet", "dotnet5.3"),
        ("net10.0", "dotnet5.4", "dotnet5.4"),
        ("net472", "net40-client net20", "net40-client"),
        ("net472", "net40-client net40", "net40"),
        ("net8.0-android", "netcoreapp3.1 monoandroid90", "monoandroid90"),
        ("net8.0-android", "net6.0 monoandroid90", "net6.0"),
        ("win81", "netstandard1.2", "netstandard1.2"),
    ],
)
def test_a_project_takes_the_nearest_group(target: str, offered: str, taken: str | None) -> None:
    wanted = Framework.parse(target)
    assert wanted is not None
    groups = {Framework.parse(text): text for text in offered.split()}
    found = nearest(wanted, [one for one in groups if one is not None])
    assert (groups[found] if found else None) == taken
