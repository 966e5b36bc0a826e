"""The benchmark's own parts: the client that loads a daemon, and the plots."""

from pathlib import Path
from xml.etree import ElementTree

from bench import svg
from support.daemon import Daemon
from support.milter_load import Load, Script, load, middle

MESSAGE = b"From: a@example.org\n\nbody\n"


def test_a_loaded_daemon_answers_every_message(tmp_path: Path) -> None:
    with Daemon(tmp_path, mode="verify", spf={"fail": "reject"}) as daemon:
        script = Script(daemon.address, MESSAGE, client_ip=None)
        assert len(script.first) == len(script.next) == 2  # MAIL has to be answered where SPF may reject
        for expect, good in ((b"dkim=none", True), (b"dkim=pass", False)):
            found = load(
                script, daemon.address, daemon.pid, expect=expect, connections=3, per_connection=5, seconds=0.5
            )
            assert found.rate > 0
            assert 0 < found.p50 <= found.p99
            assert found.pss > 0
            assert (found.wrong == 0) is good


def test_the_middle_is_taken_of_each_figure() -> None:
    loads = [Load(1, 9, 2, 2, 5, 0), Load(3, 7, 4, 9, 5, 1), Load(2, 8, 3, 4, 5, 1)]
    assert middle(loads) == Load(2, 8, 3, 4, 5, 2)


def test_a_plot_is_well_formed() -> None:
    lines = {"a <b>": [(1, 10.0), (10, 250.0)], "c": [(1, 0.0), (10, 3.0)]}
    for log_y in (False, True):
        root = ElementTree.fromstring(svg.plot("t & u", "x", "y", lines, log_y=log_y))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{*}polyline")) == 2
