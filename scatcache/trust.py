"""Which certificates a server is believed by."""

import functools
import ssl


@functools.cache
def find_trust() -> ssl.SSLContext:
    """What the system trusts; where it has nothing, as in bare containers and some interpreters, what certifi has."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
