"""A client library as written for version 2.0: manager, hook, connections and errors of its own, and no guard."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from sleepwalker.connection import ConnectionHook, ConnectionManager


class ShopError(Exception):
    """The shop answered something else than it was asked for."""

    def __init__(self, http_code: int) -> None:
        super().__init__(f"the shop said {http_code}")
        self.http_code = http_code


class RequestsConnection:
    """Over requests, whose HTTPError its callers see."""

    def __init__(self, hostname: str, auth: tuple[str, str]) -> None:
        self.hostname = hostname
        self.conn = requests.Session()
        self.conn.trust_env = False
        user, password = auth
        token = self.json_request("POST", "/login", {"user": user, "password": password})["token"]
        self.conn.headers["X-Token"] = token

    def json_request(self, method: str, uri: str, body: Any = None, params: Any = None, headers: Any = None) -> Any:
        response = self.conn.request(method, self.hostname + uri, json=body, params=params, headers=headers, timeout=5)
        response.raise_for_status()
        return response.json()


class HttpConnection:
    """On the standard library alone, with an exception of its own."""

    def __init__(self, hostname: str, auth: tuple[str, str]) -> None:
        parts = urlsplit(hostname)
        self._conn = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        self._headers = {"Content-Type": "application/json"}
        user, password = auth
        token = self.json_request("POST", "/login", {"user": user, "password": password})["token"]
        self._headers["X-Token"] = token

    def json_request(self, method: str, uri: str, body: Any = None, params: Any = None, headers: Any = None) -> Any:
        target = f"{uri}?{urlencode(params)}" if params else uri
        try:
            self._conn.request(method, target, json.dumps(body), self._headers | (headers or {}))
            response = self._conn.getresponse()
            content = response.read()
        except BaseException:
            self._conn.close()  # or it could not be used again
            raise
        if response.status >= 400:
            raise ShopError(response.status)
        return json.loads(content)

    def close(self) -> None:
        self._conn.close()


class WrappingConnection(RequestsConnection):
    """Wraps what requests raises in something that says nothing itself."""

    class Failed(Exception):
        pass

    def json_request(self, method: str, uri: str, body: Any = None, params: Any = None, headers: Any = None) -> Any:
        try:
            return super().json_request(method, uri, body, params, headers)
        except requests.HTTPError as error:
            raise self.Failed("no luck") from error


class ShopHook(ConnectionHook):
    """Logs in at the first of the shop's servers that lets it."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.kind: Any = RequestsConnection

    def connect(self, host: str, auth: tuple[str, str]) -> Any:
        if host != "shop":
            return None
        for server in self.servers:
            try:
                return self.kind(server, auth)
            except OSError:  # requests' are, too
                if server == self.servers[-1]:
                    raise
        return None


hook = ShopHook()
manager = ConnectionManager()
manager.add_conn_hook(hook)
