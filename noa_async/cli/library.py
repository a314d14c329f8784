"""Import the client library on demand: it accounts for most of the start-up time."""

from noa_async.tls import authorities_unread

with authorities_unread():
    from noa_async.client import NoaClient

__all__ = ["NoaClient"]
