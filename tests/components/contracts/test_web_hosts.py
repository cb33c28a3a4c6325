from components.contracts.web_hosts import Hosts


def test_a_server_that_gives_nothing_is_asked_once_a_minute():
    now = [1000.0]
    hosts = Hosts(clock=lambda: now[0])
    for _ in range(19):
        hosts.gave_nothing("a:80")
        assert hosts.failures("a:80") == 0
    hosts.gave_nothing("a:80")
    assert hosts.failures("a:80") == 20
    assert hosts.failures("b:80") == 0
    now[0] += 59.9
    assert hosts.failures("a:80") == 20
    now[0] += 0.1
    assert [hosts.failures("a:80") for _ in range(3)] == [0, 20, 20]
    hosts.gave_nothing("a:80")
    now[0] += 60
    assert hosts.failures("a:80") == 0
    hosts.answered("a:80")
    assert hosts.failures("a:80") == 0


def test_an_answer_begins_the_count_anew():
    hosts = Hosts()
    for _ in range(3):
        for _ in range(19):
            hosts.gave_nothing("a:80")
        hosts.answered("a:80")
    hosts.answered("never:80")
    assert hosts.failures("a:80") == 0
