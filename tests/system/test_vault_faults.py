# SPDX-License-Identifier: Apache-2.0
"""Any allocation or file operation of the vault fails once, and the process may end behind it: what was reported
durable is still there, the exhibit is sealed in the end, once, with its hashes, and nothing lies about."""
import pytest

from basics import BUILD
from failing import fail_each

DRIVER = BUILD / "tests/driver_exhibit"


def place(words):
    return (1 << 32, 0) if words == ["sealed"] else (int(words[0]), int(words[1]))


def verify(result, seen):
    said = [line.split() for line in result.out.splitlines()]
    found = [line.split() for line in seen.out.splitlines()]
    durable = max((place(words[1:]) for words in said if words[0] == "durable"), default=(1, 0))
    first = next(place(words[1:]) for words in found if words[0] == "first")
    assert first >= durable, f"{durable} was durable, {first} is there"
    if ["sealed"] in said:
        assert first == place(["sealed"]), "the receipt was given for what is not sealed"
    assert ["state", "sealed"] in found, seen.out
    assert [words for words in found if words[0] in ("fault", "faults")] == [["faults", "0"]], seen.out


@pytest.mark.parametrize("kind, errno, wide", [("malloc", 12, 40), ("file", 5, 1), ("file", 28, 1)],
                         ids=["memory", "EIO", "ENOSPC"])
def test_every_call_fails_once(kind, errno, wide, ram_path):
    done, errors = fail_each([DRIVER, "put"], [DRIVER, "look"], kind, errno, wide, ram_path, verify)
    assert done > 20 and errors > 10
