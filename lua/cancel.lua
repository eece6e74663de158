-- What an SMS with the cancel word ('!') does: the newest permit of the document by the same phone is given up.

-- The places of the permits that a '!' may cancel, newest first.
local function cancellable(values, days, blob, base, times, now_s)
  local sub, byte, floor = string.sub, string.byte, math.floor
  local tag, phone, purpose = sub(blob, base + 5, base + 8), sub(blob, base + 23, base + 24), byte(blob, base + 25)
  local arrived_since, endless_since = u32(times, 1), u32(times, 5)
  local found = {}
  for j = 1, values and days or 0 do
    local value = values[j]
    for at = 1, value and #value or 0, ENTRY do
      local asked_for, letter = byte(value, at + PURPOSE_AT, at + LETTER_AT)
      local arrival = u32(value, at + ARRIVAL_AT)
      if (letter == APPROVED or letter == HELD) and (purpose == 0 or asked_for == purpose)
        and arrival >= arrived_since and sub(value, at, at + 3) == tag
        and sub(value, at + SENDER_AT, at + SENDER_AT + 1) == phone then
        local packed = u32(value, at + TIMES_AT)
        local begins, minutes = arrival + floor(packed / 16384), floor(packed / 4) % 4096
        local stands = minutes > 0 and begins + minutes * 60 > now_s or minutes == 0 and begins >= endless_since
        if letter == HELD or stands then
          found[#found + 1] = {
            begins = begins, day = j, at = at, letter = letter, arrival = arrival, purpose = asked_for,
            digest = hex(sub(value, at + ID_AT, at + ID_AT + 5)), days_to_arrival = packed % 4 - 1,
          }
        end
      end
    end
  end
  table.sort(found, function(a, b)
    if a.begins ~= b.begins then
      return a.begins > b.begins
    end
    return a.day > b.day or a.day == b.day and a.at > b.at
  end)
  return found
end

-- Takes an approval that waits out of those that this call holds, or names it among those that stand in `held`.
local function unheld(key, held, withdrawn, owner, permit)
  local named = '"' .. owner .. '","' .. permit.digest .. '"'
  for m = 2, #held, 2 do
    if string.find(held[m], named, 1, true) then
      table.remove(held, m)
      table.remove(held, m - 1)
      return true
    end
  end
  local due_ms = permit.begins * 1000
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, due_ms, due_ms + 999)) do
    if string.find(member, named, 1, true) then
      withdrawn[#withdrawn + 1] = member
      return true
    end
  end
  return false
end

-- What a '!' does to the permits that it may cancel: its letter, the trail's words for it, and the permit, nil: none.
-- What an officer has changed is his, and an approval that waits nowhere cannot be told any more: both are passed over.
local function cancel(found, holder, held_key, held, withdrawn, owner)
  local passed = {}
  for _, permit in ipairs(found) do
    local letter
    if permit.letter == HELD then
      letter = unheld(held_key, held, withdrawn, owner, permit) and CANCELLED_HELD
    elseif redis.call('HEXISTS', holder, string.format('s%s-%.0f', permit.digest, permit.begins)) == 0 then
      letter = CANCELLED
    end
    if letter then
      local words = string.format(
        '["%s",%.0f,%d,%d]', permit.digest, permit.arrival, permit.purpose, permit.days_to_arrival
      )
      return letter, words .. ',[' .. table.concat(passed, ',') .. ']', permit
    end
    passed[#passed + 1] = string.format('["%s",%.0f]', permit.digest, permit.arrival)
  end
  return NOTHING, 'null,[' .. table.concat(passed, ',') .. ']'
end
