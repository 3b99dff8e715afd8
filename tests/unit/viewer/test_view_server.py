"""The server without a browser: its page, its port, its token, and that nothing of it stays."""

import base64
import gzip
import http.client
import socket
import subprocess
import sys
import threading
from importlib.metadata import version
from urllib.parse import urlsplit

import imageio.v3 as iio
import numpy as np
import pytest
from view_parts import GreyAvatar, make_run, wait_for

from avatar.app import cli
from avatar.base.errors import InputError, RunError
from avatar.flame.library import load_head
from avatar.media.images import read_png, write_png
from avatar.viewer.preview import PREVIEW, covered, keep_preview, preview_of
from avatar.viewer.viewer import Viewer


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture
def open_viewer(head, tmp_path):
    opened = []

    def run(**options):
        viewer = Viewer(make_run(tmp_path / "run"), port=0, avatar=GreyAvatar(head), **options)
        opened.append(viewer)
        return viewer

    yield run
    for viewer in opened:
        viewer.close()


def get(port, target="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders())


def picture_in(page):
    return iio.imread(base64.b64decode(page.split("data:image/png;base64,")[1].split('"')[0]))


def test_the_page_is_served_and_the_first_picture_waits_for_it(open_viewer, capfd):
    viewer = open_viewer()
    assert viewer.url.startswith("http://127.0.0.1:")
    status, page, _ = get(urlsplit(viewer.url).port)
    assert (status, "<html" in page) == (200, True)
    assert wait_for(lambda: viewer.session.worker.pictures >= 1)
    assert capfd.readouterr().out == "", "viser's own lines are kept off the terminal"


def test_another_site_is_refused(open_viewer):
    port = urlsplit(open_viewer().url).port
    assert get(port, Host="evil.example")[0] == 403
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "http://evil.example"}
    key = {"Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==", "Sec-WebSocket-Version": "13"}
    assert get(port, Host=f"127.0.0.1:{port}", **upgrade, **key)[0] == 403


def test_on_another_address_a_token_is_needed(open_viewer):
    viewer = open_viewer(host="0.0.0.0")
    address = urlsplit(viewer.url)
    status, text, _ = get(address.port)
    assert status == 403
    assert "token" in text
    status, _, fields = get(address.port, f"/?{address.query}")
    assert status == 303
    cookie = fields["Set-Cookie"].partition(";")[0]
    assert get(address.port, Cookie=cookie)[0] == 200
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    assert get(address.port, **upgrade, **{"Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="})[0] == 403


def test_nothing_stays_after_it_is_closed(open_viewer):
    before = set(threading.enumerate())
    viewer = open_viewer()
    get(urlsplit(viewer.url).port)
    viewer.session.painter.avatar.seconds = 30.0
    viewer.session.store.update(fov=0.5)
    assert set(threading.enumerate()) - before
    viewer.close()
    assert wait_for(lambda: not set(threading.enumerate()) - before, 5)
    with pytest.raises(ConnectionRefusedError):
        get(urlsplit(viewer.url).port)


def test_a_connection_that_asks_nothing_leaves_no_traceback(open_viewer, capfd):
    """Browsers open such ones ahead of time."""
    port = urlsplit(open_viewer().url).port
    with socket.create_connection(("127.0.0.1", port), timeout=20):
        pass
    assert get(port)[0] == 200
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_the_last_page_that_is_closed_is_told(open_viewer):
    from websockets.sync.client import connect

    viewer, left = open_viewer(), []
    viewer.left = lambda: left.append(viewer.server.get_clients())
    spoken = [f"viser-v{version('viser')}"]
    with connect(viewer.url.replace("http", "ws"), origin=viewer.url.rstrip("/"), subprotocols=spoken) as page:
        page.recv(timeout=20)
        send_camera(page)
        assert wait_for(lambda: viewer.server.get_clients())
        assert left == []
    assert wait_for(lambda: left)
    assert left == [{}]


def send_camera(page):
    """What a page says first: where its camera is. viser makes a client of it then."""
    import msgspec

    camera = {
        "type": "ViewerCameraMessage",
        "wxyz": (1.0, 0.0, 0.0, 0.0),
        "position": (0.0, 0.0, 1.0),
        "look_at": (0.0, 0.0, 0.0),
        "up_direction": (0.0, 1.0, 0.0),
        "fov": 0.7,
        "near": 0.01,
        "far": 10.0,
        "image_height": 90,
        "image_width": 160,
    }
    page.send(msgspec.msgpack.encode(camera))


def test_the_share_button_is_dead(open_viewer):
    assert open_viewer().server.request_share_url() is None


def test_a_busy_port_is_one_plain_message(open_viewer, head, tmp_path):
    port = urlsplit(open_viewer().url).port
    with pytest.raises(InputError, match=rf"port {port} is in use[^$]*--port \d+"):
        Viewer(make_run(tmp_path / "other"), port=port, avatar=GreyAvatar(head))


def test_a_run_without_a_checkpoint_is_told_before_anything(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        Viewer(tmp_path)


@pytest.mark.slow
def test_the_page_is_there_before_the_avatar_and_shows_its_last_picture(head, tmp_path):
    run = make_run(tmp_path / "run")
    viewer = Viewer(run, port=0, avatar=GreyAvatar(head))
    assert wait_for(lambda: (run / PREVIEW).exists())
    viewer.close()
    assert b"synthetic" in (run / PREVIEW).read_bytes()
    viewer = Viewer(run, port=0)
    try:
        assert not viewer.is_loaded
        port = urlsplit(viewer.url).port
        status, page, headers = get(port)
        assert (status, int(headers["Content-Length"])) == (200, len(page.encode()))
        assert np.array_equal(picture_in(page), read_png(run / PREVIEW))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        packed = gzip.decompress(connection.getresponse().read()).decode()
        assert np.array_equal(picture_in(packed), picture_in(page))
        viewer.load(GreyAvatar(head))
        assert wait_for(lambda: viewer.session.worker.pictures >= 1)
    finally:
        viewer.close()


def test_a_page_without_a_preview_or_an_end_is_left_alone():
    page, picture = b"<html><body></body></html>", np.zeros((4, 4, 3), np.uint8)
    assert covered(page, None) == page
    assert covered(b"<html>", picture) == b"<html>"
    assert covered(page, picture).endswith(b"</script>\n</body></html>")


def test_a_preview_is_the_last_picture_or_one_of_the_evaluation(tmp_path):
    assert preview_of(tmp_path) is None
    picture = np.full((8, 9, 3), 7, np.uint8)
    write_png(tmp_path / "eval" / "val" / "pred" / "00009.png", picture)
    assert preview_of(tmp_path).shape == (8, 14, 3)
    assert (preview_of(tmp_path) == 7).all()
    keep_preview(tmp_path, picture + 1)
    assert np.array_equal(preview_of(tmp_path), picture + 1)
    (tmp_path / PREVIEW).write_bytes(b"damaged")
    assert preview_of(tmp_path).shape == (8, 14, 3)


def test_a_preview_is_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "view").symlink_to(tmp_path / "elsewhere")
    keep_preview(tmp_path / "run", np.zeros((4, 4, 3), np.uint8))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_avatar_that_cannot_be_loaded_is_one_message(tmp_path, capsys):
    """The page is closed again; the run has a checkpoint that is none."""
    before = set(threading.enumerate())
    assert cli.main(["view", str(make_run(tmp_path / "run")), "--port", "0"]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.count("avatar: ") == 1
    assert wait_for(lambda: not set(threading.enumerate()) - before, 5)


def test_opening_a_page_needs_nothing_heavy():
    """The page is served before torch is imported, which takes seconds."""
    code = "import sys, avatar.viewer.viewer, viser; print(sorted({'torch', 'warp', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_opens_closes_and_says_so(head, tmp_path, monkeypatch, capsys):
    """Ctrl-C ends it with status 0."""
    from avatar.data import checkpoint

    monkeypatch.setattr(checkpoint, "load_avatar", lambda run: GreyAvatar(head))

    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    from avatar.app.commands import view

    monkeypatch.setattr(view, "Event", Interrupted)
    assert cli.main(["view", str(make_run(tmp_path / "run")), "--port", "0"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("open http://127.0.0.1:")
    assert printed[-1] == "the viewer is closed"
    assert cli.main(["view", str(tmp_path)]) == 1
    assert cli.main(["view", str(tmp_path / "run"), "--port", "99999"]) == 1
    assert "--port is out of range" in capsys.readouterr().err
