-- Writes one API key's entry, and a version by which gateways see that entries have changed.
--
-- KEYS     1 hash of all entries, 2 the version
-- ARGV     1 field, 2 value, 3 the new version, 4 the maximum number of entries
-- returns  the field's old value or false; an error if there is no room for one more

local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return redis.error_reply('ERR the store takes no more keys')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return old
