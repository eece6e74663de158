-- permits_v2_decide: decides one batch of a partition exactly once, in one atomic call.
--
-- An entry that stands in the inbound stream is undecided; deciding removes it. So the batch must be the head of
-- the stream, and the caller must hold the lane's lease (its epoch is the fence): then every entry is ours, or
-- the whole batch was applied by an earlier call whose answer was lost.
--
-- KEYS  1 fence  2 inbound  3 replies  4 audit  5 dead  6 counts  7 blocked  8 held  9.. day records, consecutive
--       days, oldest first, then the senders of permits that end before some hours, then for each '!' the records
--       of its holder
-- ARGV  1 epoch  2 id of the first entry  3 lowest id that stays (last id + 1)  4 number of entries
--       5 bytes a record may hold  6 the batch's audit JSON  7 expiry of counts, s
--       8 messages, STRIDE bytes each:
--           1-4 field | 5-25 entry without its letter | 26 letter, '?' where the rules decide, '!' where it asks
--           to cancel a permit (of its purpose, 0: of any) | 27 index of the day of arrival, from 0
--           | 28 rule row, from 1 | 29 refusal frame, 0: no reply | 30 1 = known by its text
--           | 31 a '?': which hour's senders take its number, from 1; 0 where it is held | 32-35 document's tail
--           | 36 a '?': minutes that its approval is held, 0: not
--           A '?' has three frames in a row: for the quota, for abuse, for a list; a '!' two: cancelled, and nothing
--           to cancel.
--       9 sealed numbers of the senders, SEAL bytes a '?'  10 number of day records  11 number of '!'  12 now, ms
--       13 number of rule rows, then the rows, bytes: refusals answered an hour, requests a day, phones a day, each
--       0 for no limit; number of lists that bar, lists...; then {limit, count of purposes, purposes...}*
--       then the number of refusal frames, then (before, after) of each
--       then the expiry of each day record and each hour's senders, s
--       then texts: two a '?' (start of the reply, and the rest if approved, or what is held in its place), two a '!'
--       (start of the reply, and two times of 4 bytes, s: since when the SMS that obtained a permit must have arrived,
--       and since when one without end must have begun), none for 'M', one for any other
-- A record's entries, ENTRY bytes each:
--       1-4 owner's tag | 5-8 digest of (source, sender, id) | 9-10 digest of the text | 11-14 arrival, s
--       | 15-18 seconds to the decision << 14 | minutes << 2 | days from quota day to arrival + 1
--       | 19-20 first bytes of the sender's hash | 21 purpose | 22 letter
--       An approval that is held has the letter 'w', and as the moment of its decision the end of the hold.
--       A permit that its phone has cancelled is an 'e', one that was cancelled while it was held a 'v'.
-- The holder's records: an officer has changed the permit of a field 's<digest, hex>-<moment of its decision, s>'.
-- A document's value in `blocked`, LISTED bytes for each list it stands on:
--       1 list | 2-5 from, s | 6-9 until, s, 0 no end
-- A permit's field among the senders: the field of its record, 4 bytes, and its digest, 6
-- Reply {'decided', letters, ids reused, entries removed, refusals unanswered}
--       | {'fenced', epoch in force} | {'applied'} | {'gap'}
--       'gap': the batch does not begin at the head of the stream: read again from there.
--       Entries removed are those from the first to the last: another number than the batch's says that one between
--       was deleted by hand, or left out by the caller.
local STRIDE = 36
local ENTRY = 22
local LISTED = 9
local SEAL = 16
local ID_AT, TEXT_AT, ARRIVAL_AT, TIMES_AT, DAY_AT, SENDER_AT, PURPOSE_AT, LETTER_AT = 4, 8, 10, 14, 17, 18, 20, 21
-- Letters as bytes, '?!aqdkcynDSMXwve': no string is made for each message; none can be taken apart while loading.
local ASK, CANCEL, APPROVED, QUOTA, ABUSE, BLOCKED = 63, 33, 97, 113, 100, 107
local CANCELLED, CANCELLED_HELD, NOTHING = 99, 121, 110
local DUPLICATE, SHED, MOVED, DEAD = 68, 83, 77, 88
local HELD, WITHDRAWN, ENDED = 119, 118, 101
local IS_PERMIT = {[APPROVED] = true, [HELD] = true, [ENDED] = true}
local NO_REFUSAL = {
  [APPROVED] = true, [HELD] = true, [WITHDRAWN] = true, [ENDED] = true, [CANCELLED] = true, [CANCELLED_HELD] = true,
}
local FRAME_OF = {[QUOTA] = 0, [ABUSE] = 1, [BLOCKED] = 2, [CANCELLED] = 0, [CANCELLED_HELD] = 0, [NOTHING] = 1}
local DAYS_AT = 8
local TEXT_WINDOW_S = 120
local DEDUP_DAYS = 2
local REFUSALS_WINDOW_S = 3600
local MOST_DELAY_S = 262143

local function u32(value, at)
  local a, b, c, d = string.byte(value, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- An entry's packed times with another delay from its arrival.
local function begun(packed, delay_s)
  local value = math.min(delay_s, MOST_DELAY_S) * 16384 + packed % 16384
  local floor = math.floor
  return string.char(floor(value / 16777216), floor(value / 65536) % 256, floor(value / 256) % 256, value % 256)
end

-- A row of what a request must pass: a limit of 0 is nil.
local function parse_rules(text)
  local byte = string.byte
  local answered, requests, phones, count = byte(text, 1, 4)
  local row = {
    answered = answered > 0 and answered, requests = requests > 0 and requests, phones = phones > 0 and phones,
  }
  for l = 5, 4 + count do
    row.lists = row.lists or {}
    row.lists[byte(text, l)] = true
  end
  local at = 5 + count
  while at <= #text do
    local limit, named = byte(text, at, at + 1)
    local purposes = {}
    for p = at + 2, at + 1 + named do
      purposes[byte(text, p)] = true
    end
    row[#row + 1] = {limit, purposes}
    at = at + 2 + named
  end
  return row
end

-- Fails before anything is written where a key holds another type: there is no rollback.
local function check_types(keys, first_senders)
  redis.call('HLEN', keys[7])
  redis.call('ZCARD', keys[8])
  redis.call('XLEN', keys[3])
  redis.call('XLEN', keys[4])
  redis.call('XLEN', keys[5])
  redis.call('HLEN', keys[6])
  for k = first_senders, #keys do
    redis.call('HLEN', keys[k])
  end
end

-- Looks through an owner's records, day by day. Returns whether the SMS at `base` was decided before, whether its
-- id was seen with other words, and the owner's past, nil where there is none: `requests` decided for the quota's day,
-- the `phones` they came from and how many those are, the `permits` among them by purpose, and the `refusals` of the
-- last hour that went to the same phone.
local function look_up(values, days, blob, base, day, quota_day, by_text)
  local sub, byte = string.sub, string.byte
  local tag, id, text = sub(blob, base + 5, base + 8), sub(blob, base + 9, base + 12), sub(blob, base + 13, base + 14)
  local arrival, own = u32(blob, base + 15), sub(blob, base + 23, base + 24)
  local reused, past = false, nil
  for j = 1, days do
    local value = values[j]
    for at = 1, value and #value or 0, ENTRY do
      if sub(value, at, at + 3) == tag then
        local apart = u32(value, at + ARRIVAL_AT) - arrival
        if sub(value, at + ID_AT, at + ID_AT + 3) == id then
          if sub(value, at + TEXT_AT, at + TEXT_AT + 1) ~= text then
            reused = true
          elseif by_text then
            if apart <= TEXT_WINDOW_S and apart >= -TEXT_WINDOW_S then
              return true, false
            end
          elseif j >= day - DEDUP_DAYS then
            return true, false
          end
        end
        past = past or {requests = 0, refusals = 0, permits = {}, phones = {}, count = 0}
        local purpose, letter = byte(value, at + PURPOSE_AT, at + LETTER_AT)
        local phone = sub(value, at + SENDER_AT, at + SENDER_AT + 1)
        -- Another phone's refusals do not silence this one: its owner may be the one who is robbed.
        if phone == own and not NO_REFUSAL[letter] and apart > -REFUSALS_WINDOW_S then
          past.refusals = past.refusals + 1
        end
        if j - byte(value, at + DAY_AT) % 4 == quota_day then
          past.requests = past.requests + 1
          -- Who was turned away as one phone too many does not become known by it.
          if letter ~= ABUSE and not past.phones[phone] then
            past.phones[phone] = true
            past.count = past.count + 1
          end
          if IS_PERMIT[letter] then
            past.permits[#past.permits + 1] = purpose
          end
        end
      end
    end
  end
  return false, reused, past
end

-- Whether a document stands on one of some lists at a moment.
local function is_listed(value, lists, at_s)
  for at = 1, value and lists and #value or 0, LISTED do
    if lists[string.byte(value, at)] then
      local until_s = u32(value, at + 5)
      if u32(value, at + 1) <= at_s and (until_s == 0 or at_s < until_s) then
        return true
      end
    end
  end
  return false
end

-- The letter that limits and rules give to a request of an owner with a past.
local function judge(row, past, phone)
  if row.requests and past.requests >= row.requests then
    return ABUSE
  end
  if row.phones and past.count >= row.phones and not past.phones[phone] then
    return ABUSE
  end
  for r = 1, #row do
    local rule, count = row[r], 0
    for p = 1, #past.permits do
      if rule[2][past.permits[p]] then
        count = count + 1
      end
    end
    if count >= rule[1] then
      return QUOTA
    end
  end
  return APPROVED
end

local function hex(bytes)
  return (string.gsub(bytes, '.', function(one) return string.format('%02x', string.byte(one)) end))
end

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

-- Adds to the counters in one write. A counter that is no number starts anew: it may not stop the decisions.
local function count(key, tally, expiry)
  local names, fields = {}, {}
  for counted in pairs(tally) do
    names[#names + 1] = counted
    local named = type(counted) == 'string'
    fields[#fields + 1] = named and counted or string.char(math.floor(counted / 256)) .. counted % 256
  end
  local before, written = redis.call('HMGET', key, unpack(fields)), {}
  for k = 1, #names do
    written[#written + 1] = fields[k]
    written[#written + 1] = string.format('%.0f', (tonumber(before[k] or 0) or 0) + tally[names[k]])
  end
  redis.call('HSET', key, unpack(written))
  redis.call('EXPIREAT', key, expiry, 'NX')
end

local function decide(keys, args)
  local sub, byte = string.sub, string.byte
  local epoch, first, stays, n = args[1], args[2], args[3], tonumber(args[4])
  local in_force = redis.call('GET', keys[1])
  if in_force ~= epoch then
    return {'fenced', in_force or ''}
  end
  local head = redis.call('XRANGE', keys[2], '-', '+', 'COUNT', 1)[1]
  if not head or not id_below(head[1], stays) then
    return {'applied'}
  elseif head[1] ~= first then
    return {'gap'}
  end
  local days = tonumber(args[10])
  local hours = #keys - DAYS_AT - days - tonumber(args[11])
  check_types(keys, DAYS_AT + 1 + days)

  local cap, audit, counts_expiry, blob, seals = tonumber(args[5]), args[6], args[7], args[8], args[9]
  local now_ms = tonumber(args[12])
  local now_s = math.floor(now_ms / 1000)
  local at = 13
  local rule_rows = {}
  for r = 1, tonumber(args[at]) do
    rule_rows[r] = parse_rules(args[at + r])
  end
  at = at + 1 + #rule_rows
  local frames_at = at + 1
  at = frames_at + 2 * tonumber(args[at])
  local expiries_at = at
  at = at + days + hours

  local fields, owners = {}, {}
  for i = 1, n do
    local base = (i - 1) * STRIDE
    fields[i] = sub(blob, base + 1, base + 4)
    owners[i] = sub(blob, base + 1, base + 8)
  end
  local listed = redis.call('EXISTS', keys[7]) == 1 and redis.call('HMGET', keys[7], unpack(owners)) or {}
  local stored, touched, order = {}, {}, {}
  for j = 1, days do
    stored[j] = redis.call('HMGET', keys[DAYS_AT + j], unpack(fields))
    touched[j], order[j] = {}, {}
  end

  local senders, sealed = {}, 0
  for h = 1, hours do
    senders[h] = {}
  end

  local letters, answers, held, dead, tally, silent, unanswered = {}, {}, {}, {}, {}, {}, 0
  local ids_reused = 0
  local cancels, withdrawn, cancellations = 0, {}, {}
  for i = 1, n do
    local base, field = (i - 1) * STRIDE, fields[i]
    local timing, _, _, purpose, asked, day, named, frame, by_text, hour = byte(blob, base + 22, base + 31)
    local letter = asked
    silent[i] = 48
    if asked == DEAD then
      dead[#dead + 1] = args[at]
      at = at + 1
    elseif asked ~= MOVED then
      day = day + 1
      local values
      for j = 1, days do
        local value = touched[j][field] or stored[j][i]
        if value then
          values = values or {}
          values[j] = value
        end
      end
      local known, reused, past = false, false, nil
      local record = values and values[day] or ''
      -- A full record is not looked through: a flood on one document must not hold the store.
      if values and #record < cap then
        known, reused, past = look_up(values, days, blob, base, day, day - timing % 4, by_text == 1)
      end
      if reused then
        ids_reused = ids_reused + 1
      end
      if known then
        letter = DUPLICATE
      elseif #record >= cap then
        letter = SHED
      else
        local row = rule_rows[named]
        if asked == ASK then
          if listed[i] and is_listed(listed[i], row.lists, u32(blob, base + 15)) then
            letter = BLOCKED
          else
            letter = past and judge(row, past, sub(blob, base + 23, base + 24)) or APPROVED
          end
        elseif asked == CANCEL then
          local found = cancellable(values, days, blob, base, args[at + 1], now_s)
          local holder = keys[DAYS_AT + days + hours + cancels + 1]
          local became, words, permit = cancel(found, holder, keys[8], held, withdrawn, hex(owners[i]))
          letter = became
          cancellations[#cancellations + 1] = string.format('[%d,%s]', i - 1, words)
          if permit then
            local j, value = permit.day, values[permit.day]
            if not touched[j][field] then
              order[j][#order[j] + 1] = field
            end
            touched[j][field] = sub(value, 1, permit.at + LETTER_AT - 1)
              .. string.char(letter == CANCELLED and ENDED or WITHDRAWN) .. sub(value, permit.at + ENTRY, -1)
            record = touched[day][field] or record
          end
        end
        if not touched[day][field] then
          order[day][#order[day] + 1] = field
        end
        local hold = letter == APPROVED and byte(blob, base + 36) or 0
        if hold > 0 then
          local packed = u32(blob, base + 19)
          local times = begun(packed, math.floor(packed / 16384) + hold * 60)
          touched[day][field] = record
            .. sub(blob, base + 5, base + 18) .. times .. sub(blob, base + 23, base + 25) .. string.char(HELD)
        else
          touched[day][field] = record .. sub(blob, base + 5, base + 25) .. string.char(letter)
        end
        if hold > 0 then
          -- In the second that the record tells, where a withdrawal looks for it, though the arrival's clock is ahead.
          held[#held + 1] = string.format('%.0f', math.max(now_ms, u32(blob, base + 15) * 1000) + hold * 60000)
          held[#held + 1] = args[at + 1] .. sub(seals, sealed + 1, sealed + SEAL)
        elseif letter == APPROVED then
          answers[#answers + 1] = args[at] .. args[at + 1]
          local kept = senders[hour]
          kept[#kept + 1] = field .. sub(blob, base + 9, base + 14)
          kept[#kept + 1] = sub(seals, sealed + 1, sealed + SEAL)
        elseif frame == 0 or past and row.answered and past.refusals >= row.answered and not NO_REFUSAL[letter] then
          silent[i], unanswered = 49, unanswered + 1
        else
          local own = (asked == ASK or asked == CANCEL) and frame + FRAME_OF[letter] or frame
          local before, after = args[frames_at + 2 * own - 2], args[frames_at + 2 * own - 1]
          if after == '' then
            answers[#answers + 1] = args[at] .. before
          else
            answers[#answers + 1] = args[at] .. before .. sub(blob, base + 32, base + 35) .. after
          end
        end
      end
      if asked == ASK then
        at = at + 2
        sealed = sealed + SEAL
      elseif asked == CANCEL then
        at = at + 2
        cancels = cancels + 1
      else
        at = at + 1
      end
    end
    letters[i] = letter
    local counted = letter * 256 + purpose
    tally[counted] = (tally[counted] or 0) + 1
  end
  if ids_reused > 0 then
    tally.id_reused = ids_reused
  end
  if unanswered > 0 then
    tally.unanswered = unanswered
  end

  local removed = redis.call('XTRIM', keys[2], 'MINID', '=', stays)
  for j = 1, days do
    local written = {}
    for _, field in ipairs(order[j]) do
      written[#written + 1] = field
      written[#written + 1] = touched[j][field]
    end
    if #written > 0 then
      redis.call('HSET', keys[DAYS_AT + j], unpack(written))
      redis.call('EXPIREAT', keys[DAYS_AT + j], args[expiries_at + j - 1], 'NX')
    end
  end
  for h = 1, hours do
    if #senders[h] > 0 then
      redis.call('HSET', keys[DAYS_AT + days + h], unpack(senders[h]))
      redis.call('EXPIREAT', keys[DAYS_AT + days + h], args[expiries_at + days + h - 1], 'NX')
    end
  end
  if #withdrawn > 0 then
    redis.call('ZREM', keys[8], unpack(withdrawn))
  end
  if #held > 0 then
    redis.call('ZADD', keys[8], unpack(held))
  end
  for i = 1, #answers do
    redis.call('XADD', keys[3], '*', 'm', answers[i])
  end
  for i = 1, #dead do
    redis.call('XADD', keys[5], '*', 'm', dead[i])
  end
  local outcome = string.char(unpack(letters))
  local trail = {'m', audit, 'v', outcome}
  if unanswered > 0 then
    trail[5], trail[6] = 'w', string.char(unpack(silent))
  end
  if #cancellations > 0 then
    trail[#trail + 1] = 'c'
    trail[#trail + 1] = '[' .. table.concat(cancellations, ',') .. ']'
  end
  redis.call('XADD', keys[4], '*', unpack(trail))
  count(keys[6], tally, counts_expiry)
  return {'decided', outcome, ids_reused, removed, unanswered}
end

-- allow-oom: a full store can still drain its backlog, and every type was checked before the first write.
redis.register_function{function_name = 'permits_v2_decide', callback = decide, flags = {'allow-oom'}}
