# SPDX-License-Identifier: Apache-2.0
"""dissect, the examiners' tool that judges triage bundles: from its own registry, into the build folder, once."""
import json
import subprocess
import sys

import pytest

from basics import BUILD

VERSION = "3.25.1"
FOLDER = BUILD / "dissect"
READ = """
import json, sys
from dissect.target import Target
target = Target.open(sys.argv[1])
loader = target._loader
print(json.dumps({
    "loader": type(getattr(loader, "subloader", None) or loader).__name__,
    "hostname": target.hostname, "os": target.os, "version": target.version,
    "users": [user.name for user in target.users()],
    "files": {path: target.fs.path(path).read_bytes().decode("latin-1") if target.fs.path(path).is_file() else None
              for path in sys.argv[2:]},
}))
"""


def python():
    """The interpreter that has it; skips where the registry is away."""
    found = FOLDER / "bin/python"
    if (FOLDER / "done").exists():
        return found
    made = subprocess.run([sys.executable, "-m", "venv", FOLDER], capture_output=True, text=True, timeout=120, check=False)
    if made.returncode == 0:
        made = subprocess.run([found, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"dissect.target=={VERSION}"],
                              capture_output=True, text=True, timeout=240, check=False)
    if made.returncode != 0:
        pytest.skip(f"dissect cannot be installed here: {(made.stderr.strip() or made.stdout.strip()).splitlines()[-1:]}")
    (FOLDER / "done").touch()
    return found


def opened(bundle, *paths):
    """What dissect finds in a bundle, packed or unpacked."""
    done = subprocess.run([python(), "-c", READ, bundle, *paths], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
