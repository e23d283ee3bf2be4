"""Write docs/licenses.md: the license of every package that comes with an installation, an image or a client.

Examples
--------
  python scripts/list_licenses.py          # rewrite docs/licenses.md
  python scripts/list_licenses.py --check  # fail if it is stale
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licenses.md"
# The platform of the images; the environment that runs this must have these packages.
IMAGE = {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix"}
# Neither go.mod nor a pom names licenses.
GO = {
    "google.golang.org/genproto/googleapis/rpc": "Apache-2.0",
    "google.golang.org/grpc": "Apache-2.0",
    "google.golang.org/protobuf": "BSD-3-Clause",
    "golang.org/x/net": "BSD-3-Clause",
    "golang.org/x/sys": "BSD-3-Clause",
    "golang.org/x/text": "BSD-3-Clause",
}
JAVA = {
    "com.google.protobuf:protobuf-java": "BSD-3-Clause",
    "io.grpc:grpc-protobuf": "Apache-2.0",
    "io.grpc:grpc-stub": "Apache-2.0",
    "io.grpc:grpc-netty-shaded": "Apache-2.0",
}
# Packages that declare nothing.
PYTHON = {"cuda-toolkit": "LicenseRef-NVIDIA-Proprietary"}
CLASSIFIER = "License :: OSI Approved :: "
INTRODUCTION = """\
# Licenses of dependencies

clipstyler itself is under the [MIT license](../LICENSE). Written by `make licenses` from the locks and from what the
packages declare; what only development needs is left out. Exact versions are in `requirements/`, and in the SBOM that
[each image contains](deployment.md#images).

NVIDIA's packages, which PyTorch's wheels for Linux need, are proprietary: read their terms before you pass an image on.

No image contains the extra `video`. Besides FFmpeg (LGPL), the wheels of PyAV (`av`) contain the libraries x264 and
x265, which are under the GPL: read it before you pass an installation with them on. A PyAV that is built without them
works too, and then writes MPEG-4 instead of H.264.
"""


def python_packages(lock: str) -> dict[str, str]:
    """Return the licenses of the packages that a lock installs in an image."""
    lines = re.findall(r"^(\S+==[^\\\n]+?) *\\?$", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    return {
        requirement.name: license_of(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(IMAGE)
    }


def extra_packages(extra: str) -> dict[str, str]:
    """Return the licenses of the packages that an extra names itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [Requirement(line).name for line in project["optional-dependencies"][extra]]
    return {name: license_of(name) for name in names if name != project["name"]}


def license_of(package: str) -> str:
    """Return what an installed package declares: an expression, else its classifiers, else its own words."""
    declared = metadata.metadata(package)
    if expression := declared.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in declared.get_all("Classifier") or [] if text.startswith(CLASSIFIER)]
    if classifiers:
        return ", ".join(text.removeprefix(CLASSIFIER) for text in classifiers)
    words = (declared.get("License") or PYTHON.get(package, "")).strip().splitlines()
    if not words:
        raise SystemExit(f"{package} declares no license: look it up, and name it in {Path(__file__).name}")
    return words[0]


def node_packages() -> dict[str, str]:
    """Return the licenses of what the client for Node.js and the live page contain."""
    found = {}
    for folder in ("node", "web"):
        lock = json.loads((ROOT / "client" / folder / "package-lock.json").read_text())
        for path, package in lock["packages"].items():
            if path.startswith("node_modules/") and not package.get("dev") and not package.get("link"):
                found[path.removeprefix("node_modules/")] = package["license"]
    return found


def go_packages() -> dict[str, str]:
    """Return the licenses of the modules of the client for Go."""
    modules = re.findall(r"^\t(\S+) v", (ROOT / "client" / "go" / "go.mod").read_text(), re.MULTILINE)
    return {module: GO[module] for module in modules}


def java_packages() -> dict[str, str]:
    """Return the licenses of what the client for Java depends on; tests' dependencies are left out."""
    space = {"pom": "http://maven.apache.org/POM/4.0.0"}
    pom = ElementTree.parse(ROOT / "client" / "java" / "pom.xml")
    artifacts = [
        f"{dependency.findtext('pom:groupId', '', space)}:{dependency.findtext('pom:artifactId', '', space)}"
        for dependency in pom.findall("pom:dependencies/pom:dependency", space)
        if dependency.findtext("pom:scope", "compile", space) != "test"
    ]
    return {artifact: JAVA[artifact] for artifact in artifacts}


def page() -> str:
    """Return the whole page."""
    base, server = python_packages("gateway.lock"), python_packages("server.lock")
    sections: Mapping[str, Mapping[str, str]] = {
        "The server's image, and `clipstyler[server,postgres,otel]`": server,
        "`clipstyler[video]`, besides": extra_packages("video"),
        "The gateway's image, besides": {name: text for name, text in base.items() if name not in server},
        "The live page and the client for Node.js": node_packages(),
        "The client for Go": go_packages(),
        "The client for Java": java_packages(),
    }
    return "\n".join([INTRODUCTION, *(_section(title, packages.items()) for title, packages in sections.items())])


def _section(title: str, packages: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"| {name} | {license_} |\n" for name, license_ in sorted(packages))
    return f"## {title}\n\n| package | license |\n| --- | --- |\n{rows}"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    is_check = parser.parse_args().check
    text = page()
    is_stale = not PAGE.exists() or PAGE.read_text() != text
    if is_stale and is_check:
        print(f"{PAGE.name} is stale: run 'make licenses'", file=sys.stderr)
    elif is_stale:
        PAGE.write_text(text)
    return int(is_check and is_stale)


if __name__ == "__main__":
    sys.exit(main())
