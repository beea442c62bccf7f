"""Pruned packages are part of .NET itself, so that a restore for .NET 10 and later does not ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from nugetproxy.nuget.framework_tables import CORE
from nugetproxy.nuget.frameworks import Framework
from nugetproxy.nuget.version import Version

FIRST: Final = (10, 0, 0, 0)
"""The version of .NET from which on the SDK prunes by itself (NuGet.targets: RestoreEnablePackagePruning)."""

_CORE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "4.3.0": """
            microsoft.win32.primitives system.appcontext system.collections system.collections.concurrent
            system.collections.nongeneric system.collections.specialized system.componentmodel
            system.componentmodel.annotations system.componentmodel.eventbasedasync system.componentmodel.primitives
            system.componentmodel.typeconverter system.data.common system.diagnostics.contracts system.diagnostics.debug
            system.diagnostics.fileversioninfo system.diagnostics.process system.diagnostics.stacktrace
            system.diagnostics.textwritertracelistener system.diagnostics.tools system.diagnostics.tracesource
            system.diagnostics.tracing system.drawing.primitives system.dynamic.runtime system.globalization
            system.globalization.calendars system.globalization.extensions system.io system.io.compression
            system.io.compression.zipfile system.io.filesystem system.io.filesystem.primitives
            system.io.filesystem.watcher system.io.isolatedstorage system.io.memorymappedfiles system.io.pipes
            system.io.unmanagedmemorystream system.linq system.linq.expressions system.linq.parallel
            system.linq.queryable system.net.nameresolution system.net.networkinformation system.net.ping
            system.net.requests system.net.sockets system.net.webheadercollection system.net.websockets
            system.objectmodel system.private.datacontractserialization system.reflection system.reflection.extensions
            system.reflection.primitives system.reflection.typeextensions system.resources.reader
            system.resources.resourcemanager system.resources.writer system.runtime.compilerservices.visualc
            system.runtime.handles system.runtime.interopservices system.runtime.interopservices.runtimeinformation
            system.runtime.loader system.runtime.numerics system.runtime.serialization.formatters
            system.runtime.serialization.json system.runtime.serialization.primitives system.runtime.serialization.xml
            system.security.claims system.security.cryptography.csp system.security.cryptography.encoding
            system.security.cryptography.primitives system.security.principal system.security.securestring
            system.text.encoding system.text.encoding.extensions system.threading system.threading.overlapped
            system.threading.tasks system.threading.tasks.parallel system.threading.thread system.threading.threadpool
            system.threading.timer system.xml.xdocument system.xml.xmldocument system.xml.xmlserializer system.xml.xpath
        """,
        "4.3.1": """
            system.console system.io.filesystem.driveinfo system.net.primitives system.runtime system.runtime.extensions
            system.security.cryptography.algorithms system.text.regularexpressions system.xml.readerwriter
        """,
        "4.3.2": """
            system.net.security system.net.websockets.client system.private.uri
            system.security.cryptography.x509certificates
        """,
        "4.3.4": """
            system.net.http
        """,
        "4.4.0": """
            system.data.datasetextensions system.io.filesystem.accesscontrol
        """,
        "4.5.0": """
            system.valuetuple
        """,
        "4.7.0": """
            microsoft.csharp system.reflection.emit system.reflection.emit.ilgeneration
            system.reflection.emit.lightweight
        """,
        "5.0.0": """
            microsoft.win32.registry system.buffers system.io.pipes.accesscontrol system.memory system.numerics.vectors
            system.security.cryptography.cng system.security.cryptography.openssl system.security.principal.windows
            system.threading.tasks.extensions system.xml.xpath.xdocument
        """,
        "6.0.0": """
            system.reflection.dispatchproxy
        """,
        "6.0.1": """
            system.security.accesscontrol
        """,
        "7.0.0": """
            system.runtime.compilerservices.unsafe
        """,
        "10.0.0": """
            system.collections.immutable system.diagnostics.diagnosticsource system.formats.asn1 system.formats.tar
            system.io.pipelines system.linq.asyncenumerable system.net.http.json system.net.serversentevents
            system.reflection.metadata system.text.encoding.codepages system.text.encodings.web system.text.json
            system.threading.accesscontrol system.threading.channels system.threading.tasks.dataflow
        """,
        "10.4.0": """
            microsoft.visualbasic
        """,
    }
)
"""Up to which version which packages are in Microsoft.NETCore.App 10 (PackageOverrides.txt of its reference pack)."""

_WEB: Final[Mapping[str, str]] = MappingProxyType(
    {
        "10.0.0": """
            microsoft.aspnetcore microsoft.aspnetcore.antiforgery microsoft.aspnetcore.app
            microsoft.aspnetcore.authentication microsoft.aspnetcore.authentication.abstractions
            microsoft.aspnetcore.authentication.bearertoken microsoft.aspnetcore.authentication.cookies
            microsoft.aspnetcore.authentication.core microsoft.aspnetcore.authentication.oauth
            microsoft.aspnetcore.authorization microsoft.aspnetcore.authorization.policy microsoft.aspnetcore.components
            microsoft.aspnetcore.components.authorization microsoft.aspnetcore.components.endpoints
            microsoft.aspnetcore.components.forms microsoft.aspnetcore.components.server
            microsoft.aspnetcore.components.web microsoft.aspnetcore.connections.abstractions
            microsoft.aspnetcore.cookiepolicy microsoft.aspnetcore.cors microsoft.aspnetcore.cryptography.internal
            microsoft.aspnetcore.cryptography.keyderivation microsoft.aspnetcore.dataprotection
            microsoft.aspnetcore.dataprotection.abstractions microsoft.aspnetcore.dataprotection.extensions
            microsoft.aspnetcore.diagnostics microsoft.aspnetcore.diagnostics.abstractions
            microsoft.aspnetcore.diagnostics.healthchecks microsoft.aspnetcore.hostfiltering
            microsoft.aspnetcore.hosting microsoft.aspnetcore.hosting.abstractions
            microsoft.aspnetcore.hosting.server.abstractions microsoft.aspnetcore.html.abstractions
            microsoft.aspnetcore.http microsoft.aspnetcore.http.abstractions microsoft.aspnetcore.http.connections
            microsoft.aspnetcore.http.connections.common microsoft.aspnetcore.http.extensions
            microsoft.aspnetcore.http.features microsoft.aspnetcore.http.results microsoft.aspnetcore.httplogging
            microsoft.aspnetcore.httpoverrides microsoft.aspnetcore.httpspolicy microsoft.aspnetcore.identity
            microsoft.aspnetcore.localization microsoft.aspnetcore.localization.routing microsoft.aspnetcore.metadata
            microsoft.aspnetcore.mvc microsoft.aspnetcore.mvc.abstractions microsoft.aspnetcore.mvc.apiexplorer
            microsoft.aspnetcore.mvc.core microsoft.aspnetcore.mvc.cors microsoft.aspnetcore.mvc.dataannotations
            microsoft.aspnetcore.mvc.formatters.json microsoft.aspnetcore.mvc.formatters.xml
            microsoft.aspnetcore.mvc.localization microsoft.aspnetcore.mvc.razor microsoft.aspnetcore.mvc.razorpages
            microsoft.aspnetcore.mvc.taghelpers microsoft.aspnetcore.mvc.viewfeatures microsoft.aspnetcore.outputcaching
            microsoft.aspnetcore.ratelimiting microsoft.aspnetcore.razor microsoft.aspnetcore.razor.runtime
            microsoft.aspnetcore.requestdecompression microsoft.aspnetcore.responsecaching
            microsoft.aspnetcore.responsecaching.abstractions microsoft.aspnetcore.responsecompression
            microsoft.aspnetcore.rewrite microsoft.aspnetcore.routing microsoft.aspnetcore.routing.abstractions
            microsoft.aspnetcore.server.httpsys microsoft.aspnetcore.server.iis
            microsoft.aspnetcore.server.iisintegration microsoft.aspnetcore.server.kestrel
            microsoft.aspnetcore.server.kestrel.core microsoft.aspnetcore.server.kestrel.transport.namedpipes
            microsoft.aspnetcore.server.kestrel.transport.quic microsoft.aspnetcore.server.kestrel.transport.sockets
            microsoft.aspnetcore.session microsoft.aspnetcore.signalr microsoft.aspnetcore.signalr.common
            microsoft.aspnetcore.signalr.core microsoft.aspnetcore.signalr.protocols.json
            microsoft.aspnetcore.staticassets microsoft.aspnetcore.staticfiles microsoft.aspnetcore.websockets
            microsoft.aspnetcore.webutilities microsoft.extensions.caching.abstractions
            microsoft.extensions.caching.memory microsoft.extensions.configuration
            microsoft.extensions.configuration.abstractions microsoft.extensions.configuration.binder
            microsoft.extensions.configuration.commandline microsoft.extensions.configuration.environmentvariables
            microsoft.extensions.configuration.fileextensions microsoft.extensions.configuration.ini
            microsoft.extensions.configuration.json microsoft.extensions.configuration.keyperfile
            microsoft.extensions.configuration.usersecrets microsoft.extensions.configuration.xml
            microsoft.extensions.dependencyinjection microsoft.extensions.dependencyinjection.abstractions
            microsoft.extensions.diagnostics microsoft.extensions.diagnostics.abstractions
            microsoft.extensions.diagnostics.healthchecks microsoft.extensions.diagnostics.healthchecks.abstractions
            microsoft.extensions.features microsoft.extensions.fileproviders.abstractions
            microsoft.extensions.fileproviders.composite microsoft.extensions.fileproviders.physical
            microsoft.extensions.filesystemglobbing microsoft.extensions.hosting
            microsoft.extensions.hosting.abstractions microsoft.extensions.http microsoft.extensions.identity.core
            microsoft.extensions.identity.stores microsoft.extensions.localization
            microsoft.extensions.localization.abstractions microsoft.extensions.logging
            microsoft.extensions.logging.abstractions microsoft.extensions.logging.configuration
            microsoft.extensions.logging.console microsoft.extensions.logging.debug
            microsoft.extensions.logging.eventlog microsoft.extensions.logging.eventsource
            microsoft.extensions.logging.tracesource microsoft.extensions.objectpool microsoft.extensions.options
            microsoft.extensions.options.configurationextensions microsoft.extensions.options.dataannotations
            microsoft.extensions.primitives microsoft.extensions.validation microsoft.extensions.webencoders
            microsoft.jsinterop microsoft.net.http.headers system.diagnostics.eventlog system.formats.cbor
            system.security.cryptography.xml system.threading.ratelimiting
        """,
    }
)
"""The same of Microsoft.AspNetCore.App 10."""


def pruned(framework: Framework | None, *, web: bool) -> Mapping[str, Version]:
    """Id (lower case) -> the highest version that a project for ``framework`` does not ask for.

    ``web``: it refers to Microsoft.AspNetCore.App. A later patch of .NET may prune a little more than is told here.
    """
    if framework is None or framework.name != CORE or framework.version < FIRST:
        return MappingProxyType({})
    return _table(web=web)


@cache
def _table(*, web: bool) -> Mapping[str, Version]:
    found: dict[str, Version] = {}
    for table in (_CORE, _WEB) if web else (_CORE,):
        for text, ids in table.items():
            version = Version.parse(text)
            assert version is not None, "the tables hold versions"
            found.update(dict.fromkeys(ids.split(), version))
    return MappingProxyType(found)
