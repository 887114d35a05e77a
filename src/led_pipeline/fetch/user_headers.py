"""Own headers: those that an entry of the sources asks for, which may be secret, stay with the host they are for."""

from collections.abc import Iterable

import requests


class OwnHeaders(requests.Session):
    """A session that hands a request's own headers to no other host, as requests itself does with passwords."""

    def __init__(self, own: Iterable[str]) -> None:
        super().__init__()
        self._own = list(own)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        super().rebuild_auth(prepared_request, response)
        if self.should_strip_auth(response.request.url, prepared_request.url):
            for name in self._own:
                prepared_request.headers.pop(name, None)
