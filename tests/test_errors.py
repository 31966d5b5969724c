from accorda.errors import Stopped


def test_stopped_tells_how_to_go_on():
    error = Stopped("stopped by SIGTERM at step 7", "runs/a")
    assert str(error) == "stopped by SIGTERM at step 7; continue with: accorda resume runs/a"
