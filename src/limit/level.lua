-- What is left of one key's bucket or window: level.rs, in floating point. All numbers are integers below 2^53, where a
-- double is exact. `lease.lua` and `strict.lua` go on from here.
--
-- KEYS[1]  the key's hash: l  whole tokens, c  the fraction of the next in periodths, t  when that was so, Unix ms
-- ARGV     tokens, period_ms, burst, window (1) or bucket (0)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tokens, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = ARGV[4] == '1'
local window_ends_in = period - now % period
local level, part, at = burst, 0, now

-- Adds what has come while so many tokens were lent.
local function advance(lent)
  if window then
    if math.floor(now / period) > math.floor(at / period) then level, at = burst, now end
    return
  end
  -- elapsed * tokens, cut so that no term passes the square of the period
  local elapsed = math.max(now - at, 0)
  local rest = elapsed % period
  local parts = rest * (tokens % period) + part
  level = level + math.floor(elapsed / period) * tokens + rest * math.floor(tokens / period)
    + math.floor(parts / period)
  part, at = parts % period, now
  local room = math.max(burst - lent, 0)
  if level >= room then level, part = room, 0 end
end

-- Milliseconds until there are so many tokens.
local function ms_until(count)
  if count <= level then return 0 end
  if window then return window_ends_in end
  return math.ceil(((count - level) * period - part) / tokens)
end

-- Writes the level. The hash goes when the bucket is full, `lent_for` ms from now at the earliest: none means full.
local function keep(lent_for)
  local idle = window and window_ends_in or lent_for + ms_until(burst) + 1
  redis.call('HSET', KEYS[1], 'l', string.format('%.0f', level), 'c', string.format('%.0f', part),
    't', string.format('%.0f', at))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(idle, 1e14)))
end

