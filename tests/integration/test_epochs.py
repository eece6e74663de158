"""Acts on all permits as roles read them: one that cannot be read is said, and never passed over in silence."""

import pytest

from permits.employees import Epoch
from permits.messages import ENCODER
from runtime.connection import Client
from runtime.embedded import EmbeddedStore
from runtime.epochs import Epochs
from runtime.errors import StartupError
from tests.integration.api_door import Clock, serving

EPOCH = Epoch(1, "deactivate", 1, "decree", "staff", "0" * 32)
UNREADABLE = (b'{"number":2,"action":"suspend","at_ms":1}', b"{", b'{"number":2,"action":"\xff"}')


@pytest.mark.parametrize("item", UNREADABLE)
async def test_what_stands_before_an_unreadable_epoch_counts_and_the_reading_is_not_fresh(
    item: bytes, redis: Client
) -> None:
    epochs = Epochs(redis.execute_command)
    assert not epochs.fresh
    await epochs.begin()
    assert epochs.fresh
    await redis.execute_command("RPUSH", "epochs", ENCODER.encode(EPOCH), item)
    for _ in range(2):
        with pytest.raises(StartupError, match="epochs"):
            await epochs.begin()
        assert (epochs.known, epochs.fresh) == ([EPOCH], False)
    await redis.execute_command("LTRIM", "epochs", 0, 0)
    await epochs.refresh()
    assert (epochs.known, epochs.fresh) == ([EPOCH], True)


@pytest.mark.parametrize("item", UNREADABLE)
async def test_the_api_is_not_ready_while_an_epoch_cannot_be_read(
    item: bytes, server: EmbeddedStore, redis: Client
) -> None:
    async with serving(server.url, Clock()) as http:
        assert (await http.get("/readyz")).status == 200
        await redis.execute_command("RPUSH", "epochs", item)
        assert (await http.get("/readyz")).status == 503
