"""What is asked of a broker that is not our own, before the cluster starts."""

from __future__ import annotations

import pytest

from cluster_dashboard.operations.broker import check_given_broker
from scheduler.rules.configuration import EnvironmentInvalid


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_a_broker_that_may_drop_queues_is_refused(valkey_server, policy):
    with valkey_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        try:
            with pytest.raises(EnvironmentInvalid, match=f"maxmemory-policy is {policy}; it must be noeviction"):
                check_given_broker()
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_broker_that_drops_nothing_is_taken(valkey_server):
    check_given_broker()
