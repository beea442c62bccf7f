"""Target frameworks: how they are spelled, which dependency group a project takes."""

from __future__ import annotations

import pytest

from nugetproxy.nuget.frameworks import Framework
from nugetproxy.nuget.nearest import nearest


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
        ("portable-net45+win8", ".NETPortable0.0-Profile7"),
        ("portable-win+net45+MonoAndroid10+xamarinios10", ".NETPortable0.0-Profile7"),
        ("portable-net45+netcore45", ".NETPortable,Version=v0.0,Profile=Profile7"),
        ("sl4-wp71", "Silverlight,Version=v4.0,Profile=WindowsPhone71"),
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
        ("net8.0", "any net461", "any"),
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
        ("net8.0-android34.0", ".NETPortable4.5-Profile7", ".NETPortable4.5-Profile7"),
        ("net6.0-android", "portable-net45+win8+wp8 net403 .NETPortable0.0-Profile111", "portable-net45+win8+wp8"),
        (
            "net8.0-android",
            "portable-net45+win8+wp8+wpa81+MonoAndroid10+MonoTouch10 net6.0-ios",
            "portable-net45+win8+wp8+wpa81+MonoAndroid10+MonoTouch10",
        ),
        ("net8.0-ios", "portable-net45+win8+wp8+wpa81 netstandard1.0", "netstandard1.0"),
        ("net8.0-ios", "portable-net45+win8+wp8+wpa81", "portable-net45+win8+wp8+wpa81"),
        ("monoandroid90", "portable-net45+win8 portable-net45+win8+wp8+wpa81", "portable-net45+win8"),
        ("monoandroid90", "portable-net45+win8+wpa81 dotnet5.4", "dotnet5.4"),
        ("monoandroid90", "portable-net45+win8 monoandroid10 netstandard2.0", "monoandroid10"),
        ("monoandroid90", "portable-net40+sl4+win8+wp71", None),
        ("monoandroid12.0", ".NETPortable4.6-Profile44 netstandard1.2 netcoreapp1.0", ".NETPortable4.6-Profile44"),
        ("xamarinios10", ".NETPortable0.0-Profile111 .NETPortable0.0-Profile78", ".NETPortable0.0-Profile78"),
        ("xamarinios10", "monotouch10 portable-net45+win8+wp8", "portable-net45+win8+wp8"),
        ("xamarintvos10", "wpa81 portable40-net40+sl5+win8+wp8", "portable40-net40+sl5+win8+wp8"),
        ("uap10.0", "portable-net45+win8+wpa81 win81", "win81"),
        ("uap10.0", "netcore45 win81", "win81"),
        ("uap10.0", "wpa81 win81", "win81"),
        ("uap10.0.16299", "portable-win81+wpa81 dotnet5.4", "dotnet5.4"),
        ("uap10.0.16299", "netcore451 netstandard1.3 portable-net45+win8", "netcore451"),
        ("uap10.0.16299", "netcore50 netstandard2.0", "netcore50"),
        ("uap10.0", "netstandard2.0 wp8", None),
        ("win81", "netcore451 win8", "netcore451"),
        ("win81", "portable46-net451+win81+wpa81 portable-net45+win8", "portable46-net451+win81+wpa81"),
        ("wp81", "sl3-wp portable-win81+wp81+wpa81", "sl3-wp"),
        ("wp8", "sl3-wp netstandard1.0", "sl3-wp"),
        ("wpa81", ".NETPortable4.5-Profile7 portable-win81+wpa81", "portable-win81+wpa81"),
        ("sl5", "portable-net40+sl5+win8+wp8 sl4", "sl4"),
        (
            "portable-net45+win8+wp8+wpa81",
            "portable-net45+win8 portable-net40+sl5+win8+wp8+wpa81",
            "portable-net40+sl5+win8+wp8+wpa81",
        ),
        ("portable-net45+win8+wp8+wpa81", "netstandard1.0 netstandard1.1", "netstandard1.0"),
        (
            "portable-net45+win8",
            "portable-net40+win8 netstandard1.1 portable-net45+win8+wp8",
            "portable-net45+win8+wp8",
        ),
        (
            ".NETPortable4.6-Profile32",
            ".NETPortable4.6-Profile151 .NETPortable4.6-Profile44 portable-win81+wp81+wpa81",
            "portable-win81+wp81+wpa81",
        ),
        ("net48", "portable-net45+win8 .NETPortable4.5-Profile7", ".NETPortable4.5-Profile7"),
        (
            "net472",
            "portable-net45+win8+wp8+wpa81+MonoAndroid10+MonoTouch10 portable-net45+sl5+win8+wpa81+wp8",
            "portable-net45+win8+wp8+wpa81+MonoAndroid10+MonoTouch10",
        ),
        ("tizen40", "netstandard2.0 netstandard1.6 portable-net45+win8", "netstandard2.0"),
        ("net8.0-tizen", "tizen40 netstandard2.0", "tizen40"),
    ],
)
def test_a_project_takes_the_nearest_group(target: str, offered: str, taken: str | None) -> None:
    wanted = Framework.parse(target)
    assert wanted is not None
    groups = {Framework.parse(text): text for text in offered.split()}
    found = nearest(wanted, [one for one in groups if one is not None])
    assert (groups[found] if found else None) == taken
