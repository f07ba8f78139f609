import json

from scatcache.job.report import ExtractReport, SplitReport


def test_a_report_is_json_by_its_own_field_names():
    unreadable = ({"split": "all", "key": "a.png", "reason": "truncated"},)
    report = ExtractReport(
        "s.zarr",
        "complete",
        {"all": SplitReport(3, 2, 1, 2, 1, 1)},
        99,
        0.5,
        6.0,
        "torch",
        unreadable,
        1,
        ("a warning",),
    )
    assert json.loads(json.dumps(report.to_dict())) == {
        "store": "s.zarr",
        "state": "complete",
        "splits": {"all": {"rows": 3, "ok": 2, "unreadable": 1, "shards": 2, "shards_computed": 1, "shards_kept": 1}},
        "bytes": 99,
        "elapsed_s": 0.5,
        "images_per_s": 6.0,
        "backend": "torch",
        "unreadable": [{"split": "all", "key": "a.png", "reason": "truncated"}],
    }
