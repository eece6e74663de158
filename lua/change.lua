-- What stands outside the day records: employees' permits, amended SMS permits, organisations, epochs. A record
-- changes by compare-and-set of its version, in one step with all that follows from the change.
-- A record is its version, a space, and JSON.

local function version_of(record)
  return record and string.match(record, '^(%d+) ') or ''
end

-- permits_v2_change: writes one record and what follows from it, or nothing; permits_v2_create: the same for new work.
-- KEYS  1 hash of the record  2 ends  3 outbox  4 feed  5 applications  6 replies  7 acts  8 dead  9 senders
-- ARGV  1 field of the record  2 version that must stand: '' none yet, '*' any  3 new record, '' to leave it
--       4 most records of the hash, 0 for no limit, then any of these names, each with its value:
--       member + ends: when the record must be looked at again, s, under which name
--       act: JSON for the audit of acts | event: JSON for the outbox | feed: the same, numbered for the Ministry; its
--       first brace is left out | application: JSON | reply: JSON | dead: JSON
--       done: outbox entry that this change settles | ack: 'taken', 'refused' or 'off', counted with it
--       applied: entry of applications that this change settles
--       sender: field of a permit's sender | number + until_s: its sealed number, and its expiry, s; without them the
--       number is taken away
-- Reply {'done', number in the feed or 0} | {'stale', record that stands} | {'full'}
--       | {'gone'}: the entry to settle was settled before. All but the first changed nothing.
local function change(keys, args)
  local field, expected, record = args[1], args[2], args[3]
  local asked = {}
  for i = 5, #args, 2 do
    asked[args[i]] = args[i + 1]
  end
  -- Whatever holds another type fails here, before the first write: there is no rollback.
  redis.call('ZCARD', keys[2])
  redis.call('HLEN', keys[4])
  redis.call('HLEN', keys[9])
  for _, at in ipairs({3, 5, 6, 7, 8}) do
    redis.call('XLEN', keys[at])
  end
  local standing = redis.call('HGET', keys[1], field)
  if expected ~= '*' and version_of(standing) ~= expected then
    return {'stale', standing or ''}
  end
  if asked.done and redis.call('XRANGE', keys[3], asked.done, asked.done)[1] == nil then
    return {'gone'}
  end
  if asked.applied and redis.call('XRANGE', keys[5], asked.applied, asked.applied)[1] == nil then
    return {'gone'}
  end
  local most = tonumber(args[4])
  if not standing and record ~= '' and most > 0 and redis.call('HLEN', keys[1]) >= most then
    return {'full'}
  end

  if record ~= '' then
    redis.call('HSET', keys[1], field, record)
  end
  if asked.ends then
    redis.call('ZADD', keys[2], 'LT', asked.ends, asked.member)
  end
  if asked.done then
    redis.call('XDEL', keys[3], asked.done)
    redis.call('HINCRBY', keys[4], asked.ack, 1)
  end
  if asked.applied then
    redis.call('XDEL', keys[5], asked.applied)
  end
  local number = 0
  if asked.feed then
    number = redis.call('HINCRBY', keys[4], 'numbered', 1)
    redis.call('XADD', keys[3], '*', 'm', '{"number":' .. string.format('%.0f', number) .. ',' .. asked.feed)
  end
  for text, at in pairs({event = 3, application = 5, reply = 6, act = 7, dead = 8}) do
    if asked[text] then
      redis.call('XADD', keys[at], '*', 'm', asked[text])
    end
  end
  if asked.number then
    redis.call('HSET', keys[9], asked.sender, asked.number)
    redis.call('EXPIREAT', keys[9], asked.until_s, 'NX')
  elseif asked.sender then
    redis.call('HDEL', keys[9], asked.sender)
  end
  return {'done', number}
end

-- permits_v2_forget: removes records that nobody needs any more, unless they have changed meanwhile.
-- KEYS  1 hash of the records  2 ends   ARGV  1 member  2 when to look again, s, then (field, version) of each
-- Reply the number of records that are left
local function forget(keys, args)
  redis.call('ZCARD', keys[2])
  for i = 3, #args, 2 do
    if version_of(redis.call('HGET', keys[1], args[i])) == args[i + 1] then
      redis.call('HDEL', keys[1], args[i])
    end
  end
  local left = redis.call('HLEN', keys[1])
  if left == 0 then
    redis.call('ZREM', keys[2], args[1])
  else
    redis.call('ZADD', keys[2], args[2], args[1])
  end
  return left
end

-- permits_v2_proclaim: appends an epoch, once a request.
-- KEYS  1 epochs   ARGV  1 its number, from 1  2 its JSON  3 the request's digest, which stands in the JSON
-- Reply {'done', number} | {'known', number}: the request was carried out before | {'stale', number of epochs}
local function proclaim(keys, args)
  local stood = redis.call('LRANGE', keys[1], 0, -1)
  for i = 1, #stood do
    if string.find(stood[i], '"request":"' .. args[3] .. '"', 1, true) then
      return {'known', i}
    end
  end
  if #stood + 1 ~= tonumber(args[1]) then
    return {'stale', #stood}
  end
  return {'done', redis.call('RPUSH', keys[1], args[2])}
end

-- permits_v2_enlist: hands an import whose chunks stand to the workers, once.
-- KEYS  1 import  2 imports   ARGV  1 head, JSON  2 entry, JSON
-- Reply 1 where it is new, else 0
local function enlist(keys, args)
  redis.call('XLEN', keys[2])
  local new = redis.call('HSETNX', keys[1], 'head', args[1])
  if new == 1 then
    redis.call('XADD', keys[2], '*', 'm', args[2])
  end
  return new
end

-- allow-oom where work under way is settled; a full store takes no new permit, epoch or import.
redis.register_function{function_name = 'permits_v2_change', callback = change, flags = {'allow-oom'}}
redis.register_function('permits_v2_create', change)
redis.register_function{function_name = 'permits_v2_forget', callback = forget, flags = {'allow-oom'}}
redis.register_function('permits_v2_proclaim', proclaim)
redis.register_function('permits_v2_enlist', enlist)
