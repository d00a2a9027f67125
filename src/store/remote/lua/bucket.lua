-- The tokens left of one key's bucket or window: limit/bucket.rs, in floating point. All numbers are integers below
-- 2^53, where a double is exact. `lease.lua` and `take.lua` follow in the same script.
--
-- KEYS[1]  the key's hash: l  whole tokens, c  parts of the next, t  when that was so, Unix ms, r  the rule of that
--          request; o  another gateway's rule, and until when it matters
-- ARGV     tokens, period_ms, burst, window (1) or token bucket (0)

-- The parts of a token: the milliseconds of a day, which all periods divide.
local PARTS = 86400000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rate, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = ARGV[4] == '1'
local window_ends_in = period - now % period
local tokens, fraction, updated = burst, 0, now
local rule, stored_rule, other = table.concat({ ARGV[1], ARGV[2], ARGV[3] }, ' '), nil, nil

-- Adds the tokens gained since the last call, while `leased` tokens were out on leases. Where the rule has changed,
-- what is left is left, up to the new burst.
local function advance(leased)
  local capacity = math.max(burst - leased, 0)
  if window then
    if math.floor(now / period) > math.floor(updated / period) then tokens, updated = burst, now
    else tokens = math.min(tokens, capacity) end
    return
  end
  -- elapsed * rate, split so that no term is larger than the square of the period
  local elapsed, unit = math.max(now - updated, 0), PARTS / period
  local rest = elapsed % period
  local gained = rest * (rate % period) + math.floor(fraction / unit)
  tokens = tokens + math.floor(elapsed / period) * rate + rest * math.floor(rate / period)
    + math.floor(gained / period)
  fraction, updated = gained % period * unit + fraction % unit, now
  if tokens >= capacity then tokens, fraction = capacity, 0 end
end

-- Milliseconds until there are so many tokens, by a rule.
local function ms_until_by(count, rate, period)
  if count <= tokens then return 0 end
  if window then return period - now % period end
  return math.ceil(((count - tokens) * period - fraction * period / PARTS) / rate)
end

local function ms_until(count)
  return ms_until_by(count, rate, period)
end

-- For how long a bucket with leases for `leased_for` ms more is another one than a full bucket. While gateways have two
-- versions of a rule, it must be full by both: the other one matters for as long as it takes to fill a bucket.
local function ms_until_full(leased_for)
  local idle = leased_for + ms_until(burst)
  if stored_rule and stored_rule ~= rule then
    local rate, period, burst = string.match(stored_rule, '(%d+) (%d+) (%d+)')
    local fill = window and period or math.ceil(burst * period / rate)
    other = string.format('%s %.0f', stored_rule, now + fill)
  end
  if other then
    local rate, period, burst, ends = string.match(other, '(%d+) (%d+) (%d+) (%d+)')
    if now < tonumber(ends) then
      return math.max(idle, leased_for + ms_until_by(tonumber(burst), tonumber(rate), tonumber(period)))
    end
    redis.call('HDEL', KEYS[1], 'o')
    other = nil
  end
  return idle
end

-- Writes the bucket. Its hash lives until it is full, `leased_for` ms from now at the earliest, and not longer: a bucket
-- without a hash is full.
local function save(leased_for)
  local idle = ms_until_full(leased_for)
  if idle == 0 then redis.call('DEL', KEYS[1]) return end
  redis.call('HSET', KEYS[1], 'l', string.format('%.0f', tokens), 'c', string.format('%.0f', fraction),
    't', string.format('%.0f', updated), 'r', rule)
  if other then redis.call('HSET', KEYS[1], 'o', other) end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(idle + 1, 1e14)))
end
