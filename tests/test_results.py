from scatcache import results


def test_lines_go_on_below_their_second_column(capsys):
    path = "/a folder/" + "deep/" * 20
    results.show_lines([("a", "word " * 30), ("long", ""), ("b", "in " + results.bind(path))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a     " + "word " * 14 + "word" and lines[1].startswith("      word")
    assert lines[2:] == ["long  ", "b     in", "      " + path]
