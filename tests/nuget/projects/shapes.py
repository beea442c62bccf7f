"""Files of .NET repositories in their real shapes."""

from __future__ import annotations

LOCK = b"""\xef\xbb\xbf{
  "version": 2,
  "dependencies": {
    "net8.0": {
      "Serilog": {
        "type": "Direct",
        "requested": "[3.1.1, )",
        "resolved": "3.1.1",
        "contentHash": "P6G4/4Kt9bT635bhuwdXlJ2SCqqn2nhh4gqFqQueCOr9bK/e7W9ll/IoX1Ter948cV2Z/5+5v8pAfJYUISY03A=="
      },
      "Acme.Web": {
        "type": "Project",
        "dependencies": { "Serilog": "[3.1.1, )" }
      },
      "Acme.Central": {
        "type": "CentralTransitive",
        "requested": "[1.0.0-Beta.1, )",
        "resolved": "1.0.0-Beta.1",
        "contentHash": "AAAA"
      }
    },
    "net8.0/linux-x64": {
      "runtime.linux-x64.Acme": { "type": "Transitive", "resolved": "4.3.0", "contentHash": "BBBB" }
    }
  }
}"""

ASSETS = b"""{
  "version": 3,
  "targets": { "net8.0": { "Serilog/3.1.1": { "type": "package" }, "Acme.Web/1.0.0": { "type": "project" } } },
  "libraries": {
    "Serilog/3.1.1": { "sha512": "x", "type": "package", "path": "serilog/3.1.1", "files": [] },
    "Acme.Web/1.0.0": { "type": "project", "path": "../web/web.csproj", "msbuildProject": "../web/web.csproj" }
  },
  "projectFileDependencyGroups": { "net8.0": [ "Serilog >= 3.1.1" ] },
  "packageFolders": { "/root/.nuget/packages/": {} },
  "project": {
    "version": "1.0.0",
    "frameworks": {
      "net8.0": {
        "targetAlias": "net8.0",
        "dependencies": { "Serilog": { "target": "Package", "version": "[3.1.1, )" } },
        "downloadDependencies": [
          { "name": "Microsoft.AspNetCore.App.Ref", "version": "[8.0.11, 8.0.11]" },
          { "name": "Microsoft.NETCore.App.Host.linux-x64", "version": "[8.0.11, 8.0.11];[8.0.12, 8.0.12]" }
        ]
      }
    }
  }
}"""

PACKAGES_CONFIG = b"""<?xml version="1.0" encoding="utf-8"?>
<packages>
  <package id="Newtonsoft.Json" version="13.0.3" targetFramework="net472" />
  <package id="StyleCop" version="1.0" targetFramework="net472" developmentDependency="true" />
</packages>"""

TOOLS = b"""{
  "version": 1,
  "isRoot": true,
  "tools": {
    "dotnet-ef": { "version": "8.0.1", "commands": [ "dotnet-ef" ], "rollForward": false },
    "csharpier": { "version": "0.27.0", "commands": [ "dotnet-csharpier" ] }
  }
}"""

GLOBAL = b"""{
  // which SDK builds us
  "sdk": { "version": "8.0.100", "rollForward": "latestFeature" },
  "msbuild-sdks": {
    "Microsoft.Build.Traversal": "4.1.0", /* newest */
    "Microsoft.Build.NoTargets": "3.7.0",
  }
}"""

DEPS = b"""{
  "runtimeTarget": { "name": ".NETCoreApp,Version=v8.0", "signature": "" },
  "compilationOptions": {},
  "targets": { ".NETCoreApp,Version=v8.0": { "app/1.0.0": { "dependencies": { "Serilog": "3.1.1" } } } },
  "libraries": {
    "app/1.0.0": { "type": "project", "serviceable": false, "sha512": "" },
    "Serilog/3.1.1": { "type": "package", "serviceable": true, "sha512": "sha512-x", "path": "serilog/3.1.1" },
    "System.Runtime/8.0.0.0": { "type": "referenceassembly", "serviceable": false, "sha512": "" }
  }
}"""

CYCLONEDX = b"""{
  "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
  "metadata": { "component": { "type": "application", "name": "app", "purl": "pkg:nuget/App@1.0.0" } },
  "components": [
    { "type": "library", "bom-ref": "pkg:nuget/Serilog@3.1.1", "name": "Serilog", "purl": "pkg:nuget/Serilog@3.1.1",
      "components": [ { "type": "library", "name": "Inner", "purl": "pkg:nuget/Acme.Inner@2.0.0-rc.1%2Bbuild" } ] },
    { "type": "library", "name": "left-pad", "purl": "pkg:npm/left-pad@1.3.0" },
    { "type": "library", "name": "no purl" }
  ]
}"""

CYCLONEDX_XML = b"""<?xml version="1.0" encoding="utf-8"?>
<bom xmlns="http://cyclonedx.org/schema/bom/1.5"
     serialNumber="urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79" version="1">
  <metadata><component type="application"><name>app</name><purl>pkg:nuget/App@1.0.0</purl></component></metadata>
  <components>
    <component type="library" bom-ref="a"><name>Serilog</name><purl>pkg:nuget/Serilog@3.1.1</purl>
      <components><component type="library"><name>I</name>
        <purl>pkg:nuget/Acme.Inner@2.0.0</purl></component></components>
    </component>
  </components>
</bom>"""

SPDX = b"""{
  "spdxVersion": "SPDX-2.2", "SPDXID": "SPDXRef-DOCUMENT", "name": "app", "documentDescribes": ["SPDXRef-RootPackage"],
  "packages": [
    { "SPDXID": "SPDXRef-RootPackage", "name": "app",
      "externalRefs": [ { "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                          "referenceLocator": "pkg:nuget/App@1.0.0" } ] },
    { "SPDXID": "SPDXRef-1", "name": "Serilog",
      "externalRefs": [ { "referenceCategory": "PACKAGE_MANAGER", "referenceType": "purl",
                          "referenceLocator": "pkg:nuget/Serilog@3.1.1?arch=any" },
                        { "referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe" } ] }
  ]
}"""

SPDX3 = b"""{
  "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
  "@graph": [
    { "type": "SpdxDocument", "spdxId": "urn:doc", "rootElement": ["urn:bom"] },
    { "type": "software_Sbom", "spdxId": "urn:bom", "rootElement": ["urn:app"] },
    { "type": "software_Package", "spdxId": "urn:app", "software_packageUrl": "pkg:nuget/App@1.0.0" },
    { "type": "software_Package", "spdxId": "urn:1", "software_packageUrl": "pkg:nuget/Serilog@3.1.1" },
    { "type": "software_Package", "spdxId": "urn:2", "externalIdentifier": [
      { "type": "ExternalIdentifier", "externalIdentifierType": "packageUrl",
        "identifier": "pkg:nuget/Acme.B@2.0.0" } ] }
  ]
}"""

SPDX_TAGS = b"""SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
PackageName: Serilog
SPDXID: SPDXRef-1
ExternalRef: PACKAGE-MANAGER purl pkg:nuget/Serilog@3.1.1
ExternalRef: SECURITY cpe23Type cpe:2.3:a:x
"""

LINES = b"""# what the farm needs
Serilog@3.1.1
Acme.Range@[1.0,2.0)   # the lowest
Acme.Floating/1.*
pkg:nuget/Acme.Purl@4.0.0?type=lib#sub

"""
