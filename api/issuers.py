"""Whose tokens count: joins the issuers that the settings name into the verifier of this process."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from api import dev_issuer, oidc, services
from api.auth import Verify, no_issuer
from api.tokens import Issuer, Verifier
from runtime.settings import Settings
from runtime.telemetry import Log

_log: Final = Log("api")


@asynccontextmanager
async def open_verifier(settings: Settings, now_ms: Callable[[], int]) -> AsyncGenerator[Verify]:
    """The verifier; StartupError where a setting, a key or the services' file cannot be used."""
    issuers: dict[str, Issuer] = {}
    if settings.dev_issuer:
        issuers[dev_issuer.ISSUER] = dev_issuer.DevIssuer(dev_issuer.key_pair(settings))
    issuers |= services.load(settings.services_file, audience=settings.oidc_audience, leeway_s=settings.oidc_leeway_s)
    async with AsyncExitStack() as stack:
        if settings.oidc_issuer:
            issuers[settings.oidc_issuer] = await stack.enter_async_context(oidc.opened(settings, now_ms))
        if not issuers:
            _log.warning(
                "no issuer is configured: every token is refused; set ICAZE_OIDC_ISSUER or ICAZE_SERVICES_FILE, "
                "for development ICAZE_DEV_ISSUER=true"
            )
        yield Verifier(issuers, now_ms) if issuers else no_issuer
