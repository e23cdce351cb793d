"""Lints JavaScript and CSS with Biome, one program that npm fetches into .tools: `python3 requirements/biome.py`.

Pinned by version and by the checksum of the package for each platform. A machine without npm skips the check and
says so; with CI=true that is an error.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

VERSION = "2.6.8"

#: SHA-512 of the package @biomejs/cli-PLATFORM, as `npm view @biomejs/cli-PLATFORM@VERSION dist.integrity` prints it.
INTEGRITY = {
    "linux-x64": "XIk3pLQT56I6Tti+u0DF8FtSNXjCMTPbxVTzfJ9cS2t1ImVKvrqV5b52GuEaJg6/wuiXvz0sjfb5saB4TPRjzA==",
    "linux-arm64": "0Bjim8lKwnrvXUHoI4k3Tb51BjoiLEwDnovCI8nSzkk6wj3dShiuAjrx6+X0Hjf4ejR1sRZgTQiSDHlpy9vB7w==",
    "darwin-arm64": "DHyj+JnRHcn4YdvpiqgTFZMYKSPELMCfFpNNlEuu1L8DKTGXhzW7raIwdsbo2Ie9nCljQLAQkVWQk/mwM0ueiA==",
    "darwin-x64": "QWWUPjlA0RnkkgYnFLUHZu+RrDc0FdK0A+wEPA+dENQJwsuSHMH89lspnAw2QUWWc9VHyfluGx1Xmp6Y2GZi8Q==",
}

PROCESSORS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class BiomeMissing(Exception):
    """Biome is not here and cannot be fetched; the message names the reason."""


class PackageChanged(Exception):
    """The registry's package is not the one that is pinned."""


def main() -> int:
    try:
        program = obtain(installed())
    except BiomeMissing as missing:
        if os.environ.get("CI") == "true":
            print(f"biome: {missing}", file=sys.stderr)
            return 1
        print(f"biome: skipped, JavaScript and CSS are not checked: {missing}")
        return 0
    except PackageChanged as changed:
        print(f"biome: {changed}", file=sys.stderr)
        return 1
    command = [program, "lint", "--error-on-warnings", "--max-diagnostics=200"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def installed() -> Path:
    """Where this version's program is, once it is fetched."""
    return ROOT / ".tools" / f"biome-{VERSION}" / "biome"


def obtain(program: Path) -> Path:
    """The path of the program, fetched if it is not there yet."""
    if program.exists():
        return program
    name = package(platform.system(), platform.machine())
    npm = shutil.which("npm")
    if npm is None:
        raise BiomeMissing("npm is not installed (Debian: apt install npm)")
    print(f"biome: fetching @biomejs/cli-{name} {VERSION} into .tools", flush=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        pack = [npm, "pack", "--silent", f"@biomejs/cli-{name}@{VERSION}", "--pack-destination", folder]
        fetched = subprocess.run(pack, cwd=folder, capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            raise BiomeMissing(f"npm could not fetch it: {fetched.stderr.strip() or fetched.stdout.strip()}")
        (archive,) = Path(folder).glob("*.tgz")
        verify(archive, INTEGRITY[name])
        unpack(archive, program)
    return program


def package(system: str, processor: str) -> str:
    """`linux-x64` for Linux on x86_64. Raises BiomeMissing for a platform without a pinned package."""
    name = f"{system.lower()}-{PROCESSORS.get(processor.lower(), processor)}"
    if name not in INTEGRITY:
        raise BiomeMissing(f"no package is pinned for {name}, only for {', '.join(INTEGRITY)}")
    return name


def verify(archive: Path, expected: str) -> None:
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != expected:
        raise PackageChanged(f"{archive.name} has the SHA-512 {found}, but {expected} is pinned: not installed")


def unpack(archive: Path, program: Path) -> None:
    """Complete or not at all: the program gets its name last."""
    with tarfile.open(archive) as packed:
        content = packed.extractfile("package/biome")
        if content is None:
            raise PackageChanged(f"{archive.name} does not contain package/biome")
        aside = archive.with_name("biome")
        aside.write_bytes(content.read())
    aside.chmod(0o755)
    aside.replace(program)


if __name__ == "__main__":
    sys.exit(main())
