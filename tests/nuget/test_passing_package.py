"""Which package it was that went by, told by a little of it."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from nugetproxy.errors import Reason
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import InvalidPackage
from nugetproxy.nuget.passing_package import PassingPackage
from tests.fakes.packages import make_nupkg, make_nuspec, make_zip

IDENTITY = PackageIdentity("acme.a", "1.0.0")
OURS = make_nuspec("Acme.A", "1.0.0")
OTHERS = make_nupkg("Acme.B", "1.0.0", size=5000)
NOISE = random.Random("noise").randbytes(200_000)


class Stream(io.RawIOBase):
    """Cannot be sought in, so that sizes stand behind what they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.content += bytes(data)
        return len(data)


def streamed(*entries: tuple[str, bytes]) -> bytes:
    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.content


def passed(content: bytes, step: int) -> PassingPackage:
    passing = PassingPackage()
    for at in range(0, len(content), step):
        passing.take(content[at : at + step])
    return passing


RIGHT = {
    "small": make_nupkg("Acme.A", "1.0.0"),
    "large": make_nupkg("Acme.A", "1.0.0", size=300_000),
    "at the end": make_zip({"noise.bin": NOISE, "Acme.A.NUSPEC": OURS}),
    "with another inside": make_zip(
        {"tools/b.bin": OTHERS, "Acme.A.nuspec": OURS, "lib/b.bin": OTHERS, "n.bin": NOISE}
    ),
    "of many files": make_zip({"Acme.A.nuspec": OURS} | {f"lib/net8.0/file{n}.txt": "x" for n in range(3000)}),
    "with sizes behind": streamed(("noise", NOISE), ("Acme.A.nuspec", OURS.encode()), ("more", NOISE)),
}


@pytest.mark.parametrize("step", [7, 1000, 65_536, 10**7])
@pytest.mark.parametrize("shape", RIGHT)
def test_the_right_one_is_recognised(shape: str, step: int) -> None:
    passing = passed(RIGHT[shape], step)
    passing.check(IDENTITY)
    assert passing.weight <= (400_000 if shape in {"of many files", "with sizes behind"} else 20_000)


WRONG = {
    "another": (make_nupkg("Acme.B", "1.0.0", size=300_000), Reason.IDENTITY),
    "another version": (make_nupkg("Acme.A", "1.0.1", size=300_000), Reason.IDENTITY),
    "another with it inside": (
        make_zip({"Acme.B.nuspec": make_nuspec("Acme.B", "1.0.0"), "tools/a.bin": RIGHT["small"], "n.bin": NOISE}),
        Reason.IDENTITY,
    ),
    "it inside only": (make_zip({"tools/a.bin": RIGHT["small"], "noise.bin": NOISE}), Reason.ZIP),
    "two nuspecs": (make_zip({"Acme.A.nuspec": OURS, "noise.bin": NOISE, "Acme.B.nuspec": OURS}), Reason.ZIP),
    "a part": (RIGHT["large"][:-10_000], Reason.ZIP),
    "nothing": (b"", Reason.ZIP),
}


@pytest.mark.parametrize("step", [7, 65_536])
@pytest.mark.parametrize("shape", WRONG)
def test_a_wrong_one_is_not(shape: str, step: int) -> None:
    content, reason = WRONG[shape]
    with pytest.raises(InvalidPackage) as caught:
        passed(content, step).check(IDENTITY)
    assert caught.value.reason == reason
