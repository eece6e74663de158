"""Plants of I9 to I12: what was shown, done, kept and told to nobody."""

from typing import Final

from tests.system.planting.world import World, plant

MINUTE_MS: Final = 60_000
OTHER_CODE: Final = "2222222222"


@plant("I9")
def valid_after_its_cancel(world: World) -> str:
    shown = next(line for line in world.history if line["event"] == "shown" and line["valid"])
    world.history.append({**shown, "at_ms": world.history[-1]["at_ms"]})
    return f"{world.code}: valid at"


@plant("I9")
def a_permit_that_never_was(world: World) -> str:
    at_ms = world.history[-1]["at_ms"]
    world.history.append({"at_ms": at_ms, "who": "api-2", "event": "shown", "permit": OTHER_CODE, "valid": True})
    return f"{OTHER_CODE}: shown as valid, and no such permit"


@plant("I9")
def shown_before_it_was_stored(world: World) -> str:
    at_ms = world.history[0]["at_ms"] - MINUTE_MS
    world.history.insert(0, {"at_ms": at_ms, "who": "api-2", "event": "shown", "permit": world.code, "valid": True})
    return f"{world.code}: shown as valid at"


@plant("I9")
def an_employees_permit_shown_before_it_was_confirmed(world: World) -> str:
    code = next(line["permit"] for line in world.history if line["event"] == "acted" and line["deed"] == "create")
    at_ms = world.history[0]["at_ms"] - MINUTE_MS
    world.history.insert(0, {"at_ms": at_ms, "who": "api-2", "event": "shown", "permit": code, "valid": True})
    return f"{code}: shown as valid at"


@plant("I9")
def a_cancel_that_was_undone(world: World) -> str:
    return world.holder("sms", lambda one: one.update(status="active")) + ": cancelled at"


@plant("I10")
def under_a_delegation_that_there_is_not(world: World) -> str:
    return world.act("create", lambda act: act.update(under="feedfeed"), under=True) + " at"


@plant("I10")
def beyond_the_powers_of_a_delegate(world: World) -> str:
    world.organisation(lambda one: one["delegations"][0].update(powers=["read"]))
    return "beyond the powers"


@plant("I10")
def after_the_delegation_was_revoked(world: World) -> str:
    world.organisation(lambda one: one["delegations"][0].update(revoked_ms=one["delegations"][0]["from_ms"]))
    return "did not stand then"


@plant("I10")
def without_the_seal(world: World) -> str:
    return world.act("create", lambda act: act.pop("method"), under=False) + " at"


@plant("I10")
def a_gap_in_the_feed(world: World) -> str:
    name = world.named("feed")[0]
    world.store.hincrby(name, "numbered", 1)
    return f"{name}: "


@plant("I10")
def a_status_that_no_act_made(world: World) -> str:
    return world.holder("organisation", lambda one: one.update(status="cancelled")) + ": is cancelled"


@plant("I10")
def an_act_that_nobody_was_told_of(world: World) -> str:
    code = next(line["permit"] for line in world.history if line["event"] == "acted" and line["permit"])
    world.history = [line for line in world.history if line.get("permit") != code or line["event"] != "acted"]
    return f"create of {code} "


@plant("I10")
def an_act_that_was_promised_and_not_done(world: World) -> str:
    done = next(line for line in world.history if line["event"] == "acted" and line["permit"])
    world.history.append({**done, "at_ms": world.history[-1]["at_ms"]})
    return f"create of {done['permit']} "


@plant("I10")
def a_number_that_the_ministry_lacks(world: World) -> str:
    lost = world.taken.pop()
    return f" the Ministry lacks [{lost['number']}]"


@plant("I10")
def a_number_told_as_two_things(world: World) -> str:
    world.taken.append({**world.taken[0], "content": "00" * 8})
    return f"{world.taken[0]['id']}: told as two things"


@plant("I10")
def a_number_that_was_never_given(world: World) -> str:
    one = world.taken[0]
    world.taken.append({**one, "number": 900, "id": f"{one['id'].rpartition('-')[0]}-900"})
    return "the Ministry has 900 of"


@plant("I10")
def a_person_told_of_out_of_order(world: World) -> str:
    one = world.taken[0]
    world.taken.insert(0, {**one, "number": 900, "id": f"{one['id'].rpartition('-')[0]}-900"})
    return f"{one['id']}: told after number 900"


@plant("I10")
def another_event_than_its_act(world: World) -> str:
    world.taken[0]["event"] = "changed"
    return f"{world.taken[0]['permit']}: acts ['granted'], told ['changed']"


@plant("I11")
def a_record_that_never_expires(world: World) -> str:
    name = world.named("day")[0]
    world.store.persist(name)
    return f"{name}: no time to live"


@plant("I11")
def a_key_of_no_kind(world: World) -> str:
    world.store.set("scratch:1", "x")
    return "scratch:1"


@plant("I11")
def a_consumer_left_behind(world: World) -> str:
    name = world.named("replies")[0]
    world.store.xgroup_createconsumer(name, world.store.xinfo_groups(name)[0]["name"], "left-1")
    return "consumers: "


@plant("I11")
def memory_that_did_not_come_back(world: World) -> str:
    world.store.hset(world.named("audit")[0].replace("audit", "blocked"), "x", bytes(6 << 20))
    return "memory beside"


@plant("I12")
def a_phone_in_a_log(world: World) -> str:
    phone = next(line["from"] for line in world.history if line["event"] == "pushed")
    (world.logs / "9.log").write_text(f"sent to {phone}\n")
    return f"9.log, line 1: the phone ***{phone[-2:]}"


@plant("I12")
def a_document_in_a_metric(world: World) -> str:
    text = next(
        line["text"] for line in world.history if line["event"] == "pushed" and line["text"].startswith("2 AZE")
    )
    world.metrics.write_text(world.metrics.read_text() + f'x{{document="{text[2:]}"}} 1\n')
    return f"the document ***{text[-2:]}"


@plant("I12")
def a_phone_in_the_name_of_a_key(world: World) -> str:
    phone = next(line["from"] for line in world.history if line["event"] == "pushed")
    world.store.set(f"phone:{{0a}}:{phone}:20261127", "x", ex=100)
    return "a key of kind phone: the phone"
