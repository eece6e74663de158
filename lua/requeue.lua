-- A dead letter's end, once: whoever takes it out of the stream, and nobody else, goes on.

-- permits_v2_requeue: puts it back where it belongs.
-- KEYS  1 dead  2 acts  3 stream, or held approvals
-- ARGV  1 id of the letter's entry  2 act, JSON  3 what goes back  4 to held approvals: the moment of its release, ms
-- Reply 1, or 0 where the letter stands no more: nothing was changed
local function requeue(keys, args)
  -- Whatever holds another type fails here, before the first write: there is no rollback.
  redis.call('XLEN', keys[2])
  redis.call(args[4] and 'ZCARD' or 'XLEN', keys[3])
  local stood = redis.call('XDEL', keys[1], args[1])
  if stood == 1 then
    if args[4] then
      redis.call('ZADD', keys[3], 'NX', args[4], args[3])
    else
      redis.call('XADD', keys[3], '*', 'm', args[3])
    end
    redis.call('XADD', keys[2], '*', 'm', args[2])
  end
  return stood
end

-- permits_v2_drop: says that nothing will be done.
-- KEYS  1 dead  2 acts   ARGV  1 id of the letter's entry  2 act, JSON   Reply as above
local function drop(keys, args)
  redis.call('XLEN', keys[2])
  local stood = redis.call('XDEL', keys[1], args[1])
  if stood == 1 then
    redis.call('XADD', keys[2], '*', 'm', args[2])
  end
  return stood
end

-- allow-oom: what goes in was there before.
redis.register_function{function_name = 'permits_v2_requeue', callback = requeue, flags = {'allow-oom'}}
redis.register_function{function_name = 'permits_v2_drop', callback = drop, flags = {'allow-oom'}}
