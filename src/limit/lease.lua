-- A lease on one key's bucket: `Bank::lease`, step by step.
--
-- The hash also has a field per holder of a lease, by its number: "tokens seq ends_ms".
-- ARGV     5 share and 6 life_ms of leases, 7 holder, 8 seq, 9 held, 10 returned, 11 need, 12 ahead
-- returns  tokens, level, lent, expires_in_ms, retry_after_ms, reset_ms

local share, life, holder, seq = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local held, returned = tonumber(ARGV[9]), tonumber(ARGV[10])
local need, ahead = tonumber(ARGV[11]), tonumber(ARGV[12])

local leases, lent = {}, 0
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local field, value = flat[i], flat[i + 1]
  if field == 'l' then level = tonumber(value)
  elseif field == 'c' then part = tonumber(value)
  elseif field == 't' then at = tonumber(value)
  else
    local count, number, ends = string.match(value, '(%d+) (%d+) (%d+)')
    leases[field] = { tokens = tonumber(count), seq = tonumber(number), ends = tonumber(ends) }
    lent = lent + leases[field].tokens
  end
end

-- The level first, with all that was lent until now still missing. Then what ended goes.
advance(lent)
local others, last_end = 0, now
for field, lease in pairs(leases) do
  if lease.ends <= now then
    redis.call('HDEL', KEYS[1], field)
    leases[field] = nil
  elseif field ~= holder then
    others = others + lease.tokens
    last_end = math.max(last_end, lease.ends)
  end
end

local mine = leases[holder] or { tokens = 0, seq = 0, ends = now }
local expires_in = window and math.min(life, window_ends_in) or life
local granted
if seq <= mine.seq then
  -- A repeated ask gets its answer again. One that was overtaken gets nothing.
  granted = seq == mine.seq and mine.tokens or 0
  last_end = math.max(last_end, mine.ends)
else
  local kept = math.min(held, mine.tokens)
  level = level + math.min(returned, mine.tokens - kept)
  local needed = math.min(need, level)
  local unlent = math.max(math.floor(burst / share) - others - kept, 0)
  local lead = math.min(ahead, level - needed, unlent)
  level = level - needed - lead
  granted = kept + needed + lead
  if granted > 0 then
    last_end = math.max(last_end, now + expires_in)
    redis.call('HSET', KEYS[1], holder, string.format('%.0f %.0f %.0f', granted, seq, now + expires_in))
  elseif mine.seq > 0 then
    redis.call('HDEL', KEYS[1], holder)
  end
end

keep(last_end - now)
local reset = window and window_ends_in or ms_until(burst)
return { granted, level, others, expires_in, ms_until(1), reset }
