-- The tokens left of one key's bucket or window: limit/bucket.rs, in floating point. All numbers are integers below
-- 2^53, where a double is exact. `lease.lua` and `take.lua` follow in the same script.
--
-- KEYS[1]  the key's hash: l  whole tokens, c  the fraction of the next in periodths, t  when that was so, Unix ms
-- ARGV     tokens, period_ms, burst, window (1) or token bucket (0)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rate, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = ARGV[4] == '1'
local window_ends_in = period - now % period
local tokens, fraction, updated = burst, 0, now

-- Adds the tokens gained since the last call, while `leased` tokens were out on leases.
local function advance(leased)
  if window then
    if math.floor(now / period) > math.floor(updated / period) then tokens, updated = burst, now end
    return
  end
  -- elapsed * rate, split so that no term is larger than the square of the period
  local elapsed = math.max(now - updated, 0)
  local rest = elapsed % period
  local gained = rest * (rate % period) + fraction
  tokens = tokens + math.floor(elapsed / period) * rate + rest * math.floor(rate / period)
    + math.floor(gained / period)
  fraction, updated = gained % period, now
  local capacity = math.max(burst - leased, 0)
  if tokens >= capacity then tokens, fraction = capacity, 0 end
end

-- Milliseconds until there are so many tokens.
local function ms_until(count)
  if count <= tokens then return 0 end
  if window then return window_ends_in end
  return math.ceil(((count - tokens) * period - fraction) / rate)
end

-- Writes the bucket. The hash expires when the bucket is full, `leased_for` ms from now at the earliest: a bucket
-- without a hash is full.
local function save(leased_for)
  local idle = window and window_ends_in or leased_for + ms_until(burst) + 1
  redis.call('HSET', KEYS[1], 'l', string.format('%.0f', tokens), 'c', string.format('%.0f', fraction),
    't', string.format('%.0f', updated))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(idle, 1e14)))
end

