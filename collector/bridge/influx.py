"""Writers for the InfluxDB family: v2 API through influxdb-client, v1 `/write` through the urllib3 it brings.

Both send raw line protocol, one request per call, and never retry by themselves: the caller holds the MQTT
acknowledgement and decides.
"""

import ssl
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from collector.bridge.answer import error_of, is_about_lines
from collector.bridge.settings import InfluxV1, InfluxV2
from collector.clock import Clock
from collector.errors import LinesRejected, StoreBusy, StoreRefused

#: A comment: every server of the family stores nothing of it and says 204, unless the request itself is wrong.
_CANARY = b"#\n"
#: gzip container of zlib; level 1 costs a third of the default's CPU for 90 % of its gain on line protocol.
_GZIP_WBITS, _GZIP_LEVEL = 31, 1
_NS: Any = WritePrecision.NS  # a plain string where the signature asks for the class


class _HttpStore:
    """What both APIs share: one POST, its answer judged, and a 400 that blames the request told from bad lines."""

    name: str

    def __init__(self, clock: Clock, gzip: bool) -> None:
        self._clock = clock
        self._gzip = gzip

    def write(self, body: bytes) -> None:
        """See `Store.write`."""
        try:
            self._write(body)
        except LinesRejected as error:
            if is_about_lines(error):
                raise
            try:
                self._write(_CANARY)
            except LinesRejected:
                raise StoreRefused(f"{error}; it refuses even a comment, so not the lines but the request") from error
            raise

    def close(self) -> None:
        """See `Store.close`."""

    def _write(self, body: bytes) -> None:
        try:
            status, headers, text = self._post(body)
        except urllib3.exceptions.SSLError as error:
            raise StoreRefused(f"{self.name}: TLS: {error}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreBusy(f"{self.name}: {error}") from error
        except UnicodeDecodeError as error:
            raise StoreBusy(f"{self.name}: an answer that is not text") from error
        problem = error_of(self.name, status, headers, text, self._clock.now_ns())
        if problem is not None:
            raise problem

    def _encoded(self, body: bytes) -> bytes:
        return zlib.compress(body, _GZIP_LEVEL, _GZIP_WBITS) if self._gzip else body

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and text of the answer to one request."""
        raise NotImplementedError


class InfluxV2Store(_HttpStore):
    """`/api/v2/write`."""

    def __init__(self, settings: InfluxV2, clock: Clock) -> None:
        super().__init__(clock, settings.gzip)
        self.name = f"{settings.url} bucket {settings.bucket}"
        self._bucket = settings.bucket
        self._client = InfluxDBClient(
            settings.url,
            token=settings.token.read().get_secret_value() if settings.token else "",
            org=settings.org or "-",
            timeout=round(settings.timeout_s * 1000),
            ssl_ca_cert=settings.ca,
            connection_pool_maxsize=1,
        )
        if settings.gzip:  # the client itself would compress at level 9
            self._client.api_client.default_headers["Content-Encoding"] = "gzip"
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def close(self) -> None:
        """See `Store.close`."""
        self._client.api_client.rest_client.pool_manager.clear()

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], str]:
        try:
            self._api.write(bucket=self._bucket, record=self._encoded(body), write_precision=_NS)
        except ApiException as error:
            if not error.status:  # the client wraps TLS errors so
                raise urllib3.exceptions.SSLError(str(error.reason)) from error
            return int(error.status), error.headers or {}, error.body or ""
        answer = self._client.api_client.last_response
        return answer.status, answer.getheaders(), answer.data


class InfluxV1Store(_HttpStore):
    """`/write?db=...&precision=ns`."""

    def __init__(self, settings: InfluxV1, clock: Clock) -> None:
        super().__init__(clock, settings.gzip)
        self.name = f"{settings.url} database {settings.database}"
        query = {"db": settings.database, "precision": "ns"}
        if settings.retention:
            query["rp"] = settings.retention
        self._url = f"{settings.url}/write?{urlencode(query)}"
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if settings.username is not None:
            password = settings.password.read().get_secret_value() if settings.password else ""
            self._headers |= urllib3.make_headers(basic_auth=f"{settings.username}:{password}")
        if settings.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(total=settings.timeout_s),
            ssl_context=ssl.create_default_context(cafile=settings.ca),
        )

    def close(self) -> None:
        """See `Store.close`."""
        self._pool.clear()

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], str]:
        answer = self._pool.request("POST", self._url, body=self._encoded(body), headers=self._headers, redirect=False)
        return answer.status, answer.headers, answer.data.decode(errors="replace")
