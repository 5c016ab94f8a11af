"""A local S3 with a proxy in front of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from nstpipe.storage import store
from tests.storage.faulty import Proxy, proxy_before

SECRET_KEY = "wJalrXUtnFEMI0SECRET0KEY"
SESSION_TOKEN = "FwoGZXIvYXdzSESSIONTOKEN"


@dataclass
class Cloud:
    """A bucket, as a test sees it.

    Attributes:
        client: boto3's client, which takes the way around the proxy.
        proxy: The proxy that nstpipe goes through.
        bucket: The name of the bucket.
    """

    client: Any
    proxy: Proxy
    bucket: str = "street"

    def put(self, key: str, content: bytes | Path) -> None:
        """Put an object into the bucket."""
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        """The content of an object."""
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def names(self, prefix: str = "") -> list[str]:
        """The names of the objects."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def cloud(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty bucket, with credentials in the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store, "FIRST_WAIT_SECONDS", 0.02)
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{s3_port}")
    client.create_bucket(Bucket="street")
    with proxy_before(s3_port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield Cloud(client, proxy)
    for one in client.list_objects_v2(Bucket="street").get("Contents", []):
        client.delete_object(Bucket="street", Key=one["Key"])
    client.delete_bucket(Bucket="street")
