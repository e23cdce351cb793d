"""The ASGI application: Django for HTTP, Channels for the live view's WebSocket."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cluster_dashboard.settings")
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 (needs Django's apps loaded)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from cluster_dashboard.live.consumers import LiveConsumer  # noqa: E402
from cluster_dashboard.live.read_only_socket import LimitedSockets  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        # So that a page of another site cannot open the socket with a visitor's cookies.
        "websocket": LimitedSockets(
            AllowedHostsOriginValidator(
                URLRouter(
                    [
                        path("ws/live", AuthMiddlewareStack(LiveConsumer.as_asgi())),
                        # Without it an address that does not exist is a traceback in the log.
                        re_path("", WebsocketDenier.as_asgi()),
                    ]
                )
            )
        ),
    }
)
