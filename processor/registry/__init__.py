"""The port to the registry of persons, and its two implementations: `format` and `http`."""

from collections.abc import Callable

from processor.registry.format_rules import FormatRules
from processor.registry.http import HttpRegistry
from processor.registry.port import Registry
from runtime.errors import StartupError
from runtime.outside import is_trustworthy
from runtime.settings import Settings


def registry_of(settings: Settings, *, accepts: Callable[[str], bool]) -> Registry:
    """The registry that the settings name; StartupError where its address is not fit for personal data."""
    if settings.registry == "format":
        return FormatRules(accepts)
    if not is_trustworthy(settings.registry_url):
        raise StartupError("ICAZE_REGISTRY=http needs ICAZE_REGISTRY_URL, an https:// address (http:// on loopback)")
    return HttpRegistry(settings.registry_url)
