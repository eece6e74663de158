-- Approvals that wait in `held` for their time. A member is an array of JSON and, behind it, SEAL bytes of the sealed
-- number; its score the moment of its release, ms. Who takes a member out, and nobody else, goes on with it.

-- The owner's record with the waiting entry of a digest told anew, nil where it does not wait.
local function settled(record, tag, digest, letter, begins_s)
  local sub = string.sub
  for at = 1, record and #record or 0, ENTRY do
    if sub(record, at, at + 3) == tag and sub(record, at + ID_AT, at + ID_AT + 5) == digest
      and string.byte(record, at + LETTER_AT) == HELD then
      local times = sub(record, at + TIMES_AT, at + TIMES_AT + 3)
      if begins_s then
        times = begun(u32(times, 1), math.max(0, begins_s - u32(record, at + ARRIVAL_AT)))
      end
      return sub(record, 1, at + TIMES_AT - 1) .. times .. sub(record, at + TIMES_AT + 4, at + LETTER_AT - 1)
        .. letter .. sub(record, at + ENTRY, -1)
    end
  end
end

-- permits_v2_release_held: tells approvals whose time has come, each once, whoever calls and however often.
-- KEYS  1 held  2 replies  3 audit  4.. day records, then the senders of permits that end before some hours
-- ARGV  1 now, s  2 number of day records  3 start of the audit's JSON, up to the rows  4 number of members
--       then the expiry of each hour's senders, s
--       then four for each member: itself | field 4, tag 4, digest 6, then from 1, a byte each, day record and hour
--       | the reply, JSON | its row of the audit, JSON
-- Reply a letter for each: 'r' released, '-' was not waiting, '?' no record of it stands: nothing was changed
local function release_held(keys, args)
  local sub, byte = string.sub, string.byte
  local now_s, days, n = tonumber(args[1]), tonumber(args[2]), tonumber(args[4])
  local hours = #keys - 3 - days
  redis.call('XLEN', keys[2])
  redis.call('XLEN', keys[3])
  for k = 4, #keys do
    redis.call('HLEN', keys[k])
  end
  local letters, rows = {}, {}
  for i = 1, n do
    local at = 4 + hours + 4 * (i - 1)
    local member, where = args[at + 1], args[at + 2]
    local field, digest = sub(where, 1, 4), sub(where, 9, 14)
    local day_key = keys[3 + byte(where, 15)]
    local record = settled(redis.call('HGET', day_key, field), sub(where, 5, 8), digest, 'a', now_s)
    if not redis.call('ZSCORE', keys[1], member) then
      letters[i] = '-'
    elseif not record then
      letters[i] = '?'
    else
      local hour = byte(where, 16)
      redis.call('ZREM', keys[1], member)
      redis.call('HSET', day_key, field, record)
      redis.call('HSET', keys[3 + days + hour], field .. digest, sub(member, -SEAL))
      redis.call('EXPIREAT', keys[3 + days + hour], args[4 + hour], 'NX')
      redis.call('XADD', keys[2], '*', 'm', args[at + 3])
      letters[i], rows[#rows + 1] = 'r', args[at + 4]
    end
  end
  if #rows > 0 then
    redis.call('XADD', keys[3], '*', 'r', args[3] .. table.concat(rows, ',') .. ']}')
  end
  return table.concat(letters)
end

-- permits_v2_withdraw: cancels an approval that waits; its permit of the day was never given.
-- KEYS  1 held  2 day record  3 audit  4 acts  5 replies  6 holder  7 ends
-- ARGV  1 member  2 field 4, owner's tag 4, digest 6  3 the audit's JSON  4 act, JSON  5 notice, JSON, '' for none
--       6 its field in `holder`  7 its record there, which tells who cancelled it  8 member of `ends`  9 its score, s
-- Reply 1, or 0 where it waits no more: nothing was changed
local function withdraw(keys, args)
  local sub = string.sub
  local where = args[2]
  for k = 3, 5 do
    redis.call('XLEN', keys[k])
  end
  redis.call('HLEN', keys[6])
  redis.call('ZCARD', keys[7])
  local field = sub(where, 1, 4)
  local record = settled(redis.call('HGET', keys[2], field), sub(where, 5, 8), sub(where, 9, 14), 'v')
  if not record or redis.call('ZREM', keys[1], args[1]) == 0 then
    return 0
  end
  redis.call('HSET', keys[2], field, record)
  redis.call('HSET', keys[6], args[6], args[7])
  redis.call('ZADD', keys[7], 'LT', args[9], args[8])
  redis.call('XADD', keys[3], '*', 'r', args[3])
  redis.call('XADD', keys[4], '*', 'm', args[4])
  if args[5] ~= '' then
    redis.call('XADD', keys[5], '*', 'm', args[5])
  end
  return 1
end

-- permits_v2_bury_held: makes a dead letter of an approval that cannot be told.
-- KEYS  1 held  2 dead   ARGV  1 member  2 the letter's JSON   Reply 1 where the letter was written, else 0
local function bury_held(keys, args)
  redis.call('XLEN', keys[2])
  local waited = redis.call('ZREM', keys[1], args[1])
  if waited == 1 then
    redis.call('XADD', keys[2], '*', 'm', args[2])
  end
  return waited
end

-- allow-oom: what was decided is told on a full store too.
redis.register_function{function_name = 'permits_v2_release_held', callback = release_held, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_withdraw', callback = withdraw, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_bury_held', callback = bury_held, flags = {'allow-oom'}}
