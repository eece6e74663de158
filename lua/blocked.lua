-- Status lists: which documents stand on which list, since when and until when. `decide` refuses by the same key,
-- whose values it describes (LISTED bytes an entry); here a document has one entry a list.
-- What is over goes when its document is next written. So that a list which is only added to gives it up, too, each
-- write also looks at SWEPT documents by chance: in the long run about as many are over as stand; without writes
-- nothing grows.
local MOST_LISTED = 16
local SWEPT = 2

-- A document's entries that are not over: those of other lists, and that of one list, nil where there is none.
local function still_listed(value, list, now_s)
  local others, own = '', nil
  for at = 1, #value, LISTED do
    local entry, until_s = string.sub(value, at, at + LISTED - 1), u32(value, at + 5)
    if until_s == 0 or until_s > now_s then
      if string.byte(entry) == list then
        own = entry
      else
        others = others .. entry
      end
    end
  end
  return others, own
end

local function put_listed(key, owner, before, after)
  if after == before then
    return
  elseif after == '' then
    redis.call('HDEL', key, owner)
  else
    redis.call('HSET', key, owner, after)
  end
end

-- permits_v2_block: puts a document on a list, or moves its times there; permits_v2_unblock: takes it off.
-- KEYS  1 blocked  2 acts
-- ARGV  1 owner key  2 number of the list  3 now, s  4 act, JSON, for the case that it changes something
--       5 act for the case that it does not, which has looked all the same  6 to block: the entry
-- Reply {'changed', entry that stands or stood} | {'unchanged', entry that stands or ''}
--       | {'full'}: MOST_LISTED other lists have the document. Who stands on a list keeps the moment since when.
local function relist(keys, args)
  local owner, list, now_s, entry = args[1], tonumber(args[2]), tonumber(args[3]), args[6]
  -- Whatever holds another type fails here, before the first write: there is no rollback.
  redis.call('XLEN', keys[2])
  local value = redis.call('HGET', keys[1], owner) or ''
  local others, own = still_listed(value, list, now_s)
  if entry and own and u32(own, 2) <= now_s then
    entry = string.sub(own, 1, 5) .. string.sub(entry, 6)
  end
  local full = entry and #others >= MOST_LISTED * LISTED
  local changed = entry ~= own and not full
  if changed then
    put_listed(keys[1], owner, value, others .. (entry or ''))
  end
  local some = redis.call('HRANDFIELD', keys[1], -SWEPT, 'WITHVALUES') or {}
  for at = 1, #some, 2 do
    put_listed(keys[1], some[at], some[at + 1], (still_listed(some[at + 1], nil, now_s)))
  end
  redis.call('XADD', keys[2], '*', 'm', args[changed and 4 or 5])
  if full then
    return {'full'}
  end
  return {changed and 'changed' or 'unchanged', entry or own or ''}
end

-- allow-oom: a document comes off a list on a full store too, which takes no new one.
redis.register_function('permits_v2_block', relist)
redis.register_function{function_name = 'permits_v2_unblock', callback = relist, flags = {'allow-oom'}}
