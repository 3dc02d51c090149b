# SPDX-License-Identifier: Apache-2.0
"""Every allocation and every file operation of the journal fails once."""
import pytest

from failing import Server, fail_each
from test_journal_powercut import BUDGET, DRIVER, Dump, Truth, check, key  # noqa: F401


@pytest.mark.parametrize("kind,errno", [("malloc", 12), ("file", 5), ("file", 28)])
@pytest.mark.parametrize("what", ["append", "dump"])
def test_any_call_may_fail_once(ram_path, key, kind, errno, what):  # noqa: F811
    append = [DRIVER, "append", ".", key, BUDGET, 40, 101]
    look = [DRIVER, "dump", ".", key, BUDGET]
    filled, marks = None, []
    if what == "dump":
        filled = ram_path / "filled"
        filled.mkdir()
        with Server(append) as server:
            marks = server.run(filled).out.splitlines()
        # Something to recover from: a torn end.
        newest = max(filled.glob("critical-*.jrn"))
        newest.write_bytes(newest.read_bytes() + b"torn")

    def verify(result, seen):
        said = [m for m in result.out.splitlines() if m.startswith(("try", "ack", "gone", "release"))]
        if result.status == 1:
            assert result.err.startswith("driver_journal: ")
        check(Truth(marks + said), Dump(seen.out.splitlines()))

    done, errors = fail_each(look if what == "dump" else append, look, kind, errno, 29, ram_path, verify, filled)
    assert done > 20 and errors > 0
