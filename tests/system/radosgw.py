# SPDX-License-Identifier: Apache-2.0
"""A real S3 server that enforces Object Lock (radosgw.sh), and boto3 to look at what lies there."""
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from basics import until

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")
ACCESS_KEY, SECRET_KEY = "AKEXHIBIT", "secret-of-exhibit"


@contextlib.contextmanager
def serve(folder, port):
    """A boto3 client with an endpoint; buckets locked, plain, versions."""
    boto3 = pytest.importorskip("boto3")
    if not all(shutil.which(program) for program in PROGRAMS):
        pytest.skip("radosgw is not installed: apt-get install ceph-mon ceph-osd radosgw ceph-common")
    # Its socket's path must be short.
    folder = Path(os.path.realpath(folder))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([Path(__file__).with_name("radosgw.sh"), folder / "s", str(port)],
                                   stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        def ready():
            assert process.poll() is None, (folder / "log").read_text()
            return (folder / "s" / "ready").exists()
        until(ready, 240, "radosgw")
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY,
                              aws_secret_access_key=SECRET_KEY, region_name="us-east-1")
        client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        client.create_bucket(Bucket="plain")
        client.create_bucket(Bucket="versions")
        client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        client.endpoint = endpoint
        yield client
    finally:
        process.stdin.close()
        process.wait(30)
