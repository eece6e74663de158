-- Who works on what: leases of partitions, their fences, and the members of a role.

-- permits_v2_lease: takes or renews a lease.
-- KEYS  1 lease  2 fence   ARGV  1 owner (unique to one process life)  2 time to live, ms
-- Reply the epoch, as a string, where the lease is ours; nil where another holds it. A new holder gets a new epoch.
local function lease(keys, args)
  local holder = redis.call('GET', keys[1])
  if holder == args[1] then
    redis.call('PEXPIRE', keys[1], args[2])
    return redis.call('GET', keys[2])
  elseif holder then
    return nil
  end
  local epoch = redis.call('INCR', keys[2])
  redis.call('SET', keys[1], args[1], 'PX', args[2])
  return tostring(epoch)
end

-- permits_v2_release: gives a lease back.
-- KEYS  1 lease   ARGV  1 owner   Reply 1 where it was ours, else 0
local function release(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    return redis.call('DEL', keys[1])
  end
  return 0
end

-- permits_v2_join: says that a member of a role is alive, by the server's clock.
-- KEYS  1 members   ARGV  1 member  2 time to live, ms   Reply the number of live members
local function join(keys, args)
  local now = redis.call('TIME')
  local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', string.format('%.0f', now_ms))
  redis.call('ZADD', keys[1], string.format('%.0f', now_ms + tonumber(args[2])), args[1])
  redis.call('PEXPIRE', keys[1], args[2])
  return redis.call('ZCARD', keys[1])
end

redis.register_function{function_name = 'permits_v2_lease', callback = lease, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_release', callback = release, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_join', callback = join, flags = {'allow-oom'}}
