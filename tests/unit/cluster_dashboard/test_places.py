"""Places: a limit for all clients together and one for each."""

from __future__ import annotations

from cluster_dashboard.places import Places


def test_client_takes_no_more_places_than_its_own() -> None:
    places = Places(in_all=10, for_each=2)

    assert [places.take("a") for _ in range(3)] == [True, True, False]
    assert places.take("b")


def test_all_clients_together_take_no_more_than_there_are() -> None:
    places = Places(in_all=2, for_each=2)

    assert [places.take(client) for client in "abc"] == [True, True, False]


def test_place_that_was_left_is_free_again_and_nothing_is_kept_of_its_client() -> None:
    places = Places(in_all=1, for_each=1)
    places.take("a")

    places.leave("a")

    assert (places.taken, dict(places._taken)) == (0, {})
    assert places.take("b")
