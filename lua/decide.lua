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
--           to cancel a permit (of its purpose, 0: of any) | 27 days from that of arrival to the last of the records'
--           | 28 rule row, from 1 | 29 frame, 0: no reply | 30 1 = known by its text
--           | 31 a '?': which hour's senders take its number, from 1; 0 where it is held | 32-35 document's tail
--           | 36 a '?': minutes that its approval is held, 0: not | 37-46 the code of its permit, if it is not held
--           A '?' has five frames in a row: for the quota, for abuse, for a list, and two if approved: around the code,
--           and around it again behind the tail; a held one has the first three. A '!' has two: cancelled, and nothing
--           to cancel.
--       9 sealed numbers of the senders, SEAL bytes a '?'  10 number of day records  11 number of '!'  12 now, ms
--       13 number of rule rows, then the rows, bytes: refusals answered an hour, requests a day, phones a day, each
--       0 for no limit; number of lists that bar, lists...; then {limit, count of purposes, purposes...}*
--       then the number of frames, then (before, after) of each
--       then the expiry of each day record and each hour's senders, s
--       then texts: the start of the reply, and with a '?' that is held, what is held in its place; two a '!'
--       (start of the reply, and two times of 4 bytes, s: since when the SMS that obtained a permit must have arrived,
--       and since when one without end must have begun), none for 'M', one for any other
-- The holder's records: an officer has changed the permit of a field 's<digest, hex>-<moment of its decision, s>'.
-- A permit's field among the senders: the field of its record, 4 bytes, and its digest, 6
-- Reply {'decided', letters, ids reused, entries removed, refusals unanswered}
--       | {'fenced', epoch in force} | {'applied'} | {'gap'}
--       'gap': the batch does not begin at the head of the stream: read again from there.
--       Entries removed are those from the first to the last: another number than the batch's says that one between
--       was deleted by hand, or left out by the caller.
local STRIDE = 46
local SEAL = 16
local FRAME_OF = {[QUOTA] = 0, [ABUSE] = 1, [BLOCKED] = 2, [CANCELLED] = 0, [CANCELLED_HELD] = 0, [NOTHING] = 1}
local APPROVAL_AT = 3
local DAYS_AT = 8

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
      day = days - day
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
          local own, code = frames_at + 2 * (frame + APPROVAL_AT) - 2, sub(blob, base + 37, base + 46)
          answers[#answers + 1] = args[at] .. args[own] .. code .. args[own + 1] .. sub(blob, base + 32, base + 35)
            .. args[own + 2] .. code .. args[own + 3]
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
        at = at + (byte(blob, base + 36) > 0 and 2 or 1)
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
