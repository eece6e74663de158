-- How far the segment files of the archive reach: the head of each trail's chain.

-- permits_v2_archived: moves a head, once its entries are safely on disk.
-- KEYS  1 fence  2 archive   ARGV  1 epoch  2 trail  3 the head that stands, empty: none  4 the new head
-- Reply 'moved' | 'fenced': another holds the partition | 'differs': another head stands; nothing was changed
local function archived(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then
    return 'fenced'
  elseif (redis.call('HGET', keys[2], args[2]) or '') ~= args[3] then
    return 'differs'
  end
  redis.call('HSET', keys[2], args[2], args[4])
  return 'moved'
end

-- allow-oom: what is not archived is not trimmed, and a full store needs to be.
redis.register_function{function_name = 'permits_v2_archived', callback = archived, flags = {'allow-oom'}}
