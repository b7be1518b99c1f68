"""Reading a TOML file into a strict model, with every mistake reported at once.

Also the models that the daemon's and the bridge's settings share: broker, TLS and secrets by reference.
"""

import difflib
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from collector.errors import ConfigError, Finding

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class Strict(BaseModel):
    """Unknown keys are errors; nothing is coerced but int to float; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Secret(Strict):
    """Where a secret is kept; never the secret itself. Exactly one of the three."""

    credential: str | None = None  #: name under $CREDENTIALS_DIRECTORY (systemd LoadCredential=)
    file: str | None = None  #: a file nobody else can read
    env: str | None = None  #: an environment variable; the weakest of the three

    @model_validator(mode="after")
    def _exactly_one(self) -> "Secret":
        if sum(v is not None for v in (self.credential, self.file, self.env)) != 1:
            raise ValueError("not one place of a secret: give exactly one of credential, file, env")
        return self

    def read(self) -> SecretStr:
        """The secret's text without the final newline. Raises ConfigError when it cannot be had safely."""
        if self.env is not None:
            value = os.environ.get(self.env)
            if value is None:
                raise _secret_error(f"env = {self.env}", "the environment variable is not set")
            return SecretStr(value)
        if self.credential is not None:
            directory = os.environ.get("CREDENTIALS_DIRECTORY")
            if directory is None:
                raise _secret_error(
                    f"credential = {self.credential}",
                    "$CREDENTIALS_DIRECTORY is not set",
                    "credentials exist only under systemd (LoadCredential=); use file = ... outside of it",
                )
            path = Path(directory) / self.credential
        else:
            path = Path(str(self.file))
        try:
            if self.file is not None and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _secret_error(f"file = {path}", "others can read it", f"chmod 600 {path}")
            return SecretStr(path.read_text(encoding="utf-8").rstrip("\r\n"))
        except OSError as error:
            raise _secret_error(f"file = {path}", error.strerror or str(error)) from error
        except ValueError:  # its text may quote the secret
            raise _secret_error(
                f"file = {path}", "neither a path nor text that can be read", "UTF-8, one line"
            ) from None


def _secret_error(key: str, reason: str, hint: str = "") -> ConfigError:
    return ConfigError([Finding("secret", key, "", reason, hint)])


class Tls(Strict):
    """How the broker's certificate is checked. There is no key to switch the check off."""

    ca: str | None = None  #: PEM file of the authorities to trust; None: the system's
    certificate: str | None = None  #: our own, for mutual TLS; PEM
    key: str | None = None  #: its private key; PEM


#: MQTT counts a text's bytes in 16 bits and forbids NUL; nobody needs more than this.
BrokerName = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]


class Broker(Strict):
    """An MQTT broker."""

    url: str = "mqtt://127.0.0.1:1883"  #: mqtts://host:port, or mqtt:// together with tls = "off"
    tls: Tls | Literal["off"] = Tls()  #: `"off"` only together with mqtt://
    username: BrokerName | None = None  #: as the broker knows us
    password: Secret | None = None  #: where it is kept
    client_id: BrokerName | None = None  #: None: made from gateway or centre name; must be unique at the broker
    version: Literal["5", "3.1.1"] = "5"  #: `"3.1.1"` for a broker that knows nothing newer
    #: a sign of life is sent after this long without another packet
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30

    @field_validator("url")
    @classmethod
    def _broker_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("an address holds no secrets: give username and password beside it")
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("not a broker's address: write mqtts://host:port or mqtt://host:port")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("the port is out of range: give a number from 1 to 65535") from None
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError("no host can have this name: see the dots, at most 63 characters between them") from None
        if "\0" in parts.hostname:
            raise ValueError("no host can have this name: it holds a NUL")
        return url

    @model_validator(mode="after")
    def _plain_text_is_written_out(self) -> "Broker":
        plain = urlsplit(self.url).scheme == "mqtt"
        if plain and self.tls != "off":
            raise ValueError('mqtt:// is not encrypted: use mqtts://, or write tls = "off" beside it')
        if not plain and self.tls == "off":
            raise ValueError('mqtts:// contradicts tls = "off": take one of them out')
        return self

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (1883 if self.url.startswith("mqtt://") else 8883)


Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, model: type[Model]) -> Model:
    """Read `path` as `model`. Raises ConfigError with every mistake found."""
    return parse(read(path), model, str(path))


def read(path: Path) -> dict[str, Any]:
    """The file as plain data. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Finding(str(path), "", "", error.strerror or str(error))]) from error
    except (ValueError, RecursionError) as error:  # syntax, encoding, numbers and depths beyond all reason
        raise ConfigError([Finding(str(path), "(syntax)", "", str(error), "the file is not valid TOML")]) from error
    return data


def parse(data: dict[str, Any], model: type[Model], file: str) -> Model:
    """Check `data` against `model`; `file` is only for the messages. Raises ConfigError."""
    try:
        return model.model_validate(_tuples(data))
    except ValidationError as error:
        findings = [_finding(e, data, model, file) for e in error.errors(include_url=False)]
        # A value that may be one of two kinds is reported once per kind: the deeper, else the first, is of use.
        keys = [f.key for f in findings]
        firsts = [f for i, f in enumerate(findings) if f.key not in keys[:i]]
        raise ConfigError([f for f in firsts if not any(k.startswith(f.key + ".") for k in keys)]) from None


def _tuples(value: Any) -> Any:
    """TOML's lists as the tuples that frozen models hold."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _finding(error: Any, data: dict[str, Any], model: type[BaseModel], file: str) -> Finding:
    kind = error["type"]
    loc = _written(error["loc"], data)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    key = key or ('""' if loc else "")  # TOML has empty keys; no key at all is the whole file
    value = shown(error["input"], key)
    if kind == "extra_forbidden":
        return Finding(file, key, value, "unknown key", _nearest(str(loc[-1]), loc[:-1], model))
    if kind == "value_error":  # our own checks say "reason: hint"
        reason, _, hint = str(error["msg"]).removeprefix("Value error, ").partition(": ")
        return Finding(file, key, value, reason, hint)
    return Finding(file, key, value, str(error["msg"]), _HINTS.get(kind, ""))


def shown(value: Any, key: str) -> str:
    """`value` of `key` as a message may quote it: short, and without what may be a secret in a wrong place."""
    if isinstance(value, dict | list | tuple) or _SECRET_KEY.search(key):
        return ""
    text = _USER_IN_URL.sub("//***@", repr(value))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _written(loc: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    """The part of an error's location that the user wrote: without pydantic's names for the arms of a union."""
    found: list[Any] = []
    for i, part in enumerate(loc):
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and isinstance(part, int)
        if inside:
            data = data[part]
            found.append(part)
        elif i == len(loc) - 1 and isinstance(data, dict) and "[" not in str(part):
            found.append(part)  # a key that is missing
    return tuple(found)


_SECRET_KEY = re.compile("password|passwd|token|secret|credential", re.IGNORECASE)
_USER_IN_URL = re.compile(r"//.*@")
#: Characters of a value in a message: enough to find it.
MAX_SHOWN = 60

_HINTS = {
    "missing": "add it",
    "string_type": 'write it in quotes: "..."',
    "int_type": "write a whole number without quotes",
    "float_type": "write a number without quotes",
    "bool_type": "write true or false without quotes",
    "list_type": "write a list: [ ... ]",
    "tuple_type": "write a list: [ ... ]",
    "dict_type": "write a table: { key = ... }",
    "model_type": "write a table: { key = ... }",
    "literal_error": "choose one of these",
    "greater_than": "give a larger number",
    "greater_than_equal": "give a larger number",
    "less_than": "give a smaller number",
    "less_than_equal": "give a smaller number",
    "too_long": "remove some",
    "too_short": "give at least one, or leave the key out",
    "string_pattern_mismatch": "letters, digits, _ . - only, beginning with a letter or digit, at most 64",
}


def _nearest(key: str, parents: tuple[Any, ...], model: type[BaseModel]) -> str:
    """A hint with the known key that looks most like the unknown one."""
    known = _keys_at(parents, model)
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return "known keys here: " + ", ".join(sorted(known)) if known else "remove it"


def _keys_at(parents: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    for part in parents:
        if isinstance(part, int) or not isinstance(model, type) or part not in _aliases(model):
            continue
        inner = _inner_model(_aliases(model)[part])
        if inner is None:
            return []
        model = inner
    return list(_aliases(model))


def _aliases(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
