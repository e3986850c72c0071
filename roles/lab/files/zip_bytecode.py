"""Keep the bytecode of what Python imports from zip files.

Ansible sends a module as a zip file of sources, and Python compiles each of them twice at every call, which is most of what a call costs.
Lab hosts get the same modules over and over. A file's name is the hash of the source, so that none is ever out of date.
"""

import _imp
import marshal
import os
import sys
import zipimport

KEPT = "/var/cache/vtep-fabric-bytecode"
_compile_source = zipimport._compile_source


def compile_source(pathname, source):
    kept = f"{KEPT}/{sys.implementation.cache_tag}-{_imp.source_hash(sys.hexversion, source).hex()}"
    try:
        with open(kept, "rb") as file:
            code = marshal.load(file)  # noqa: S302 - root alone writes there
        _imp._fix_co_filename(code, pathname)
    except (OSError, EOFError, ValueError, TypeError):
        code = _compile_source(pathname, source)
        keep(code, kept)
    return code


def keep(code, path):
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "wb") as file:
            marshal.dump(code, file)
        os.replace(new, path)  # noqa: PTH105 - pathlib would slow every start of Python
    except OSError:
        pass  # not root's, or no room: then it is compiled again


zipimport._compile_source = compile_source
