# SPDX-License-Identifier: Apache-2.0
"""Files on a medium that fails."""
import os
import tarfile

import pytest

from basics import BUILD
from test_acquire import acquire
from test_acquire_files import table


@pytest.mark.parametrize("sparse", [False, True])
def test_what_cannot_be_read_is_zeros_in_its_place(tmp_path, sparse):
    path, page, gap = tmp_path / "worn", 4096, 1 << 20
    content = bytearray(os.urandom(16 * page) + (bytes(gap) if sparse else os.urandom(gap)) + os.urandom(16 * page))
    with open(path, "wb") as f:
        f.write(content[:16 * page])
        f.seek(gap if sparse else 0, os.SEEK_CUR)
        f.write(content[16 * page + gap if sparse else 16 * page:])
    acquire("files", tmp_path / "out", f"path={path}",
            env={"LD_PRELOAD": str(BUILD / "tests/shim_badfile.so"), "BAD_FILE": str(path), "BAD_PAGES": "3,7,8"})
    for bad in (3, 7, 8):
        content[bad * page:(bad + 1) * page] = bytes(page)
    with tarfile.open(tmp_path / "out/files.tar") as archive:
        assert archive.extractfile(str(path).lstrip("/")).read() == content
    row = table(tmp_path / "out")[str(path)]
    assert "Input/output error" in row["not_taken"] and row["unreadable_bytes"] == 3 * page and "sha256" not in row
