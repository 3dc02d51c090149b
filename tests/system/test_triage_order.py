# SPDX-License-Identifier: Apache-2.0
"""A triage bundle the whole way: ordered by a person, made by a confined acquirer, fetched, opened by dissect."""
import json
import os
import socket
from pathlib import Path

import dissect
from daemons import field
from test_order_to_exhibit import Site


def test_a_bundle_is_ordered_fetched_and_opened(lab, need_bpf, tmp_path):
    site = Site(lab)
    code, row, err = site.grab("triage", seconds=120)
    manifest = field(row, "exhibit.manifest")
    assert {item["name"] for item in manifest["items"]} == {"triage.tar", "triage.order.jsonl"}, err
    # A sandbox's first process may have rights that we lack: what cannot be read of it is said.
    assert code == (0 if manifest["complete"] else 3) and manifest["complete"] is not any("lacking" in text for text in manifest["warnings"])
    fetched = site.cli.run("fetch", field(row, "exhibit.order.exhibit"), "--out", tmp_path / "out")
    assert fetched.code == (0 if manifest["complete"] else 3), fetched.err
    done = [json.loads(line) for line in next((tmp_path / "out").rglob("triage.order.jsonl")).read_text().splitlines()]
    held = [step["holds"] for step in done if "done" in step]
    assert held.index("network") < held.index("memory") < held.index("files") < held.index("disk")
    seen = dissect.opened(next((tmp_path / "out").rglob("triage.tar")), "/etc/passwd")
    assert (seen["loader"], seen["hostname"]) == ("UacTarSubloader", socket.gethostname())
    assert seen["files"]["/etc/passwd"] == Path("/etc/passwd").read_text()


def test_a_bundle_of_one_process(lab, need_bpf):
    code, row, err = Site(lab).grab("triage", "--process", str(os.getpid()), seconds=120)
    manifest = field(row, "exhibit.manifest")
    assert manifest["method"]["triage.view_process"] == os.getpid(), (code, err, row)
