import ssl

import pytest

from scatcache.trust import find_trust


@pytest.mark.parametrize("system", [True, False])
def test_where_the_system_trusts_nobody_certifi_is_asked(monkeypatch, system):
    if not system:
        nothing = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "", "SSL_CERT_DIR", "")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    context = find_trust.__wrapped__()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert system or context.cert_store_stats()["x509_ca"] > 50
