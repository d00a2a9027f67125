-- Takes one token for one request, if there is one: `BucketStore::take`. Follows `bucket.lua`.
--
-- returns  allowed (1 or 0), remaining, reset_ms, retry_after_ms

local stored = redis.call('HMGET', KEYS[1], 'l', 'c', 't', 'r', 'o')
if stored[3] then tokens, fraction, updated = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3]) end
stored_rule, other = stored[4], stored[5]
advance(0)
local allowed = tokens > 0 and 1 or 0
tokens = tokens - allowed
save(0)
local reset = window and window_ends_in or ms_until(burst)
return { allowed, tokens, reset, allowed == 1 and 0 or ms_until(1) }
