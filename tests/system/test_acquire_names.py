# SPDX-License-Identifier: Apache-2.0
"""Which files a pattern of an order names."""
from test_acquire import acquire
from test_acquire_files import table


def test_wildcards_find_hidden_names_and_names_like_patterns(tmp_path):
    for name in (".hidden", "seen", "a[1]", "a1", "star*"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    acquire("files", tmp_path / "all", f"path={tmp_path}/d/*")
    assert len(table(tmp_path / "all")) == 5
    acquire("files", tmp_path / "some", f"path={tmp_path}/d/a[1]", f"path={tmp_path}/d/star*")
    assert set(table(tmp_path / "some")) == {f"{tmp_path}/d/{name}" for name in ("a[1]", "a1", "star*")}
