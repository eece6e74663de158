-- What an owner's records and a document's lists say of one SMS: repeated, too often, too many phones, over quota.
-- `blob` and `base` are the messages of `decide` and where one of them begins.
-- A document's value in `blocked`, LISTED bytes for each list it stands on:
--       1 list | 2-5 from, s | 6-9 until, s, 0 no end

local LISTED = 9
local TEXT_WINDOW_S = 120
local DEDUP_DAYS = 2
local REFUSALS_WINDOW_S = 3600

-- A row of what a request must pass: a limit of 0 is nil.
local function parse_rules(text)
  local byte = string.byte
  local answered, requests, phones, count = byte(text, 1, 4)
  local row = {
    answered = answered > 0 and answered, requests = requests > 0 and requests, phones = phones > 0 and phones,
  }
  for l = 5, 4 + count do
    row.lists = row.lists or {}
    row.lists[byte(text, l)] = true
  end
  local at = 5 + count
  while at <= #text do
    local limit, named = byte(text, at, at + 1)
    local purposes = {}
    for p = at + 2, at + 1 + named do
      purposes[byte(text, p)] = true
    end
    row[#row + 1] = {limit, purposes}
    at = at + 2 + named
  end
  return row
end

-- Looks through an owner's records, day by day. Returns whether the SMS at `base` was decided before, whether its
-- id was seen with other words, and the owner's past, nil where there is none: `requests` decided for the quota's day,
-- the `phones` they came from and how many those are, the `permits` among them by purpose, and the `refusals` of the
-- last hour that went to the same phone.
local function look_up(values, days, blob, base, day, quota_day, by_text)
  local sub, byte = string.sub, string.byte
  local tag, id, text = sub(blob, base + 5, base + 8), sub(blob, base + 9, base + 12), sub(blob, base + 13, base + 14)
  local arrival, own = u32(blob, base + 15), sub(blob, base + 23, base + 24)
  local reused, past = false, nil
  for j = 1, days do
    local value = values[j]
    for at = 1, value and #value or 0, ENTRY do
      if sub(value, at, at + 3) == tag then
        local apart = u32(value, at + ARRIVAL_AT) - arrival
        if sub(value, at + ID_AT, at + ID_AT + 3) == id then
          if sub(value, at + TEXT_AT, at + TEXT_AT + 1) ~= text then
            reused = true
          elseif by_text then
            if apart <= TEXT_WINDOW_S and apart >= -TEXT_WINDOW_S then
              return true, false
            end
          elseif j >= day - DEDUP_DAYS then
            return true, false
          end
        end
        past = past or {requests = 0, refusals = 0, permits = {}, phones = {}, count = 0}
        local purpose, letter = byte(value, at + PURPOSE_AT, at + LETTER_AT)
        local phone = sub(value, at + SENDER_AT, at + SENDER_AT + 1)
        -- Another phone's refusals do not silence this one: its owner may be the one who is robbed.
        if phone == own and not NO_REFUSAL[letter] and apart > -REFUSALS_WINDOW_S then
          past.refusals = past.refusals + 1
        end
        if j - byte(value, at + DAY_AT) % 4 == quota_day then
          past.requests = past.requests + 1
          -- Who was turned away as one phone too many does not become known by it.
          if letter ~= ABUSE and not past.phones[phone] then
            past.phones[phone] = true
            past.count = past.count + 1
          end
          if IS_PERMIT[letter] then
            past.permits[#past.permits + 1] = purpose
          end
        end
      end
    end
  end
  return false, reused, past
end

-- Whether a document stands on one of some lists at a moment.
local function is_listed(value, lists, at_s)
  for at = 1, value and lists and #value or 0, LISTED do
    if lists[string.byte(value, at)] then
      local until_s = u32(value, at + 5)
      if u32(value, at + 1) <= at_s and (until_s == 0 or at_s < until_s) then
        return true
      end
    end
  end
  return false
end

-- The letter that limits and rules give to a request of an owner with a past.
local function judge(row, past, phone)
  if row.requests and past.requests >= row.requests then
    return ABUSE
  end
  if row.phones and past.count >= row.phones and not past.phones[phone] then
    return ABUSE
  end
  for r = 1, #row do
    local rule, count = row[r], 0
    for p = 1, #past.permits do
      if rule[2][past.permits[p]] then
        count = count + 1
      end
    end
    if count >= rule[1] then
      return QUOTA
    end
  end
  return APPROVED
end
