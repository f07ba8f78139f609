import asyncio
import gc
import logging

import pytest
from zarr.core.buffer import default_buffer_prototype

from scatcache.errors import ScatcacheError
from scatcache.remote.zarr_files import ZarrFiles


@pytest.mark.parametrize(("error", "n_told"), [(ScatcacheError, 0), (ValueError, 1)])
def test_a_failure_that_zarr_does_not_ask_about_is_printed_only_where_it_is_a_bug(caplog, error, n_told):
    def fetch(name, span):
        raise error(f"{name}: there is no connection")

    async def leave_alone():
        await asyncio.wait([asyncio.create_task(ZarrFiles(fetch).get("zarr.json", default_buffer_prototype()))])
        gc.collect()

    with caplog.at_level(logging.ERROR):
        asyncio.run(leave_alone())
    assert caplog.text.count("was never retrieved") == n_told
