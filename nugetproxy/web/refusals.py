"""Refusals are what a request ends with that may not have what it asks for."""

from __future__ import annotations

from nugetproxy.errors import ProxyError


class Unauthorized(ProxyError):
    """Who asks must say who they are."""

    def __init__(self, wrong: bool = False) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        """Whether credentials were shown, which are no token of ours or one that has expired."""

    def __str__(self) -> str:
        if self.wrong:
            return "The credentials are no token of this proxy, or one that has expired; ask its operator for another."
        return "This wants a token of the proxy, as the password of any user name (packageSourceCredentials)."


class Forbidden(ProxyError):
    """Who asks is known, or need not be, but may not have this."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return self.what


class TooManyAttempts(ProxyError):
    """Wrong credentials came from this address too often: no others are looked at for a while."""

    def __str__(self) -> str:
        return "Too many wrong credentials came from this address; correct them, and ask again in a second."


class LoopDetected(ProxyError):
    """A request of this process came back to it."""

    def __str__(self) -> str:
        return (
            "This proxy has sent this request itself: the url of one of its upstreams leads back to it, directly or "
            "through another proxy."
        )
