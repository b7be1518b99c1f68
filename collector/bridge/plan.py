"""What a configuration means, for `collector bridge --check`. Reads the secrets and TLS files, touches no network."""

from typing import Any

from collector.bridge.settings import Settings
from collector.config_file import Secret
from collector.errors import ConfigError, Finding
from collector.mqtt import options_from


def plan(settings: Settings) -> dict[str, Any]:
    """What would be done. Raises ConfigError with every secret and TLS file that cannot be used."""
    findings: list[Finding] = []
    try:
        options_from(settings.broker, settings.client_id)
    except ConfigError as error:
        findings += error.findings
    for secret in _secrets(settings):
        try:
            secret.read()
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)
    return {
        "centre": settings.centre.name,
        "broker": settings.broker.url,
        "client_id": settings.client_id,
        "topics": list(settings.topics),
        "store": _store(settings),
        "dead_letter": settings.dead_letter.path,
        "memory_mb": settings.limits.memory_mb,
    }


def _secrets(settings: Settings) -> list[Secret]:
    v2, v1 = settings.store.influx_v2, settings.store.influx_v1
    return [secret for secret in (v2.token if v2 else None, v1.password if v1 else None) if secret is not None]


def _store(settings: Settings) -> str:
    store = settings.store
    if store.influx_v2 is not None:
        return f"influx_v2 {store.influx_v2.url} bucket {store.influx_v2.bucket}"
    if store.influx_v1 is not None:
        return f"influx_v1 {store.influx_v1.url} database {store.influx_v1.database}"
    return f"sqlite {store.sqlite.path if store.sqlite else ''}"
