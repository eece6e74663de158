-- permits_v2_decide: decides one batch of a partition exactly once, in one atomic call.
--
-- An entry that stands in the inbound stream is undecided; deciding removes it. So the batch must be the head of
-- the stream, and the caller must hold the lane's lease (its epoch is the fence): then every entry is ours, or
-- the whole batch was applied by an earlier call whose answer was lost.
--
-- KEYS  1 fence  2 inbound  3 replies  4 audit  5 dead  6 counts  7.. day records, consecutive days, oldest first,
--       then the senders of permits that end before some hours
-- ARGV  1 epoch  2 id of the first entry  3 lowest id that stays (last id + 1)  4 number of entries
--       5 bytes a record may hold  6 the batch's audit JSON  7 expiry of counts, s
--       8 messages, STRIDE bytes each:
--           1-4 field | 5-23 entry without its letter | 24 letter, '?' where the rules decide | 25 index of the
--           day of arrival, from 0 | 26 rule row, 0 none | 27 refusal frame, 0 none | 28 1 = known by its text
--           | 29 a '?': which hour's senders take its number, from 1 | 30-33 document's tail
--       9 sealed numbers of the senders, SEAL bytes a '?'  10 number of day records
--       11 number of rule rows, then the rows: {limit, letter, count of purposes, purposes...}*, bytes
--       then the number of refusal frames, then (before, after) of each
--       then the expiry of each day record and each hour's senders, s
--       then texts: two a '?' (start of the reply, rest if approved), none for 'M', one for any other
-- A record's entries, ENTRY bytes each:
--       1-4 owner's tag | 5-8 digest of (source, sender, id) | 9-10 digest of the text | 11-14 arrival, s
--       | 15-18 seconds to the decision << 14 | minutes << 2 | days from quota day to arrival + 1
--       | 19 purpose | 20 letter
-- A permit's field among the senders: the field of its record, 4 bytes, and its digest, 6
-- Reply {'decided', letters, ids reused, entries removed} | {'fenced', epoch in force} | {'applied'} | {'gap'}
--       'gap': the batch does not begin at the head of the stream: read again from there.
--       Entries removed are those from the first to the last: another number than the batch's says that one between
--       was deleted by hand, or left out by the caller.
local STRIDE = 33
local ENTRY = 20
local SEAL = 16
local ID_AT, TEXT_AT, ARRIVAL_AT, DAY_AT, PURPOSE_AT, LETTER_AT = 4, 8, 10, 17, 18, 19
-- Letters as bytes, '?aDSMX': no string is made for each message, and none can be taken apart while loading.
local ASK, APPROVED, DUPLICATE, SHED, MOVED, DEAD = 63, 97, 68, 83, 77, 88
local TEXT_WINDOW_S = 120
local DEDUP_DAYS = 2

local function u32(value, at)
  local a, b, c, d = string.byte(value, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function parse_rules(row)
  local byte = string.byte
  local rules, at = {}, 1
  while at <= #row do
    local limit, letter, count = byte(row, at, at + 2)
    local purposes = {}
    for p = at + 3, at + 2 + count do
      purposes[byte(row, p)] = true
    end
    rules[#rules + 1] = {limit, letter, purposes}
    at = at + 3 + count
  end
  return rules
end

-- Fails before anything is written where a key holds another type: there is no rollback.
local function check_types(keys, first_senders)
  redis.call('XLEN', keys[3])
  redis.call('XLEN', keys[4])
  redis.call('XLEN', keys[5])
  redis.call('HLEN', keys[6])
  for k = first_senders, #keys do
    redis.call('HLEN', keys[k])
  end
end

-- Looks through an owner's records, day by day. Returns whether the SMS at `base` was decided before, whether its
-- id was seen with other words, and the purposes of the permits that stand for the quota's day, nil where none do.
local function look_up(values, days, blob, base, day, quota_day, by_text)
  local sub, byte = string.sub, string.byte
  local tag, id, text = sub(blob, base + 5, base + 8), sub(blob, base + 9, base + 12), sub(blob, base + 13, base + 14)
  local reused, held = false, nil
  for j = 1, days do
    local value = values[j]
    for at = 1, value and #value or 0, ENTRY do
      if sub(value, at, at + 3) == tag then
        if sub(value, at + ID_AT, at + ID_AT + 3) == id then
          if sub(value, at + TEXT_AT, at + TEXT_AT + 1) ~= text then
            reused = true
          elseif by_text then
            local apart = u32(value, at + ARRIVAL_AT) - u32(blob, base + 15)
            if apart <= TEXT_WINDOW_S and apart >= -TEXT_WINDOW_S then
              return true, false
            end
          elseif j >= day - DEDUP_DAYS then
            return true, false
          end
        end
        if byte(value, at + LETTER_AT) == APPROVED and j - byte(value, at + DAY_AT) % 4 == quota_day then
          held = held or {}
          held[#held + 1] = byte(value, at + PURPOSE_AT)
        end
      end
    end
  end
  return false, reused, held
end

-- The letter that the rules give to a request of an owner who holds permits.
local function judge(rules, held)
  for r = 1, #rules do
    local rule, count = rules[r], 0
    for h = 1, #held do
      if rule[3][held[h]] then
        count = count + 1
      end
    end
    if count >= rule[1] then
      return rule[2]
    end
  end
  return APPROVED
end

-- Adds to the counters in one write. A counter that is no number starts anew: it may not stop the decisions.
local function count(key, tally, expiry)
  local names, fields = {}, {}
  for counted in pairs(tally) do
    names[#names + 1] = counted
    fields[#fields + 1] = counted == 0 and 'id_reused' or string.char(math.floor(counted / 256)) .. counted % 256
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
  local hours = #keys - 6 - days
  check_types(keys, 7 + days)

  local cap, audit, counts_expiry, blob, seals = tonumber(args[5]), args[6], args[7], args[8], args[9]
  local at = 11
  local rule_rows = {}
  for r = 1, tonumber(args[at]) do
    rule_rows[r] = parse_rules(args[at + r])
  end
  at = at + 1 + #rule_rows
  local frames_at = at + 1
  at = frames_at + 2 * tonumber(args[at])
  local expiries_at = at
  at = at + days + hours

  local fields = {}
  for i = 1, n do
    local base = (i - 1) * STRIDE
    fields[i] = sub(blob, base + 1, base + 4)
  end
  local stored, touched, order = {}, {}, {}
  for j = 1, days do
    stored[j] = redis.call('HMGET', keys[6 + j], unpack(fields))
    touched[j], order[j] = {}, {}
  end

  local senders, sealed = {}, 0
  for h = 1, hours do
    senders[h] = {}
  end

  local letters, answers, dead, tally, ids_reused = {}, {}, {}, {}, 0
  for i = 1, n do
    local base, field = (i - 1) * STRIDE, fields[i]
    local timing, purpose, asked, day, row, frame, by_text, hour = byte(blob, base + 22, base + 29)
    local letter = asked
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
      local known, reused, held = false, false, nil
      local record = values and values[day] or ''
      -- A full record is not looked through: a flood on one document must not hold the store.
      if values and #record < cap then
        known, reused, held = look_up(values, days, blob, base, day, day - timing % 4, by_text == 1)
      end
      if reused then
        ids_reused = ids_reused + 1
      end
      if known then
        letter = DUPLICATE
      elseif #record >= cap then
        letter = SHED
      else
        if asked == ASK then
          letter = held and row > 0 and judge(rule_rows[row], held) or APPROVED
        end
        if not touched[day][field] then
          order[day][#order[day] + 1] = field
        end
        touched[day][field] = record .. sub(blob, base + 5, base + 23) .. string.char(letter)
        if letter == APPROVED then
          answers[#answers + 1] = args[at] .. args[at + 1]
          local kept = senders[hour]
          kept[#kept + 1] = field .. sub(blob, base + 9, base + 14)
          kept[#kept + 1] = sub(seals, sealed + 1, sealed + SEAL)
        else
          local before, after = args[frames_at + 2 * frame - 2], args[frames_at + 2 * frame - 1]
          if after == '' then
            answers[#answers + 1] = args[at] .. before
          else
            answers[#answers + 1] = args[at] .. before .. sub(blob, base + 30, base + 33) .. after
          end
        end
      end
      if asked == ASK then
        at = at + 2
        sealed = sealed + SEAL
      else
        at = at + 1
      end
    end
    letters[i] = letter
    local counted = letter * 256 + purpose
    tally[counted] = (tally[counted] or 0) + 1
  end
  if ids_reused > 0 then
    tally[0] = ids_reused
  end

  local removed = redis.call('XTRIM', keys[2], 'MINID', '=', stays)
  for j = 1, days do
    local written = {}
    for _, field in ipairs(order[j]) do
      written[#written + 1] = field
      written[#written + 1] = touched[j][field]
    end
    if #written > 0 then
      redis.call('HSET', keys[6 + j], unpack(written))
      redis.call('EXPIREAT', keys[6 + j], args[expiries_at + j - 1], 'NX')
    end
  end
  for h = 1, hours do
    if #senders[h] > 0 then
      redis.call('HSET', keys[6 + days + h], unpack(senders[h]))
      redis.call('EXPIREAT', keys[6 + days + h], args[expiries_at + days + h - 1], 'NX')
    end
  end
  for i = 1, #answers do
    redis.call('XADD', keys[3], '*', 'm', answers[i])
  end
  for i = 1, #dead do
    redis.call('XADD', keys[5], '*', 'm', dead[i])
  end
  local outcome = string.char(unpack(letters))
  redis.call('XADD', keys[4], '*', 'm', audit, 'v', outcome)
  count(keys[6], tally, counts_expiry)
  return {'decided', outcome, ids_reused, removed}
end

-- allow-oom: a full store can still drain its backlog, and every type was checked before the first write.
redis.register_function{function_name = 'permits_v2_decide', callback = decide, flags = {'allow-oom'}}
