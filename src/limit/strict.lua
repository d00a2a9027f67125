-- One token for one request, if there is one: `Bank::take`.
--
-- returns  allowed (1 or 0), remaining, reset_ms, retry_after_ms

local stored = redis.call('HMGET', KEYS[1], 'l', 'c', 't')
if stored[3] then level, part, at = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3]) end
advance(0)
local allowed = level > 0 and 1 or 0
level = level - allowed
keep(0)
local reset = window and window_ends_in or ms_until(burst)
return { allowed, level, reset, allowed == 1 and 0 or ms_until(1) }
