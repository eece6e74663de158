-- permits_v2_mark: a write that reaches the replicas and neither the append-only file nor its sync. A WAIT on the same
-- connection waits for what that connection wrote; so, with this before it, for all that anybody wrote earlier.
-- KEYS  1 mark   Reply 1
local function mark(keys)
  redis.set_repl(redis.REPL_REPLICA)
  redis.call('SET', keys[1], '')
  return 1
end

-- allow-oom: what a full store holds may still leave it.
redis.register_function{function_name = 'permits_v2_mark', callback = mark, flags = {'allow-oom'}}
