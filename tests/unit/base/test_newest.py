"""The place for the newest item: older ones are replaced and counted, and nobody waits for ever."""

import threading

from avatar.base.newest import Newest


def test_only_the_newest_is_taken_and_the_rest_counted():
    place = Newest()
    for number in range(5):
        place.put(number)
    assert place.take() == 4
    place.put(5)
    assert place.take() == 5
    assert (place.given, place.dropped) == (6, 4)


def test_it_waits_for_an_item_and_gives_up_in_time():
    place = Newest()
    assert place.take(timeout=0.01) is None
    threading.Timer(0.05, place.put, ["late"]).start()
    assert place.take(timeout=10) == "late"


def test_what_waits_can_be_taken_after_it_is_closed_and_nothing_else():
    place = Newest()
    place.put("last")
    place.close()
    place.put("after")
    assert place.take() == "last"
    assert place.take() is None
    assert (place.given, place.dropped) == (1, 0)


def test_closing_wakes_who_waits():
    place = Newest()
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(place.take()))
    waiting.start()
    place.close()
    waiting.join(10)
    assert taken == [None]


def test_a_slow_taker_sees_rising_items_and_every_one_is_accounted_for():
    place, seen = Newest(), []

    def take():
        while (item := place.take()) is not None:
            seen.append(item)

    taker = threading.Thread(target=take)
    taker.start()
    for number in range(1, 2001):
        place.put(number)
    place.close()
    taker.join(10)
    assert seen == sorted(set(seen))
    assert seen[-1] == 2000
    assert len(seen) + place.dropped == place.given == 2000
