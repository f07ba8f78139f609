"""What extract would do and cost; writes nothing."""

import tempfile
from pathlib import Path
from typing import Any

from scatcache.job.events import tell_archive
from scatcache.job.planned import JobPlan, survey, update
from scatcache.job.preparation import prepare
from scatcache.job.request import check_request, open_asked, open_target, read_stored
from scatcache.job.settings import ExtractOptions
from scatcache.job.stored import confirm_manifest
from scatcache.options import describe
from scatcache.signatures import takes


@takes(ExtractOptions, describe=describe)
def plan(source: Any, options: ExtractOptions) -> JobPlan:
    """Says what extract() with the same arguments would do, and how much of it is done; errors are those of extract().

    An archive that is still packed is unpacked, a tar indexed, into a temporary folder and forgotten. Nothing is
    downloaded.
    """
    check_request(source, options)
    folder = open_target(source, options)
    stored = read_stored(folder, options.J, overwrite=options.overwrite)
    with tempfile.TemporaryDirectory(prefix="scatcache-plan-") as scratch:
        on_archive = tell_archive(options.on_event)
        opened = open_asked(
            source,
            options,
            folder,
            stored=stored,
            work_dir=Path(scratch),
            beside=False,
            fetch=False,
            on_archive=on_archive,
        )
        job = prepare(opened, folder, settings=options, options=options, stored=stored, splits=options.splits)
        if options.overwrite:
            return job.plan
        confirm_manifest(folder, job.manifest)
        return update(job, survey(job, retry_unreadable=options.retry_unreadable))
