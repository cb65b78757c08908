"""Starts a server, after checks of its address and certificate: HTTP and the Wyoming protocol."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from voiceclone.errors import ConfigError
from voiceclone.serving.access import KeyFile
from voiceclone.serving.catalogue import Catalogue, OfferedVoice
from voiceclone.serving.connections import bounded_protocol
from voiceclone.serving.pool import Pool
from voiceclone.serving.server import ServerSettings, create_app
from voiceclone.serving.worker import Order, WorkerSettings

#: Seconds that requests have to end when the server does.
SHUTDOWN_SECONDS = 30


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        host: name or address.
        port: of HTTP.
        certificate: and
        private_key: of TLS, PEM files.
        behind_proxy: something else encrypts, and nobody reaches this server but through it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False

    @property
    def is_local(self) -> bool:
        """Only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check(self, keys: Path | None, wyoming: bool = False) -> None:
        """Refuse addresses that let strangers use a voice, or that send keys unencrypted.

        Raises:
            ConfigError: says what is missing.
        """
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigError("expected both or none of --tls-cert and --tls-key")
        if (not self.is_local or self.behind_proxy) and (keys is None or not KeyFile(keys).all()):
            raise ConfigError(
                f"--host {self.host}: others can reach this address, and there are no keys",
                "make one with 'voiceclone keys add NAME' and name its file with --keys, or listen on 127.0.0.1",
            )
        if not self.is_local and self.certificate is None and not self.behind_proxy:
            raise ConfigError(
                f"--host {self.host}: others can reach this address, and keys would travel unencrypted",
                "give --tls-cert and --tls-key, or --behind-proxy where a proxy does that",
            )
        if wyoming and not self.is_local and not self.behind_proxy:
            raise ConfigError(
                f"--wyoming: that protocol knows no keys, and others can reach {self.host}",
                "listen on 127.0.0.1, or give --behind-proxy where a firewall lets nobody else in",
            )


def warm_up_orders(voices: list[OfferedVoice], count: int) -> list[Order]:
    """Orders that open the first voices and their language's lexicon, so that the first request need not wait."""
    available = [voice for voice in voices if not voice.problem][:count]
    return [Order(voice.folder, voice.version, voice.description["smoke_text"]) for voice in available]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def listen(
    folders: list[Path],
    address: Address,
    settings: ServerSettings,
    workers: int = 0,
    max_waiting: int = 64,
    max_seconds: float = 600.0,
    worker_settings: WorkerSettings | None = None,
) -> None:
    """Serve voices until a signal comes; requests that are running then have some seconds to end.

    Args:
        folders: bundles.
        address: where to listen.
        settings: how to answer.
        workers: processes that speak; 0: one for each core.
        max_waiting: requests in the queue.
        max_seconds: of computing for a request.
        worker_settings: how workers open voices.

    Raises:
        ConfigError: the address is open to others and not guarded.
        DataError: there is no voice.
    """
    address.check(settings.keys, settings.wyoming is not None)
    worker_settings = worker_settings or WorkerSettings()
    catalogue = Catalogue(folders)
    first = warm_up_orders(catalogue.all(), worker_settings.kept)
    pool = Pool(workers or usable_cores(), max_waiting, max_seconds, worker_settings, first)
    try:
        uvicorn.Server(configuration(create_app(catalogue, pool, settings), address, settings)).run()
    finally:
        pool.close()


def configuration(app: object, address: Address, settings: ServerSettings) -> uvicorn.Config:
    """uvicorn's configuration: bounded connections, no server header."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=address.host,
        port=address.port,
        http=bounded_protocol(settings.connections),
        ws="none",
        ssl_certfile=address.certificate,
        ssl_keyfile=address.private_key,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        log_level="warning",
    )
