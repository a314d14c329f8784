"""What pyproject.toml cannot say yet: the one module in C. All else stands there."""

import sysconfig

from setuptools import Extension, setup

# One file serves every Python from 3.11 on, but those without the interpreter's lock. Where it is
# not built, as without a C compiler, hashlib takes its place.
MD5 = Extension(
    "noa_async.transfer._md5",
    sources=["noa_async/transfer/_md5.c"],
    py_limited_api=True,
    optional=True,
)

setup(
    ext_modules=[] if sysconfig.get_config_var("Py_GIL_DISABLED") else [MD5],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
