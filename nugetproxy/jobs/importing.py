"""Importing brings packages of a bundle, or of any folder, into the cache once all of them were verified."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import file_digest
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from nugetproxy.engine.tasks import first_failure
from nugetproxy.errors import BadRequest, ProxyError
from nugetproxy.jobs import bundle
from nugetproxy.jobs.bundle import DOCUMENTS, BadBundle, Manifest
from nugetproxy.jobs.check import batches
from nugetproxy.jobs.exporting import new_place
from nugetproxy.jobs.progress import Progress
from nugetproxy.jobs.proxy_client import AT_ONCE, ProxyClient, ProxyGone
from nugetproxy.jobs.stopping import in_thread, to_its_end
from nugetproxy.nuget.identity import PackageIdentity
from nugetproxy.nuget.nuspec import inspect_package
from nugetproxy.nuget.package import InvalidPackage
from nugetproxy.on_disk import is_file
from nugetproxy.store.library.listing import is_package_name


class Imported(Struct, frozen=True, kw_only=True):
    """What became of it."""

    taken: int
    held: int
    """Packages that were here before."""
    documents: int
    refused: tuple[str, ...]
    """Files of a folder that are no packages, packages that cannot be taken, with the reason."""


class Broken(ProxyError):
    """The proxy went away in the middle of it."""

    def __init__(self, why: str, *, taken: int, left: int, refused: int) -> None:
        super().__init__(why)
        self.why = why
        self.taken = taken
        self.left = left
        self.refused = refused

    def __str__(self) -> str:
        counts = f"of the packages {self.taken} were taken, {self.refused} refused, {self.left} not taken"
        return f"The running proxy went away ({self.why}): {counts}. What was taken stays; import again for the rest."


class _Given(Struct, frozen=True):
    """One verified package, which lies in the folder of transfers or is to be put there."""

    identity: PackageIdentity
    sha512: str
    file: Path
    upstream: str


class Importing:
    """One import of a bundle, or of a folder of packages."""

    def __init__(
        self, proxy: ProxyClient, cache: Path, progress: Progress, *, upstreams: Sequence[str], into: str
    ) -> None:
        """``upstreams``: the remote ones there are; ``into``: the one that packages go to, where that is to be said."""
        self._proxy = proxy
        self._progress = progress
        self._upstreams = upstreams
        self._into = into
        self._place = new_place(cache)

    def close(self) -> None:
        """Remove what was unpacked."""
        shutil.rmtree(self._place, ignore_errors=True)

    async def bundle(self, file: Path, key: Path | None) -> Imported:
        """All of a bundle or, where anything in it is wrong or this is cancelled in time, nothing. ``key``: who must
        have signed it. Raises BadBundle, BadRequest, Broken.
        """
        given, base, has_documents = await in_thread(lambda seen: self._unpack(file, key, seen), self._progress)
        held, refused = await self._fitting(given)
        if refused:
            raise BadBundle(file, "; ".join(refused[:3]))
        done = await to_its_end(self._merge([one for one in given if one not in held], len(held), has_documents))
        present, _ = await self._fitting(base)
        lacking = [str(one.identity) for one in base if one not in present]
        if lacking:
            what = f"{len(lacking)} of the {len(base)} packages of the bundle that this one goes on from (--since)"
            done = replace(
                done, refused=(*done.refused, f"Not held: {what}, {lacking[0]} among them; import that one, too.")
            )
        return done

    async def _merge(self, given: Sequence[_Given], held: int, has_documents: bool) -> Imported:
        documents = 0
        if has_documents:  # which say whose signatures count, too
            documents = int(
                (await self._proxy.command("transfer/take-documents", {"place": self._place.name}))["documents"]
            )
        taken, meanwhile, refused = await self._take(given)
        return Imported(taken=taken, held=held + meanwhile, documents=documents, refused=refused)

    async def folder(self, root: Path) -> Imported:
        """All packages below a folder that are sound and fit. Raises BadRequest where there is none, Broken."""
        given, wrong = await in_thread(lambda seen: self._look_through(root, seen), self._progress)
        held, refused = await self._fitting(given)
        unfit = {line.partition(":")[0] for line in refused}
        new = [one for one in given if one not in held and str(one.identity) not in unfit]
        taken, meanwhile, more = await self._take(new, copy=True)
        return Imported(taken=taken, held=len(held) + meanwhile, documents=0, refused=(*wrong, *refused, *more))

    # --- verifying ---

    def _unpack(self, file: Path, key: Path | None, progress: Progress) -> tuple[list[_Given], list[_Given], bool]:
        """What is in it; of a delta what its base has; whether there are documents."""
        if not is_file(file):
            raise BadRequest(f"There is no file {file}.")
        body, signature = bundle.read_manifest(file)
        if key is not None:
            bundle.check_signature(body, signature, key, file)
        manifest = Manifest.parse(body, file)
        targets = {one.upstream: self._target(one.upstream, file) for one in manifest.packages}
        progress.expect(len({one.path for one in manifest.packages if one.path}))
        try:
            bundle.unpack(file, manifest, self._place, progress.moved)
        except OSError as error:
            raise BadRequest(f"The bundle cannot be unpacked into {self._place}: {error.strerror or error}.") from error
        given, base = dict[tuple[PackageIdentity, str], _Given](), dict[tuple[PackageIdentity, str], _Given]()
        for one in manifest.packages:
            place, target = self._place / str(one.identity), targets[one.upstream]
            package = _Given(one.identity, one.sha512, place, target)
            if one.path:
                if bundle.hex_of(one.sha512) != manifest.files[one.path][0]:
                    raise BadBundle(file, f"its manifest contradicts itself about {one.id} {one.version}")
                progress.moved(0)
                _inspect(place, one.identity, lambda why: BadBundle(file, why))
            (given if one.path else base).setdefault((one.identity, target), package)
        return list(given.values()), list(base.values()), DOCUMENTS in manifest.files

    def _target(self, name: str, file: Path) -> str:
        """Where packages of the upstream ``name`` of a bundle go."""
        if self._into:
            return self._into
        if name not in self._upstreams:
            known = ", ".join(self._upstreams) or "none"
            raise BadBundle(
                file, f"it has packages of an upstream {name!r}; say where they go (--upstream, of {known})"
            )
        return name

    def _look_through(self, root: Path, progress: Progress) -> tuple[list[_Given], list[str]]:
        target = self._into or (self._upstreams[0] if len(self._upstreams) == 1 else "")
        if not target:
            raise BadRequest(f"Say which upstream the packages are of: --upstream, of {', '.join(self._upstreams)}.")
        given: dict[PackageIdentity, _Given] = {}
        wrong: list[str] = []
        for file in _packages_in(root):
            try:
                with file.open("rb") as content:
                    identity = inspect_package(content, None).identity
                    content.seek(0)
                    sha512 = base64.b64encode(file_digest(content, "sha512").digest()).decode()
            except (InvalidPackage, OSError) as error:
                wrong.append(f"{file}: {error}")
                continue
            progress.moved(file.stat().st_size)
            first = given.setdefault(identity, _Given(identity, sha512, file, target))
            if first.sha512 != sha512:
                wrong.append(f"{file}: {first.file} is the same version with other bytes")
        if not given and not wrong:
            raise BadRequest(f"There is no package (*.nupkg) in {root}.")
        progress.expect(len(given))
        return list(given.values()), wrong

    # --- merging ---

    async def _fitting(self, given: Sequence[_Given]) -> tuple[set[_Given], list[str]]:
        """Which are held, which cannot be taken, and why."""
        held: set[_Given] = set()
        refused: list[str] = []
        for upstream in sorted({one.upstream for one in given}):
            for some in batches([one for one in given if one.upstream == upstream]):
                names = {f"{one.identity.id}/{one.identity.version}": one for one in some}
                arguments = {"upstream": upstream, "packages": list(names), "hashes": [one.sha512 for one in some]}
                told = await self._proxy.command("transfer/fits", arguments)
                held |= {names[name] for name in told["held"]}
                refused += [f"{names[name].identity}: {why}" for name, why in told["refused"].items()]
        return held, refused

    async def _take(self, given: Sequence[_Given], *, copy: bool = False) -> tuple[int, int, tuple[str, ...]]:
        """How many were taken, how many had come meanwhile; which were refused, and why: for its signature, one is.

        Raises Broken.
        """
        room = asyncio.Semaphore(AT_ONCE)
        counts, refused, gone = list[bool](), list[str](), list[ProxyGone]()

        async def take(identity: PackageIdentity, upstreams: Sequence[_Given]) -> None:
            """One package, which several upstreams may have."""
            place = self._place / str(identity)
            async with room:
                if copy and not gone:
                    await in_thread(partial(_copy, upstreams[0].file, place), self._progress)
                for one in upstreams:
                    if gone:
                        return
                    await take_one(one)
                await asyncio.to_thread(place.unlink)
                self._progress.done(str(identity))

        async def take_one(one: _Given) -> None:
            name = f"{one.identity.id}/{one.identity.version}"
            arguments = {"upstream": one.upstream, "package": name, "place": self._place.name, "sha512": one.sha512}
            try:
                counts.append(bool((await self._proxy.command("transfer/take", arguments))["taken"]))
            except ProxyGone as failure:
                gone.append(failure)
            except ProxyError as refusal:
                refused.append(f"{one.identity}: {refusal}")

        packages: dict[PackageIdentity, list[_Given]] = {}
        for one in given:
            packages.setdefault(one.identity, []).append(one)
        with first_failure():
            async with asyncio.TaskGroup() as group:
                for identity, upstreams in packages.items():
                    group.create_task(take(identity, upstreams))
        if gone:
            left = len(given) - len(counts) - len(refused)
            raise Broken(gone[0].why, taken=sum(counts), left=left, refused=len(refused))
        return sum(counts), counts.count(False), tuple(sorted(refused))


def _copy(file: Path, place: Path, _: Progress) -> None:
    try:
        shutil.copyfile(file, place)
    except OSError as error:
        raise BadRequest(f"{file} cannot be copied to {place.parent}: {error.strerror or error}.") from error


def _inspect(file: Path, identity: PackageIdentity, refusal: Callable[[str], BadBundle]) -> None:
    try:
        with file.open("rb") as content:
            inspect_package(content, identity)
    except InvalidPackage as error:
        raise refusal(f"{identity} is no sound package ({error.detail})") from error


def _packages_in(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if is_package_name(path.name) and not path.name.startswith(".") and is_file(path):
            yield path
