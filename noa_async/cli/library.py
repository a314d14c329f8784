"""The library, imported when a verb is about to ask: most of what a start takes."""

from noa_async.tls import authorities_unread

with authorities_unread():
    from noa_async.client import NoaClient

__all__ = ["NoaClient"]
