-- The reply streams' consumer groups: who must have read an entry before it may go.

local function fields_of(flat)
  local named = {}
  for i = 1, #flat, 2 do
    named[flat[i]] = flat[i + 1]
  end
  return named
end

local function groups_on(stream)
  local found = {}
  if redis.call('EXISTS', stream) == 1 then
    local groups = redis.call('XINFO', 'GROUPS', stream)
    for i = 1, #groups do
      local group = fields_of(groups[i])
      found[group['name']] = group
    end
  end
  return found
end

-- permits_v2_register: makes a consumer group from the stream's beginning, and entries wait for it from now on.
-- KEYS  1 replies  2 groups   ARGV  1 group  2 now, ms   Reply 1 where the group is new to the register, else 0
local function register(keys, args)
  if not groups_on(keys[1])[args[1]] then
    redis.call('XGROUP', 'CREATE', keys[1], args[1], '0', 'MKSTREAM')
  end
  return redis.call('HSET', keys[2], args[1], '0-0 ' .. args[2])
end

-- permits_v2_trim: removes what every registered group has done with, and drops groups that stopped reading.
-- A group is silent while it has something to do and its position stands still: not before that came, however long
-- nothing came for it.
-- KEYS  1 replies  2 groups   ARGV  1 now, ms  2 silence that drops a group, ms
-- Reply {number of entries removed, dropped group...}
local function trim(keys, args)
  local now, patience = tonumber(args[1]), tonumber(args[2])
  local register_of, found = redis.call('HGETALL', keys[2]), groups_on(keys[1])
  local lowest, dropped = nil, {}
  for i = 1, #register_of, 2 do
    local name, last = register_of[i], register_of[i + 1]
    local group = found[name]
    local position, oldest
    if group then
      position = id_after(group['last-delivered-id'])
      local unread = redis.call('XRANGE', keys[1], position, '+', 'COUNT', 1)[1]
      oldest = unread and unread[1]
      local pending = redis.call('XPENDING', keys[1], name)
      if pending[1] > 0 then
        position, oldest = pending[2], pending[2]
      end
    end
    local was, since = string.match(last, '^(%S+) (%d+)$')
    if position and (not oldest or position ~= was) then
      since = args[1]
    elseif position and tonumber(string.match(oldest, '^%d+')) > tonumber(since) then
      since = string.match(oldest, '^%d+')
    end
    if not position or now - tonumber(since) > patience then
      redis.call('HDEL', keys[2], name)
      dropped[#dropped + 1] = name
    else
      if position ~= was or tonumber(since) - tonumber(string.match(last, '%d+$')) > patience / 24 then
        redis.call('HSET', keys[2], name, position .. ' ' .. since)
      end
      if not lowest or id_below(position, lowest) then
        lowest = position
      end
    end
  end
  local removed = 0
  if lowest then
    removed = redis.call('XTRIM', keys[1], 'MINID', '=', lowest)
  end
  return {removed, unpack(dropped)}
end

-- allow-oom: a reader that starts anew while the store is full is what drains it.
-- permits_v2_bury: makes a dead letter of a reply and acknowledges it, once: what is pending no more is left alone.
-- KEYS  1 dead  2 replies   ARGV  1 group  2 id of the reply's entry  3 the letter's JSON
-- Reply 1 where the letter was written, else 0
local function bury(keys, args)
  redis.call('XLEN', keys[1])
  local pending = redis.call('XACK', keys[2], args[1], args[2])
  if pending == 1 then
    redis.call('XADD', keys[1], '*', 'm', args[3])
  end
  return pending
end

redis.register_function{function_name = 'permits_v2_register', callback = register, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_trim', callback = trim, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_bury', callback = bury, flags = {'allow-oom'}}
