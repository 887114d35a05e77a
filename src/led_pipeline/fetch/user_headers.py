"""Keep the headers that an entry of the sources sets, which may be secret, from hosts that a redirect leads to."""

from collections.abc import Iterable

import requests


class PrivateHeadersSession(requests.Session):
    """A session that drops private headers on a redirect to another host, as requests itself does with passwords."""

    def __init__(self, private: Iterable[str]) -> None:
        super().__init__()
        self._private = list(private)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]  # the stub has no types
        old, new = response.request.url, prepared_request.url
        if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]  # the stub has no types
            for name in self._private:
                prepared_request.headers.pop(name, None)
