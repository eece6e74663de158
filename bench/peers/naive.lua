-- The job of `decide` as anybody would write it first: one message a call, a key for each fact.
-- Deduplication over 48 hours, the quota of a document and day, the permit, and the reply.
--
-- KEYS  1 seen:<SMS id>  2 quota:<document>  3 permit:<document>  4 replies
-- ARGV  1 SMS id  2 sender  3 purpose, 0: the text could not be read  4 permits a day, 0: no limit  5 permit's code
-- Reply the verdict
local id, sender, purpose, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', 172800) then
  return 'duplicate'
end
local verdict, text = 'approved', 'Cixisa icaze: 3 saat. Kod ' .. ARGV[5]
if purpose == '0' then
  verdict, text = 'malformed', 'SMS oxunmadi. Yazin: kod, bosluq, senedin seriyasi ve nomresi. Meselen: 2 AZE 1111111'
elseif limit > 0 and redis.call('INCR', KEYS[2]) > limit then
  verdict, text = 'quota', 'Bu sened uzre bu gun icaze artiq verilib.'
else
  if limit > 0 then
    redis.call('EXPIRE', KEYS[2], 86400)
  end
  redis.call('SET', KEYS[3], ARGV[5], 'EX', 10800)
end
redis.call('XADD', KEYS[4], '*', 'm',
  '{"id":"' .. id .. '","to":"' .. sender .. '","verdict":"' .. verdict .. '","purpose":' .. purpose
  .. ',"text":"' .. text .. '"}')
return verdict
