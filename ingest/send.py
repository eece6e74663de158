"""`icaze send`: one SMS through the running ingest, and its reply from the reply stream."""

import argparse
import asyncio
import sys
import time
import uuid
from contextlib import aclosing
from typing import Any, Final

import aiohttp
import msgspec
from redis.exceptions import RedisError

from lua import keys as key_names
from lua.keys import PartitionKeys
from permits.messages import REPLY_DECODER, Reply
from permits.sms import read
from runtime import embedded, layout, lifecycle, settings
from runtime.connection import Client, Wire, shown
from runtime.settings import Settings
from runtime.topology import client_to, wire_to

NO_REPLY: Final = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """What to send, and from whom."""
    parser.add_argument("text", metavar="TEXT", help="the SMS, for example '2 AZE 1111111'")
    parser.add_argument("--from", dest="sender", required=True, metavar="MSISDN", help="for example +994501234567")
    parser.add_argument("--id", help="the aggregator's id; the same id again is the same SMS (default: a new one)")
    parser.add_argument("--wait", type=float, default=30.0, metavar="S", help="patience with the reply (30)")
    parser.add_argument("--json", action="store_true", help="print the reply as it stands on the stream")


def run(arguments: argparse.Namespace) -> int:
    """0 and the reply; 1 and the reason where none comes."""
    return lifecycle.run(lambda _: _send(arguments, settings.load()))


async def _send(arguments: argparse.Namespace, current: Settings) -> int:
    url = current.redis_url or embedded.url(current.data)
    route = layout.route(current)
    partition, _ = route.owner(read(arguments.text).document, _plus(arguments.sender))
    keys = key_names.partition_keys(key_names.tags(route.partitions)[partition])
    wire = wire_to(url)
    async with aclosing(client_to(url)) as client:
        try:
            after = await _last_id(client, keys)
            await wire.execute_command("PING")  # it may have to find the master first
        except (RedisError, OSError) as error:
            return _failed(f"store {shown(url)}: {error}; is `icaze up` running, or ICAZE_REDIS_URL set?")
        posted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # The reply is read without a group: listen before posting, so that it cannot come and go unseen.
        listening = asyncio.create_task(_listen(wire, keys, after, posted))
        try:
            posted.set_result(await _post(arguments, current))
            body = await asyncio.wait_for(listening, arguments.wait)
        except _RefusedError as error:
            return _failed(str(error))
        except TimeoutError:
            return _failed(f"no reply within {arguments.wait:g} s; {await _whereabouts(client, keys)}")
        except (RedisError, OSError) as error:
            return _failed(f"store {shown(url)}: {error}")
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await wire.close()
    print(body.decode() if arguments.json else _shown(REPLY_DECODER.decode(body)))
    return 0


async def _post(arguments: argparse.Namespace, current: Settings) -> str:
    """The id under which ingest took the SMS."""
    sms_id = arguments.id or f"send-{uuid.uuid4()}"
    item = {"id": sms_id, "from": arguments.sender, "to": "8103", "text": arguments.text}
    address = f"http://{current.host}:{current.ingest_port}/v1/sms"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.post(address, data=msgspec.json.encode(item), headers={"Content-Type": "application/json"}) as got,
        ):
            answer: Any = msgspec.json.decode(await got.read())
            if got.status != 202:
                raise _RefusedError(f"ingest answered {got.status}: {answer.get('title')}: {answer.get('detail', '')}")
            return answer["ids"][0]
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _RefusedError(f"ingest {address}: {error or type(error).__name__}; is `icaze up` running?") from None


async def _listen(wire: Wire, keys: PartitionKeys, after: bytes, posted: "asyncio.Future[str]") -> bytes:
    """The reply to the SMS that is being posted, as it stands on the stream."""
    while True:
        (reply,) = await wire.call(["XREAD", "BLOCK", 1000, "STREAMS", keys.replies, after], timeout_s=5)
        found: list[tuple[bytes, list[bytes]]] = reply[0][1] if reply else []
        for entry_id, fields in found:
            after = entry_id
            if REPLY_DECODER.decode(fields[1]).in_reply_to == await posted:
                return fields[1]


async def _last_id(client: Client, keys: PartitionKeys) -> bytes:
    last: list[tuple[bytes, Any]] = await client.execute_command("XREVRANGE", keys.replies, "+", "-", "COUNT", 1)
    return last[0][0] if last else b"%d-0" % (time.time_ns() // 1_000_000 - 1000)


async def _whereabouts(client: Client, keys: PartitionKeys) -> str:
    """Where an unanswered SMS may be."""
    waiting = await client.execute_command("XLEN", keys.inbound)
    if waiting:
        return f"{waiting} SMS wait in its partition: is a worker running (`icaze process`)?"
    return "it was decided without a reply: a repeat of an SMS that was answered before, or too many on one document"


def _plus(sender: str) -> str:
    return sender if sender.startswith("+") else f"+{sender}"


def _shown(reply: Reply) -> str:
    lines = [f"{reply.verdict}{'' if reply.reason is None else f' ({reply.reason})'}"]
    if reply.permit is not None:
        lines.append(f"permit {reply.permit}  {reply.valid_from} to {reply.valid_until or 'no end'}")
    return "\n".join([*lines, f"SMS: {reply.text}"])


def _failed(why: str) -> int:
    print(f"icaze send: {why}", file=sys.stderr)
    return NO_REPLY


class _RefusedError(Exception):
    """Ingest did not take the SMS."""
