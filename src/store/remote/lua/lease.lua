-- Leases tokens of one key's bucket: `BucketStore::lease`, step by step. Follows `bucket.lua`.
--
-- The hash also has one field per lease, named by the holder's number: "tokens seq ends_ms".
-- ARGV     5 prefetch share and 6 life_ms of leases, 7 holder, 8 seq, 9 kept, 10 returned, 11 needed, 12 prefetch
-- returns  granted, available, leased_to_others, expires_in_ms, retry_after_ms, reset_ms

local share, life, holder, seq = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local kept, returned = tonumber(ARGV[9]), tonumber(ARGV[10])
local needed, prefetch = tonumber(ARGV[11]), tonumber(ARGV[12])

local leases, leased = {}, 0
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local field, value = flat[i], flat[i + 1]
  if field == 'l' then tokens = tonumber(value)
  elseif field == 'c' then fraction = tonumber(value)
  elseif field == 't' then updated = tonumber(value)
  elseif field == 'r' then stored_rule = value
  elseif field == 'o' then other = value
  else
    local count, number, ends = string.match(value, '(%d+) (%d+) (%d+)')
    leases[field] = { tokens = tonumber(count), seq = tonumber(number), ends = tonumber(ends) }
    leased = leased + leases[field].tokens
  end
end

-- The bucket is refilled before leases that have ended are dropped: they may have been spent up to their last moment.
advance(leased)
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

local recorded = leases[holder] or { tokens = 0, seq = 0, ends = now }
local expires_in = window and math.min(life, window_ends_in) or life
local granted
if seq <= recorded.seq then
  -- A repeated request gets its grant again. An overtaken one gets nothing.
  granted = seq == recorded.seq and recorded.tokens or 0
  last_end = math.max(last_end, recorded.ends)
else
  -- A holder cannot keep or return more than it was leased.
  kept = math.min(kept, recorded.tokens)
  tokens = tokens + math.min(returned, recorded.tokens - kept)
  needed = math.min(needed, tokens)
  local unleased = math.max(math.floor(burst / share) - others - kept, 0)
  prefetch = math.min(prefetch, tokens - needed, unleased)
  tokens = tokens - needed - prefetch
  granted = kept + needed + prefetch
  if granted > 0 then
    last_end = math.max(last_end, now + expires_in)
    redis.call('HSET', KEYS[1], holder, string.format('%.0f %.0f %.0f', granted, seq, now + expires_in))
  elseif recorded.seq > 0 then
    redis.call('HDEL', KEYS[1], holder)
  end
end

save(math.max(last_end - now, 0))
local reset = window and window_ends_in or ms_until(burst)
return { granted, tokens, others, expires_in, ms_until(1), reset }
