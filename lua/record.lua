-- A record of one owner and day: what each SMS brought, as `decide` writes it and all others read it.
-- A record's entries, ENTRY bytes each:
--       1-4 owner's tag | 5-8 digest of (source, sender, id) | 9-10 digest of the text | 11-14 arrival, s
--       | 15-18 seconds to the decision << 14 | minutes << 2 | days from quota day to arrival + 1
--       | 19-20 first bytes of the sender's hash | 21 purpose | 22 letter
--       An approval that is held has the letter 'w', and as the moment of its decision the end of the hold.
--       A permit that its phone has cancelled is an 'e', one that was cancelled while it was held a 'v'.

local ENTRY = 22
local ID_AT, TEXT_AT, ARRIVAL_AT, TIMES_AT, DAY_AT, SENDER_AT, PURPOSE_AT, LETTER_AT = 4, 8, 10, 14, 17, 18, 20, 21
-- Letters as bytes, '?!aqdkcynDSMXwve': no string is made for each message; none can be taken apart while loading.
local ASK, CANCEL, APPROVED, QUOTA, ABUSE, BLOCKED = 63, 33, 97, 113, 100, 107
local CANCELLED, CANCELLED_HELD, NOTHING = 99, 121, 110
local DUPLICATE, SHED, MOVED, DEAD = 68, 83, 77, 88
local HELD, WITHDRAWN, ENDED = 119, 118, 101
local IS_PERMIT = {[APPROVED] = true, [HELD] = true, [ENDED] = true}
local NO_REFUSAL = {
  [APPROVED] = true, [HELD] = true, [WITHDRAWN] = true, [ENDED] = true, [CANCELLED] = true, [CANCELLED_HELD] = true,
}
local MOST_DELAY_S = 262143

local function u32(value, at)
  local a, b, c, d = string.byte(value, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- An entry's packed times with another delay from its arrival.
local function begun(packed, delay_s)
  local value = math.min(delay_s, MOST_DELAY_S) * 16384 + packed % 16384
  local floor = math.floor
  return string.char(floor(value / 16777216), floor(value / 65536) % 256, floor(value / 256) % 256, value % 256)
end

local function hex(bytes)
  return (string.gsub(bytes, '.', function(one) return string.format('%02x', string.byte(one)) end))
end
