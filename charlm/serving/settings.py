"""What a server is told: where it listens, whom it answers, and how much it takes on."""

import dataclasses
import ipaddress
import re
import secrets
from urllib.parse import urlsplit

from charlm.errors import FieldError, UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KEY = re.compile(r"[\x21-\x7e]+")  # what may stand in a header, without spaces
_PORT = 65_535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a request may ask for, and how much is done at a time.

    body is in bytes, prompt in characters (or ids) of all texts of a request together; max_tokens
    and n are those of completions, alternatives that of tokens whose log-probabilities are told,
    with the others at their places; texts is the number of prompts or texts in a request. lanes
    sequences are drawn side by side, and waiting requests wait for a model, or are refused.
    Seconds: head and body are those that a request may take to arrive, request those from then
    to its end, grace those that requests have once the server is to end.
    """

    body: int = 2**20
    prompt: int = 20_000
    max_tokens: int = 10_000
    n: int = 64
    alternatives: int = 200_000
    texts: int = 1024
    lanes: int = 128
    waiting: int = 256
    connections: int = 1024
    head_seconds: float = 10.0
    body_seconds: float = 20.0
    request_seconds: float = 120.0
    grace_seconds: int = 8

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not 0 < getattr(self, field.name) < 10**9:
                raise FieldError(
                    field.name, f"must be more than 0, got {getattr(self, field.name)}."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a server listens and whom it answers.

    hosts are names by which it may be called beside those of this machine; origins are pages of
    other servers that may call it. Without a key everybody may; one that is heard beyond this
    machine needs one, unless it is ``open``. threads are those of a model (0: all cores but one).
    allow is what a person types to allow a name. Raises UsageError for what cannot be.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    key: str | None = None
    open: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    threads: int = 0
    limits: Limits = dataclasses.field(default_factory=Limits)
    allow: str = "`allowed_hosts`"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT:
            raise FieldError("port", f"must be from 0 to {_PORT:,}, got {self.port}.")
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise FieldError("api_key", "must be printable ASCII without spaces, and not empty.")
        if self.key is None and not (self.is_loopback or self.open):
            raise UsageError(
                f"`host={self.host}` opens the server to the network: give `api_key`, or say "
                "`no_key`."
            )
        if self.key is not None and self.open:
            raise UsageError("give `api_key` or `no_key`, not both.")
        for origin in self.origins:
            if not _is_origin(origin):
                raise FieldError(
                    "cors", f"must be an origin such as https://example.org, got {origin!r}."
                )
        for name in self.hosts:
            if not name or re.search(r"[\s/@]", name):
                raise FieldError("allowed_hosts", f"must be a name without a port, got {name!r}.")

    @property
    def is_loopback(self) -> bool:
        """Whether it is heard on this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens to all addresses of the machine, by none of which it can be called."""
        return self.host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound

    def answers_to(self, host: str) -> bool:
        """Whether a Host header, its port aside, names this server.

        A page from elsewhere can bring a browser to send requests here under a name of its own
        (DNS rebinding); its name is then in the header.
        """
        name = host_name(host)
        own = () if self.is_wildcard else (self.host.lower(),)
        return name is not None and name in (*LOOPBACK, *own, *map(str.lower, self.hosts))

    def accepts(self, authorization: str) -> bool:
        """Whether an Authorization header has the key, where there is one."""
        if self.key is None:
            return True
        scheme, _, given = authorization.partition(" ")
        same = secrets.compare_digest(given.strip().encode(), self.key.encode())
        return scheme.lower() == "bearer" and same


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without its port; None where there is none."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+))(?::[0-9]{1,5})?", host)
    return None if found is None else (found[1] or found[2]).lower()


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and origin == f"{parts.scheme}://{parts.netloc}"
            and "@" not in parts.netloc
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False
