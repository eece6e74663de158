-- The versions of the rules: what was proposed, confirmed and withdrawn, one item after the other, never changed.

-- permits_v2_enact: appends an item to the policies, and its act, at the store's own time.
-- KEYS  1 policies  2 acts
-- ARGV  1 number of items that must stand  2 item, JSON  3 act, JSON: in both the first "at_ms":0 gets the time
--       4 the last moment, ms, at which it may still be appended; 0: at any
-- Reply {'done', now} | {'stale', items that stand} | {'late', now}: these changed nothing. Times in ms.
local function enact(keys, args)
  -- Whatever holds another type fails here, before the first write: there is no rollback.
  redis.call('XLEN', keys[2])
  local stood = redis.call('LLEN', keys[1])
  if stood ~= tonumber(args[1]) then
    return {'stale', stood}
  end
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local last = tonumber(args[4])
  if last > 0 and now > last then
    return {'late', now}
  end
  local at = '"at_ms":' .. string.format('%.0f', now)
  redis.call('RPUSH', keys[1], (string.gsub(args[2], '"at_ms":0', at, 1)))
  redis.call('XADD', keys[2], '*', 'm', (string.gsub(args[3], '"at_ms":0', at, 1)))
  return {'done', now}
end

redis.register_function('permits_v2_enact', enact)
