"""``python -m noa_async`` is ``noa-async``."""

from noa_async.cli import main

main()
