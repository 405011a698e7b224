"""Versions in the background: a registry that is away holds nothing up, and the newest offer is not lost."""

import threading

from running import poll

from firstmile.errors import DependencyError
from training.online_publisher import Publisher
from training.online_register import Offer
from training.papers import Registered


def offered(n: int) -> Offer:
    return Offer("learner", n, "tree", {"features": []}, {}, {})


class Shelf:
    """A registry that is away until told otherwise."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away, self.versions, self.outcomes = is_away, list[int](), list[str]()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def register(self, offer: Offer) -> Registered:
        self.may_go_on.wait(30)
        if self.is_away:
            raise DependencyError("MLflow does not answer")
        self.versions.append(offer.n_learned)
        return Registered(str(len(self.versions)), "run")

    def publisher(self) -> Publisher:
        made = Publisher(self.register, count=self.outcomes.append)
        made.start()
        return made


def test_an_offer_is_registered_once_and_none_is_waited_for() -> None:
    shelf = Shelf()
    shelf.may_go_on.clear()
    publisher = shelf.publisher()
    publisher.offer(offered(1))
    assert shelf.versions == []
    shelf.may_go_on.set()
    poll(lambda: shelf.outcomes == ["registered"])
    publisher.stop()
    assert (shelf.versions, shelf.outcomes) == ([1], ["registered"])


def test_what_waits_is_registered_at_the_end() -> None:
    shelf = Shelf()
    publisher = shelf.publisher()
    publisher.offer(offered(1))
    publisher.stop()
    assert shelf.versions == [1]


def test_an_offer_made_while_it_is_away_waits_and_a_newer_one_takes_its_place() -> None:
    shelf = Shelf(is_away=True)
    publisher = shelf.publisher()
    publisher.offer(offered(1))
    poll(lambda: shelf.outcomes == ["failed"])
    publisher.offer(offered(2))
    poll(lambda: shelf.outcomes == ["failed", "failed"])
    shelf.is_away = False
    publisher.offer(offered(3))
    poll(lambda: shelf.outcomes[2:] == ["registered"])
    publisher.stop()
    assert shelf.versions == [3]


def test_while_it_is_away_a_stop_does_not_try_again() -> None:
    shelf = Shelf(is_away=True)
    publisher = shelf.publisher()
    publisher.offer(offered(1))
    poll(lambda: shelf.outcomes == ["failed"])
    publisher.stop()
    assert shelf.outcomes == ["failed"]
