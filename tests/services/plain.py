"""Single questions over HTTP without TLS. The certificates of the world, 30 ms of reading each time, stay unread."""

from functools import partial
from typing import Final

import httpx

get: Final = partial(httpx.get, verify=False)
post: Final = partial(httpx.post, verify=False)
request: Final = partial(httpx.request, verify=False)
